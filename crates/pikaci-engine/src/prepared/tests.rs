//! Outputs that are found, built, shared, refused and evicted.

mod room;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use pikaci::{
    Digest, Event, Fault, JobId, JobRecord, JobSpec, JobStatus, OutputSpec, PlanRecord, Provider, RunRecord,
    RunWriter,
};

use super::store::{Store, UseError};
use super::unpack::{UnpackError, unpack};
use super::{PreparedBudget, evict, payload, seal};
use crate::exam::{Fixture, local};
use crate::executor::Executor;
use crate::executor::sample_shell_job;
use crate::executor::scripted::{Script, ScriptedExecutor};
use crate::run::rerun;

/// A job that makes an output of the file `file`.
pub(crate) fn maker(name: &str, command: &str) -> JobSpec {
    let mut job = sample_shell_job(&format!("prepare.{name}"), command);
    job.output = Some(OutputSpec {
        name: name.to_owned(),
        provider: Provider::Command,
        nix: None,
        inputs: vec!["file".to_owned()],
        mount: format!("/staged/{name}"),
    });
    job
}

/// A job that needs outputs.
pub(crate) fn user(id: &str, command: &str, names: &[&str]) -> JobSpec {
    let mut job = sample_shell_job(id, command);
    job.prepared = names.iter().map(|name| (*name).to_owned()).collect();
    job.needs = names.iter().map(|name| JobId::parse(&format!("prepare.{name}")).unwrap()).collect();
    job
}

fn scripted(scripts: &[(&str, Script)]) -> Arc<dyn Executor> {
    let scripts = scripts.iter().map(|(id, script)| (JobId::parse(id).unwrap(), vec![script.clone()]));
    Arc::new(ScriptedExecutor::new(scripts.collect()))
}

fn play(fixture: &Fixture, jobs: Vec<JobSpec>, executor: Arc<dyn Executor>) -> RunRecord {
    fixture.run(fixture.request(jobs), executor, |_| false).0
}

fn passes(fixture: &Fixture) -> RunRecord {
    let record = play(fixture, vec![maker("a", "true"), user("unit", "true", &["a"])], scripted(&[]));
    assert_eq!(record.jobs.iter().map(|job| &job.status).collect::<Vec<_>>(), [&JobStatus::Passed; 2]);
    record
}

fn outputs(fixture: &Fixture, record: &RunRecord) -> Vec<pikaci::PreparedOutputRecord> {
    pikaci::load_prepared_outputs_record(&fixture.state, &record.run_id).unwrap().unwrap().outputs
}

fn job<'r>(record: &'r RunRecord, id: &str) -> &'r JobRecord {
    record.jobs.iter().find(|job| job.id.as_str() == id).unwrap()
}

fn message(record: &RunRecord, id: &str) -> String {
    job(record, id).message.clone().unwrap_or_default()
}

#[test]
fn an_output_is_built_once_and_found_until_an_input_changes() {
    let fixture = Fixture::new();
    let first = passes(&fixture);
    let built = outputs(&fixture, &first).remove(0);
    assert_eq!((built.node_id.as_str(), built.is_hit), ("prepared/a", Some(false)));
    let record = fs::read(Path::new(&built.realised_path).with_file_name("record.json")).unwrap();
    let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
    assert_eq!(record["realised_path"], built.realised_path);
    let made_by = fs::read_to_string(Path::new(&built.realised_path).join("made-by")).unwrap();
    assert_eq!(made_by, first.run_id.as_str());
    assert_eq!(first.prepare_timings[0].node_id, "prepared/a");
    assert!(job(&first, "unit").pre_execution_prepare_duration_ms.is_some());

    let second = passes(&fixture);
    let found = outputs(&fixture, &second).remove(0);
    assert_eq!((found.is_hit, &found.key), (Some(true), &built.key));
    assert_eq!(message(&second, "prepare.a"), format!("built by run {}", first.run_id));
    assert!(found.duration_ms.unwrap() < 50, "{found:?}");

    // What it is not made from makes no other output; what it is made from does.
    fs::write(fixture.root().join("other"), "else").unwrap();
    assert_eq!(outputs(&fixture, &passes(&fixture))[0].key, built.key);
    fs::write(fixture.root().join("file"), "changed").unwrap();
    let changed = outputs(&fixture, &passes(&fixture)).remove(0);
    assert_eq!(changed.is_hit, Some(false));
    assert_ne!(changed.key, built.key);
}

#[test]
fn another_image_command_or_needed_output_makes_another_key_and_another_deadline_does_not() {
    let fixture = Fixture::new();
    let of_image = |image: &str| {
        let mut executor = ScriptedExecutor::default();
        executor.image = image.to_owned();
        executor
    };
    let key = |jobs: Vec<JobSpec>, executor: ScriptedExecutor| {
        let record = play(&fixture, jobs, Arc::new(executor));
        let outputs = outputs(&fixture, &record);
        outputs.into_iter().find(|output| output.node_id == "prepared/a").unwrap().key.unwrap()
    };
    let one = key(vec![maker("a", "true")], of_image("one"));
    assert_ne!(key(vec![maker("a", "true")], of_image("two")), one);
    assert_ne!(key(vec![maker("a", "make")], of_image("one")), one);
    let longer = JobSpec { timeout_secs: 7, memory_bytes: 1, ..maker("a", "true") };
    assert_eq!(key(vec![longer], of_image("one")), one);
    let mut needing = maker("a", "true");
    (needing.prepared, needing.needs) = (vec!["b".to_owned()], vec![JobId::parse("prepare.b").unwrap()]);
    assert_ne!(key(vec![needing, maker("b", "true")], of_image("one")), one);
}

#[test]
fn runs_that_want_the_same_output_at_once_build_it_once() {
    let fixture = Fixture::new();
    let ids: Vec<(Option<bool>, Digest)> = std::thread::scope(|scope| {
        let play = || {
            let output = outputs(&fixture, &passes(&fixture)).remove(0);
            (output.is_hit, output.key.unwrap())
        };
        let running: Vec<_> = (0..4).map(|_| scope.spawn(play)).collect();
        running.into_iter().map(|running| running.join().unwrap()).collect()
    });
    assert_eq!(ids.iter().filter(|(is_hit, _)| *is_hit == Some(false)).count(), 1, "{ids:?}");
    assert!(ids.iter().all(|(_, key)| *key == ids[0].1));
}

#[test]
fn outputs_that_do_not_need_each_other_are_made_at_the_same_time() {
    let fixture = Fixture::new();
    let jobs = vec![maker("a", "true"), maker("b", "true"), user("unit", "true", &["a", "b"])];
    // Neither ends before the run is cancelled, which is when both have begun.
    let executor = scripted(&[("prepare.a", Script::Hang), ("prepare.b", Script::Hang)]);
    let mut begun = Vec::new();
    let (record, _) = fixture.run(fixture.request(jobs), executor, |event| {
        if let Event::JobStarted { job, .. } = event {
            begun.push(job.id.to_string());
        }
        begun.len() == 2
    });
    assert_eq!(begun, ["prepare.a", "prepare.b"]);
    assert_eq!(record.outcome, Some(pikaci::Outcome::Cancelled));
}

#[test]
fn a_build_that_fails_skips_what_needs_it_and_is_not_tried_again_until_somebody_asks() {
    let fixture = Fixture::new();
    let jobs = || vec![maker("a", "false"), user("unit", "true", &["a"]), sample_shell_job("other", "true")];
    let first = play(&fixture, jobs(), scripted(&[("prepare.a", Script::Exit(3))]));
    assert_eq!(
        (job(&first, "prepare.a").exit_code, &job(&first, "prepare.a").fault),
        (Some(3), &Some(Fault::Job))
    );
    assert_eq!(job(&first, "unit").status, JobStatus::Skipped);
    assert_eq!(job(&first, "other").status, JobStatus::Passed);
    // It would pass now, and is not asked.
    let second = play(&fixture, jobs(), scripted(&[]));
    assert_eq!(job(&second, "prepare.a").attempts.len(), 1);
    assert!(message(&second, "prepare.a").contains(first.run_id.as_str()), "{second:?}");
    let store = Store::new(&fixture.state);
    let (name, key) = store.failures().remove(0);
    assert_eq!(name, "a");
    store.remove(&key, "asked to").unwrap();
    assert_eq!(play(&fixture, jobs(), scripted(&[])).status, pikaci::RunStatus::Passed);
}

#[test]
fn a_build_that_failed_shows_its_log_again_and_is_tried_again_when_that_is_asked_for() {
    let fixture = Fixture::new();
    let command = "mkdir \"$PIKACI_ARTIFACTS/out\"; echo the log of the build; exit 3";
    let jobs = || vec![maker("a", command), user("unit", "true", &["a"])];
    let first = play(&fixture, jobs(), local(true));
    let second = play(&fixture, jobs(), local(true));
    let log = fixture.state.guest_log(&second.run_id, &job(&second, "prepare.a").id);
    assert_eq!(fs::read_to_string(log).unwrap(), "the log of the build\n");
    assert!(message(&second, "prepare.a").contains(&format!("pikaci rerun {} --failed", first.run_id)));
    // A run that is repeated has it built, and so has one of nothing but the build.
    let run_id = pikaci::RunId::random(jiff::Timestamp::now());
    let request = rerun(&fixture.state, &first.run_id, run_id, true).unwrap();
    let (third, _) = fixture.run(request, scripted(&[("prepare.a", Script::Exit(4))]), |_| false);
    assert_eq!(job(&third, "prepare.a").exit_code, Some(4));
    let alone = play(&fixture, vec![maker("a", command)], scripted(&[("prepare.a", Script::Exit(5))]));
    assert_eq!(job(&alone, "prepare.a").exit_code, Some(5));
    assert_eq!(job(&play(&fixture, jobs(), scripted(&[])), "prepare.a").exit_code, Some(5));
    // What something else than its inputs may have decided counts for an hour.
    let file = fs::read_dir(fixture.state.prepared_dir()).unwrap().map(|entry| entry.unwrap().path());
    let file = file.into_iter().find(|path| path.extension().is_some_and(|end| end == "json")).unwrap();
    let mut failed: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let expires_at: Timestamp = failed["expires_at"].as_str().unwrap().parse().unwrap();
    assert!((3500..=3600).contains(&(expires_at.as_second() - Timestamp::now().as_second())), "{expires_at}");
    failed["expires_at"] = "2026-01-01T00:00:00Z".into();
    fs::write(&file, failed.to_string()).unwrap();
    assert_eq!(play(&fixture, jobs(), scripted(&[])).status, pikaci::RunStatus::Passed);
}

#[test]
fn a_fault_of_the_machinery_is_tried_again_and_not_kept() {
    let fixture = Fixture::new();
    let record = play(&fixture, vec![maker("a", "true")], scripted(&[("prepare.a", Script::Vanish)]));
    assert_eq!(
        (job(&record, "prepare.a").attempts.len(), &job(&record, "prepare.a").fault),
        (3, &Some(Fault::Infra))
    );
    assert_eq!(Store::new(&fixture.state).failures(), []);
    passes(&fixture);
}

#[test]
fn a_build_that_was_cut_off_is_built_anew_and_its_rest_is_collected() {
    let fixture = Fixture::new();
    // What a killed process leaves: a half-filled folder, and a lock that the kernel has freed.
    let left = fixture.state.prepared_dir().join(".new-20260101T000000Z-00000000-a-1/out");
    fs::create_dir_all(&left).unwrap();
    fs::write(left.join("half"), "").unwrap();
    assert_eq!(outputs(&fixture, &passes(&fixture))[0].is_hit, Some(false));
    let hours_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(7200);
    fs::File::open(left.parent().unwrap()).unwrap().set_modified(hours_ago).unwrap();
    let budget = PreparedBudget { bytes_max: u64::MAX, runs_min: 0 };
    assert_eq!(evict(&fixture.state, &budget, false).unwrap().leftovers, 1);
    assert!(!left.exists());
}

#[test]
fn an_output_is_not_evicted_while_a_run_uses_it_and_leaves_a_tombstone_afterwards() {
    let fixture = Fixture::new();
    let none = PreparedBudget { bytes_max: 0, runs_min: 0 };
    let store = Store::new(&fixture.state);
    let request = fixture.request(vec![maker("a", "true"), user("unit", "true", &["a"])]);
    let mut refusals = Vec::new();
    let (record, _) = fixture.run(request, scripted(&[]), |event| {
        if matches!(event, Event::JobStarted { job, .. } if job.id.as_str() == "unit") {
            refusals.push(store.remove(&store.list()[0].key, "asked to").unwrap_err());
            assert_eq!(
                evict(&fixture.state, &none, true).unwrap().removed,
                [],
                "it promises what it can't do"
            );
            refusals.extend(evict(&fixture.state, &none, false).unwrap().spared.into_iter().map(
                |(_, why)| {
                    assert!(why.contains("in use"), "{why}");
                    UseError::Unknown { key: String::new() }
                },
            ));
        }
        false
    });
    assert!(
        matches!(refusals.as_slice(), [UseError::Locked { .. }, UseError::Unknown { .. }]),
        "{refusals:?}"
    );
    // The floor spares what the newest runs used.
    let floor = PreparedBudget { bytes_max: 0, runs_min: 1 };
    assert_eq!(evict(&fixture.state, &floor, false).unwrap().removed.len(), 0);
    assert_eq!(evict(&fixture.state, &none, true).unwrap().removed.len(), 1);
    assert_eq!(evict(&fixture.state, &none, false).unwrap().removed.len(), 1);
    assert!(store.list().is_empty());
    let tombstone = store.tombstones().remove(0);
    assert_eq!(
        (tombstone.name.as_str(), tombstone.rule.as_str()),
        ("a", "over the budget, and longest unused")
    );
    let again = passes(&fixture);
    let log =
        fs::read_to_string(fixture.state.host_log(&again.run_id, &job(&again, "prepare.a").id)).unwrap();
    assert!(log.contains("evicted at"), "{log}");
    assert_ne!(again.run_id, record.run_id);
}

#[test]
fn a_sweep_does_not_take_what_a_guest_has_built_for_an_output_that_was_kept() {
    let fixture = Fixture::new();
    let request = fixture.request(vec![maker("a", "true")]);
    let run_id = request.run_id.clone();
    let mut writer = RunWriter::create(&fixture.state, &request.started(Timestamp::now())).unwrap();
    let (target_id, secrets) = (None, Vec::new());
    let plan =
        PlanRecord { schema_version: 1, run_id: run_id.clone(), target_id, jobs: request.jobs, secrets };
    writer.write_plan(&plan).unwrap();
    let text = r#"{"id":"prepare.a","executor":"host_local","started_at":"2026-03-01T14:22:33Z"}"#;
    let started: JobRecord = serde_json::from_str(text).unwrap();
    let artifacts = fixture.state.artifacts_dir(&run_id, &started.id);
    writer.append(&Event::JobStarted { run_id: run_id.clone(), job: started }).unwrap();
    drop(writer);
    fs::create_dir_all(&artifacts).unwrap();
    let result = r#"{"status":"passed","exit_code":0,"started_at":"2026-03-01T14:22:33Z","finished_at":"2026-03-01T14:22:34Z"}"#;
    fs::write(artifacts.join("result.json"), result).unwrap();
    let half_made = Store::new(&fixture.state).new_folder(&run_id, "prepare.a", 1);
    fs::create_dir_all(half_made.join("out")).unwrap();
    crate::recover::sweep(&fixture.state).unwrap();
    assert!(!half_made.exists());
    let record = pikaci::load_run_record(&fixture.state, &run_id).unwrap();
    assert_eq!(
        (&job(&record, "prepare.a").status, &job(&record, "prepare.a").fault),
        (&JobStatus::Failed, &Some(Fault::Infra)),
        "{record:#?}"
    );
}

#[test]
fn who_builds_what_a_killed_run_had_begun_removes_what_that_left() {
    let fixture = Fixture::new();
    let key = outputs(&fixture, &passes(&fixture))[0].key.clone().unwrap();
    let store = Store::new(&fixture.state);
    store.remove(&key, "asked to").unwrap();
    let gone = pikaci::RunId::random(Timestamp::now());
    let half_made = store.new_folder(&gone, "prepare.a", 1);
    fs::create_dir_all(half_made.join("out")).unwrap();
    let lock = fixture.state.prepared_dir().join("locks").join(&key);
    fs::write(lock, format!(r#"{{"run":"{gone}","job":"prepare.a"}}"#)).unwrap();
    passes(&fixture);
    assert!(!half_made.exists());
}

#[test]
fn a_rerun_of_what_failed_has_its_outputs_again() {
    let fixture = Fixture::new();
    let jobs = vec![maker("a", "true"), user("unit", "true", &["a"]), sample_shell_job("other", "true")];
    let record = play(&fixture, jobs, scripted(&[("unit", Script::Exit(1))]));
    let run_id = pikaci::RunId::random(jiff::Timestamp::now());
    let request = rerun(&fixture.state, &record.run_id, run_id, true).unwrap();
    assert_eq!(request.jobs.iter().map(|job| job.id.as_str()).collect::<Vec<_>>(), ["prepare.a", "unit"]);
    let (again, _) = fixture.run(request, scripted(&[]), |_| false);
    assert_eq!(again.status, pikaci::RunStatus::Passed);
    assert_eq!(outputs(&fixture, &again)[0].is_hit, Some(true));
}

#[test]
fn a_payload_manifest_is_used_when_it_can_be_and_is_a_warning_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = folder.path().join(super::PAYLOAD_MANIFEST);
    assert_eq!(payload::read(folder.path()), payload::Payload::default());
    fs::create_dir_all(manifest.parent().unwrap()).unwrap();
    fs::write(&manifest, r#"{"schema_version":1,"name":"x","contract_id":"glibc-1"}"#).unwrap();
    let read = payload::read(folder.path());
    assert_eq!((read.contract_id.as_deref(), read.warning), (Some("glibc-1"), None));
    for (text, why) in [
        ("{", "EOF"),
        (r#"{"schema_version":2}"#, "of version 2, and this pikaci reads 1"),
        ("[]", "no schema_version"),
        (r#"{"schema_version":1,"entries":{}}"#, "no list"),
        (r#"{"schema_version":1,"entries":[{"name":"a","kind":"k"}]}"#, "no name, path or kind"),
        (r#"{"schema_version":1,"entries":[{"name":"a","path":"../b","kind":"k"}]}"#, "within the output"),
        (r#"{"schema_version":1,"entries":[{"name":"a","path":"/b","kind":"k"}]}"#, "within the output"),
        (
            r#"{"schema_version":1,"entries":[{"name":"a","path":"b","kind":"k"},{"name":"a","path":"c","kind":"k"}]}"#,
            "two entries",
        ),
    ] {
        fs::write(&manifest, text).unwrap();
        let read = payload::read(folder.path());
        assert_eq!(read.value, None);
        assert!(read.warning.as_deref().unwrap().contains(why), "{read:?}");
    }
    // A link is never followed, wherever it leads.
    fs::remove_file(&manifest).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &manifest).unwrap();
    assert_eq!(payload::read(folder.path()).value, None);
}

#[test]
fn a_local_job_sees_the_output_where_the_manifest_says_and_cannot_change_it() {
    let fixture = Fixture::new();
    let build = "mkdir -p \"$PIKACI_ARTIFACTS/out/bin\"; cp file \"$PIKACI_ARTIFACTS/out/copy\"; ln -s /etc/passwd \"$PIKACI_ARTIFACTS/out/bin/link\"; \
                 printf '#!/bin/sh\necho run\n' > \"$PIKACI_ARTIFACTS/out/bin/tool\"; chmod 4755 \"$PIKACI_ARTIFACTS/out/bin/tool\"";
    let check = "cat /staged/a/copy; /staged/a/bin/tool; ! touch /staged/a/new; ! rm /staged/a/copy; test -L /staged/a/bin/link";
    let jobs = vec![maker("a", build), user("unit", check, &["a"])];
    let record = play(&fixture, jobs, local(true));
    let log = fs::read_to_string(fixture.state.guest_log(&record.run_id, &job(&record, "unit").id))
        .unwrap_or_default();
    assert_eq!(record.status, pikaci::RunStatus::Passed, "{log}\n{record:#?}");
    assert!(log.starts_with("content\nrun\n"), "{log}");
    let kept = Store::new(&fixture.state).list().remove(0);
    let tool = fs::metadata(kept.realised_path.join("bin/tool")).unwrap();
    assert_eq!(tool.mode() & 0o7777, 0o555);
}

#[test]
fn a_build_sees_its_inputs_and_nothing_else_of_the_tree() {
    let fixture = Fixture::new();
    let root = fixture.root();
    fs::create_dir_all(root.join("scripts/deep")).unwrap();
    fs::write(root.join("scripts/deep/build"), "#!/bin/sh\ncp $2 $1\n").unwrap();
    fs::set_permissions(root.join("scripts/deep/build"), PermissionsExt::from_mode(0o755)).unwrap();
    std::os::unix::fs::symlink("scripts/deep/build", root.join("link")).unwrap();
    // Were it seen, what it holds on one branch would be in what is found for another.
    fs::write(root.join("other"), "poison").unwrap();
    let command = "mkdir \"$PIKACI_ARTIFACTS/out\"; find . -type f | sort; ./link \"$PIKACI_ARTIFACTS/out/tree\" file; test ! -e other";
    let mut job_of = maker("a", command);
    job_of.output.as_mut().unwrap().inputs =
        vec!["file".to_owned(), "scripts/**".to_owned(), "link".to_owned()];
    let check = "cat other /staged/a/tree";
    let record = play(&fixture, vec![job_of, user("unit", check, &["a"])], local(true));
    let log = |id: &str| fs::read_to_string(fixture.state.guest_log(&record.run_id, &job(&record, id).id));
    assert_eq!(record.status, pikaci::RunStatus::Passed, "{:?}\n{record:#?}", log("prepare.a"));
    assert_eq!(log("prepare.a").unwrap(), "./.pikaci-share\n./file\n./scripts/deep/build\n");
    assert_eq!(log("unit").unwrap(), "poisoncontent\n");
    assert!(!fixture.state.run_dir(&record.run_id).join("scratch").exists());
}

#[test]
fn a_local_job_sees_what_its_output_of_nix_refers_to_and_nothing_else_of_the_store() {
    let fixture = Fixture::new();
    fs::create_dir(fixture.root().join("tools")).unwrap();
    fs::copy("/bin/busybox", fixture.root().join("tools/busybox")).expect("busybox-static is installed");
    let expression = format!(
        "let tools = \"${{./tools}}\"; in derivation {{ name = \"pika-local\"; system = \"{}-linux\"; \
         builder = \"${{tools}}/busybox\"; args = [ \"sh\" \"-c\" ''b=${{tools}}/busybox; $b mkdir -p $out; $b ln -s $b $out/busybox'' ]; }}",
        std::env::consts::ARCH
    );
    let mut job_of = maker("a", "nix build");
    let output = job_of.output.as_mut().unwrap();
    (output.provider, output.inputs) = (Provider::Nix, vec!["tools/**".to_owned()]);
    output.nix = Some(pikaci::NixSource::Expression(expression));
    let check = "/staged/a/busybox echo runs; ls /nix/store | wc -l";
    let mut request = fixture.request(vec![job_of, user("unit", check, &["a"])]);
    request.nix.path = std::env::var_os("PATH").unwrap();
    let words = "experimental-features = nix-command flakes\nsubstituters =\n";
    request.nix.environment =
        vec![("NIX_CONFIG".into(), words.into()), ("HOME".into(), fixture.root().into())];
    let (record, _) = fixture.run(request, local(true), |_| false);
    let log = |id: &str| fs::read_to_string(fixture.state.guest_log(&record.run_id, &job(&record, id).id));
    assert_eq!(record.status, pikaci::RunStatus::Passed, "{:?} {:?}", log("prepare.a"), log("unit"));
    assert_eq!(log("unit").unwrap(), "runs\n2\n");
}

#[test]
fn an_output_that_is_none_is_the_builds_own_fault() {
    let fixture = Fixture::new();
    for (command, why) in [
        ("true", "left nothing in /artifacts/out"),
        ("mkdir \"$PIKACI_ARTIFACTS/out\"; mkfifo \"$PIKACI_ARTIFACTS/out/pipe\"", "is a pipe"),
        ("ln -s /etc \"$PIKACI_ARTIFACTS/out\"", "is a file or link"),
        (
            "mkdir \"$PIKACI_ARTIFACTS/out\"; cd \"$PIKACI_ARTIFACTS/out\"; name=$(printf %0250d 0); for i in $(seq 1 16); do mkdir $name; cd $name; done; mkdir $(printf %040d 0)",
            "nested deeper",
        ),
        (
            "mkdir \"$PIKACI_ARTIFACTS/out\"; echo > \"$PIKACI_ARTIFACTS/out/.pikaci-share\"",
            "pikaci's own name",
        ),
    ] {
        let record = play(&fixture, vec![maker("a", command)], local(true));
        let made = job(&record, "prepare.a");
        assert_eq!((made.attempts.len(), &made.fault), (1, &Some(Fault::Job)), "{made:?}");
        assert!(message(&record, "prepare.a").contains(why), "{made:?}");
        assert_ne!(made.exit_code, Some(0), "it reads as if it had passed");
    }
    let record = play(
        &fixture,
        vec![maker("linux-rust", "mkdir -p \"$PIKACI_ARTIFACTS/out/workspace-deps\"")],
        local(true),
    );
    assert!(message(&record, "prepare.linux-rust").contains("no folder workspace-build"), "{record:?}");
}

#[test]
fn the_linux_rust_family_is_seen_under_its_two_names() {
    let fixture = Fixture::new();
    let build = "for part in workspace-deps workspace-build; do mkdir -p \"$PIKACI_ARTIFACTS/out/$part\"; echo $part > \"$PIKACI_ARTIFACTS/out/$part/name\"; done";
    let check = "cat /staged/linux-rust/workspace-deps/name /staged/linux-rust/workspace-build/name; test \"$(ls /staged/linux-rust | wc -l)\" = 2";
    let record =
        play(&fixture, vec![maker("linux-rust", build), user("unit", check, &["linux-rust"])], local(true));
    assert_eq!(record.status, pikaci::RunStatus::Passed, "{record:#?}");
}

/// A tar archive of entries: kind, name, link.
fn archive(entries: &[(tar::EntryType, &str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (kind, name, link) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(0o6755);
        header.set_size(0);
        // Not through the library, which refuses such names itself.
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_gnu_mut().unwrap().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        builder.append(&header, std::io::empty()).unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn a_hostile_archive_reaches_nothing_outside_of_its_folder() {
    use tar::EntryType as Kind;
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().join("target");
    fs::create_dir(&target).unwrap();
    let text = target.to_str().unwrap().to_owned();
    let top = (Kind::Directory, "out/", "");
    let hostile: BTreeMap<&str, Vec<(Kind, &str, &str)>> = BTreeMap::from([
        ("parent", vec![top, (Kind::Regular, "out/../x", "")]),
        ("absolute", vec![(Kind::Regular, "/tmp/x", "")]),
        ("beside", vec![(Kind::Directory, "other/", "")]),
        ("through a link", vec![top, (Kind::Symlink, "out/d", &text), (Kind::Regular, "out/d/x", "")]),
        ("link as top", vec![(Kind::Symlink, "out", &text), (Kind::Regular, "out/x", "")]),
        ("hard link out", vec![top, (Kind::Link, "out/x", "/etc/passwd")]),
        ("hard link up", vec![top, (Kind::Link, "out/x", "out/../../x")]),
        (
            "hard link through",
            vec![top, (Kind::Symlink, "out/d", "/etc"), (Kind::Link, "out/x", "out/d/passwd")],
        ),
        ("hard link to nothing", vec![top, (Kind::Link, "out/x", "out/none")]),
        ("twice the same", vec![top, (Kind::Regular, "out/x", ""), (Kind::Regular, "out/x", "")]),
        ("device", vec![top, (Kind::Char, "out/null", "")]),
        ("pipe", vec![top, (Kind::Fifo, "out/pipe", "")]),
    ]);
    for (what, entries) in hostile {
        let folder = outside.path().join("unpacked");
        let refused = unpack(archive(&entries).as_slice(), &folder).unwrap_err();
        assert!(matches!(refused, UnpackError::Refused { .. }), "{what}: {refused:?}");
        assert_eq!(fs::read_dir(&target).unwrap().count(), 0, "{what}");
        let _ = fs::remove_dir_all(&folder);
    }
    let folder = outside.path().join("good");
    let good = [
        top,
        (Kind::Symlink, "out/l", "/anywhere"),
        (Kind::Regular, "out/f", ""),
        (Kind::Link, "out/g", "out/f"),
    ];
    assert_eq!(unpack(archive(&good).as_slice(), &folder).unwrap().entries, 4);
    assert!(matches!(unpack(archive(&[]).as_slice(), &folder), Err(UnpackError::Nothing)));
}

/// A header of an entry that says that so many bytes follow.
fn header(kind: tar::EntryType, name: &str, bytes: u64) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_path(name).unwrap();
    header.set_mode(0o644);
    header.set_mtime(981_173_106);
    header.set_size(bytes);
    header.set_cksum();
    header.as_bytes().to_vec()
}

#[test]
fn an_archive_costs_the_host_no_more_memory_and_disk_than_it_is_worth() {
    use tar::EntryType as Kind;
    const BYTES: u64 = 256 << 20;
    let folder = tempfile::tempdir().unwrap();
    let top = archive(&[(Kind::Directory, "out/", "")])[..512].to_vec();
    let refused = |archive: &mut dyn Read| match unpack(archive, &folder.path().join("refused")) {
        Err(UnpackError::Refused { reason }) => reason,
        other => panic!("{other:?}"),
    };
    // A name without an end would be held in memory.
    for kind in [Kind::GNULongName, Kind::GNULongLink, Kind::XHeader] {
        let _ = fs::remove_dir_all(folder.path().join("refused"));
        let name = header(kind, "long", BYTES);
        let start = top.chain(name.as_slice());
        let reason = refused(&mut start.chain(std::io::repeat(b'a').take(BYTES)));
        assert!(reason.contains("more than a name may be long"), "{kind:?}: {reason}");
    }
    // What follows the end may have none either.
    let _ = fs::remove_dir_all(folder.path().join("refused"));
    refused(&mut archive(&[(Kind::Directory, "out/", "")]).chain(std::io::repeat(0)));
    let _ = fs::remove_dir_all(folder.path().join("refused"));
    refused(&mut std::io::repeat(b'a'));
    // Nothing but zeros takes no room.
    let holes = header(Kind::Regular, "out/holes", BYTES);
    let archive = top.chain(holes.as_slice()).chain(std::io::repeat(0).take(BYTES + 1024));
    assert_eq!(unpack(archive, &folder.path().join("holes")).unwrap().bytes, BYTES);
    let metadata = fs::metadata(folder.path().join("holes/holes")).unwrap();
    assert_eq!(metadata.len(), BYTES);
    assert!(metadata.blocks() * 512 < BYTES / 100, "{metadata:?}");
    assert_eq!(metadata.mtime(), 981_173_106);
    // Nor does it weigh anything.
    assert!(
        seal::seal(&folder.path().join("holes"), "a", &Digest::from_bytes([0; 32])).unwrap() < BYTES / 100
    );
    fs::File::create(folder.path().join("huge")).unwrap().set_len(1 << 40).unwrap();
    let huge = seal::seal(folder.path(), "a", &Digest::from_bytes([0; 32]));
    assert!(matches!(huge, Err(seal::SealError::TooMuch)), "{huge:?}");
}

#[test]
fn an_archive_that_is_cut_off_is_no_fault_of_the_build() {
    let folder = tempfile::tempdir().unwrap();
    let mut whole = archive(&[(tar::EntryType::Directory, "out/", "")])[..512].to_vec();
    whole.extend(header(tar::EntryType::Regular, "out/file", 5000));
    whole.extend([7; 5000]);
    for bytes in [1100, 700, 300] {
        let cut = unpack(&whole[..bytes], &folder.path().join(bytes.to_string()));
        assert!(matches!(cut, Err(UnpackError::Io(_))), "{bytes}: {cut:?}");
    }
}
