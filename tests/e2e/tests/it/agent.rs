//! A coding agent's round over the Model Context Protocol: a client from PyPI, `pika-news mcp`, and a real forge.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use e2e::{TestForge, WorkTree};
use serde_json::{Value, json};

use crate::client_commands::{ClientHome, without_token};

/// Where `cargo xtask test` puts what is written in Python; else it is looked for on the path.
const PROGRAMS_VARIABLE: &str = "PIKA_TEST_PYTHON_PROGRAMS";
const CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/agent/client.py");
/// What the server promises of each answer.
const ANSWER_BYTES_MAX: usize = 16 << 10;

const MANIFEST: &str = "version = 1
[targets.check]
[[targets.check.jobs]]
id = \"unit\"
command = 'cat answer; test \"$(tail -n 1 answer)\" = 42 || { echo \"FAILED: the answer is not 42\"; exit 1; }'
";

/// An agent: the client and the server behind it.
struct Agent {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Agent {
    /// Starts in a working tree, with a `git` on the path that writes down what it is called with.
    fn start(tree: &WorkTree, home: &ClientHome, calls: &Path) -> Agent {
        let programs = std::env::var_os(PROGRAMS_VARIABLE).map(PathBuf::from).unwrap_or_default();
        let real = std::env::var("PATH").unwrap();
        let wrapper = home.path().join("bin/git");
        fs::create_dir_all(wrapper.parent().unwrap()).unwrap();
        let script = format!(
            "#!/bin/sh\n{{ echo \"$@\"; env; }} >> '{}'\nPATH='{real}' exec git \"$@\"\n",
            calls.display()
        );
        fs::write(&wrapper, script).unwrap();
        fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
        let mut command = Command::new(programs.join("python3"));
        command.arg(CLIENT).arg(e2e::pika_news()).arg("mcp").current_dir(tree.path());
        command.env_clear().env("PATH", format!("{}:{real}", wrapper.parent().unwrap().display()));
        home.set(&mut command);
        let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child =
            started.unwrap_or_else(|error| panic!("python3: {error}; `cargo xtask test` makes it"));
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Agent { child, input, output }
    }

    fn send(&mut self, call: &Value) -> (String, bool) {
        writeln!(self.input, "{call}").unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        let answer: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        let text = answer["text"].as_str().unwrap().to_owned();
        (text, answer["is_error"].as_bool().unwrap())
    }

    #[track_caller]
    fn call(&mut self, tool: &str, arguments: &Value) -> String {
        let (text, is_error) = self.send(&json!({ "tool": tool, "arguments": arguments }));
        assert!(!is_error, "{tool}: {text}");
        assert!(text.len() <= ANSWER_BYTES_MAX, "{tool} answers with {} bytes", text.len());
        text
    }

    #[track_caller]
    fn refused(&mut self, tool: &str, arguments: &Value) -> String {
        let (text, is_error) = self.send(&json!({ "tool": tool, "arguments": arguments }));
        assert!(is_error && text.len() <= ANSWER_BYTES_MAX, "{tool}: {text}");
        text
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn an_agent_pushes_reads_why_it_is_red_mends_it_and_merges() {
    let forge = TestForge::start();
    let tree = forge.work_tree_with(MANIFEST);
    without_token(&tree, &forge);
    let home = ClientHome::new();
    let calls = home.path().join("git-calls");
    let mut agent = Agent::start(&tree, &home, &calls);

    let (tools, _) = agent.send(&json!({ "tool": null }));
    let tools: Value = serde_json::from_str(&tools).unwrap();
    for name in ["push_branch", "wait_for_branch", "failure_summary", "read_log", "list_branches", "branch"]
        .into_iter()
        .chain(["merge_branch", "rerun", "cancel", "queue"])
    {
        assert!(tools[name]["description"].as_str().is_some_and(|text| text.len() > 30), "{name}: {tools}");
    }

    let text = agent.refused("list_branches", &json!({}));
    assert!(text.contains(&format!("pika-news login {}", forge.url())), "{text}");
    home.log_in(&forge);

    tree.branch("answer", "main");
    let noise = "a line that is of no use\n".repeat(4000);
    tree.write("answer", format!("{noise}41\n")).commit("Answer");
    let text = agent.call("push_branch", &json!({}));
    assert!(text.contains("to branch answer of sample") && text.contains("/news/sample/branch/"), "{text}");
    let text = agent.call("wait_for_branch", &json!({ "timeout_s": 120 }));
    assert!(text.starts_with("red: failed"), "{text}");
    let summary = agent.call("failure_summary", &json!({ "branch": "answer" }));
    for shown in [&text, &summary] {
        assert!(shown.contains("FAILED: the answer is not 42"), "{shown}");
        assert!(shown.contains("pikaci run check/unit --rev "), "{shown}");
    }
    let end = agent.call("read_log", &json!({ "bytes": 60 }));
    assert!(end.contains("41\nFAILED: the answer is not 42") && end.contains("end so far"), "{end}");
    let begin = agent.call("read_log", &json!({ "offset": 25, "bytes": 25 }));
    assert!(begin.contains("bytes 25-50 of 1000") && begin.contains("read on with offset 50"), "{begin}");
    assert!(begin.ends_with("a line that is of no use\n"), "{begin}");
    let whole = agent.call("read_log", &json!({ "offset": 0, "bytes": 10_000_000 }));
    assert!(whole.contains("read on with offset 14336"), "{}", &whole[..200]);
    let red = tree.head();
    let text = agent.refused("merge_branch", &json!({ "branch": "answer", "expected_head": red }));
    assert!(text.contains("required"), "{text}");

    tree.write("answer", "42\n").commit("Answer rightly");
    let text = agent.call("push_branch", &json!({ "branch": "answer" }));
    assert!(text.contains("pushed"), "{text}");
    let text = agent.call("wait_for_branch", &json!({ "timeout_s": 120 }));
    assert!(text.starts_with("green: passed") && text.contains("it can be merged"), "{text}");
    let text = agent.refused("merge_branch", &json!({ "branch": "answer", "expected_head": red }));
    assert!(text.contains("look at it again"), "{text}");
    let text = agent.call("merge_branch", &json!({ "branch": "answer", "expected_head": "HEAD" }));
    assert!(text.starts_with("merged answer into main"), "{text}");
    let text = agent.call("list_branches", &json!({ "state": "merged" }));
    assert!(text.contains("answer (number "), "{text}");

    // A rewritten branch is replaced only by who has seen its head.
    tree.branch("rewritten", "main");
    tree.commit("One way");
    let one_way = tree.head();
    agent.call("push_branch", &json!({}));
    tree.git(&["reset", "--quiet", "--hard", "main"]);
    tree.commit("Another way");
    let text = agent.refused("push_branch", &json!({}));
    assert!(text.contains("replace_head"), "{text}");
    agent.call("push_branch", &json!({ "replace_head": one_way }));

    let calls = fs::read_to_string(&calls).unwrap();
    assert!(calls.contains("push --porcelain") && calls.contains(&tree.head()), "{calls}");
    assert!(!calls.contains(forge.token()), "the token is in git's arguments or environment");
}
