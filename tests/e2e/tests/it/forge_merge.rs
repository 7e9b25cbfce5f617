//! Merging: the head that was looked at, green, or not at all.

use e2e::{TestForge, eventually};

use crate::manifest::{WAITS, of_jobs};

#[test]
fn a_green_branch_is_merged_and_shows_it() {
    let forge = TestForge::start();
    let tree = forge.work_tree_with(&of_jobs(&[("unit", "true")]));
    tree.branch("topic", "main").write("note", "one\n");
    let head = tree.commit("Note something");
    let pushed = tree.push("topic");
    assert_eq!(forge.wait_for_lane(&pushed, "check").state(), "passed");

    forge.merge(&forge.client(), &pushed, &head).expect_success();
    let branch = forge.branch(&pushed.branch_id());
    assert_eq!(branch.state(), "merged");
    let page = forge.client().get(&forge.branch_page(&pushed)).expect(200).body;
    assert!(page.to_lowercase().contains("merged"));
    tree.git(&["fetch", "--quiet", "origin", "main"]);
    assert_eq!(tree.git(&["show", "FETCH_HEAD:note"]), "one");
    let parents = tree.git(&["show", "--no-patch", "--format=%P", "FETCH_HEAD"]);
    assert_eq!(
        parents.split(' ').nth(1),
        Some(head.as_str()),
        "the second parent is the head that was tested"
    );
}

#[test]
fn a_head_that_nobody_looked_at_is_not_merged() {
    let forge = TestForge::start();
    let tree = forge.work_tree_with(&of_jobs(&[("unit", "true")]));
    tree.branch("topic", "main").write("note", "one\n");
    let seen = tree.commit("One");
    forge.wait_for_lane(&tree.push("topic"), "check");
    tree.write("note", "two\n").commit("Two");
    let pushed = tree.push("topic");
    eventually("the new head is green", || (forge.head_state(&pushed) == "passed").then_some(()));

    forge.merge(&forge.client(), &pushed, &seen).expect(409);
    assert_eq!(forge.branch(&pushed.branch_id()).state(), "open");
    tree.git(&["fetch", "--quiet", "origin", "main"]);
    assert_eq!(tree.git(&["ls-tree", "--name-only", "FETCH_HEAD"]), "pikaci.toml");
}

#[test]
fn a_merge_needs_the_required_lanes_green() {
    let forge = TestForge::start();
    let tree = forge.work_tree_with(&of_jobs(&[("unit", "test ! -e broken")]));
    tree.branch("red", "main").write("broken", "\n");
    let red_head = tree.commit("Break");
    let red = tree.push("red");
    assert_eq!(forge.wait_for_lane(&red, "check").state(), "failed");
    forge.merge(&forge.client(), &red, &red_head).expect_refusal();
    assert_eq!(forge.branch(&red.branch_id()).state(), "open");

    // Dropping the required target from the branch's own manifest helps nobody.
    tree.write(
        "pikaci.toml",
        "version = 1\n[targets.other]\n[[targets.other.jobs]]\nid = \"unit\"\ncommand = \"true\"\n",
    );
    let sly_head = tree.commit("Drop the target");
    let sly = tree.push("red");
    assert_eq!(forge.wait_for_lane(&sly, "other").state(), "passed");
    assert_eq!(forge.head_state(&sly), "failed");
    forge.merge(&forge.client(), &sly, &sly_head).expect_refusal();
}

#[test]
fn a_merge_waits_for_lanes_that_still_run() {
    let forge = TestForge::start();
    let tree = forge.work_tree();
    tree.write("pikaci.toml", of_jobs(&[("unit", "true")])).commit("Begin");
    forge.wait_for_lane(&tree.push("main"), "check");
    tree.branch("topic", "main").write("pikaci.toml", of_jobs(&[("unit", WAITS)]));
    let head = tree.commit("Wait");
    let pushed = tree.push("topic");
    let run = forge.wait_for_log("unit", "ready", &[]);
    forge.merge(&forge.client(), &pushed, &head).expect_refusal();
    forge.let_go_on(&run, "unit");
    assert_eq!(forge.wait_for_lane(&pushed, "check").state(), "passed");
    forge.merge(&forge.client(), &pushed, &head).expect_success();
}

#[test]
fn a_conflict_is_named_and_changes_nothing() {
    let forge = TestForge::start();
    let tree = forge.work_tree_with(&of_jobs(&[("unit", "true")]));
    let base = tree.head();
    tree.branch("topic", "main").write("note", "mine\n");
    let head = tree.commit("Mine");
    let pushed = tree.push("topic");
    assert_eq!(forge.wait_for_lane(&pushed, "check").state(), "passed");
    tree.git(&["switch", "--quiet", "main"]);
    tree.write("note", "theirs\n");
    let theirs = tree.commit("Theirs");
    assert_ne!(theirs, base);
    tree.push("main");

    let refused = forge.merge(&forge.client(), &pushed, &head).expect_refusal();
    assert!(refused.body.contains("note"), "the conflict names its path: {}", refused.body);
    tree.git(&["fetch", "--quiet", "origin", "main"]);
    assert_eq!(tree.git(&["rev-parse", "FETCH_HEAD"]), theirs);
}
