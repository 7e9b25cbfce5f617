//! The configuration, read again while the forge serves, and checked before.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use e2e::{TestForge, TestForgeOptions, eventually};
use serde_json::Value;

use crate::manifest::of_jobs;

/// What `/readyz` says of the configuration; it is never a reason to send the forge no work.
fn config_problem(forge: &TestForge) -> String {
    let ready: Value = forge.stranger().get("/readyz").expect(200).json();
    let checks = ready["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["name"] == "configuration").unwrap();
    check["problem"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_configuration_that_is_read_again_serves_more_repositories_and_a_broken_one_changes_nothing() {
    let mut forge = TestForge::start_with(&TestForgeOptions { slots: 1, ..TestForgeOptions::default() });
    let tree = forge.work_tree_with(&of_jobs(&[("unit", "true")]));
    let first = fs::read_to_string(forge.config()).unwrap();
    forge.stranger().get("/news/sample").expect(303);
    let mode = fs::metadata(forge.data()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "other users of the machine read nothing");

    let more = first.replace("slots = 1", "slots = 3").replace(
        "name = \"sample\"",
        "name = \"sample\"\nvisibility = \"public\"\n[[repositories]]\nname = \"second\"",
    );
    fs::write(forge.config(), &more).unwrap();
    forge.hang_up();
    let client = forge.client();
    eventually("the second repository is served", || {
        (client.get("/news/second").status == 200).then_some(())
    });
    forge.stranger().get("/news/sample").expect(200);
    let figures = client.get("/metrics").expect(200).body;
    assert!(figures.contains("pika_news_lane_slots 3"), "{figures}");
    assert_eq!(config_problem(&forge), "");
    let remote = tree.git(&["remote", "get-url", "origin"]).trim().replace("sample.git", "second.git");
    tree.git(&["remote", "add", "second", &remote]);
    tree.git(&["push", "second", "HEAD:other"]);
    let page = "/news/api/forge/repository/second/branches";
    assert!(client.get(page).expect(200).body.contains("\"other\""));

    fs::write(forge.config(), more.replace("\"second\"", "\"se/cond\"")).unwrap();
    forge.hang_up();
    eventually("the mistake is told", || config_problem(&forge).contains("not taken").then_some(()));
    assert!(forge.log().contains("pika-news.toml:"), "{}", forge.log());
    client.get("/news/second").expect(200);

    fs::write(forge.config(), first.replace("[ci]", "[metrics]\nlisten = \"127.0.0.1:1\"\n[ci]")).unwrap();
    forge.hang_up();
    eventually("what waits is told", || config_problem(&forge).contains("[metrics]").then_some(()));
    client.get("/news/second").expect(404);
    forge.stranger().get("/news/sample").expect(303);
    assert!(tree.try_push("HEAD:another").is_accepted);
}

#[test]
fn a_configuration_that_can_not_be_served_is_told_whole() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("forge.toml");
    let long = "d".repeat(120);
    let text = format!(
        "data = {long:?}\nlisten = \"127.0.0.1:7800\"\n[metrics]\nlisten = \"127.0.0.1:7800\"\n[ci]\npikaci = \"/nonexistent/pikaci\"\n[secrets]\nkey_file = \"none\"\n[[repositories]]\nname = \"a\"\n[repositories.mirror]\nurl = \"https://git.example.org/a.git\"\nusername = \"u\"\npassword_file = \"gone\"\n"
    );
    std::fs::write(&file, text).unwrap();
    let output = std::process::Command::new(e2e::pika_news())
        .args(["check-config", "--config"])
        .arg(&file)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    for word in
        ["hook's socket", "/nonexistent/pikaci", "[secrets]", "`password_file`", "both 127.0.0.1:7800"]
    {
        assert!(told.contains(word), "{word}: {told}");
    }
    assert!(!folder.path().join(long).exists());
}
