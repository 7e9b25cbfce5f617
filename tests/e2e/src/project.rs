//! A repository that a test runs `pikaci` in, with a state root of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use pikaci::{JobId, RunId, RunRecord, StateRoot};
use serde_json::Value;
use tempfile::TempDir;

use crate::git;
use crate::process::{Process, kill_pid};
use crate::programs;
use crate::wait::eventually;

/// A repository and what `pikaci` keeps about it. Dropped, runs that are still going are killed.
pub struct Project {
    folder: TempDir,
}

/// How a command ended.
#[derive(Debug)]
pub struct Finished {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub output: String,
    /// What it complained about.
    pub errors: String,
}

impl Finished {
    /// Runs a program to its end.
    #[track_caller]
    pub fn of(command: &mut Command) -> Finished {
        let output = command.output().expect("the program runs");
        Finished {
            code: output.status.code(),
            output: String::from_utf8_lossy(&output.stdout).into_owned(),
            errors: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Asserts the exit code and hands the rest on.
    #[track_caller]
    pub fn expect(self, code: i32) -> Finished {
        assert_eq!(self.code, Some(code), "output: {}\nerrors: {}", self.output, self.errors);
        self
    }

    /// The output as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.output)
            .unwrap_or_else(|error| panic!("{error}; this is no JSON: {}", self.output))
    }
}

impl Project {
    /// A repository with one commit that holds this `pikaci.toml`.
    #[track_caller]
    pub fn new(manifest: &str) -> Project {
        let project = Project { folder: tempfile::tempdir().expect("a temporary folder can be made") };
        fs::create_dir(project.source()).expect("a folder can be made");
        git::init_with(&project.source(), &[("pikaci.toml", manifest)]);
        project
    }

    /// The working tree.
    pub fn source(&self) -> PathBuf {
        self.folder.path().join("source")
    }

    /// Where runs are kept.
    pub fn state(&self) -> StateRoot {
        StateRoot::new(self.folder.path().join("state"))
    }

    /// Writes a file of the working tree.
    #[track_caller]
    pub fn write(&self, path: &str, text: &str) {
        git::write(&self.source(), path, text.as_bytes());
    }

    /// `pikaci …`, not started yet.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(programs::pikaci());
        command.env_clear().current_dir(self.source());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.folder.path()).env("PIKACI_STATE_ROOT", self.state().path());
        command.args(arguments);
        command
    }

    /// Runs `pikaci …` to its end.
    #[track_caller]
    pub fn pikaci(&self, arguments: &[&str]) -> Finished {
        Finished::of(&mut self.command(arguments))
    }

    /// Starts `pikaci …` and lets it run.
    #[track_caller]
    pub fn start(&self, arguments: &[&str]) -> Process {
        Process::start(&mut self.command(arguments), &self.folder.path().join("pikaci.log"))
    }

    /// The runs, newest first.
    #[track_caller]
    pub fn runs(&self) -> Vec<RunId> {
        pikaci::store::list_runs(&self.state()).expect("the runs can be listed")
    }

    /// The newest run. By its record: the ids of runs that start within one second are in no order.
    #[track_caller]
    pub fn latest(&self) -> RunRecord {
        let read = |run: RunId| pikaci::load_run_record(&self.state(), &run).expect("the run can be read");
        self.runs().into_iter().map(read).max_by_key(|run| run.created_at).expect("there is a run")
    }

    /// Waits until a job of any run has printed `text`; returns the run.
    #[track_caller]
    pub fn wait_for_log(&self, job: &str, text: &str) -> RunId {
        let job = JobId::parse(job).expect("a job's id");
        eventually(&format!("{job} prints {text:?}"), || {
            self.runs().into_iter().find(|run| read_text(&self.state().guest_log(run, &job)).contains(text))
        })
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        kill_runs(&self.state());
    }
}

/// Ends whatever still runs below a state root.
pub fn kill_runs(state: &StateRoot) {
    for run in pikaci::store::list_runs(state).unwrap_or_default() {
        if let Ok(Some(holder)) = pikaci::store::find_lock_holder(state, &run) {
            let _ = kill_pid(holder.pid);
        }
    }
}

fn read_text(path: &Path) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}
