//! The exam that every executor takes: the same cases, the same verdicts.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use pikaci::{Event, Fault, InstanceType, JobId, JobSpec, RunId, RunRecord, StateRoot};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::dispatch::Backoff;
use crate::executor::local::{LocalConfig, LocalExecutor};
use crate::executor::scripted::{Script, ScriptedExecutor};
use crate::executor::{Executor, sample_shell_job};
use crate::run::{Input, RunRequest, run};
use crate::snapshot::Source;

/// One case: what the job does, for a real guest and for a script, and what is judged.
struct Case {
    name: &'static str,
    command: &'static str,
    script: Script,
    timeout_secs: u64,
    is_cancelled: bool,
    verdict: &'static str,
}

const CASES: [Case; 9] = [
    case("passes", "echo hello", Script::Exit(0), "passed passed nobody 0"),
    case("fails", "echo no >&2; exit 7", Script::Exit(7), "failed failed job 7"),
    case("stops at the first failing line", "false\ntrue", Script::Exit(1), "failed failed job 1"),
    case("is not there", "no-such-program", Script::Exit(127), "failed failed job 127"),
    case("is no program", "./file", Script::Exit(126), "failed failed job 126"),
    case("is ended by a signal", "kill -9 $$", Script::Exit(137), "failed failed job 137"),
    case(
        "prints what reads like a broken machine",
        "echo connection refused; exit 125",
        Script::Exit(125),
        "failed failed job 125",
    ),
    Case {
        timeout_secs: 1,
        ..case("is late", "trap '' TERM; sleep 60", Script::TimeOut, "failed timed_out job none")
    },
    Case {
        is_cancelled: true,
        ..case("is cancelled", "echo started; sleep 60", Script::Hang, "failed cancelled user none")
    },
];

const fn case(name: &'static str, command: &'static str, script: Script, verdict: &'static str) -> Case {
    Case { name, command, script, timeout_secs: 60, is_cancelled: false, verdict }
}

/// A repository with a state root, and the means to run jobs of it.
pub(crate) struct Fixture {
    folder: TempDir,
    pub(crate) state: StateRoot,
}

impl Fixture {
    pub(crate) fn new() -> Fixture {
        let folder = TempDir::new().unwrap();
        let root = folder.path().join("repository");
        fs::create_dir(&root).unwrap();
        fs::write(root.join("file"), "content\n").unwrap();
        let git = |arguments: &[&str]| {
            assert!(Command::new("git").current_dir(&root).args(arguments).status().unwrap().success());
        };
        git(&["init", "--quiet"]);
        let state = StateRoot::new(folder.path().join("state"));
        Fixture { folder, state }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("repository")
    }

    pub(crate) fn request(&self, jobs: Vec<JobSpec>) -> RunRequest {
        RunRequest {
            state: self.state.clone(),
            run_id: RunId::random(Timestamp::now()),
            source_root: self.root(),
            input: Input::Source(Source::WorkingTree { root: self.root() }),
            target_id: None,
            target_description: None,
            filters: None,
            jobs,
            base: None,
            slots: 2,
            rerun_of: None,
            backoff: Backoff([Duration::from_millis(1); 2]),
            nix: crate::prepared::NixConfig::default(),
            secrets: crate::Secrets::default(),
            lost_secrets: Vec::new(),
        }
    }

    /// Runs a request to its end. `cancel_when` sees every event, and says when to cancel.
    pub(crate) fn run(
        &self,
        request: RunRequest,
        executor: Arc<dyn Executor>,
        mut cancel_when: impl FnMut(&Event) -> bool + Send,
    ) -> (RunRecord, Vec<Event>) {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let cancel = CancellationToken::new();
        let events = Mutex::new(Vec::new());
        let record = runtime.block_on(async {
            let mut observer = |event: &Event| {
                events.lock().unwrap().push(event.clone());
                if cancel_when(event) {
                    cancel.cancel();
                }
            };
            let running = run(request, executor, &mut observer, &cancel);
            tokio::time::timeout(Duration::from_secs(60), running).await.unwrap().unwrap()
        });
        (record, events.into_inner().unwrap())
    }
}

/// The guest runner that was built beside this test, building it when it is not there.
pub(crate) fn runner() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    let runner = profile.join("pikaci-incus-run");
    if !runner.exists() {
        let target = profile.parent().unwrap();
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--package=pikaci-incus-run", "--target-dir"])
            .arg(target)
            .status()
            .unwrap();
        assert!(built.success() && runner.exists(), "cargo built no {}", runner.display());
    }
    runner
}

pub(crate) fn local(is_isolated: bool) -> Arc<LocalExecutor> {
    let bubblewrap = PathBuf::from("/usr/bin/bwrap");
    assert!(!is_isolated || bubblewrap.exists(), "bubblewrap is missing: apt-get install bubblewrap");
    Arc::new(LocalExecutor::new(LocalConfig {
        runner: runner(),
        runner_arguments: Vec::new(),
        bubblewrap: is_isolated.then_some(bubblewrap),
        path: "/usr/bin:/bin".into(),
        path_folders: vec!["/usr/bin".into(), "/bin".into()],
        home: None,
    }))
}

fn shown(record: &RunRecord) -> String {
    let job = &record.jobs[0];
    let fault = job.fault.as_ref().map_or("nobody", Fault::as_str);
    let outcome = job.outcome.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string);
    let code = job.exit_code.map_or_else(|| "none".to_owned(), |code| code.to_string());
    format!("{} {outcome} {fault} {code}", job.status)
}

fn take_exam(executor: impl Fn(&Case) -> Arc<dyn Executor>) {
    let fixture = Fixture::new();
    for case in &CASES {
        let instance = InstanceType::Container;
        let job =
            JobSpec { timeout_secs: case.timeout_secs, instance, ..sample_shell_job("case", case.command) };
        let start = Instant::now();
        let cancel_when = |event: &Event| case.is_cancelled && matches!(event, Event::JobStarted { .. });
        let (record, _) = fixture.run(fixture.request(vec![job]), executor(case), cancel_when);
        assert_eq!(shown(&record), case.verdict, "{}", case.name);
        assert!(start.elapsed() < Duration::from_secs(10), "{} took {:?}", case.name, start.elapsed());
    }
}

#[test]
fn the_scripted_executor_passes_the_exam() {
    take_exam(|case| {
        let scripts = BTreeMap::from([(JobId::parse("case").unwrap(), vec![case.script.clone()])]);
        Arc::new(ScriptedExecutor::new(scripts))
    });
}

#[test]
fn the_incus_executor_passes_the_exam() {
    let world = crate::executor::incus::tests::World::new();
    take_exam(|_| world.executor());
    assert_eq!(world.left_behind(), Vec::<String>::new());
}

#[test]
fn the_local_executor_passes_the_exam_in_a_sandbox() {
    let executor = local(true);
    take_exam(|_| executor.clone());
}

#[test]
fn the_local_executor_passes_the_exam_without_a_sandbox() {
    let executor = local(false);
    take_exam(|_| executor.clone());
}
