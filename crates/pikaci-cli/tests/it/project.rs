//! A repository to run `pikaci` in, and its output without what differs from run to run.
//!
//! Invariant: every wait has a deadline.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use pikaci::{JobId, RunId, RunRecord, StateRoot};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) struct Project {
    folder: TempDir,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) output: String,
    pub(crate) errors: String,
}

impl Ended {
    pub(crate) fn of(output: &Output) -> Ended {
        ended(output)
    }

    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Ended {
        assert_eq!(self.code, Some(code), "output: {}\nerrors: {}", self.output, self.errors);
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.output).unwrap()
    }
}

impl Project {
    /// A folder that is no repository.
    pub(crate) fn bare_folder() -> Project {
        let project = Project { folder: TempDir::new().unwrap() };
        fs::create_dir(project.source()).unwrap();
        project
    }

    /// A repository with one commit, whose manifest has a target `check` with these jobs: names and commands.
    pub(crate) fn new(jobs: &[(&str, &str)]) -> Project {
        let mut manifest = "version = 1\n[targets.check]\npaths = [\"src/**\"]\n".to_owned();
        for (id, command) in jobs {
            manifest.push_str(&format!("[[targets.check.jobs]]\nid = \"{id}\"\ncommand = '''{command}'''\n"));
        }
        let project = Project::bare_folder();
        project.git(&["init", "--quiet"]);
        project.write("pikaci.toml", &manifest);
        project.commit();
        project
    }

    pub(crate) fn source(&self) -> PathBuf {
        self.folder.path().join("source")
    }

    pub(crate) fn state(&self) -> StateRoot {
        StateRoot::new(self.folder.path().join("state"))
    }

    pub(crate) fn write(&self, name: &str, content: &str) {
        let path = self.source().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(crate) fn commit(&self) {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message", "change"]);
    }

    pub(crate) fn git(&self, arguments: &[&str]) {
        let mut command = Command::new("git");
        command.args(["-c", "user.name=test", "-c", "user.email=test@example.org"]).args(arguments);
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        let output = command.current_dir(self.source()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    /// `pikaci …`, not started yet.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pikaci"));
        command.args(arguments).env_clear().current_dir(self.source());
        command.env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", self.folder.path());
        command.env("PIKACI_STATE_ROOT", self.state().path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn pikaci(&self, arguments: &[&str]) -> Ended {
        ended(&self.command(arguments).output().unwrap())
    }

    pub(crate) fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).spawn().unwrap()
    }

    pub(crate) fn latest(&self) -> RunRecord {
        let records =
            self.runs().into_iter().map(|run| pikaci::load_run_record(&self.state(), &run).unwrap());
        records.max_by_key(|record| record.created_at).unwrap()
    }

    pub(crate) fn runs(&self) -> Vec<RunId> {
        pikaci::store::list_runs(&self.state()).unwrap()
    }

    /// Waits until a job of the newest run has printed this.
    pub(crate) fn wait_for_log(&self, job: &str, text: &str) -> RunId {
        let (start, job) = (Instant::now(), JobId::parse(job).unwrap());
        loop {
            if let Some(run) = self.runs().into_iter().next()
                && fs::read_to_string(self.state().guest_log(&run, &job)).is_ok_and(|log| log.contains(text))
            {
                return run;
            }
            assert!(start.elapsed() < DEADLINE, "{job} did not print {text:?}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Output with everything replaced that differs from run to run: ids, times, commits, the folder.
    pub(crate) fn steady(&self, text: &str) -> String {
        let mut text = text.replace(self.folder.path().to_str().unwrap(), "FOLDER");
        for (number, run) in self.runs().into_iter().rev().enumerate() {
            text = text.replace(run.as_str(), &format!("RUN{}", number + 1));
        }
        let lines = text.lines().filter(|line| !line.starts_with("note: "));
        lines.map(steady_line).collect::<Vec<_>>().join("\n")
    }
}

/// A line whose durations and byte counts are `N`, and whose columns are one space apart.
fn steady_line(line: &str) -> String {
    let mut words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    let is_commit = |word: &&mut String| word.len() == 40 && word.bytes().all(|it| it.is_ascii_hexdigit());
    for word in words.iter_mut().filter(is_commit) {
        *word = "COMMIT".to_owned();
    }
    for index in 1..words.len() {
        let unit = words[index].trim_end_matches([',', ')']);
        if matches!(unit, "ms" | "s" | "B" | "KiB") {
            let opening = if words[index - 1].starts_with('(') { "(" } else { "" };
            words[index - 1] = format!("{opening}N");
            words[index] = words[index].replace("ms", "s").replace("KiB", "B");
        }
    }
    words.join(" ")
}

pub(crate) fn ended(output: &Output) -> Ended {
    Ended {
        code: output.status.code(),
        output: String::from_utf8_lossy(&output.stdout).into_owned(),
        errors: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

pub(crate) fn wait_until(what: &str, is_true: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_true() {
        assert!(start.elapsed() < DEADLINE, "no {what} within {DEADLINE:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// Waits for the child; kills it and fails when it does not end.
pub(crate) fn finish(mut child: Child) -> Ended {
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() > DEADLINE {
            child.kill().unwrap();
            panic!("pikaci did not end within {DEADLINE:?}");
        }
        thread::sleep(Duration::from_millis(5));
    }
    ended(&child.wait_with_output().unwrap())
}
