//! `pika-news` as a client, in a working tree, against a forge that is a process of its own.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use e2e::{TestForge, WorkTree};
use serde_json::Value;
use tempfile::TempDir;

const MANIFEST: &str = "version = 1
[targets.check]
[[targets.check.jobs]]
id = \"first\"
command = 'echo the first job'
[[targets.check.jobs]]
id = \"second\"
needs = [\"first\"]
command = 'for n in $(seq 1 300); do echo line $n; done; test ! -e slow || while [ ! -e $PIKACI_ARTIFACTS/go ]; do sleep 0.1; done; echo over; test ! -e red'
";

/// A person's home, where their tokens are kept.
pub(crate) struct ClientHome(TempDir);

impl ClientHome {
    pub(crate) fn new() -> ClientHome {
        ClientHome(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn set(&self, command: &mut Command) {
        command.env("HOME", self.path()).env("XDG_CONFIG_HOME", self.path().join("config"));
        command.env("GIT_CONFIG_NOSYSTEM", "1");
    }

    /// Signs in with the forge's own token.
    #[track_caller]
    pub(crate) fn log_in(&self, forge: &TestForge) {
        self.log_in_to(forge.url(), forge.token());
    }

    #[track_caller]
    fn log_in_to(&self, url: &str, token: &str) {
        let text = self.feed(&["login", url], &format!("{token}\n"));
        assert!(text.contains("as ada"), "{text}");
    }

    /// Runs a command that reads its standard input; returns what it printed.
    #[track_caller]
    fn feed(&self, arguments: &[&str], input: &str) -> String {
        let mut command = Command::new(e2e::pika_news());
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        self.set(&mut command);
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{arguments:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn command(&self, tree: &WorkTree, arguments: &[&str]) -> Command {
        let mut command = Command::new(e2e::pika_news());
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        command.args(arguments).current_dir(tree.path()).stdin(Stdio::null());
        self.set(&mut command);
        command
    }

    /// Runs a command in a working tree; returns its exit code and what it printed.
    fn run(&self, tree: &WorkTree, arguments: &[&str]) -> (i32, String, String) {
        let Output { status, stdout, stderr } = self.command(tree, arguments).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (status.code().unwrap_or(-1), text(stdout), text(stderr))
    }
}

/// Takes the token out of the remote's address: it is to come from nowhere but the client.
pub(crate) fn without_token(tree: &WorkTree, forge: &TestForge) {
    let url = format!("{}/news/git/sample.git", forge.url());
    tree.git(&["remote", "set-url", "origin", &url]);
}

#[test]
fn a_branch_is_waited_for_explained_and_merged_from_its_working_tree() {
    let forge = TestForge::start();
    let tree = forge.work_tree_with(MANIFEST);
    tree.branch("topic", "main").write("red", "").commit("Go wrong");
    tree.push("topic");
    without_token(&tree, &forge);
    let home = ClientHome::new();
    let (code, _, error) = home.run(&tree, &["branch", "show"]);
    assert!(code == 2 && error.contains("pika-news login"), "{code} {error}");
    home.log_in(&forge);

    let (code, text, _) = home.run(&tree, &["branch", "wait", "--timeout", "2m"]);
    assert!(
        code == 1 && text.contains("job second failed") && text.contains("to see it again"),
        "{code} {text}"
    );
    let (code, text, _) = home.run(&tree, &["branch", "wait", "--json"]);
    let waited: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &waited["end"], &waited["exit_code"]), (1, &Value::from("failed"), &Value::from(1)));
    let (code, text, _) = home.run(&tree, &["why", "--json"]);
    let why: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, why["why"]["job"]["id"].as_str()), (0, Some("second")));
    let (_, text, _) = home.run(&tree, &["logs", "--job", "first"]);
    assert_eq!(text, "the first job\n");
    let (code, _, error) = home.run(&tree, &["branch", "merge"]);
    assert!(code == 1 && error.contains("required"), "{code} {error}");

    // Git's own push, with the token from the client's file.
    tree.git(&["rm", "--quiet", "red"]);
    tree.commit("Go right");
    let (code, _, error) = home.run(&tree, &["branch", "wait", "--timeout", "1m"]);
    assert!(code == 2 && error.contains("push yours"), "{code} {error}");
    let helper = format!("credential.helper=!'{}' git-credential", e2e::pika_news().display());
    let mut push = Command::new("git");
    push.args(["-c", &helper, "push", "--quiet", "origin", "topic"]).current_dir(tree.path());
    home.set(&mut push);
    assert!(push.status().unwrap().success());
    let (code, text, _) = home.run(&tree, &["branch", "wait", "--timeout", "2m"]);
    assert!(code == 0 && text.contains("it can be merged into main"), "{code} {text}");
    let (code, text, _) = home.run(&tree, &["branch", "merge"]);
    assert!(code == 0 && text.starts_with("merged topic into main"), "{code} {text}");
    let (_, text, _) = home.run(&tree, &["branch", "list", "--state", "merged"]);
    assert!(text.lines().nth(1).is_some_and(|line| line.contains("topic")), "{text}");

    // Nothing runs of a manifest that is wrong, and that is what there is to say.
    tree.branch("wrong", "main").write("pikaci.toml", "version = 1\nbogus = 2\n").commit("Mistype");
    let mut push = Command::new("git");
    push.args(["-c", &helper, "push", "--quiet", "origin", "wrong"]).current_dir(tree.path());
    home.set(&mut push);
    assert!(push.status().unwrap().success());
    assert_eq!(home.run(&tree, &["branch", "wait"]).0, 2);
    let (code, text, _) = home.run(&tree, &["why", "--json"]);
    let why: Value = serde_json::from_str(&text).unwrap();
    assert!(code == 0 && why["text"].as_str().is_some_and(|text| text.contains("bogus")), "{code} {text}");

    let (code, _, _) = home.run(&tree, &["logout"]);
    assert_eq!((code, home.run(&tree, &["whoami"]).0), (0, 2));
}

#[test]
fn a_followed_log_and_a_wait_survive_the_forges_death() {
    let mut forge = TestForge::start();
    let tree = forge.work_tree_with(MANIFEST);
    tree.branch("slow", "main").write("slow", "").commit("Take time");
    let before = forge.runs();
    let pushed = tree.push("slow");
    without_token(&tree, &forge);
    let home = ClientHome::new();
    home.log_in(&forge);
    let run = forge.wait_for_log("second", "line 300", &before);
    let log = home.path().join("log");
    let follow = home
        .command(&tree, &["logs", "--follow"])
        .stdout(std::fs::File::create(&log).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let wait = home.command(&tree, &["branch", "wait"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    e2e::eventually("the log is followed", || {
        std::fs::read_to_string(&log).is_ok_and(|text| text.contains("line 300\n")).then_some(())
    });
    let (code, text, _) = home.run(&tree, &["branch", "wait", "--timeout", "1s", "--json"]);
    assert!(code == 4 && text.contains("\"wait_timed_out\""), "{code} {text}");
    forge.kill();
    forge.restart();
    forge.let_go_on(&run, "second");
    let ended = [follow, wait.unwrap()].map(|child| child.wait_with_output().unwrap().status.code());
    assert_eq!(ended, [Some(0), Some(0)]);
    let lines: String = (1..=300).map(|number| format!("line {number}\n")).collect();
    assert_eq!(std::fs::read_to_string(&log).unwrap(), format!("the first job\n{lines}over\n"));
    assert_eq!(forge.wait_for_lane(&pushed, "check").attempts(), 1);

    assert_eq!(home.run(&tree, &["run", "watch"]).0, 0);
    assert_eq!(home.run(&tree, &["run", "rerun"]).0, 0);
    let (_, text, _) = home.run(&tree, &["queue"]);
    assert!(
        text.lines().nth(1).is_some_and(|line| line.contains("slow") && line.contains("check")),
        "{text}"
    );
    assert_eq!(home.run(&tree, &["run", "cancel"]).0, 0);
    assert_eq!(home.run(&tree, &["run", "watch", "--timeout", "1m"]).0, 130);
    assert_eq!(home.run(&tree, &["branch", "wait"]).0, 130);
    forge.kill();
    let (code, _, error) = home.run(&tree, &["whoami"]);
    assert!(code == 3 && error.contains("cannot reach"), "{code} {error}");
}

/// A server that says what it is told to and keeps what it was sent.
struct FakeServer {
    url: String,
    heard: Arc<Mutex<String>>,
}

impl FakeServer {
    fn start(answer: impl Fn(&str) -> String + Send + 'static) -> FakeServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let heard = Arc::new(Mutex::new(String::new()));
        let kept = Arc::clone(&heard);
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let Ok(mut connection) = connection else { return };
                let lines = BufReader::new(connection.try_clone().unwrap()).lines().map_while(Result::ok);
                let request: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
                kept.lock().unwrap().push_str(&format!("{}\n", request.join("\n")));
                let path = request.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
                let _ = connection.write_all(answer(path).as_bytes());
            }
        });
        FakeServer { url, heard }
    }

    fn heard(&self) -> String {
        self.heard.lock().unwrap().clone()
    }
}

fn answer(status: &str, header: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\n{header}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
}

#[test]
fn a_token_goes_to_the_forge_that_issued_it_and_to_nobody_who_asks_for_it() {
    const TOKEN: &str = "pika_0123456789abcdef";
    let thief =
        FakeServer::start(|_| answer("401 Unauthorized", "www-authenticate: Basic realm=\"pika\"", ""));
    let elsewhere = thief.url.clone();
    let forge = FakeServer::start(move |path| match path {
        "/news/api/forge/whoami" => {
            answer("200 OK", "x: y", "{\"user\":\"ada\",\"is_admin\":false,\"scopes\":[\"read\"]}")
        }
        path => answer("302 Found", &format!("location: {elsewhere}{path}"), ""),
    });
    let home = ClientHome::new();
    home.log_in_to(&forge.url, TOKEN);
    assert!(forge.heard().to_lowercase().contains(&format!("authorization: bearer {TOKEN}")));

    // The forge leads elsewhere.
    let tree = WorkTree::new(&format!("{}/news/git/sample.git", forge.url));
    tree.write("a", "1").commit("Begin");
    let (code, _, error) = home.run(&tree, &["branch", "list"]);
    assert!(code == 2 && error.contains("leads elsewhere"), "{code} {error}");
    assert_eq!(thief.heard(), "");
    // Git follows; the helper does not.
    let helper = format!("credential.helper=!'{}' git-credential", e2e::pika_news().display());
    let mut push = Command::new("git");
    push.args(["-c", &helper, "push", "--quiet", "origin", "main"]).current_dir(tree.path());
    push.env("GIT_TERMINAL_PROMPT", "0").stdin(Stdio::null()).stderr(Stdio::null());
    home.set(&mut push);
    assert!(!push.status().unwrap().success());
    let heard = thief.heard();
    assert!(
        heard.contains("/news/git/sample.git/info/refs") && !heard.to_lowercase().contains("authorization"),
        "{heard}"
    );

    // A remote leads elsewhere.
    tree.git(&["remote", "set-url", "origin", &format!("{}/news/git/sample.git", thief.url)]);
    let before = thief.heard();
    let (code, _, error) = home.run(&tree, &["branch", "list"]);
    assert!(code == 2 && error.contains(&format!("not signed in to {}", thief.url)), "{code} {error}");
    assert_eq!(thief.heard(), before);

    let (_, authority) = forge.url.split_once("//").unwrap();
    let asked = |protocol: &str, host: &str| {
        home.feed(&["git-credential", "get"], &format!("protocol={protocol}\nhost={host}\n\n"))
    };
    assert_eq!(asked("http", authority), format!("username=ada\npassword={TOKEN}\n"));
    for (protocol, host) in
        [("https", authority), ("http", "127.0.0.1"), ("http", &format!("{authority}.evil"))]
    {
        assert_eq!(asked(protocol, host), "", "{protocol} {host}");
    }
}
