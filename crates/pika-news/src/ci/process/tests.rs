//! How processes are started, found again and stopped. A shell script stands in for `pikaci`: only the handling of the
//! process is looked at here.

use std::time::Instant;

use super::*;

const DEADLINE: Duration = Duration::from_secs(10);

struct Fixture {
    folder: tempfile::TempDir,
    pikaci: PikaciProgram,
    state: StateRoot,
    /// Unlike any other: a process is found by it.
    run: RunId,
}

fn fixture(script: &str) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("script.sh"), script).unwrap();
    let environment = vec![("PATH".into(), std::env::var_os("PATH").unwrap())];
    let pikaci = PikaciProgram { program: PathBuf::from("/bin/sh"), environment };
    let state = StateRoot::new(folder.path().join("state"));
    Fixture { folder, pikaci, state, run: RunId::random(jiff::Timestamp::now()) }
}

impl Fixture {
    fn spawn(&self) -> Process {
        let stderr = self.path("stderr");
        let arguments = ["script.sh", "--run-id", self.run.as_str()].map(str::to_owned).to_vec();
        let invocation = Invocation {
            input: None,
            pikaci: &self.pikaci,
            arguments,
            folder: self.folder.path(),
            state: &self.state,
            stderr: &stderr,
        };
        spawn(&invocation).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Waits until the script has made a file; returns its content.
    async fn wait_for(&self, name: &str) -> String {
        let begun = Instant::now();
        loop {
            match std::fs::read_to_string(self.path(name)) {
                Ok(text) if text.ends_with('\n') => return text,
                _ => assert!(begun.elapsed() < DEADLINE, "the script does not make {name}"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn ended(process: &mut Process) -> Option<ExitStatus> {
    tokio::time::timeout(DEADLINE, process.wait()).await.expect("the process ends")
}

#[tokio::test]
async fn a_process_sees_nothing_of_the_environment_but_what_it_is_given() {
    let fixture = fixture("env > seen; echo end >> seen; echo ' gone wrong ' >&2");
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some(), "the test has a variable to hide");
    ended(&mut fixture.spawn()).await;
    let seen = fixture.wait_for("seen").await;
    let names: Vec<&str> = seen.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    assert!(names.contains(&"PATH") && names.contains(&"PIKACI_STATE_ROOT"), "{names:?}");
    assert!(!names.contains(&"CARGO_MANIFEST_DIR"), "{names:?}");
    assert_eq!(read_stderr(&fixture.path("stderr")), "gone wrong");
}

#[tokio::test]
async fn a_stop_reaches_the_whole_group() {
    let fixture = fixture("sleep 1000 & echo $! > child; wait");
    let mut process = fixture.spawn();
    let child: u32 = fixture.wait_for("child").await.trim().parse().unwrap();
    process.signal(Signal::TERM);
    assert!(ended(&mut process).await.is_some_and(|status| !status.success()));
    let begun = Instant::now();
    // A zombie that nobody has reaped yet has no command line any more.
    while std::fs::read(format!("/proc/{child}/cmdline")).is_ok_and(|text| !text.is_empty()) {
        assert!(begun.elapsed() < DEADLINE, "the grandchild lives on");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_process_that_an_earlier_forge_has_left_is_found_and_followed_to_its_end() {
    let fixture = fixture("echo ready > ready; while [ ! -e go ]; do sleep 0.01; done");
    let mut own = fixture.spawn();
    fixture.wait_for("ready").await;
    let mut adopted = find(&fixture.state, &fixture.run).unwrap();
    assert_eq!(adopted.id(), own.id());
    std::fs::write(fixture.path("go"), "").unwrap();
    ended(&mut own).await;
    assert_eq!(ended(&mut adopted).await, None);
    assert!(find(&fixture.state, &fixture.run).is_none());
}

#[tokio::test]
async fn only_the_end_of_what_a_process_said_is_kept() {
    let fixture = fixture("i=0; while [ $i -lt 2000 ]; do echo line $i >&2; i=$((i + 1)); done");
    ended(&mut fixture.spawn()).await;
    let said = read_stderr(&fixture.path("stderr"));
    assert!(said.len() as u64 <= 2 * STDERR_BYTES_MAX && said.ends_with("/ line 1999"), "{said}");
}

#[tokio::test]
async fn a_call_that_takes_too_long_is_ended() {
    let fixture = fixture("sleep 1000");
    let stderr = fixture.path("stderr");
    let invocation = Invocation {
        input: None,
        pikaci: &fixture.pikaci,
        arguments: vec!["script.sh".to_owned()],
        folder: fixture.folder.path(),
        state: &fixture.state,
        stderr: &stderr,
    };
    let error = run_to_end(&invocation, Duration::from_millis(50)).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}
