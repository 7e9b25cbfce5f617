//! Whole runs with scripted guests: what is recorded, in which order.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use pikaci::store::{load_plan, load_run_record, load_stored_run_record};
use pikaci::{Event, JobId, RunId, RunStatus};

use super::*;
use crate::exam::Fixture;
use crate::executor::sample_shell_job;
use crate::executor::scripted::{Script, ScriptedExecutor};
use crate::prepared::NixConfig;
use crate::recover::sweep;

/// Jobs as `name needs,needs: script script`.
fn jobs(text: &str) -> (Vec<JobSpec>, BTreeMap<JobId, Vec<Script>>) {
    let (mut jobs, mut scripts) = (Vec::new(), BTreeMap::new());
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (head, tail) = line.split_once(':').unwrap();
        let (name, needs) = head.split_once(' ').unwrap_or((head, ""));
        let mut job = sample_shell_job(name, "true");
        job.needs = needs
            .split(',')
            .filter(|need| !need.is_empty())
            .map(|need| JobId::parse(need).unwrap())
            .collect();
        let script = |word| match word {
            "pass" => Script::Exit(0),
            "fail" => Script::Exit(1),
            "late" => Script::TimeOut,
            "vanish" => Script::Vanish,
            "refuse" => Script::Refuse,
            "hang" => Script::Hang,
            "litter" => Script::Litter,
            other => panic!("no script {other}"),
        };
        scripts.insert(job.id.clone(), tail.split_whitespace().map(script).collect());
        jobs.push(job);
    }
    (jobs, scripts)
}

fn transcript(events: &[Event]) -> String {
    let line = |event: &Event| -> Option<String> {
        Some(match event {
            Event::JobStarted { job, .. } => {
                format!("{} started, {} attempts before", job.id, job.attempts.len())
            }
            Event::AttemptFailed { job_id, attempt, .. } => {
                format!("{job_id} attempt {} lost", attempt.number)
            }
            Event::JobFinished { job, .. } => {
                let message =
                    job.message.as_deref().map(|message| format!(": {message}")).unwrap_or_default();
                format!("{} {}{message}", job.id, job.outcome.as_ref()?)
            }
            Event::CancelRequested { .. } => "cancel".to_owned(),
            Event::CleanupFailed { job_id, message, .. } => format!("{job_id} left something: {message}"),
            Event::RunFinished { run } => {
                let fault = run.fault.as_ref().map(|fault| format!(" by {fault}")).unwrap_or_default();
                format!("run {}{fault}", run.outcome.as_ref()?)
            }
            _ => return None,
        })
    };
    events.iter().filter_map(line).collect::<Vec<_>>().join("\n")
}

/// Plays a script, one slot, and cancels when the job of that name has started.
fn play(text: &str, cancel_at: &str) -> String {
    let fixture = Fixture::new();
    let (jobs, scripts) = jobs(text);
    let request = RunRequest { slots: 1, ..fixture.request(jobs) };
    let cancel_when =
        |event: &Event| matches!(event, Event::JobStarted { job, .. } if job.id.as_str() == cancel_at);
    let (record, events) = fixture.run(request, Arc::new(ScriptedExecutor::new(scripts)), cancel_when);
    assert_eq!(load_run_record(&fixture.state, &record.run_id).unwrap(), record);
    transcript(&events)
}

#[test]
fn a_failing_job_skips_what_needs_it_and_nothing_else() {
    let played = play("build: fail\nunit build: pass\ndocs: pass", "");
    insta::assert_snapshot!(played, @r"
    build started, 0 attempts before
    build failed
    unit skipped: it needs build, which did not pass
    docs started, 0 attempts before
    docs passed
    run failed by job
    ");
}

#[test]
fn a_guest_that_vanishes_once_costs_an_attempt_and_blames_nobody() {
    let played = play("unit: vanish pass", "");
    insta::assert_snapshot!(played, @r"
    unit started, 0 attempts before
    unit attempt 1 lost
    unit started, 1 attempts before
    unit passed
    run passed
    ");
}

#[test]
fn a_guest_that_always_vanishes_fails_the_run_without_blaming_the_test() {
    let played = play("unit: vanish", "");
    insta::assert_snapshot!(played, @r"
    unit started, 0 attempts before
    unit attempt 1 lost
    unit started, 1 attempts before
    unit attempt 2 lost
    unit started, 2 attempts before
    unit failed: the guest vanished
    run failed by infra
    ");
}

#[test]
fn a_cancel_ends_what_runs_and_starts_nothing() {
    let played = play("unit: hang\nother: pass", "unit");
    insta::assert_snapshot!(played, @r"
    unit started, 0 attempts before
    cancel
    other cancelled: the run was cancelled
    unit cancelled
    run cancelled by user
    ");
}

#[test]
fn a_clean_up_that_fails_is_told_and_changes_no_verdict() {
    let played = play("unit: litter", "");
    insta::assert_snapshot!(played, @r"
    unit started, 0 attempts before
    unit passed
    run passed
    unit left something: the guest could not be deleted
    ");
}

#[test]
fn what_cannot_be_had_is_refused_before_anything_is_made() {
    let fixture = Fixture::new();
    let mut executor = ScriptedExecutor::default();
    executor.refusals = vec!["no image".into(), "no network".into()];
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let request = fixture.request(jobs("unit: pass").0);
    let mut observer = |_: &Event| {};
    let cancel = CancellationToken::new();
    let refused = runtime.block_on(run(request, Arc::new(executor), &mut observer, &cancel));
    assert!(matches!(refused, Err(RunError::Refused { reasons }) if reasons.len() == 2));
    assert!(!fixture.state.path().exists());
}

#[test]
fn a_rerun_of_what_failed_runs_only_that_on_the_same_snapshot() {
    let fixture = Fixture::new();
    let (jobs, mut scripts) = jobs("build: pass\nunit build: fail\ndocs unit: pass");
    let executor = Arc::new(ScriptedExecutor::new(scripts.clone()));
    let (first, _) = fixture.run(fixture.request(jobs), executor, |_| false);
    fs::write(fixture.root().join("file"), "changed since\n").unwrap();
    let again = RunId::parse("20990101T000000Z-00000000").unwrap();
    let request = rerun(&fixture.state, &first.run_id, again, true).unwrap();
    scripts.insert(JobId::parse("unit").unwrap(), vec![Script::Exit(0)]);
    let (second, events) = fixture.run(request, Arc::new(ScriptedExecutor::new(scripts)), |_| false);
    assert_eq!((second.snapshot_digest, second.rerun_of), (first.snapshot_digest, Some(first.run_id)));
    insta::assert_snapshot!(transcript(&events), @r"
    unit started, 0 attempts before
    unit passed
    docs started, 0 attempts before
    docs passed
    run passed
    ");
    let nothing =
        rerun(&fixture.state, &second.run_id, RunId::parse("20990101T000001Z-00000000").unwrap(), true);
    assert!(matches!(nothing, Err(RerunError::NothingFailed { .. })));
}

#[test]
fn a_target_whose_paths_did_not_change_is_skipped_when_a_base_is_given() {
    let fixture = Fixture::new();
    let git = |arguments: &[&str]| {
        let mut command = std::process::Command::new("git");
        command.current_dir(fixture.root()).args(["-c", "user.name=T", "-c", "user.email=t@example.invalid"]);
        assert!(command.args(arguments).status().unwrap().success());
    };
    git(&["add", "."]);
    git(&["commit", "--quiet", "--message=one"]);
    fs::write(fixture.root().join("file"), "changed\n").unwrap();
    let status_with = |pattern: &str, base: Option<&str>| {
        let mut request = fixture.request(jobs("unit: pass").0);
        request.filters = Some(pikaci::manifest::PathFilter::new([pattern]).unwrap());
        request.base = base.map(str::to_owned);
        fixture.run(request, Arc::new(ScriptedExecutor::default()), |_| false).0.status
    };
    assert_eq!(status_with("docs/**", Some("HEAD")), RunStatus::Skipped);
    assert_eq!(status_with("file", Some("HEAD")), RunStatus::Passed);
    assert_eq!(status_with("docs/**", None), RunStatus::Passed);
}

#[test]
fn a_source_that_cannot_be_frozen_ends_the_run_with_the_reason() {
    let fixture = Fixture::new();
    fs::write(fixture.root().join(".pikaci-share"), "mine").unwrap();
    let request = fixture.request(jobs("unit: pass").0);
    let (record, _) = fixture.run(request, Arc::new(ScriptedExecutor::default()), |_| false);
    assert_eq!((record.status, record.fault), (RunStatus::Failed, Some(Fault::Job)));
    assert!(record.message.is_some_and(|message| message.contains(".pikaci-share")));
}

/// A run whose process died while `unit` was running and `docs` had not begun.
fn interrupted(fixture: &Fixture) -> RunId {
    let request = fixture.request(jobs("unit: pass\ndocs: pass").0);
    let run_id = request.run_id.clone();
    let mut writer = RunWriter::create(&fixture.state, &request.started(Timestamp::now())).unwrap();
    let (run, jobs) = (run_id.clone(), request.jobs);
    let plan = PlanRecord { schema_version: 1, run_id: run, target_id: None, jobs, secrets: Vec::new() };
    writer.write_plan(&plan).unwrap();
    let text = r#"{"id":"unit","executor":"host_local","started_at":"2026-03-01T14:22:33Z"}"#;
    let job: JobRecord = serde_json::from_str(text).unwrap();
    writer.append(&Event::JobStarted { run_id: run_id.clone(), job }).unwrap();
    run_id
}

#[test]
fn a_sweep_finishes_what_was_interrupted_and_only_that() {
    let fixture = Fixture::new();
    let (finished, _) =
        fixture.run(fixture.request(jobs("unit: pass").0), Arc::new(ScriptedExecutor::default()), |_| false);
    let lost = interrupted(&fixture);
    // Killed between the end of a run and its clean-up.
    let scratch = fixture.state.run_dir(&finished.run_id).join("scratch");
    fs::create_dir_all(scratch.join("unit-1/cargo-target")).unwrap();
    let swept = sweep(&fixture.state).unwrap();
    assert_eq!(swept.iter().map(|swept| &swept.run).collect::<Vec<_>>(), [&lost]);
    assert!(!scratch.exists());
    let record = load_stored_run_record(&fixture.state, &lost).unwrap();
    assert_eq!((record.status, record.fault), (RunStatus::Failed, Some(Fault::Infra)));
    assert_eq!(load_stored_run_record(&fixture.state, &finished.run_id).unwrap(), finished);
    let jobs: Vec<String> = record.jobs.iter().map(|job| format!("{} {}", job.id, job.status)).collect();
    assert_eq!(jobs, ["unit failed", "docs skipped"]);
    assert!(sweep(&fixture.state).unwrap().is_empty());
    assert!(load_plan(&fixture.state, &lost).unwrap().is_some());
}

/// The same, killed when somebody had asked for its end.
fn interrupted_in_its_cancel(fixture: &Fixture) -> RunId {
    let run_id = interrupted(fixture);
    let mut writer = RunWriter::reopen(&fixture.state, &run_id, Timestamp::now()).unwrap();
    let (at, reason) = (Timestamp::now(), "asked to stop".to_owned());
    writer.append(&Event::CancelRequested { run_id: run_id.clone(), at, reason }).unwrap();
    run_id
}

#[test]
fn a_run_that_was_killed_in_its_cancel_is_taken_up_to_be_ended_and_starts_nothing() {
    let fixture = Fixture::new();
    // A snapshot that the run can be taken up with.
    let (first, _) =
        fixture.run(fixture.request(jobs("unit: pass").0), Arc::new(ScriptedExecutor::default()), |_| false);
    let lost = interrupted_in_its_cancel(&fixture);
    let mut writer = RunWriter::reopen(&fixture.state, &lost, Timestamp::now()).unwrap();
    let taken = Event::SnapshotTaken {
        run_id: lost.clone(),
        snapshot_dir: first.snapshot_dir.clone(),
        snapshot_digest: first.snapshot_digest.clone().unwrap(),
        git_head: None,
        git_dirty: true,
        changed_files: Vec::new(),
        files: 1,
        files_copied: 0,
        bytes_copied: 0,
        duration_ms: 0,
    };
    writer.append(&taken).unwrap();
    drop(writer);
    let (mut events, cancel) = (Vec::new(), CancellationToken::new());
    let mut observe = |event: &Event| events.push(event.clone());
    let executor = Arc::new(ScriptedExecutor::default());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime
        .block_on(resume(&fixture.state, &lost, 2, NixConfig::default(), executor, &mut observe, &cancel))
        .unwrap();
    insta::assert_snapshot!(transcript(&events), @r"
    docs cancelled: the run was cancelled
    unit cancelled
    run cancelled by user
    ");
}

#[test]
fn a_sweep_finishes_a_run_that_was_killed_in_its_cancel_as_cancelled() {
    let fixture = Fixture::new();
    let lost = interrupted_in_its_cancel(&fixture);
    sweep(&fixture.state).unwrap();
    let record = load_stored_run_record(&fixture.state, &lost).unwrap();
    assert_eq!((record.outcome, record.fault), (Some(Outcome::Cancelled), Some(Fault::User)));
    assert_eq!(record.jobs[0].outcome, Some(Outcome::Cancelled));
}

#[test]
fn a_sweep_keeps_the_result_that_a_guest_left() {
    let fixture = Fixture::new();
    let lost = interrupted(&fixture);
    let artifacts = fixture.state.artifacts_dir(&lost, &JobId::parse("unit").unwrap());
    fs::create_dir_all(&artifacts).unwrap();
    let result = r#"{"status":"failed","exit_code":3,"started_at":"2026-03-01T14:22:33Z","finished_at":"2026-03-01T14:22:34Z"}"#;
    fs::write(artifacts.join("result.json"), result).unwrap();
    sweep(&fixture.state).unwrap();
    let record = load_stored_run_record(&fixture.state, &lost).unwrap();
    assert_eq!((record.fault, record.jobs[0].exit_code), (Some(Fault::Job), Some(3)));
}

#[test]
fn a_sweep_leaves_a_run_alone_that_is_alive() {
    let fixture = Fixture::new();
    let request = fixture.request(Vec::new());
    let _writer = RunWriter::create(&fixture.state, &request.started(Timestamp::now())).unwrap();
    assert!(sweep(&fixture.state).unwrap().is_empty());
    let record = load_run_record(&fixture.state, &request.run_id).unwrap();
    assert_eq!(record.status, RunStatus::Running);
}

#[test]
fn a_sweep_invents_no_attempt_for_a_job_that_waited_to_be_tried_again() {
    let fixture = Fixture::new();
    let lost = interrupted(&fixture);
    let text = r#"{"number":1,"outcome":"failed","fault":"infra","started_at":"2026-03-01T14:22:33Z",
        "finished_at":"2026-03-01T14:22:35Z","message":"the guest vanished"}"#;
    let attempt: AttemptRecord = serde_json::from_str(text).unwrap();
    let mut writer = RunWriter::reopen(&fixture.state, &lost, Timestamp::now()).unwrap();
    let job_id = JobId::parse("unit").unwrap();
    writer
        .append(&Event::AttemptFailed { run_id: lost.clone(), job_id, attempt, retry_in_ms: 1000 })
        .unwrap();
    drop(writer);
    sweep(&fixture.state).unwrap();
    let job = load_stored_run_record(&fixture.state, &lost).unwrap().jobs.remove(0);
    assert_eq!((job.attempts.len(), job.message.as_deref()), (1, Some("the guest vanished")));
}

#[test]
fn a_sweep_writes_no_second_end_when_only_the_record_was_late() {
    let fixture = Fixture::new();
    let (finished, _) =
        fixture.run(fixture.request(jobs("unit: pass").0), Arc::new(ScriptedExecutor::default()), |_| false);
    let folder = fixture.state.run_dir(&finished.run_id);
    let mut stale = finished.clone();
    stale.status = RunStatus::Running;
    fs::write(folder.join("run.json"), serde_json::to_vec(&stale).unwrap()).unwrap();
    let events = fs::read(folder.join("events.jsonl")).unwrap();
    assert_eq!(sweep(&fixture.state).unwrap().len(), 1);
    assert_eq!(load_stored_run_record(&fixture.state, &finished.run_id).unwrap(), finished);
    assert_eq!(fs::read(folder.join("events.jsonl")).unwrap(), events);
}
