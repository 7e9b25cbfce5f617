//! A forge of its own for one test.

use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};

use pikaci::{JobId, RunId, StateRoot};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::branch::{Branch, Lane};
use crate::git::{Pushed, WorkTree};
use crate::http::{Client, Reply};
use crate::process::Process;
use crate::project::kill_runs;
use crate::wait::{DEADLINE, eventually};
use crate::{git, programs};

const REPOSITORY: &str = "sample";
const START_ATTEMPTS: usize = 3;

/// What a test wants to be different.
#[derive(Clone, Debug)]
pub struct TestForgeOptions {
    /// How many lanes run at once.
    pub slots: usize,
    /// How long a shutdown waits for running lanes.
    pub drain_s: u64,
    /// More of the configuration, as it is written there.
    pub more: String,
    /// More of the repository's own part of it.
    pub after: String,
    /// More arguments of `serve`.
    pub arguments: &'static [&'static str],
    /// How browsers reach it: passkeys need a name.
    pub host: &'static str,
}

impl Default for TestForgeOptions {
    fn default() -> TestForgeOptions {
        let (more, after) = (String::new(), String::new());
        TestForgeOptions { slots: 2, drain_s: 2, more, after, arguments: &[], host: "127.0.0.1" }
    }
}

/// A forge with one repository, `sample`, and a token. Dropped, it ends with all its lanes.
pub struct TestForge {
    folder: TempDir,
    url: String,
    token: String,
    arguments: &'static [&'static str],
    process: Option<Process>,
}

impl TestForge {
    /// Starts a forge.
    #[track_caller]
    pub fn start() -> TestForge {
        TestForge::start_with(&TestForgeOptions::default())
    }

    /// Starts a forge that differs.
    #[track_caller]
    pub fn start_with(options: &TestForgeOptions) -> TestForge {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let arguments = options.arguments;
        let mut forge =
            TestForge { folder, url: String::new(), token: String::new(), arguments, process: None };
        for _ in 0..START_ATTEMPTS {
            // Somebody may take the port before the forge does: then another one.
            let port = free_port();
            forge.url = format!("http://{}:{port}", options.host);
            forge.write_config(port, options);
            if forge.try_start() {
                forge.token = forge.add_administrator("ada");
                return forge;
            }
        }
        panic!("the forge does not start: {}", forge.log());
    }

    /// The address, such as `http://127.0.0.1:45123`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A token with the administrator's rights.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("pika-news.toml")
    }

    /// The state root of the repository.
    pub fn state(&self) -> StateRoot {
        StateRoot::new(self.data().join("repositories").join("pikaci-state").join(REPOSITORY))
    }

    /// The bare repository.
    pub fn repository(&self) -> PathBuf {
        self.data().join("repositories").join(format!("{REPOSITORY}.git"))
    }

    /// A client with the administrator's rights.
    pub fn client(&self) -> Client {
        Client::new(&self.url, Some(&self.token))
    }

    /// A client without any rights.
    pub fn stranger(&self) -> Client {
        Client::new(&self.url, None)
    }

    /// A clone whose `origin` is the forge's repository.
    #[track_caller]
    pub fn work_tree(&self) -> WorkTree {
        let authority = self.url.trim_start_matches("http://");
        WorkTree::new(&format!("http://ada:{}@{authority}/news/git/{REPOSITORY}.git", self.token))
    }

    /// A clone whose `main` has this manifest and was pushed and tested; its target is `check`.
    #[track_caller]
    pub fn work_tree_with(&self, manifest: &str) -> WorkTree {
        let tree = self.work_tree();
        tree.write("pikaci.toml", manifest).commit("Begin");
        self.wait_for_lane(&tree.push("main"), "check");
        tree
    }

    /// The forge's process.
    #[track_caller]
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("the forge was started")
    }

    /// What the forge has printed so far.
    pub fn log(&self) -> String {
        self.process.as_ref().map(Process::log).unwrap_or_default()
    }

    /// `kill -9` of the forge alone; its lanes live on.
    #[track_caller]
    pub fn kill(&mut self) {
        self.process().kill();
    }

    /// SIGTERM; returns how it ended.
    #[track_caller]
    pub fn terminate(&mut self) -> ExitStatus {
        self.process().signal(Signal::TERM);
        self.process().wait(DEADLINE)
    }

    /// SIGHUP: the forge reads its configuration again.
    #[track_caller]
    pub fn hang_up(&mut self) {
        self.process().signal(Signal::HUP);
    }

    /// Starts the forge again on the same data, after [`TestForge::kill`] or [`TestForge::terminate`].
    #[track_caller]
    pub fn restart(&mut self) {
        self.process = None;
        assert!(self.try_start(), "the forge does not start again: {}", self.log());
    }

    /// What the API says of a branch.
    #[track_caller]
    pub fn branch(&self, id: &str) -> Branch {
        let path = format!("/news/api/forge/branch/{id}");
        Branch { view: self.client().get(&path).expect(200).json() }
    }

    /// Where the head of a pushed branch stands.
    #[track_caller]
    pub fn head_state(&self, pushed: &Pushed) -> String {
        self.branch(&pushed.branch_id()).head_state().to_owned()
    }

    /// The page of a pushed branch.
    #[track_caller]
    pub fn branch_page(&self, pushed: &Pushed) -> String {
        format!("/news/{REPOSITORY}/branch/{}", pushed.branch_id())
    }

    /// The page of a lane's latest attempt.
    #[track_caller]
    pub fn lane_run_page(&self, lane: &Lane) -> String {
        format!("/news/{REPOSITORY}/lane-run/{}", lane.lane_run())
    }

    /// A lane of a pushed branch's head.
    #[track_caller]
    pub fn lane(&self, pushed: &Pushed, lane: &str) -> Lane {
        let branch = self.branch(&pushed.branch_id());
        branch.find_lane(lane).unwrap_or_else(|| panic!("no lane {lane} in {}", branch.view))
    }

    /// Waits until a lane of a pushed branch has its verdict.
    #[track_caller]
    pub fn wait_for_lane(&self, pushed: &Pushed, lane: &str) -> Lane {
        self.wait_for_attempt(pushed, lane, 1)
    }

    /// Waits until a lane has its verdict, after at least so many attempts.
    #[track_caller]
    pub fn wait_for_attempt(&self, pushed: &Pushed, lane: &str, attempt: usize) -> Lane {
        let id = pushed.branch_id();
        eventually(&format!("attempt {attempt} at lane {lane} of branch {id} has a verdict"), || {
            let found = self.branch(&id).find_lane(lane)?;
            let is_settled = !matches!(found.state(), "queued" | "running");
            (is_settled && found.attempts() >= attempt).then_some(found)
        })
    }

    /// What `pikaci` recorded of a lane's latest attempt.
    #[track_caller]
    pub fn record(&self, lane: &Lane) -> Value {
        self.client().get(&format!("/news/api/forge/pikaci/run/{}", lane.run_id())).expect(200).json()
    }

    /// What a job of a run has printed, by the API.
    #[track_caller]
    pub fn guest_log(&self, run: &str, job: &str) -> String {
        let path = format!("/news/api/forge/pikaci/logs/{run}?job={job}&kind=guest");
        let logs = self.client().get(&path).expect(200).json();
        logs["guest"].as_str().unwrap_or_else(|| panic!("no guest log in {logs}")).to_owned()
    }

    /// Asks to merge the branch at the head that the caller saw.
    #[track_caller]
    pub fn merge(&self, client: &Client, pushed: &Pushed, expected_head: &str) -> Reply {
        let path = format!("/news/api/forge/branch/{}/merge", pushed.branch_id());
        client.post(&path, &json!({ "expected_head": expected_head }))
    }

    /// Asks for another attempt at a lane: of what did not pass, or of everything.
    #[track_caller]
    pub fn rerun(&self, lane: &Lane, only_failed: bool) {
        let path = format!("/news/api/forge/lane-run/{}/rerun", lane.lane_run());
        self.client().post(&path, &json!({ "failed": only_failed })).expect_success();
    }

    /// Asks to stop a lane's latest attempt.
    #[track_caller]
    pub fn cancel(&self, lane: &Lane) {
        let path = format!("/news/api/forge/lane-run/{}/cancel", lane.lane_run());
        self.client().post(&path, &json!({})).expect_success();
    }

    /// The runs that `pikaci` recorded, newest first.
    #[track_caller]
    pub fn runs(&self) -> Vec<RunId> {
        pikaci::store::list_runs(&self.state()).expect("the runs can be listed")
    }

    /// Waits until a job of any run but these has printed `text`; returns its run.
    #[track_caller]
    pub fn wait_for_log(&self, job: &str, text: &str, but: &[RunId]) -> RunId {
        let (state, job) = (self.state(), JobId::parse(job).expect("a job's id"));
        eventually(&format!("{job} prints {text:?}"), || {
            let runs = pikaci::store::list_runs(&state).ok()?;
            runs.into_iter().filter(|run| !but.contains(run)).find(|run| {
                let log = std::fs::read(state.guest_log(run, &job)).unwrap_or_default();
                String::from_utf8_lossy(&log).contains(text)
            })
        })
    }

    /// Makes the file `go` among a running job's artifacts: how a test tells a job to go on.
    #[track_caller]
    pub fn let_go_on(&self, run: &RunId, job: &str) {
        let job = JobId::parse(job).expect("a job's id");
        git::write(&self.state().artifacts_dir(run, &job), "go", b"");
    }

    /// Its data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn write_config(&self, port: u16, options: &TestForgeOptions) {
        let mut text = String::new();
        let TestForgeOptions { slots, drain_s, more, after, arguments: _, host: _ } = options;
        writeln!(text, "data = \"data\"\nlisten = \"127.0.0.1:{port}\"").unwrap();
        writeln!(text, "public_url = {:?}", self.url).unwrap();
        writeln!(text, "[ci]\npikaci = {:?}\nslots = {slots}\ndrain_s = {drain_s}", programs::pikaci())
            .unwrap();
        writeln!(text, "{more}").unwrap();
        writeln!(text, "[[repositories]]\nname = \"{REPOSITORY}\"\n{after}").unwrap();
        git::write(self.folder.path(), "pika-news.toml", text.as_bytes());
    }

    /// Starts the process and waits until it answers. False when it ended instead.
    fn try_start(&mut self) -> bool {
        let mut command = self.command(&["serve", "--config"]);
        command.arg(self.config()).args(self.arguments);
        let mut process = Process::start(&mut command, &self.folder.path().join("forge.log"));
        let stranger = self.stranger();
        let is_ready = eventually("the forge answers", || match stranger.try_get("/news") {
            Ok(_) => Some(true),
            Err(_) => process.ended().map(|_| false),
        });
        self.process = Some(process);
        is_ready
    }

    /// Adds an administrator and makes a token for them.
    #[track_caller]
    pub fn add_administrator(&self, user: &str) -> String {
        let added = self.command(&["user", "add", user, "--admin", "--config"]).arg(self.config()).output();
        let added = added.expect("pika-news runs");
        assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
        self.make_token_for(user)
    }

    /// Makes a token for a user.
    #[track_caller]
    pub fn make_token_for(&self, user: &str) -> String {
        let output =
            self.command(&["token", "create", "--user", user, "--config"]).arg(self.config()).output();
        let output = output.expect("pika-news runs");
        let text = String::from_utf8_lossy(&output.stdout);
        let token = text.split_whitespace().find(|word| word.starts_with("pika_"));
        let errors = String::from_utf8_lossy(&output.stderr);
        token.unwrap_or_else(|| panic!("no token in {text:?}; {errors}")).to_owned()
    }

    /// Makes a link that signs the administrator in once, and returns its path.
    #[track_caller]
    pub fn sign_in_link(&self) -> String {
        let output = self.command(&["sign-in-link", "--config"]).arg(self.config()).output();
        let output = output.expect("pika-news runs");
        let text = String::from_utf8_lossy(&output.stdout);
        let path = text.split_whitespace().find_map(|word| word.strip_prefix(&self.url));
        path.unwrap_or_else(|| panic!("no link in {text:?}")).to_owned()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(programs::pika_news());
        command.env_clear().current_dir(self.folder.path());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.folder.path());
        command.args(arguments);
        command
    }
}

impl Drop for TestForge {
    fn drop(&mut self) {
        let log = self.log();
        // First the forge: a lane that is killed before would be tried again.
        self.process = None;
        kill_runs(&self.state());
        if std::thread::panicking() {
            let tail: Vec<&str> = log.lines().rev().take(40).collect();
            eprintln!("the forge's last lines:");
            tail.into_iter().rev().for_each(|line| eprintln!("  {line}"));
        }
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("a bound socket has an address").port()
}
