//! One forge is the mirror of another, over HTTP with a password and over SSH with a key.

use std::fs;
use std::path::Path;
use std::process::Command;

use e2e::{TestForge, TestForgeOptions};
use serde_json::{Value, json};

use crate::manifest::of_jobs;

const SYNC: &str = "/news/api/v1/repositories/sample/mirror/sync";

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn references(repository: &Path) -> String {
    output(Command::new("git").arg("-C").arg(repository).args(["for-each-ref", "refs/heads", "refs/tags"]))
}

/// Keeps a mirror by these words of the configuration, and says what came of it.
#[track_caller]
fn is_kept_the_same(elsewhere: &TestForge, words: &str) {
    let after = format!("[repositories.mirror]\n{words}");
    let forge = TestForge::start_with(&TestForgeOptions { after, ..TestForgeOptions::default() });
    let tree = forge.work_tree_with(&of_jobs(&[("unit", "true")]));
    tree.write("note", words).commit("Say how");
    tree.git(&["tag", "v1"]);
    tree.push("HEAD:topic");
    tree.push("v1");
    let done: Value = forge.client().post(SYNC, &json!({})).expect(200).json();
    assert_eq!(done["status"], "succeeded", "{done}");
    assert_eq!(references(&elsewhere.repository()), references(&forge.repository()));
    assert!(references(&forge.repository()).contains("refs/tags/v1"));
}

#[test]
fn a_mirror_is_kept_with_a_password() {
    let elsewhere = TestForge::start();
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    fs::write(&password, format!("{}\n", elsewhere.token())).unwrap();
    let url = format!("{}/news/git/sample.git", elsewhere.url());
    is_kept_the_same(&elsewhere, &format!("url = {url:?}\npassword_file = {password:?}\n"));
}

#[test]
fn a_mirror_is_kept_with_a_key_for_a_host_that_is_known() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let more = format!("[ssh]\nlisten = \"127.0.0.1:{port}\"\n");
    let elsewhere = TestForge::start_with(&TestForgeOptions { more, ..TestForgeOptions::default() });
    let folder = tempfile::tempdir().unwrap();
    // A path is one word, whatever is in it.
    let key = folder.path().join("the mirror's key");
    output(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key));
    let line = fs::read_to_string(folder.path().join("the mirror's key.pub")).unwrap();
    elsewhere.client().post("/news/api/forge/ssh-keys", &json!({ "public_key": line })).expect_success();
    let known_hosts = folder.path().join("known hosts");
    let found =
        output(Command::new("ssh-keyscan").args(["-t", "ed25519", "-p", &port.to_string(), "127.0.0.1"]));
    fs::write(&known_hosts, found).unwrap();
    let words = format!(
        "url = \"ssh://git@127.0.0.1:{port}/sample.git\"\nssh_key = {key:?}\nknown_hosts = {known_hosts:?}\n"
    );
    is_kept_the_same(&elsewhere, &words);

    // A host whose key is another one is given nothing.
    fs::write(&known_hosts, format!("[127.0.0.1]:{port} {line}")).unwrap();
    let after = format!("[repositories.mirror]\n{words}");
    let forge = TestForge::start_with(&TestForgeOptions { after, ..TestForgeOptions::default() });
    let refused: Value = forge.client().post(SYNC, &json!({})).expect(200).json();
    assert_eq!(refused["status"], "failed", "{refused}");
    assert!(refused["message"].as_str().unwrap().contains("Host key verification failed"), "{refused}");
}
