//! What developers do with git, against the real forge: pushes at once, rewritten, orphaned, deleted and broken off.

use std::io::Write as _;
use std::net::TcpStream;
use std::thread;

use e2e::{TestForge, WorkTree, eventually, processes_with_argument, resident_bytes_max};

use crate::manifest;

const LARGE_BYTES: usize = 40 << 20;

/// Bytes that no compression makes smaller.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    std::iter::repeat_with(next).take(bytes).collect()
}

fn passing() -> String {
    manifest::of_jobs(&[("unit", "true")])
}

/// The head of a branch in the forge's repository; `None` when there is no such branch.
fn find_head(tree: &WorkTree, branch: &str) -> Option<String> {
    let listed = tree.git(&["ls-remote", "origin", &format!("refs/heads/{branch}")]);
    listed.split_whitespace().next().map(str::to_owned)
}

#[test]
fn branches_pushed_at_once_are_all_stored_and_all_tested() {
    let forge = TestForge::start();
    let main = forge.work_tree_with(&passing());
    let branches = ["one", "two", "three", "four", "five"];
    let pushes: Vec<_> = thread::scope(|scope| {
        let push = |name: &'static str| {
            let (forge, base) = (&forge, main.head());
            move || {
                let tree = forge.work_tree();
                tree.git(&["fetch", "--quiet", "origin"]);
                tree.branch(name, &base).write(name, name).commit(name);
                (tree.push(name), tree.head())
            }
        };
        let running: Vec<_> = branches.map(|name| scope.spawn(push(name))).into();
        running.into_iter().map(|push| push.join().unwrap()).collect()
    });
    for (name, (pushed, head)) in branches.iter().zip(&pushes) {
        assert_eq!(find_head(&main, name).as_ref(), Some(head));
        assert_eq!(forge.wait_for_lane(pushed, "check").outcome(), "passed", "{name}");
    }
}

#[test]
fn an_orphan_branch_is_told_apart_and_stops_nobody() {
    let forge = TestForge::start();
    let tree = forge.work_tree_with(&passing());
    let base = tree.head();
    tree.git(&["checkout", "--quiet", "--orphan", "lonely"]);
    let head = tree.commit("No parents");
    let lonely = tree.push("lonely");
    tree.branch("topic", &base).write("file", "text").commit("Topic");
    let topic = tree.push("topic");
    assert_eq!(forge.wait_for_lane(&topic, "check").outcome(), "passed");
    assert_eq!(forge.wait_for_lane(&lonely, "check").outcome(), "passed");
    forge.client().get(&forge.branch_page(&lonely)).expect(200);
    let refused = forge.merge(&forge.client(), &lonely, &head);
    assert_eq!(refused.status, 409, "what shares no history is not merged: {}", refused.body);
}

#[test]
fn a_rewritten_branch_is_tested_anew() {
    let forge = TestForge::start();
    let tree = forge.work_tree_with(&passing());
    tree.branch("topic", "main")
        .write("pikaci.toml", manifest::of_jobs(&[("unit", "false")]))
        .commit("Break");
    let first = tree.push("topic");
    assert_eq!(forge.wait_for_lane(&first, "check").outcome(), "failed");
    tree.write("pikaci.toml", passing()).write("note", "mended");
    tree.git(&["add", "--all"]);
    tree.git(&["commit", "--quiet", "--amend", "--message", "Mend"]);
    assert!(!tree.try_push("topic").is_accepted, "a rewritten branch needs force");
    let second = tree.push("+topic");
    assert_eq!(second.branch_id(), first.branch_id());
    eventually("the new head is green", || (forge.lane(&second, "check").state() == "passed").then_some(()));
}

#[test]
fn a_deleted_branch_keeps_its_page_and_can_come_back() {
    let forge = TestForge::start();
    let tree = forge.work_tree_with(&passing());
    tree.branch("topic", "main").write("file", "text").commit("Topic");
    let pushed = tree.push("topic");
    forge.wait_for_lane(&pushed, "check");
    tree.push(":topic");
    assert_eq!(find_head(&tree, "topic"), None);
    eventually("the branch is known to be gone", || {
        (forge.branch(&pushed.branch_id()).state() == "deleted").then_some(())
    });
    forge.client().get(&forge.branch_page(&pushed)).expect(200);
    assert_eq!(tree.push("topic").branch_id(), pushed.branch_id());
    assert!(!tree.try_push(":main").is_accepted, "the default branch can't be deleted");
}

#[test]
fn a_push_over_a_file_path_is_noticed_as_well() {
    let forge = TestForge::start();
    let tree = forge.work_tree_with(&passing());
    tree.git(&["remote", "set-url", "origin", forge.repository().to_str().unwrap()]);
    tree.branch("topic", "main").write("file", "text").commit("Topic");
    let pushed = tree.push("topic");
    assert_eq!(forge.wait_for_lane(&pushed, "check").outcome(), "passed");
}

#[test]
fn a_large_push_does_not_pass_through_the_forges_memory() {
    let mut forge = TestForge::start();
    let tree = forge.work_tree_with(&passing());
    let pid = forge.process().pid();
    let before = resident_bytes_max(pid);
    tree.branch("large", "main").write("noise", noise(LARGE_BYTES)).commit("Large");
    tree.push("large");
    let grown = resident_bytes_max(pid).saturating_sub(before);
    assert!(grown < LARGE_BYTES as u64 / 2, "the forge grew by {grown} bytes");
    let clone = forge.work_tree();
    clone.git(&["fetch", "--quiet", "origin", "large"]);
    let grown = resident_bytes_max(pid).saturating_sub(before);
    assert!(grown < LARGE_BYTES as u64 / 2, "the forge grew by {grown} bytes");
}

#[test]
fn a_forge_that_is_killed_in_the_middle_of_a_push_has_stored_nothing_of_it() {
    let mut forge = TestForge::start();
    let tree = forge.work_tree_with(&passing());
    tree.branch("topic", "main").write("noise", noise(1 << 20)).commit("Topic");
    let stream = send_half_a_push(&forge, &tree);
    let objects = forge.repository().join("objects");
    eventually("git receives objects", || {
        let mut entries = std::fs::read_dir(&objects).unwrap();
        entries
            .any(|entry| entry.unwrap().file_name().to_string_lossy().starts_with("tmp_objdir"))
            .then_some(())
    });
    forge.kill();
    drop(stream);
    let repository = forge.repository().to_str().unwrap().to_owned();
    eventually("git ends with the forge", || processes_with_argument(&repository).is_empty().then_some(()));
    forge.restart();
    assert_eq!(find_head(&tree, "topic"), None);
    tree.git(&["--git-dir", &repository, "fsck", "--strict"]);
    tree.push("topic");
    assert_eq!(find_head(&tree, "topic"), Some(tree.head()));
}

/// Begins a push of `topic` and stops in the middle; the push goes on as long as the stream is open.
fn send_half_a_push(forge: &TestForge, tree: &WorkTree) -> TcpStream {
    tree.git(&["bundle", "create", "--quiet", ".git/bundle", "topic"]);
    let bundle = std::fs::read(tree.path().join(".git/bundle")).unwrap();
    // A bundle is a few lines, an empty line, and a pack (gitformat-bundle).
    let pack = bundle.windows(6).position(|window| window == b"\n\nPACK").unwrap() + 2;
    let command = format!("{} {} refs/heads/topic\0 report-status", "0".repeat(40), tree.head());
    let mut body = format!("{:04x}{command}0000", command.len() + 4).into_bytes();
    body.extend_from_slice(&bundle[pack..pack + (bundle.len() - pack) / 2]);
    let header = format!(
        "POST /news/git/sample.git/git-receive-pack HTTP/1.1\r\nHost: forge\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/x-git-receive-pack-request\r\nContent-Length: {}\r\n\r\n",
        forge.token(),
        bundle.len() * 2
    );
    let mut stream = TcpStream::connect(forge.url().trim_start_matches("http://")).unwrap();
    stream.write_all(header.as_bytes()).unwrap();
    stream.write_all(&body).unwrap();
    stream
}
