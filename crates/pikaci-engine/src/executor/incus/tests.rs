//! The Incus executor on a real daemon, with containers. Each test has a state root of its own, and leaves no instance.

mod prepared;
mod upsets;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use incus_client::{Client, Endpoint, Filter, ImageImport};
use incus_testbed::{Daemon, Testbed};
use jiff::Timestamp;
use pikaci::{Event, Fault, InstanceType, JobSpec, Outcome, RunRecord, RunStatus};

use super::setup::{SetUp, set_up};
use super::*;
use crate::exam::Fixture;
use crate::executor::sample_shell_job;
use crate::image::{BuildRequest, Recipe, build};
use crate::prepared::NixConfig;
use crate::run::resume;

const IMAGE: &str = "pikaci/dev";
/// A name that no network can have: a bridge would outlive the daemon of the tests.
const NO_NETWORK: &str = "a/b";

/// An image of this code's own guest runner. Another `year` makes another image.
pub(crate) fn image_file(year: i16) -> PathBuf {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| tempfile::tempdir().unwrap());
    let output = folder.path().join(format!("{year}.tar.gz"));
    let runner =
        std::env::var_os("PIKA_GUEST_RUNNER").expect("PIKA_GUEST_RUNNER is not set: run `cargo xtask test`");
    let created_at: Timestamp = format!("{year}-01-01T00:00:00Z").parse().unwrap();
    let request = BuildRequest { created_at, ..BuildRequest::new(Recipe::Busybox, runner, &output) };
    build(&request).unwrap();
    output
}

pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

async fn prepare(settings: &IncusSettings) {
    let wanted = SetUp { shared_folders: vec!["/tmp".to_owned()], ..SetUp::default() };
    set_up(settings, &wanted, &mut |_| {}).await.unwrap();
    let client = settings.client();
    let fingerprint = client.import_image(&image_file(2026), &ImageImport::default()).await.unwrap();
    client.set_alias(IMAGE, &fingerprint).await.unwrap();
}

/// A project of this process, on the daemon of all tests.
fn shared_settings() -> IncusSettings {
    static SETTINGS: OnceLock<IncusSettings> = OnceLock::new();
    let make = || {
        let endpoint = Endpoint::Unix { socket: Daemon::shared().socket };
        let mut settings = IncusSettings::new(endpoint, "/tmp", "nobody");
        settings.project = format!("pikaci-engine-{}", std::process::id());
        settings.network = NO_NETWORK.to_owned();
        settings.mount_deadline = Duration::from_millis(300);
        block_on(prepare(&settings));
        settings
    };
    SETTINGS.get_or_init(make).clone()
}

/// A state root, and the settings that go with it.
pub(crate) struct World {
    pub(crate) fixture: Fixture,
    pub(crate) settings: IncusSettings,
}

impl World {
    pub(crate) fn new() -> World {
        World::on(shared_settings())
    }

    fn on(mut settings: IncusSettings) -> World {
        let fixture = Fixture::new();
        settings.state_root = fixture.state.path().to_owned();
        settings.owner = owner_id(&fixture.state).unwrap();
        World { fixture, settings }
    }

    pub(crate) fn executor(&self) -> Arc<IncusExecutor> {
        Arc::new(IncusExecutor::new(self.settings.clone()))
    }

    fn client(&self) -> Client {
        self.settings.client()
    }

    /// The instances that this state root has now.
    pub(crate) fn left_behind(&self) -> Vec<String> {
        let filter = Filter::all().and_config(context::key::OWNER, &self.settings.owner);
        let found = block_on(self.client().instances(&filter)).unwrap();
        found.into_iter().map(|instance| instance.name).collect()
    }

    fn run(
        &self,
        jobs: Vec<JobSpec>,
        cancel_when: impl FnMut(&Event) -> bool + Send,
    ) -> (RunRecord, Vec<Event>) {
        let done = self.fixture.run(self.fixture.request(jobs), self.executor(), cancel_when);
        assert_eq!(self.left_behind(), Vec::<String>::new(), "an instance was left behind");
        done
    }

    fn log(&self, record: &RunRecord, job: usize) -> String {
        let path = self.fixture.state.guest_log(&record.run_id, &record.jobs[job].id);
        let log = fs::read(path).unwrap_or_else(|error| panic!("{error}: {:?}", record.jobs[job]));
        String::from_utf8_lossy(&log).into_owned()
    }
}

fn count_lines(log: &Path) -> usize {
    fs::read_to_string(log).unwrap_or_default().lines().count()
}

/// Waits until a job has printed so many lines.
fn wait_for_lines(log: &Path, count: usize) {
    let start = Instant::now();
    while count_lines(log) < count {
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "{} has {} lines",
            log.display(),
            count_lines(log)
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn job(id: &str, command: &str) -> JobSpec {
    JobSpec { instance: InstanceType::Container, memory_bytes: 256 << 20, ..sample_shell_job(id, command) }
}

#[test]
fn a_job_runs_as_its_user_in_the_frozen_tree_and_its_record_says_where() {
    let world = World::new();
    let command =
        "pwd; id -u; cat file; touch $CARGO_HOME/a $CARGO_TARGET_DIR/b && echo writable; ls /sys/class/net";
    let (record, _) = world.run(vec![job("unit", command)], |_| false);
    assert_eq!(record.status, RunStatus::Passed, "{:?}", record.jobs);
    assert_eq!(world.log(&record, 0), "/workspace/snapshot\n1000\ncontent\nwritable\nlo\n");
    let execution = record.jobs[0].remote_linux_vm_execution.clone().unwrap();
    assert_eq!((execution.backend.as_str(), execution.storage_driver.as_deref()), ("incus", Some("dir")));
    let image = execution.incus_image.unwrap();
    assert_eq!(image.fingerprint.map(|fingerprint| fingerprint.len()), Some(64));
    let phases: Vec<&str> = execution.phases.iter().map(|phase| phase.phase.as_str()).collect();
    assert_eq!(
        phases,
        [
            "prepare_directories",
            "stage_workspace_snapshot",
            "prepare_runtime",
            "launch_guest",
            "wait_for_completion"
        ]
    );
}

#[test]
fn inputs_can_be_written_by_nobody_not_even_by_the_guests_root() {
    let world = World::new();
    let command = r#"
        id -u
        ! touch new 2>/dev/null
        ! sh -c 'echo x >> file' 2>/dev/null
        ! mount -o remount,rw /workspace/snapshot 2>/dev/null
        ! rm file 2>/dev/null
        cat file
    "#;
    let (record, _) = world.run(vec![JobSpec { run_as_root: true, ..job("root", command) }], |_| false);
    assert_eq!((record.status.clone(), world.log(&record, 0).as_str()), (RunStatus::Passed, "0\ncontent\n"));
}

#[test]
fn a_share_without_its_sentinel_is_the_machinerys_fault_and_no_command_is_run() {
    let world = World::new();
    let (record, _) = world.run(vec![job("unit", "echo ran")], |event| {
        if let Event::SnapshotTaken { snapshot_dir, .. } = event {
            let sentinel = PathBuf::from(snapshot_dir).join(pikaci::guest::SENTINEL_NAME);
            fs::remove_file(sentinel).unwrap();
        }
        false
    });
    let unit = &record.jobs[0];
    assert_eq!((&unit.fault, unit.attempts.len()), (&Some(Fault::Infra), 3));
    assert!(unit.message.as_ref().unwrap().contains("/workspace/snapshot"), "{:?}", unit.message);
    assert_eq!(world.log(&record, 0), "");
}

#[test]
fn all_jobs_of_a_run_have_the_image_that_its_alias_meant_at_the_start() {
    let world = World::new();
    let client = world.client();
    let second = block_on(client.import_image(&image_file(2027), &ImageImport::default())).unwrap();
    block_on(client.set_alias("moving", &block_on(client.resolve_alias(IMAGE)).unwrap())).unwrap();
    let first = block_on(client.resolve_alias("moving")).unwrap();
    let mut jobs =
        vec![job("one", "true"), JobSpec { needs: vec!["one".parse().unwrap()], ..job("two", "true") }];
    jobs.iter_mut().for_each(|job| job.image = "moving".to_owned());
    let (record, _) = world.run(jobs, |event| {
        if matches!(event, Event::JobStarted { .. }) {
            // On a thread of its own: this one drives the run.
            let (client, second) = (client.clone(), second.clone());
            std::thread::spawn(move || block_on(client.set_alias("moving", &second)).unwrap())
                .join()
                .unwrap();
        }
        false
    });
    assert_eq!(record.status, RunStatus::Passed, "{:?}", record.jobs);
    for job in &record.jobs {
        let image = job.remote_linux_vm_execution.clone().unwrap().incus_image.unwrap();
        assert_eq!(image.fingerprint.as_deref(), Some(first.as_str()), "{}", job.id);
    }
    assert_eq!(block_on(client.resolve_alias("moving")).unwrap(), second);
}

#[test]
fn what_a_guest_leaves_is_kept_within_bounds_and_never_outside_its_folder() {
    let world = World::new();
    let command = r#"
        cd /artifacts; mkdir -p report/deep other
        echo a > report/a.xml; echo b > report/deep/b; echo c > other/c
        ln -s /etc/passwd report/link; ln -s /etc report/folder; mkfifo report/pipe
        touch "$(printf 'report/new\nline')"; echo d > 'report/ä ö'
        touch -- 'report/..%2F..%2Fx' 'report/-rf'
        chmod 000 report/a.xml
        rm -f guest.log; ln -s /etc/passwd guest.log
    "#;
    let mut hostile = job("hostile", command);
    hostile.artifacts = vec!["report/**".to_owned()];
    let (record, _) = world.run(vec![hostile], |_| false);
    assert_eq!(record.status, RunStatus::Passed, "{}", world.log(&record, 0));
    let folder = world.fixture.state.artifacts_dir(&record.run_id, &record.jobs[0].id);
    let mut left = Vec::new();
    let mut folders = vec![folder.clone()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            if metadata.is_dir() {
                folders.push(path);
            } else {
                assert!(metadata.is_file(), "{}", path.display());
                left.push(path.strip_prefix(&folder).unwrap().to_string_lossy().into_owned());
            }
        }
    }
    left.sort();
    assert_eq!(
        left,
        [
            "guest.log",
            "report/-rf",
            "report/..%2F..%2Fx",
            "report/a.xml",
            "report/deep/b",
            // What it says it is: an empty file.
            "report/pipe",
            "report/ä ö",
            "result.json"
        ]
    );
    assert_eq!(fs::read_to_string(folder.join("report/a.xml")).unwrap(), "a\n");
    let said = fs::read_to_string(world.fixture.state.host_log(&record.run_id, &record.jobs[0].id)).unwrap();
    assert!(said.contains("report/link") && said.contains("report/folder"), "{said}");
}

#[test]
fn twenty_jobs_on_four_slots_all_pass_and_never_more_than_four_run() {
    let world = World::new();
    let jobs: Vec<JobSpec> =
        (0..20).map(|number| job(&format!("job{number}"), &format!("echo {number}"))).collect();
    let mut request = world.fixture.request(jobs);
    request.slots = 4;
    let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let (record, _) = world.fixture.run(request, world.executor(), |event| {
        match event {
            Event::JobStarted { .. } => {
                most.fetch_max(running.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            }
            Event::JobFinished { .. } => {
                running.fetch_sub(1, Ordering::Relaxed);
            }
            _ => {}
        }
        false
    });
    assert_eq!(record.status, RunStatus::Passed, "{:?}", record.jobs);
    assert_eq!(most.into_inner(), 4);
    for number in 0..20 {
        assert_eq!(world.log(&record, number), format!("{number}\n"));
    }
    assert_eq!(world.left_behind(), Vec::<String>::new());
}

#[test]
fn a_cancelled_job_is_gone_with_its_instance_and_keeps_what_it_said() {
    let world = World::new();
    let log = Arc::new(OnceLock::new());
    let mut request =
        world.fixture.request(vec![job("unit", "trap '' TERM; echo begun; while :; do sleep 1; done")]);
    let path = world.fixture.state.guest_log(&request.run_id, &request.jobs[0].id);
    request.slots = 1;
    log.set(path).unwrap();
    let cancel = tokio_util::sync::CancellationToken::new();
    let (stop, path) = (cancel.clone(), log.get().unwrap().clone());
    let record = block_on(async {
        let watch = tokio::task::spawn_blocking(move || {
            wait_for_lines(&path, 1);
            stop.cancel();
            Instant::now()
        });
        let mut ended_at = None;
        let mut observe = |event: &Event| {
            if matches!(event, Event::RunFinished { .. }) {
                ended_at = Some(Instant::now());
            }
        };
        let record = crate::run(request, world.executor(), &mut observe, &cancel).await.unwrap();
        let took = ended_at.unwrap() - watch.await.unwrap();
        assert!(took < Duration::from_secs(5), "{took:?}");
        record
    });
    assert_eq!((&record.outcome, &record.fault), (&Some(Outcome::Cancelled), &Some(Fault::User)));
    assert_eq!(world.log(&record, 0), "begun\n");
    assert_eq!(world.left_behind(), Vec::<String>::new());
}

#[test]
fn a_run_that_was_cancelled_while_its_instance_was_made_leaves_none() {
    let world = World::new();
    let cancel_when = |event: &Event| matches!(event, Event::PhaseFinished { phase, .. } if phase.phase == "stage_workspace_snapshot");
    let (record, _) = world.run(vec![job("unit", "true")], cancel_when);
    assert_eq!(record.outcome, Some(Outcome::Cancelled));
}

#[test]
fn everything_that_cannot_be_had_is_said_at_once_and_nothing_is_made() {
    let mut world = World::new();
    world.settings.network = "nowhere0".to_owned();
    let jobs = [
        JobSpec { image: "nothing".to_owned(), ..job("a", "true") },
        JobSpec { instance: InstanceType::VirtualMachine, ..job("b", "true") },
        JobSpec { network: true, ..job("c", "true") },
    ];
    let reasons = block_on(world.executor().check(&jobs));
    let all = reasons.join("\n");
    for word in [
        "no image nothing",
        "virtual machines are not available",
        "image pikaci/dev is one for a container",
        "nowhere0",
    ] {
        assert!(all.contains(word), "{word:?} is not in\n{all}");
    }
    world.settings.state_root = "/elsewhere".into();
    let all = block_on(world.executor().check(&jobs[..1])).join("\n");
    assert!(all.contains("`pikaci init-incus --share /elsewhere` allows it"), "{all}");
    world.settings.project = "no-such-project".to_owned();
    let all = block_on(world.executor().check(&jobs[..1])).join("\n");
    assert!(all.contains("project no-such-project does not exist; `pikaci init-incus` makes it"), "{all}");
    world.settings.endpoint = Endpoint::Unix { socket: "/nowhere/unix.socket".into() };
    let all = block_on(world.executor().check(&jobs[..1])).join("\n");
    assert!(all.contains("cannot reach Incus at /nowhere/unix.socket"), "{all}");
}

#[test]
fn a_pool_gives_its_instances_once_and_is_topped_up() {
    let mut world = World::new();
    // A name of its own: other tests have no pool.
    let client = world.client();
    let fingerprint = block_on(client.import_image(&image_file(2028), &ImageImport::default())).unwrap();
    block_on(client.set_alias("pooled", &fingerprint)).unwrap();
    let pool = PoolSettings {
        size: 2,
        instance: InstanceType::Container,
        memory_bytes: 256 << 20,
        ..PoolSettings::default()
    };
    world.settings.pools = BTreeMap::from([("pooled".to_owned(), pool)]);
    let filled = block_on(pool::top_up_image(&client, &world.settings, "pooled")).unwrap();
    assert_eq!(filled, pool::Filled { made: 2, dropped: 0 });
    let waiting = |client: &Client| -> Vec<String> {
        let all = block_on(pool::list(client)).unwrap();
        all.into_iter().filter(|one| one.fingerprint == fingerprint).map(|one| one.instance).collect()
    };
    let before = waiting(&client);
    let pooled = |id: &str| JobSpec { image: "pooled".to_owned(), ..job(id, "cat file; hostname") };
    let request = world.fixture.request(vec![pooled("one"), pooled("two"), pooled("three")]);
    let (record, _) = world.fixture.run(request, world.executor(), |_| false);
    assert_eq!(record.status, RunStatus::Passed, "{:?}", record.jobs);
    let names: Vec<String> =
        (0..3).map(|number| world.log(&record, number).lines().nth(1).unwrap().to_owned()).collect();
    assert!(before.iter().all(|name| names.contains(name)), "{before:?} were there, {names:?} were used");
    assert!(
        names[0] != names[1] && names[1] != names[2] && names[0] != names[2],
        "one was used twice: {names:?}"
    );
    let after = waiting(&client);
    assert_eq!(after.len(), 2, "it was not topped up");
    assert!(after.iter().all(|name| !names.contains(name)), "a used one waits again");
    // The alias moves: what waits is of no use any more.
    block_on(async {
        let other = client.resolve_alias(IMAGE).await.unwrap();
        client.set_alias("pooled", &other).await.unwrap();
        let filled = pool::top_up_image(&client, &world.settings, "pooled").await.unwrap();
        assert_eq!(filled, pool::Filled { made: 2, dropped: 2 });
        world.settings.pools.get_mut("pooled").unwrap().size = 0;
        pool::top_up_image(&client, &world.settings, "pooled").await.unwrap();
    });
    assert_eq!(world.left_behind(), Vec::<String>::new());
}

#[test]
fn two_that_want_the_same_idle_instance_get_different_ones_or_none() {
    let mut world = World::new();
    let client = world.client();
    let fingerprint = block_on(client.import_image(&image_file(2029), &ImageImport::default())).unwrap();
    block_on(client.set_alias("raced", &fingerprint)).unwrap();
    let pool = PoolSettings { size: 1, instance: InstanceType::Container, ..PoolSettings::default() };
    world.settings.pools = BTreeMap::from([("raced".to_owned(), pool)]);
    block_on(pool::top_up_image(&client, &world.settings, "raced")).unwrap();
    let context = |attempt: u32| {
        let mut context = context::sample_remote_context();
        context.kind = InstanceType::Container;
        context.fingerprint = fingerprint.clone();
        context.mounts[0].share.source = world.fixture.root();
        context.owner = world.settings.owner.clone();
        context.attempt = attempt;
        context
    };
    let contexts: Vec<_> = (1..=4).map(context).collect();
    // Two have seen it before, two have not.
    let seen: Vec<_> = contexts.iter().map(|_| pool::Seen::default()).collect();
    for seen in &seen[..2] {
        block_on(seen.look(&client, &world.settings, &image::Images::default(), "raced"));
    }
    let taken = block_on(futures_util::future::join_all(
        contexts
            .iter()
            .zip(&seen)
            .map(|(context, seen)| pool::take(&client, &world.settings, "raced", context, seen)),
    ));
    let taken: Vec<&pool::Taken> = taken.iter().flatten().collect();
    assert_eq!(taken.len(), 1, "it was taken more than once, or never");
    assert_eq!(taken[0].base_image.as_ref(), Some(&fingerprint));
    block_on(client.destroy_instance(&taken[0].instance)).unwrap();
}

#[test]
fn a_sweep_takes_what_nobody_waits_for_and_nothing_else() {
    let world = World::new();
    let client = world.client();
    let image = block_on(client.resolve_alias(IMAGE)).unwrap();
    let now = Timestamp::now().as_second();
    let make = |name: &str, owner: &str, deadline: i64| {
        let mut new =
            incus_client::NewInstance::container(format!("{name}-{}", &world.settings.owner[17..]), &image);
        new.profiles = vec![world.settings.profile.clone()];
        for (key, value) in [
            (context::key::OWNER, owner.to_owned()),
            (context::key::RUN, "20260301T142233Z-7f3a9c10".to_owned()),
            (context::key::DEADLINE, deadline.to_string()),
        ] {
            new.config.insert(key.to_owned(), value);
        }
        block_on(client.create_instance(&new)).unwrap();
        new.name
    };
    let lost = make("lost", &world.settings.owner, now + 3600);
    let others = make("others", "somebody-else", now + 3600);
    let late = make("late", "somebody-else", now - 1);
    let swept = block_on(sweep(&client, &world.settings, &world.fixture.state)).unwrap();
    let names: Vec<&str> = swept.iter().map(|orphan| orphan.instance.as_str()).collect();
    assert!(names.contains(&lost.as_str()) && names.contains(&late.as_str()), "{names:?}");
    assert!(!names.contains(&others.as_str()), "{names:?}");
    assert!(swept.iter().all(|orphan| orphan.deleted.is_ok()));
    block_on(client.destroy_instance(&others)).unwrap();
    assert_eq!(world.left_behind(), Vec::<String>::new());
}

#[test]
fn the_set_up_changes_nothing_the_second_time_and_the_doctor_is_content() {
    let world = World::new();
    let wanted = SetUp { shared_folders: vec!["/tmp".to_owned()], ..SetUp::default() };
    let mut deeds = Vec::new();
    block_on(set_up(&world.settings, &wanted, &mut |step| deeds.push(step.deed.clone()))).unwrap();
    let is_quiet = |deed: &setup::Deed| matches!(deed, setup::Deed::Kept | setup::Deed::LeftOut(_));
    assert!(deeds.iter().all(is_quiet), "{deeds:?}");
    // An interface of the host is left alone, and stops nothing.
    let mut on_host = world.settings.clone();
    on_host.network = "lo".to_owned();
    let mut left_out = Vec::new();
    block_on(set_up(&on_host, &wanted, &mut |step| {
        if matches!(step.deed, setup::Deed::LeftOut(_)) {
            left_out.push(step.what.clone());
        }
    }))
    .unwrap();
    assert_eq!(left_out, ["network lo"]);
    let with_network = JobSpec { network: true, ..job("unit", "true") };
    let reasons = block_on(IncusExecutor::new(on_host).check(&[with_network])).join("\n");
    assert!(reasons.contains("is the host's own interface"), "{reasons}");
    let wanted = SetUp { shared_folders: vec!["/tmp".to_owned()], ..SetUp::default() };
    block_on(set_up(&world.settings, &wanted, &mut |_| {})).unwrap();
    let folder = world.fixture.state.path().join("doctor");
    let findings = block_on(doctor::examine(&world.settings, IMAGE, None, &folder));
    assert!(findings.iter().all(|finding| finding.health != doctor::Health::Bad), "{findings:#?}");
    assert!(findings.iter().any(|finding| finding.what == "probe job"), "{findings:#?}");
    let findings = block_on(doctor::examine(&world.settings, "nothing", None, &folder));
    let image = findings.iter().find(|finding| finding.what == "image").unwrap();
    assert!(image.health == doctor::Health::Bad && image.remedy.is_some(), "{image:?}");
    assert_eq!(world.left_behind(), Vec::<String>::new());
}

/// Prints numbers until somebody makes the file.
const COUNT_UNTIL_TOLD: &str =
    "i=0; while ! test -e /tmp/go; do i=$((i+1)); echo $i; sleep 0.1; done; echo end $i";

#[test]
fn a_daemon_that_restarts_or_is_killed_in_the_middle_of_a_job_costs_no_line() {
    let bed = Testbed::start_below_tmp().unwrap();
    let mut settings =
        IncusSettings::new(Endpoint::Unix { socket: bed.socket().to_owned() }, "/tmp", "nobody");
    settings.network = NO_NETWORK.to_owned();
    block_on(prepare(&settings));
    let world = World::on(settings);
    let request = world.fixture.request(vec![job("unit", COUNT_UNTIL_TOLD)]);
    let path = world.fixture.state.guest_log(&request.run_id, &request.jobs[0].id);
    let (run_id, job_id) = (request.run_id.clone(), request.jobs[0].id.clone());
    let record = std::thread::scope(|scope| {
        scope.spawn(|| {
            wait_for_lines(&path, 5);
            bed.restart().unwrap();
            wait_for_lines(&path, count_lines(&path) + 1);
            bed.kill().unwrap();
            wait_for_lines(&path, count_lines(&path) + 1);
            let name = context::instance_name(&run_id, &job_id, 1);
            let told = incus_client::NewFile { content: "go".into(), ..Default::default() };
            block_on(world.client().push_file(&name, "/tmp/go", &told)).unwrap();
        });
        world.fixture.run(request, world.executor(), |_| false).0
    });
    assert_eq!(record.status, RunStatus::Passed, "{:?}", record.jobs[0].message);
    assert_eq!(record.jobs[0].attempts.len(), 1);
    let log = world.log(&record, 0);
    let (counted, last) = log.trim_end().rsplit_once('\n').unwrap();
    let expected: Vec<String> = (1..=counted.lines().count()).map(|number| number.to_string()).collect();
    assert_eq!(counted.lines().collect::<Vec<_>>(), expected);
    assert_eq!(last, format!("end {}", expected.len()));
    assert_eq!(world.left_behind(), Vec::<String>::new());
}

#[test]
fn a_run_whose_process_is_gone_is_taken_up_and_finishes_with_its_whole_log() {
    let world = World::new();
    let command = "for i in $(seq 1 30); do echo $i; sleep 0.1; done";
    let jobs = vec![
        job("one", command),
        JobSpec { needs: vec!["one".parse().unwrap()], ..job("two", "echo after") },
    ];
    let request = world.fixture.request(jobs);
    let (run_id, state) = (request.run_id.clone(), request.state.clone());
    let path = state.guest_log(&run_id, &request.jobs[0].id);
    // The first process: dropped in the middle of the job, as a kill would do it.
    block_on(async {
        let cancel = CancellationToken::new();
        let mut observe = |_: &Event| {};
        let running = crate::run(request, world.executor(), &mut observe, &cancel);
        let begun = tokio::task::spawn_blocking(move || {
            wait_for_lines(&path, 3);
        });
        tokio::select! {
            _ = running => panic!("the run ended before it was left"),
            _ = begun => {}
        }
    });
    let cancel = CancellationToken::new();
    let mut events = Vec::new();
    let mut observe = |event: &Event| events.push(event.clone());
    let record =
        block_on(resume(&state, &run_id, 2, NixConfig::default(), world.executor(), &mut observe, &cancel))
            .unwrap();
    assert_eq!(record.status, RunStatus::Passed, "{:?}", record.jobs);
    assert_eq!(record.jobs.iter().map(|job| job.attempts.len()).collect::<Vec<_>>(), [1, 1]);
    let expected: String = (1..=30).map(|number| format!("{number}\n")).collect();
    assert_eq!(world.log(&record, 0), expected);
    assert_eq!(world.log(&record, 1), "after\n");
    assert_eq!(world.left_behind(), Vec::<String>::new());
}

#[test]
fn an_instance_that_vanishes_is_the_machinerys_fault_and_the_job_is_tried_again() {
    let world = World::new();
    let client = world.client();
    let run_id = std::sync::Mutex::new(None);
    let request = world.fixture.request(vec![job("unit", "echo begun; test -e /artifacts/x || sleep 2")]);
    *run_id.lock().unwrap() = Some(request.run_id.clone());
    let path = world.fixture.state.guest_log(&request.run_id, &request.jobs[0].id);
    let name = context::instance_name(&request.run_id, &request.jobs[0].id, 1);
    let record = std::thread::scope(|scope| {
        scope.spawn(|| {
            wait_for_lines(&path, 1);
            block_on(client.destroy_instance(&name)).unwrap();
        });
        world.fixture.run(request, world.executor(), |_| false).0
    });
    let unit = &record.jobs[0];
    assert_eq!((record.status, unit.attempts.len()), (RunStatus::Passed, 2), "{:?}", unit.attempts);
    assert_eq!(unit.attempts[0].fault, Some(Fault::Infra));
    assert!(unit.attempts[0].message.as_ref().unwrap().contains("is gone"), "{:?}", unit.attempts[0].message);
    assert_eq!(world.left_behind(), Vec::<String>::new());
}
