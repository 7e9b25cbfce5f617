//! Prepared outputs of real instances, built in one and mounted into others.

use std::process::Command;

use pikaci::{NixSource, Provider, RunStatus};

use super::*;
use crate::prepared::Store;
use crate::prepared::tests::{maker, user};

fn in_container(job: JobSpec) -> JobSpec {
    JobSpec { instance: InstanceType::Container, memory_bytes: 256 << 20, ..job }
}

#[test]
fn what_one_instance_has_built_others_see_read_only_and_it_is_built_once() {
    let world = World::new();
    let build = "mkdir -p /artifacts/out/bin; cp file /artifacts/out/copy; ln -s copy /artifacts/out/link; \
                 printf '#!/bin/sh\\necho run by $(id -un)\\n' > /artifacts/out/bin/tool; chmod 755 /artifacts/out/bin/tool";
    let check = "cat /staged/a/link; /staged/a/bin/tool; ! touch /staged/a/new; ! rm -f /staged/a/copy";
    let jobs = || {
        let users = ["one", "two"].map(|id| in_container(user(id, check, &["a"])));
        [vec![in_container(maker("a", build))], users.to_vec()].concat()
    };
    let (record, _) = world.run(jobs(), |_| false);
    assert_eq!(record.status, RunStatus::Passed, "{record:#?}");
    assert_eq!(world.log(&record, 1).lines().take(2).collect::<Vec<_>>(), ["content", "run by pikaci"]);
    let (again, _) = world.run(jobs(), |_| false);
    let outputs =
        pikaci::load_prepared_outputs_record(&world.fixture.state, &again.run_id).unwrap().unwrap().outputs;
    assert_eq!(outputs[0].is_hit, Some(true));
    // Another image makes another output.
    let client = world.client();
    let fingerprint = block_on(client.import_image(&image_file(2041), &ImageImport::default())).unwrap();
    let mut moved = jobs();
    moved[0].image = fingerprint;
    let (other, _) = world.run(moved, |_| false);
    let outputs =
        pikaci::load_prepared_outputs_record(&world.fixture.state, &other.run_id).unwrap().unwrap().outputs;
    assert_eq!(outputs[0].is_hit, Some(false));
}

#[test]
fn an_output_of_devices_or_of_nothing_is_the_builds_fault_and_the_instance_is_gone() {
    let world = World::new();
    for (command, why) in [
        ("true", "left nothing"),
        ("mkdir /artifacts/out; mkfifo /artifacts/out/pipe", "no file, folder or link"),
    ] {
        let (record, _) = world.run(vec![in_container(maker("a", command))], |_| false);
        let made = &record.jobs[0];
        assert_eq!((made.attempts.len(), &made.fault), (1, &Some(pikaci::Fault::Job)), "{made:?}");
        assert!(made.message.as_deref().unwrap().contains(why), "{made:?}");
    }
}

#[test]
fn an_image_without_tar_is_not_the_builds_fault() {
    let world = World::new();
    let build =
        "mkdir /artifacts/out; rm -f $(command -v tar); for i in /bin /usr/bin /sbin; do rm -f $i/tar; done";
    let job = JobSpec { run_as_root: true, ..in_container(maker("a", build)) };
    let (record, _) = world.run(vec![job], |_| false);
    let made = &record.jobs[0];
    assert_eq!(made.fault, Some(pikaci::Fault::Infra), "{made:?}");
    assert!(made.message.as_deref().unwrap().contains("has no `tar`"), "{made:?}");
}

#[test]
fn a_guest_that_sends_without_an_end_is_refused_at_once() {
    let world = World::new();
    let build = "mkdir -p /artifacts/out /usr/local/sbin; printf '#!/bin/sh\\nexec cat /dev/zero\\n' > /usr/local/sbin/tar; chmod 755 /usr/local/sbin/tar";
    let job = JobSpec { run_as_root: true, ..in_container(maker("a", build)) };
    // A run that takes a minute is the fixture's failure.
    let (record, _) = world.run(vec![job], |_| false);
    let made = &record.jobs[0];
    assert_eq!((made.attempts.len(), &made.fault), (1, &Some(pikaci::Fault::Job)), "{made:?}");
    assert!(made.message.as_deref().unwrap().contains("no archive of files"), "{made:?}");
}

#[test]
fn a_build_whose_process_is_gone_is_taken_up_and_its_output_kept() {
    let world = World::new();
    let build = "mkdir /artifacts/out; for i in $(seq 1 20); do echo $i; sleep 0.1; done; echo whole > /artifacts/out/file";
    let jobs =
        vec![in_container(maker("a", build)), in_container(user("unit", "cat /staged/a/file", &["a"]))];
    let request = world.fixture.request(jobs);
    let (state, run_id) = (request.state.clone(), request.run_id.clone());
    let path = state.guest_log(&run_id, &request.jobs[0].id);
    let new = Store::new(&state).new_folder(&run_id, request.jobs[0].id.as_str(), 1);
    // The first process: dropped in the middle of the build, as a kill would do it.
    block_on(async {
        let cancel = CancellationToken::new();
        let mut observe = |_: &Event| {};
        let running = crate::run(request, world.executor(), &mut observe, &cancel);
        tokio::select! {
            _ = running => panic!("the run ended before it was left"),
            _ = tokio::task::spawn_blocking(move || wait_for_lines(&path, 3)) => {}
        }
    });
    // It, or one after it, might have been killed while it took the output in.
    fs::create_dir_all(Store::out_in(&new)).unwrap();
    fs::write(Store::out_in(&new).join("file"), "half").unwrap();
    let cancel = CancellationToken::new();
    let mut observe = |_: &Event| {};
    let resumed =
        block_on(resume(&state, &run_id, 2, NixConfig::default(), world.executor(), &mut observe, &cancel))
            .unwrap();
    assert_eq!(resumed.status, RunStatus::Passed, "{resumed:#?}");
    assert_eq!(resumed.jobs[0].attempts.len(), 1);
    assert_eq!(world.log(&resumed, 1), "whole\n");
    assert_eq!(world.left_behind(), Vec::<String>::new());
}

/// Begins a run, and leaves it when a job has printed so many lines, as a kill would.
fn leave(world: &World, request: crate::run::RunRequest, job: usize, lines: usize) {
    let path = request.state.guest_log(&request.run_id, &request.jobs[job].id);
    block_on(async {
        let cancel = CancellationToken::new();
        let mut observe = |_: &Event| {};
        let running = crate::run(request, world.executor(), &mut observe, &cancel);
        tokio::select! {
            _ = running => panic!("the run ended before it was left"),
            _ = tokio::task::spawn_blocking(move || wait_for_lines(&path, lines)) => {}
        }
    });
}

fn taken_up(world: &World, run: &RunId) -> RunRecord {
    let (state, cancel) = (&world.fixture.state, CancellationToken::new());
    let mut observe = |_: &Event| {};
    let nix = NixConfig::default();
    block_on(resume(state, run, 2, nix, world.executor(), &mut observe, &cancel)).unwrap()
}

fn output(world: &World, record: &RunRecord) -> pikaci::PreparedOutputRecord {
    let record = pikaci::load_prepared_outputs_record(&world.fixture.state, &record.run_id).unwrap();
    record.unwrap().outputs.remove(0)
}

/// Builds for two seconds, and says in the log that it was begun.
const SLOW: &str = "mkdir /artifacts/out; for i in $(seq 1 20); do echo $i; sleep 0.1; done; echo whole > /artifacts/out/file";

#[test]
fn a_build_is_taken_up_as_what_it_was_begun_as_wherever_the_name_of_its_image_leads_by_then() {
    let world = World::new();
    let client = world.client();
    let image = block_on(client.resolve_alias(IMAGE)).unwrap();
    block_on(client.set_alias("moving", &image)).unwrap();
    let mut build = in_container(maker("a", SLOW));
    build.image = "moving".to_owned();
    let request =
        world.fixture.request(vec![build, in_container(user("unit", "cat /staged/a/file", &["a"]))]);
    let run = request.run_id.clone();
    leave(&world, request, 0, 3);
    // Neither does the name lead anywhere, nor can it be asked for.
    block_on(client.delete_alias("moving")).unwrap();
    let resumed = taken_up(&world, &run);
    assert_eq!(resumed.status, RunStatus::Passed, "{resumed:#?}");
    assert_eq!(resumed.jobs[0].attempts.len(), 1);
    assert_eq!(world.log(&resumed, 1), "whole\n");
    assert_eq!(output(&world, &resumed).is_hit, Some(false));
    assert_eq!(world.left_behind(), Vec::<String>::new());
}

#[test]
fn a_build_whose_process_is_gone_is_not_begun_beside_its_guest_by_another_run() {
    let world = World::new();
    let jobs =
        || vec![in_container(maker("a", SLOW)), in_container(user("unit", "cat /staged/a/file", &["a"]))];
    let first = world.fixture.request(jobs());
    let run = first.run_id.clone();
    leave(&world, first, 0, 3);
    let second = world.fixture.request(jobs());
    let host_log = second.state.host_log(&second.run_id, &second.jobs[0].id);
    let (resumed, other) = std::thread::scope(|scope| {
        let other = scope.spawn(|| world.fixture.run(second, world.executor(), |_| false).0);
        let is_waiting = || fs::read_to_string(&host_log).unwrap_or_default().contains("waiting:");
        let start = Instant::now();
        while !is_waiting() && start.elapsed() < Duration::from_secs(20) && !other.is_finished() {
            std::thread::sleep(Duration::from_millis(5));
        }
        (taken_up(&world, &run), other.join().unwrap())
    });
    assert_eq!((&resumed.status, &other.status), (&RunStatus::Passed, &RunStatus::Passed), "{other:#?}");
    assert_eq!(resumed.jobs[0].attempts.len(), 1);
    assert_eq!((output(&world, &resumed).is_hit, output(&world, &other).is_hit), (Some(false), Some(true)));
    assert_eq!(world.left_behind(), Vec::<String>::new());
}

#[test]
fn a_guest_whose_output_was_built_by_another_run_meanwhile_is_deleted_when_its_run_is_taken_up() {
    let world = World::new();
    let build = "mkdir /artifacts/out; echo begun; test -e file; while [ -e file ]; do sleep 0.1; done";
    let request = world.fixture.request(vec![in_container(maker("a", build))]);
    let run = request.run_id.clone();
    leave(&world, request, 0, 1);
    // As if it had been given up: nobody is said to build it, and it is there.
    let new = Store::new(&world.fixture.state).new_folder(&run, "prepare.a", 1);
    let key = fs::read_to_string(new.join("key")).unwrap();
    let kept = world.fixture.state.prepared_dir().join(&key);
    fs::create_dir_all(kept.join("out")).unwrap();
    let record = serde_json::json!({
        "schema_version": 1, "key": key, "name": "a", "provider": "command", "run_id": "20260101T000000Z-00000000",
        "made_at": "2026-01-01T00:00:00Z", "build_ms": 1, "realised_path": "/nowhere", "closure_bytes": 0,
    });
    fs::write(kept.join("record.json"), record.to_string()).unwrap();
    let resumed = taken_up(&world, &run);
    assert_eq!(resumed.status, RunStatus::Passed, "{resumed:#?}");
    assert_eq!(world.left_behind(), Vec::<String>::new());
}

#[test]
fn a_run_that_is_taken_up_after_its_build_remembers_that_it_built() {
    let world = World::new();
    let jobs = vec![
        in_container(maker("a", "mkdir /artifacts/out; echo whole > /artifacts/out/file")),
        in_container(user("unit", "for i in $(seq 1 15); do echo $i; sleep 0.1; done", &["a"])),
    ];
    let request = world.fixture.request(jobs);
    let run = request.run_id.clone();
    leave(&world, request, 1, 2);
    let resumed = taken_up(&world, &run);
    assert_eq!(resumed.status, RunStatus::Passed, "{resumed:#?}");
    assert_eq!(output(&world, &resumed).is_hit, Some(false));
    assert_eq!(resumed.jobs[0].attempts.len(), 1);
    assert_eq!(resumed.jobs[0].message, None);
    assert_eq!(world.left_behind(), Vec::<String>::new());
}

/// What Nix is told in tests: nothing comes from elsewhere.
fn nix() -> NixConfig {
    let path = std::env::var_os("PATH").unwrap();
    let words = "experimental-features = nix-command flakes\nsubstituters =\nsandbox = false\n";
    let home = std::env::var_os("HOME").unwrap();
    NixConfig { path, environment: vec![("NIX_CONFIG".into(), words.into()), ("HOME".into(), home)] }
}

#[test]
fn what_nix_has_built_is_mounted_with_its_closure_and_nothing_else_of_the_store() {
    let world = World::new();
    let root = world.fixture.root();
    fs::create_dir(root.join("tools")).unwrap();
    fs::copy("/bin/busybox", root.join("tools/busybox")).expect("busybox-static is installed");
    let arch = std::env::consts::ARCH;
    let expression = |name: &str, script: &str| {
        format!(
            "let tools = \"${{./tools}}\"; in derivation {{ name = \"{name}\"; system = \"{arch}-linux\"; \
             builder = \"${{tools}}/busybox\"; args = [ \"sh\" \"-c\" ''b=${{tools}}/busybox; {script}'' ]; }}"
        )
    };
    // What is not of the tree: neither may an evaluation read it, nor a builder write there.
    let outside = tempfile::tempdir_in("/tmp").unwrap();
    let host = outside.path().display();
    fs::write(outside.path().join("secret"), "s3cret").unwrap();
    let flake = |inputs: &str, hello: &str| {
        format!(
            "{{ {inputs} outputs = {{ self, ... }}@inputs: {{ packages.x86_64-linux.default = {hello}; packages.x86_64-linux.hello = {hello}; }}; }}"
        )
    };
    let unique = std::process::id();
    let good = expression(
        "pika-hello",
        &format!(
            "echo > {host}/written; $b mkdir -p $out/bin; echo {unique} > $out/unique; $b ln -s ${{tools}}/busybox $out/bin/busybox; echo built >&2"
        ),
    );
    fs::write(root.join("hello.nix"), good).unwrap();
    fs::write(root.join("bad.nix"), expression("pika-bad", "echo the builder says no >&2; exit 7")).unwrap();
    fs::write(root.join("plain.nix"), expression("pika-plain", "echo plain > $out")).unwrap();
    fs::write(root.join("broken.nix"), "{ not nix").unwrap();
    fs::write(root.join("flake.nix"), flake("", "import ./hello.nix")).unwrap();
    fs::create_dir(root.join("leaky")).unwrap();
    let leaky = flake(
        &format!("inputs.x = {{ url = \"path:{host}\"; flake = false; }};"),
        "builtins.readFile \"${inputs.x}/secret\"",
    );
    let of = |name: &str, text: &str| {
        let mut job = in_container(maker(name, "nix build"));
        let output = job.output.as_mut().unwrap();
        (output.provider, output.inputs) = (Provider::Nix, vec!["*.nix".to_owned(), "tools/**".to_owned()]);
        output.nix = Some(match text.strip_prefix("flake ") {
            Some(installable) => NixSource::Installable(installable.to_owned()),
            None => NixSource::Expression(text.to_owned()),
        });
        job
    };
    let check = "cat /staged/hello/unique; /staged/hello/bin/busybox echo runs; ls /nix/store | wc -l; ! touch /staged/hello/x";
    let mut settings = world.settings.clone();
    settings.project = format!("{}-nix", settings.project);
    let shared_folders = vec!["/tmp".to_owned(), "/nix/store".to_owned()];
    block_on(async {
        set_up(&settings, &SetUp { shared_folders, ..SetUp::default() }, &mut |_| {}).await.unwrap();
        let client = settings.client();
        let fingerprint = client.import_image(&image_file(2026), &ImageImport::default()).await.unwrap();
        client.set_alias(IMAGE, &fingerprint).await.unwrap();
    });
    let world = World { settings, ..world };
    let jobs = vec![of("hello", "import ./hello.nix"), in_container(user("unit", check, &["hello"]))];
    let mut request = world.fixture.request(jobs);
    request.nix = nix();
    let (record, _) = world.fixture.run(request, world.executor(), |_| false);
    let log =
        |at: usize| fs::read_to_string(world.fixture.state.guest_log(&record.run_id, &record.jobs[at].id));
    assert_eq!(record.status, RunStatus::Passed, "{:?}\n{:?}\n{record:#?}", log(0), log(1));
    assert!(log(0).unwrap().contains("built"));
    assert!(!outside.path().join("written").exists(), "it was built on the host itself");
    let mut request = world.fixture.request(vec![of("flake", "flake ."), of("named", "flake .#hello")]);
    request.nix = nix();
    let (record_of_flakes, _) = world.fixture.run(request, world.executor(), |_| false);
    assert_eq!(record_of_flakes.status, RunStatus::Passed, "{record_of_flakes:#?}");
    fs::write(root.join("flake.nix"), leaky).unwrap();
    // The output and the folder of tools: what it refers to, and no more.
    assert_eq!(
        log(1).unwrap().lines().take(3).collect::<Vec<_>>(),
        [unique.to_string().as_str(), "runs", "2"]
    );
    let kept = Store::new(&world.fixture.state).named("hello").remove(0);
    assert_eq!(kept.closure.len(), 2);
    assert!(kept.closure_bytes > 1_000_000, "{kept:?}");
    let collected = Command::new("nix-store").args(["--delete"]).arg(&kept.realised_path).output().unwrap();
    assert!(!collected.status.success(), "Nix may collect an output that is kept");

    let read = format!(
        "derivation {{ name = builtins.readFile {host}/secret; system = builtins.currentSystem; builder = \"x\"; }}"
    );
    for (name, text, why) in [
        ("leak", read.as_str(), "can't be evaluated"),
        ("input", "flake .", "input x is of this host"),
        ("host", "flake path:/etc#x", "is of this host"),
        ("plain", "import ./plain.nix", "is no folder"),
        ("bad", "import ./bad.nix", "the builder failed"),
        ("broken", "import ./broken.nix", "can't be evaluated"),
    ] {
        let mut request = world.fixture.request(vec![of(name, text)]);
        request.nix = nix();
        let (record, _) = world.fixture.run(request, world.executor(), |_| false);
        let made = &record.jobs[0];
        assert_eq!((made.attempts.len(), &made.fault), (1, &Some(pikaci::Fault::Job)), "{made:?}");
        assert!(made.message.as_deref().unwrap().contains(why), "{made:?}");
        let log =
            fs::read_to_string(world.fixture.state.guest_log(&record.run_id, &made.id)).unwrap_or_default();
        assert!(!log.contains("s3cret") && !log.contains("narHash"), "{log}");
    }
    let roots = fs::read_dir(world.fixture.state.prepared_dir().join("roots")).unwrap();
    assert_eq!(roots.count(), 3, "Nix would keep what is no output");
    let mut request = world.fixture.request(vec![of("lost", "import ./hello.nix # again")]);
    request.nix = NixConfig { path: "/nowhere".into(), ..nix() };
    let (record, _) = world.fixture.run(request, world.executor(), |_| false);
    assert_eq!(record.jobs[0].fault, Some(pikaci::Fault::Infra));
    assert!(record.jobs[0].message.as_deref().unwrap().contains("apt-get install nix-bin"), "{record:?}");
}

#[test]
fn an_output_for_another_c_library_is_refused_before_there_is_an_instance() {
    let world = World::new();
    let client = world.client();
    let properties = BTreeMap::from([("pikaci.contract-id".to_owned(), "glibc-one".to_owned())]);
    let import = ImageImport { properties, ..ImageImport::default() };
    let image = block_on(client.import_image(&image_file(2042), &import)).unwrap();
    let build = |id: &str| {
        let folder = "/artifacts/out/share/pikaci";
        format!(
            "mkdir -p {folder}; echo '{{\"schema_version\":1,\"contract_id\":\"{id}\"}}' > {folder}/payload-manifest.json"
        )
    };
    let run = |id: &str| {
        let unit = JobSpec { image: image.clone(), ..in_container(user("unit", "true", &["a"])) };
        world.run(vec![in_container(maker("a", &build(id))), unit], |_| false).0
    };
    let refused = run("glibc-two");
    let unit = &refused.jobs[1];
    assert_eq!((unit.attempts.len(), &unit.fault), (1, &Some(pikaci::Fault::Job)), "{unit:?}");
    let message = unit.message.as_deref().unwrap();
    assert!(message.contains("was built for glibc-two") && message.contains("has glibc-one"), "{message}");
    let phases = &unit.remote_linux_vm_execution.as_ref().unwrap().phases;
    assert!(phases.iter().all(|phase| phase.phase != "prepare_runtime"), "{phases:?}");
    for id in ["glibc-one", "static"] {
        assert_eq!(run(id).status, RunStatus::Passed, "{id}");
    }
}

#[test]
fn a_secret_is_a_file_in_the_instances_memory_and_a_mask_in_its_log() {
    let world = World::new();
    let command = "stat -f -c %T $PIKACI_SECRETS; cat $PIKACI_SECRETS/DEPLOY; ls -ln $PIKACI_SECRETS | tail -n 1 | cut -c 1-10";
    let job = JobSpec {
        secrets: vec!["DEPLOY".to_owned()],
        ..in_container(crate::executor::sample_shell_job("unit", command))
    };
    let mut request = world.fixture.request(vec![job]);
    request.secrets = crate::Secrets::new([("DEPLOY".to_owned(), b"hunter22\n".to_vec())].into()).unwrap();
    let (record, _) = world.fixture.run(request, world.executor(), |_| false);
    assert_eq!(record.status, RunStatus::Passed, "{record:#?}");
    assert_eq!(world.log(&record, 0), "tmpfs\n***\n-r--------\n");
}
