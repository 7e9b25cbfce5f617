//! `pika-news demo`: what a newcomer sees first, from the printed link on.

use std::process::Command;

use e2e::{Client, Process, eventually, kill_runs, pika_news};
use pikaci::StateRoot;
use rustix::process::Signal;

/// The first word of the demo's output that begins so.
fn printed(process: &Process, beginning: &str) -> Option<String> {
    let log = process.log();
    log.split_whitespace().find(|word| word.starts_with(beginning)).map(str::to_owned)
}

#[test]
fn the_demo_serves_three_branches_to_whoever_has_its_sign_in_link() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(pika_news());
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    command.arg("demo").arg("--data").arg(folder.path().join("data")).args(["--listen", "127.0.0.1:0"]);
    let mut process = Process::start(&mut command, &folder.path().join("log"));
    eventually("the sample is pushed", || process.log().contains("three branches").then_some(()));

    let address = printed(&process, "http://").unwrap();
    let origin = address.trim_end_matches("/news").to_owned();
    let link = printed(&process, &format!("{origin}/news/sign-in/")).unwrap();
    let link = link.trim_start_matches(&origin);
    let stranger = Client::new(&origin, None);
    // Who only looks at the link, such as a preview of a chat, does not use it up.
    stranger.get(link).expect(200);
    stranger.get(link).expect(200);
    let signed_in = stranger.press(link, &origin);
    let cookie = signed_in.cookie.expect("signing in sets a cookie");
    for attribute in ["HttpOnly", "SameSite="] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    assert_eq!(stranger.press(link, &origin).cookie, None, "the link works once");

    let browser = stranger.with_cookie(&cookie);
    let branches = ["friendlier-greeting", "broken-greeting", "long-story"];
    eventually("one branch is green and one is red", || {
        let list = browser.get("/news/api/forge/repository/sample/branches").expect(200).json();
        let rows = list["rows"].as_array()?.clone();
        let state =
            |name: &str| rows.iter().find(|row| row["name"] == name).map(|row| row["head_state"].clone());
        let [green, red, slow] = branches.map(state);
        (green? == "passed" && red? == "failed" && slow? == "running").then_some(())
    });
    let page = browser.get("/news/sample").expect(200).body;
    for name in branches {
        assert!(page.contains(name), "{name} is not on the page");
    }
    // A page of another origin cannot press buttons for the user.
    assert_eq!(browser.press("/news/sign-out", "http://evil.example").status, 403);
    browser.get("/news/sample").expect(200);

    process.signal(Signal::INT);
    assert!(process.wait(e2e::DEADLINE).success());
    kill_runs(&StateRoot::new(folder.path().join("data/repositories/pikaci-state/sample")));
}
