//! What goes wrong around a job: images that are not as they should be, servers that stall, projects that are full, and
//! ends at the worst moment.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::AtomicBool;

use incus_client::{NewInstance, StateChange};
use tokio::sync::{Notify, mpsc};

use super::*;
use crate::executor::Attempt;
use crate::host_log::HostLog;

/// The image without its guest runner.
fn image_without_runner() -> PathBuf {
    let built = image_file(2030).with_extension("").with_extension("tar");
    let runner = std::env::var_os("PIKA_GUEST_RUNNER").unwrap();
    let created_at = "2030-01-01T00:00:00Z".parse().unwrap();
    build(&BuildRequest { created_at, ..BuildRequest::new(Recipe::Busybox, runner, &built) }).unwrap();
    let output = built.with_file_name("poor.tar");
    let mut poor = tar::Builder::new(fs::File::create(&output).unwrap());
    for entry in tar::Archive::new(fs::File::open(&built).unwrap()).entries().unwrap() {
        let entry = entry.unwrap();
        let path = entry.path().unwrap().into_owned();
        let mut header = entry.header().clone();
        if path.ends_with("pikaci-incus-run") {
            continue;
        }
        match entry.link_name().unwrap().map(std::borrow::Cow::into_owned) {
            Some(link) => poor.append_link(&mut header, path, link).unwrap(),
            None => poor.append_data(&mut header, path, entry).unwrap(),
        }
    }
    poor.into_inner().unwrap();
    output
}

#[test]
fn an_image_without_the_guest_runner_is_said_at_once_and_not_at_the_jobs_deadline() {
    let world = World::new();
    let client = world.client();
    let image = image_without_runner();
    let fingerprint = block_on(client.import_image(&image, &ImageImport::default())).unwrap();
    let job = JobSpec { image: fingerprint, ..job("unit", "true") };
    let (record, _) = world.run(vec![job], |_| false);
    let unit = &record.jobs[0];
    assert_eq!(unit.fault, Some(Fault::Infra), "{unit:?}");
    assert!(unit.message.as_ref().unwrap().contains("has no guest runner"), "{:?}", unit.message);
}

#[test]
fn a_log_without_an_end_fills_no_disk_and_changes_no_verdict() {
    let mut world = World::new();
    world.settings.log_bytes_max = 10_000;
    let (record, _) = world.run(vec![job("unit", "yes abcdefg | head -c 1000000; exit 3")], |_| false);
    assert_eq!((record.jobs[0].exit_code, record.jobs[0].attempts.len()), (Some(3), 1));
    let log = world.log(&record, 0);
    assert!(log.len() > 10_000 && log.len() < 20_000, "{}", log.len());
    assert!(log.ends_with("the rest was left out]\n"), "{}", &log[log.len() - 200..]);
}

/// A way to the daemon that can be closed: what is on it is lost, and what comes then is not answered.
struct Gate {
    socket: PathBuf,
    is_closed: Arc<AtomicBool>,
}

impl Gate {
    fn to(daemon: &Path, folder: &Path) -> Gate {
        let socket = folder.join("gate.socket");
        let (listener, daemon) = (UnixListener::bind(&socket).unwrap(), daemon.to_owned());
        let is_closed = Arc::new(AtomicBool::new(false));
        let closed = Arc::clone(&is_closed);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let closed = Arc::clone(&closed);
                let (client, daemon) = (client.unwrap(), daemon.clone());
                std::thread::spawn(move || {
                    while closed.load(Ordering::Relaxed) {
                        std::thread::sleep(Duration::from_millis(5));
                    }
                    let server = UnixStream::connect(&daemon).unwrap();
                    let back = (server.try_clone().unwrap(), client.try_clone().unwrap());
                    std::thread::scope(|scope| {
                        scope.spawn(|| carry(client, server, &closed));
                        scope.spawn(|| carry(back.0, back.1, &closed));
                    });
                });
            }
        });
        Gate { socket, is_closed }
    }
}

fn carry(mut from: UnixStream, mut to: UnixStream, is_closed: &AtomicBool) {
    let mut buffer = [0; 16 * 1024];
    from.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    while !is_closed.load(Ordering::Relaxed) {
        match from.read(&mut buffer) {
            Ok(count @ 1..) if to.write_all(&buffer[..count]).is_ok() => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Ok(_) | Err(_) => break,
        }
    }
    let _ = (from.shutdown(std::net::Shutdown::Both), to.shutdown(std::net::Shutdown::Both));
}

#[test]
fn a_cancel_is_over_in_five_seconds_also_where_the_server_has_stopped_to_answer() {
    let mut world = World::new();
    let daemon = Daemon::shared().socket;
    let gate = Gate::to(&daemon, world.fixture.state.path().parent().unwrap());
    world.settings.endpoint = Endpoint::Unix { socket: gate.socket.clone() };
    let request = world.fixture.request(vec![job("unit", "echo begun; sleep 60")]);
    let log = world.fixture.state.guest_log(&request.run_id, &request.jobs[0].id);
    let host_log = world.fixture.state.host_log(&request.run_id, &request.jobs[0].id);
    let cancel = CancellationToken::new();
    let took = block_on(async {
        let stop = cancel.clone();
        let is_closed = Arc::clone(&gate.is_closed);
        let upset = tokio::task::spawn_blocking(move || {
            // Cancelled also when one of the waits fails, so that the run comes to its end.
            let stop = stop.drop_guard();
            wait_for_lines(&log, 1);
            is_closed.store(true, Ordering::Relaxed);
            // The follower is lost, and what is asked then stays without an answer. Where the server's good-bye came through
            // before the gate closed, it is the exit code that is asked for, and nothing is said for a while.
            let begin = Instant::now();
            while !fs::read_to_string(&host_log).unwrap().contains("lost the guest")
                && begin.elapsed() < Duration::from_secs(3)
            {
                std::thread::sleep(Duration::from_millis(5));
            }
            drop(stop);
            Instant::now()
        });
        let is_closed = Arc::clone(&gate.is_closed);
        let mut ended_at = None;
        let mut observe = |event: &Event| {
            if matches!(event, Event::RunFinished { .. }) {
                ended_at = Some(Instant::now());
                is_closed.store(false, Ordering::Relaxed);
            }
        };
        let record = crate::run(request, world.executor(), &mut observe, &cancel).await.unwrap();
        assert_eq!(record.outcome, Some(Outcome::Cancelled));
        ended_at.unwrap() - upset.await.unwrap()
    });
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(world.left_behind(), Vec::<String>::new());
}

#[test]
fn a_job_waits_for_memory_that_another_one_has() {
    let mut settings = shared_settings();
    settings.project = format!("pikaci-full-{}", std::process::id());
    block_on(prepare(&settings));
    let client = settings.client();
    let limits = incus_client::Config::from([("limits.memory".to_owned(), "400MiB".to_owned())]);
    block_on(client.patch_project(&settings.project, &limits)).unwrap();
    let world = World::on(settings);
    let image = block_on(client.resolve_alias(IMAGE)).unwrap();
    let mut other = NewInstance::container("other", image);
    other.profiles = vec![world.settings.profile.clone()];
    other.config.insert("limits.memory".to_owned(), "300MiB".to_owned());
    block_on(client.create_instance(&other)).unwrap();
    let request = world.fixture.request(vec![job("unit", "true")]);
    let host_log = world.fixture.state.host_log(&request.run_id, &request.jobs[0].id);
    let record = std::thread::scope(|scope| {
        scope.spawn(|| {
            let start = Instant::now();
            while !fs::read_to_string(&host_log).unwrap_or_default().contains("memory in use") {
                assert!(start.elapsed() < Duration::from_secs(30), "it did not wait");
                std::thread::sleep(Duration::from_millis(5));
            }
            block_on(client.destroy_instance("other")).unwrap();
        });
        world.fixture.run(request, world.executor(), |_| false).0
    });
    assert_eq!((record.status, record.jobs[0].attempts.len()), (RunStatus::Passed, 1), "{:?}", record.jobs);
    assert_eq!(world.left_behind(), Vec::<String>::new());
}

#[test]
fn a_pool_takes_the_room_that_there_is_and_no_more_is_no_fault() {
    let mut settings = shared_settings();
    settings.project = format!("pikaci-narrow-{}", std::process::id());
    block_on(prepare(&settings));
    let client = settings.client();
    let limits = incus_client::Config::from([("limits.instances".to_owned(), "1".to_owned())]);
    block_on(client.patch_project(&settings.project, &limits)).unwrap();
    let mut world = World::on(settings);
    // One after the other: Incus holds two that come at once against the same count.
    for (size, made) in [(1, 1), (2, 0)] {
        let pool = PoolSettings { size, instance: InstanceType::Container, ..PoolSettings::default() };
        world.settings.pools = BTreeMap::from([(IMAGE.to_owned(), pool)]);
        let filled = block_on(pool::top_up_image(&client, &world.settings, IMAGE)).unwrap();
        assert_eq!(filled, pool::Filled { made, dropped: 0 });
    }
    assert_eq!(block_on(pool::drain(&client)).unwrap(), 1);
}

/// Leaves a run when an event is there, as a kill would do it.
fn leave_at(world: &World, request: crate::RunRequest, is_it: fn(&Event) -> bool) {
    block_on(async {
        let (cancel, is_there) = (CancellationToken::new(), Notify::new());
        let mut observe = |event: &Event| {
            if is_it(event) {
                is_there.notify_one();
            }
        };
        tokio::select! {
            biased;
            () = is_there.notified() => {}
            _ = crate::run(request, world.executor(), &mut observe, &cancel) => panic!("the run ended before it was left"),
        }
    });
}

fn has_ended(event: &Event, name: &str) -> bool {
    matches!(event, Event::PhaseFinished { phase, .. } if phase.phase == name)
}

#[test]
fn a_run_that_was_killed_before_its_job_was_started_starts_it_when_it_is_taken_up() {
    let world = World::new();
    let request = world.fixture.request(vec![job("unit", "echo once")]);
    let (run_id, state) = (request.run_id.clone(), request.state.clone());
    leave_at(&world, request, |event| has_ended(event, "prepare_runtime"));
    let (cancel, nix) = (CancellationToken::new(), NixConfig::default());
    let record = block_on(resume(&state, &run_id, 2, nix, world.executor(), &mut |_| {}, &cancel)).unwrap();
    assert_eq!((record.status.clone(), record.jobs[0].attempts.len()), (RunStatus::Passed, 1), "{record:?}");
    assert_eq!(world.log(&record, 0), "once\n");
    assert_eq!(world.left_behind(), Vec::<String>::new());
}

#[test]
fn a_pool_of_another_kind_than_its_image_is_said_with_what_would_be_right() {
    let mut settings = shared_settings();
    let client = settings.client();
    for (instance, expected) in [(InstanceType::Container, 0), (InstanceType::VirtualMachine, 1)] {
        let pool = PoolSettings { size: 1, instance, ..PoolSettings::default() };
        settings.pools = BTreeMap::from([(IMAGE.to_owned(), pool)]);
        let mistakes = block_on(pool::mistakes(&client, &settings)).unwrap();
        assert_eq!(mistakes.len(), expected, "{mistakes:?}");
        assert!(
            mistakes.iter().all(|mistake| mistake.contains("say `instance = \"container\"`")),
            "{mistakes:?}"
        );
    }
}

#[test]
fn a_run_that_is_taken_up_goes_on_with_the_image_that_it_began_with() {
    let world = World::new();
    let client = world.client();
    let first = block_on(client.resolve_alias(IMAGE)).unwrap();
    let second = block_on(client.import_image(&image_file(2043), &ImageImport::default())).unwrap();
    block_on(client.set_alias("rolling", &first)).unwrap();
    let of_alias = |job: JobSpec| JobSpec { image: "rolling".to_owned(), ..job };
    let jobs = vec![
        of_alias(job("one", "true")),
        JobSpec { needs: vec!["one".parse().unwrap()], ..of_alias(job("two", "true")) },
    ];
    let request = world.fixture.request(jobs);
    let (run_id, state) = (request.run_id.clone(), request.state.clone());
    leave_at(&world, request, |event| matches!(event, Event::JobFinished { .. }));
    block_on(client.set_alias("rolling", &second)).unwrap();
    let (cancel, nix) = (CancellationToken::new(), NixConfig::default());
    let record = block_on(resume(&state, &run_id, 2, nix, world.executor(), &mut |_| {}, &cancel)).unwrap();
    assert_eq!(record.status, RunStatus::Passed, "{:?}", record.jobs);
    for job in &record.jobs {
        let image = job.remote_linux_vm_execution.clone().unwrap().incus_image.unwrap();
        assert_eq!(image.fingerprint.as_deref(), Some(first.as_str()), "{}", job.id);
    }
    block_on(sweep(&client, &world.settings, &state)).unwrap();
    assert_eq!(world.left_behind(), Vec::<String>::new());
}

#[test]
fn a_run_that_was_killed_while_it_took_in_artifacts_has_them_all_when_it_is_taken_up() {
    let world = World::new();
    let command = "for i in $(seq 1 50); do echo $i > $PIKACI_ARTIFACTS/$i; done";
    let littering = JobSpec { artifacts: vec!["*".to_owned()], ..job("unit", command) };
    let request = world.fixture.request(vec![littering]);
    let (run_id, state) = (request.run_id.clone(), request.state.clone());
    let artifacts = state.artifacts_dir(&run_id, &request.jobs[0].id);
    leave_at(&world, request, |event| has_ended(event, "wait_for_completion"));
    assert!(artifacts.join("result.json").exists() && !artifacts.join("50").exists());
    let cancel = CancellationToken::new();
    let record =
        block_on(resume(&state, &run_id, 2, NixConfig::default(), world.executor(), &mut |_| {}, &cancel))
            .unwrap();
    assert_eq!(record.status, RunStatus::Passed, "{:?}", record.jobs);
    for number in 1..=50 {
        let content = fs::read_to_string(artifacts.join(number.to_string())).unwrap();
        assert_eq!(content, format!("{number}\n"));
    }
    assert_eq!(world.left_behind(), Vec::<String>::new());
}

#[test]
fn an_instance_that_another_process_is_making_for_the_pool_is_left_to_it() {
    let mut world = World::new();
    let client = world.client();
    let fingerprint = block_on(client.import_image(&image_file(2031), &ImageImport::default())).unwrap();
    block_on(client.set_alias("in-the-making", &fingerprint)).unwrap();
    let pool = PoolSettings { size: 1, instance: InstanceType::Container, ..PoolSettings::default() };
    world.settings.pools = BTreeMap::from([("in-the-making".to_owned(), pool)]);
    let mut half_made =
        NewInstance::container(format!("half-made-{}", &world.settings.owner[17..]), &fingerprint);
    half_made.profiles = vec![world.settings.profile.clone()];
    let now = Timestamp::now().as_second();
    for (key, value) in [
        (context::key::POOL, fingerprint),
        (context::key::STATE, "idle".to_owned()),
        (context::key::MADE, now.to_string()),
        (context::key::OWNER, world.settings.owner.clone()),
    ] {
        half_made.config.insert(key.to_owned(), value);
    }
    block_on(client.create_instance(&half_made)).unwrap();
    let filled = block_on(pool::top_up_image(&client, &world.settings, "in-the-making")).unwrap();
    assert_eq!(filled, pool::Filled::default());
    // One that is not there after all that time will never be.
    world.settings.boot_deadline = Duration::ZERO;
    world.settings.pools.get_mut("in-the-making").unwrap().size = 0;
    block_on(pool::top_up_image(&client, &world.settings, "in-the-making")).unwrap();
    assert_eq!(world.left_behind(), Vec::<String>::new());
}

#[test]
fn a_run_that_was_cancelled_while_it_took_an_instance_of_the_pool_leaves_none() {
    let mut world = World::new();
    let client = world.client();
    let fingerprint = block_on(client.import_image(&image_file(2032), &ImageImport::default())).unwrap();
    block_on(client.set_alias("let-go", &fingerprint)).unwrap();
    let pool = PoolSettings { size: 1, instance: InstanceType::Container, ..PoolSettings::default() };
    world.settings.pools = BTreeMap::from([("let-go".to_owned(), pool)]);
    for after_ms in [5, 15, 25, 35] {
        block_on(pool::top_up_image(&client, &world.settings, "let-go")).unwrap();
        let waits = world.left_behind();
        // The run tops up no pool itself: what is left is what it took.
        let mut settings = world.settings.clone();
        settings.pools.get_mut("let-go").unwrap().size = 0;
        let request =
            world.fixture.request(vec![JobSpec { image: "let-go".to_owned(), ..job("unit", "sleep 60") }]);
        let cancel = CancellationToken::new();
        let mut observe = |event: &Event| {
            if matches!(event, Event::PhaseFinished { phase, .. } if phase.phase == "stage_workspace_snapshot")
            {
                let cancel = cancel.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(after_ms)).await;
                    cancel.cancel();
                });
            }
        };
        let executor = Arc::new(IncusExecutor::new(settings));
        let record = block_on(crate::run(request, executor, &mut observe, &cancel)).unwrap();
        assert_eq!(record.outcome, Some(Outcome::Cancelled));
        assert_eq!(world.left_behind(), Vec::<String>::new(), "{waits:?} waited, {after_ms} ms");
    }
}

#[test]
fn a_run_is_taken_up_where_the_daemon_comes_back_only_later_and_its_job_is_not_run_twice() {
    let bed = Testbed::start_below_tmp().unwrap();
    let mut settings =
        IncusSettings::new(Endpoint::Unix { socket: bed.socket().to_owned() }, "/tmp", "nobody");
    settings.network = NO_NETWORK.to_owned();
    block_on(prepare(&settings));
    let world = World::on(settings);
    let request = world.fixture.request(vec![job("unit", "echo begun; sleep 3; echo done")]);
    let (run_id, state) = (request.run_id.clone(), request.state.clone());
    let log = state.guest_log(&run_id, &request.jobs[0].id);
    block_on(async {
        let cancel = CancellationToken::new();
        let mut observe = |_: &Event| {};
        let begun = tokio::task::spawn_blocking(move || wait_for_lines(&log, 1));
        tokio::select! {
            _ = crate::run(request, world.executor(), &mut observe, &cancel) => panic!("the run ended before it was left"),
            _ = begun => {}
        }
    });
    bed.crash().unwrap();
    let host_log = state.host_log(&run_id, &"unit".parse().unwrap());
    let lines = count_lines(&host_log);
    let record = std::thread::scope(|scope| {
        scope.spawn(|| {
            // It is opened by then, and looked for.
            wait_for_lines(&host_log, lines + 1);
            bed.restart().unwrap();
        });
        let cancel = CancellationToken::new();
        block_on(resume(&state, &run_id, 2, NixConfig::default(), world.executor(), &mut |_| {}, &cancel))
            .unwrap()
    });
    assert_eq!(record.status, RunStatus::Passed, "{:?}", record.jobs);
    assert_eq!(record.jobs[0].attempts.len(), 1);
    assert_eq!(world.log(&record, 0), "begun\ndone\n");
    assert_eq!(world.left_behind(), Vec::<String>::new());
}

#[test]
fn a_server_that_is_away_between_two_jobs_costs_no_attempt_and_leaves_no_instance() {
    let bed = Testbed::start_below_tmp().unwrap();
    let mut settings =
        IncusSettings::new(Endpoint::Unix { socket: bed.socket().to_owned() }, "/tmp", "nobody");
    settings.network = NO_NETWORK.to_owned();
    block_on(prepare(&settings));
    let world = World::on(settings);
    let jobs =
        vec![job("one", "true"), JobSpec { needs: vec!["one".parse().unwrap()], ..job("two", "echo done") }];
    let request = world.fixture.request(jobs);
    // As if the server had been making it when it went.
    let half = context::instance_name(&request.run_id, &request.jobs[1].id, 1);
    let mut half = NewInstance::container(half, block_on(world.client().resolve_alias(IMAGE)).unwrap());
    half.profiles = vec![world.settings.profile.clone()];
    let host_log = request.state.host_log(&request.run_id, &"two".parse().unwrap());
    let record = std::thread::scope(|scope| {
        scope.spawn(|| {
            // That it was begun, and that there is no server.
            wait_for_lines(&host_log, 2);
            bed.restart().unwrap();
        });
        let crash_once = |event: &Event| {
            if matches!(event, Event::JobFinished { job, .. } if job.id.as_str() == "one") {
                std::thread::scope(|scope| {
                    scope.spawn(|| block_on(world.client().create_instance(&half))).join()
                })
                .unwrap()
                .unwrap();
                bed.crash().unwrap();
            }
            false
        };
        world.fixture.run(request, world.executor(), crash_once).0
    });
    assert_eq!(record.status, RunStatus::Passed, "{:?}", record.jobs);
    assert_eq!(record.jobs[1].attempts.len(), 1, "{:?}", record.jobs[1].attempts);
    assert_eq!(world.log(&record, 1), "done\n");
    assert_eq!(world.left_behind(), Vec::<String>::new());
}

#[test]
fn a_stopped_instance_has_no_result_but_one_of_the_runners_and_its_log_is_no_link_and_no_pipe() {
    for planted in ["ln -s /etc/passwd guest.log", "mkfifo guest.log"] {
        let start = Instant::now();
        let (exit, log) = salvaged(planted);
        assert!(
            matches!(&exit, GuestExit::NoResult { detail } if detail.contains("has stopped")),
            "{exit:?}"
        );
        assert_eq!(log, "begun\ndone\n");
        assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    }
}

#[test]
fn a_job_whose_process_was_gone_before_its_instance_ran_is_started_once_and_not_tried_again() {
    let world = World::new();
    let client = world.client();
    let attempt = attempt_of(&world, "echo done");
    let (context, mut new) = instance_for(&world, &attempt);
    new.start = false;
    let host_log = attempt.artifacts_dir.join("../host.log");
    let exit = block_on(async {
        client.create_instance(&new).await.unwrap();
        let cancel = CancellationToken::new();
        let mut follower = follow::Follower::open(&client, &attempt, &context, true).unwrap();
        let starting = async {
            // It was looked at once.
            tokio::task::spawn_blocking(move || wait_for_lines(&host_log, 1)).await.unwrap();
            client.change_state(&context.instance, StateChange::Start).await.unwrap();
        };
        tokio::join!(follower.wait(&cancel), starting).0
    });
    block_on(client.destroy_instance(&context.instance)).unwrap();
    assert!(matches!(&exit, GuestExit::Result(result) if result.exit_code == Some(0)), "{exit:?}");
    assert_eq!(fs::read_to_string(attempt.artifacts_dir.join("guest.log")).unwrap(), "done\n");
}

/// The first attempt of a job, with its folders.
fn attempt_of(world: &World, command: &str) -> Attempt {
    let request = world.fixture.request(vec![job("unit", command)]);
    let (run_id, spec) = (request.run_id.clone(), request.jobs[0].clone());
    let snapshot = crate::snapshot::take(&request.snapshot_request()).unwrap();
    let artifacts_dir = world.fixture.state.artifacts_dir(&run_id, &spec.id);
    fs::create_dir_all(&artifacts_dir).unwrap();
    Attempt {
        secrets: None,
        run_id,
        job: spec,
        number: 1,
        snapshot_dir: snapshot.dir,
        snapshot_digest: snapshot.digest,
        scratch_dir: world.fixture.state.path().join("scratch"),
        shares: Vec::new(),
        output_dir: None,
        host_log: HostLog::open(&artifacts_dir.join("../host.log")).unwrap(),
        artifacts_dir,
        reports: mpsc::channel(1).0,
    }
}

/// What an attempt's instance would be, but not ephemeral: it stays when it is stopped.
fn instance_for(world: &World, attempt: &Attempt) -> (RemoteLinuxVmContext, NewInstance) {
    let image = block_on(world.client().resolve_alias(IMAGE)).unwrap();
    let name = context::instance_name(&attempt.run_id, &attempt.job.id, 1);
    let context = RemoteLinuxVmContext::new(&world.settings, attempt, image.clone(), name.clone());
    let mut new = NewInstance::container(&name, image).started();
    new.profiles = vec![world.settings.profile.clone()];
    new.config = devices::instance_keys(&context);
    new.devices = configure_remote_incus_devices(&context);
    (context, new)
}

/// How a job ends whose instance is stopped when it has planted something in the place of its log, and a result.
fn salvaged(planted: &str) -> (GuestExit, String) {
    let world = World::new();
    let client = world.client();
    let forged = r#"{"status":"passed","exit_code":0,"started_at":"2026-03-01T14:22:33Z","finished_at":"2026-03-01T14:22:33Z"}"#;
    let command = format!(
        "echo begun; sleep 1; cd /artifacts; echo '{forged}' > result.json; rm guest.log; {planted}; echo done; sleep 60"
    );
    let attempt = attempt_of(&world, &command);
    let (context, new) = instance_for(&world, &attempt);
    let log = attempt.artifacts_dir.join("guest.log");
    let exit = block_on(async {
        client.create_instance(&new).await.unwrap();
        let cancel = CancellationToken::new();
        let mut follower = follow::Follower::open(&client, &attempt, &context, false).unwrap();
        follower.launch(&cancel).await.unwrap();
        let stopping = async {
            let begun = log.clone();
            tokio::task::spawn_blocking(move || wait_for_lines(&begun, 2)).await.unwrap();
            client.change_state(&context.instance, StateChange::Kill).await.unwrap();
        };
        tokio::join!(follower.wait(&cancel), stopping).0
    });
    block_on(client.destroy_instance(&context.instance)).unwrap();
    (exit, fs::read_to_string(log).unwrap())
}
