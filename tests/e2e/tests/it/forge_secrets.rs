//! Secrets from the operator's standard input to the job that may have them, and to nobody else.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use e2e::{TestForge, TestForgeOptions};

const CONTENT: &str = "hunter22-of-the-forge";

/// The default branch's word about who gets what, and a job that shows what it got.
fn manifest(branches: &str) -> String {
    format!(
        "version = 1
[secrets.DEPLOY]
branches = {branches}
targets = [\"check\"]
[targets.check]
[[targets.check.jobs]]
id = \"unit\"
secrets = [\"DEPLOY\"]
command = 'if [ -n \"$PIKACI_SECRETS\" ]; then echo given; cat $PIKACI_SECRETS/DEPLOY; else echo nothing; fi'
"
    )
}

fn secret(forge: &TestForge, arguments: &[&str], input: &str) -> String {
    let mut child = Command::new(e2e::pika_news())
        .arg("secret")
        .args(arguments)
        .arg("--config")
        .arg(forge.config())
        .args(["--repository", "sample"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Every file below a folder that holds a text.
fn holders(folder: &Path, text: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(holders(&path, text));
        } else if fs::read(&path).is_ok_and(|bytes| bytes.windows(text.len()).any(|part| part == text)) {
            found.push(path.display().to_string());
        }
    }
    found
}

#[test]
fn a_secret_goes_to_lanes_that_the_default_branch_names_and_to_no_other() {
    let keys = tempfile::tempdir().unwrap();
    let key = keys.path().join("key");
    let made = Command::new(e2e::pika_news()).args(["secret", "key", "--out"]).arg(&key).status().unwrap();
    assert!(made.success());
    let more = format!("[secrets]\nkey_file = {key:?}\n");
    let forge = TestForge::start_with(&TestForgeOptions { more, ..TestForgeOptions::default() });
    secret(&forge, &["set", "DEPLOY"], CONTENT);
    assert!(secret(&forge, &["list"], "").starts_with("DEPLOY  set by admin at 20"));
    let listed = forge.client().get("/news/api/forge/repository/sample/secrets").expect(200);
    assert!(listed.body.contains("DEPLOY") && !listed.body.contains(CONTENT), "{}", listed.body);

    let tree = forge.work_tree();
    tree.write("pikaci.toml", manifest("[\"main\", \"release/*\"]")).commit("Begin");
    let log = |pushed| forge.guest_log(forge.wait_for_lane(&pushed, "check").run_id(), "unit");
    assert_eq!(log(tree.push("main")), "given\n***");
    assert_eq!(log(tree.push("HEAD:release/1")), "given\n***");
    // A branch that gives itself what the default branch does not give it.
    tree.write("pikaci.toml", manifest("[\"**\"]")).commit("Take it");
    assert_eq!(log(tree.push("HEAD:topic")), "nothing\n");
    // Whoever pushed past the forge is nobody.
    let bare = forge.repository().display().to_string();
    tree.write("more", "").commit("More");
    tree.git(&["push", "--quiet", &bare, "HEAD:refs/heads/release/2"]);
    let branches = forge.client().get("/news/api/forge/repository/sample/branches").expect(200).json();
    let found = branches["rows"].as_array().unwrap().iter().find(|row| row["name"] == "release/2").unwrap();
    let id = found["id"].to_string();
    let lane = e2e::eventually("the lane of the push over a path", || {
        forge.branch(&id).find_lane("check").filter(|lane| !matches!(lane.state(), "queued" | "running"))
    });
    assert_eq!(forge.guest_log(lane.run_id(), "unit"), "nothing\n");

    assert_eq!(holders(forge.data().as_path(), CONTENT.as_bytes()), [""; 0], "it is stored nowhere in clear");
    secret(&forge, &["rm", "DEPLOY"], "");
    tree.write("again", "").commit("Again");
    assert_eq!(log(tree.push("HEAD:release/1")), "nothing\n");
}
