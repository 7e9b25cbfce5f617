//! From a push to a verdict, on the branch's page and in the API.

use e2e::{TestForge, eventually};
use serde_json::{Value, json};

use crate::manifest::{of_jobs, of_target, target_text};

#[test]
fn a_push_becomes_a_green_lane_and_shows_on_its_page() {
    let forge = TestForge::start();
    let tree = forge.work_tree();
    tree.write("pikaci.toml", of_jobs(&[("unit", "echo hello from the lane; cat note")]));
    tree.write("note", "as it was pushed\n").commit("Begin");
    let pushed = tree.push("main:topic");
    assert!(pushed.output.contains("check"), "the push names what was queued: {}", pushed.output);

    let lane = forge.wait_for_lane(&pushed, "check");
    assert_eq!(lane.state(), "passed");
    let run = lane.run_id();
    let record = forge.client().get(&format!("/news/api/forge/pikaci/run/{run}")).expect(200).json();
    assert_eq!((&record["status"], &record["git_head"]), (&"passed".into(), &tree.head().into()));
    assert_eq!(forge.guest_log(run, "unit"), "hello from the lane\nas it was pushed\n");

    let page = forge.client().get(&forge.branch_page(&pushed)).expect(200).body;
    for word in ["topic", "check", "Begin", "note"] {
        assert!(page.contains(word), "{word:?} is not on the branch's page");
    }
    assert!(forge.client().get("/news/sample").expect(200).body.contains("topic"));
}

#[test]
fn a_failing_job_makes_the_head_red_and_the_page_says_why() {
    let forge = TestForge::start();
    let tree = forge.work_tree();
    tree.write("pikaci.toml", of_jobs(&[("unit", "echo 'error: two is not three'; exit 5")])).commit("Begin");
    let pushed = tree.push("main:topic");
    let lane = forge.wait_for_lane(&pushed, "check");
    assert_eq!((lane.state(), lane.outcome(), lane.fault()), ("failed", "failed", "job"));
    assert_eq!(forge.record(&lane)["jobs"][0]["exit_code"], 5);
    assert_eq!(lane.attempts(), 1, "only the machinery's faults are tried again");
    assert_eq!(forge.head_state(&pushed), "failed");
    let page = forge.client().get(&forge.lane_run_page(&lane)).expect(200).body;
    assert!(page.contains("two is not three"), "the failing line is on the lane's page");
}

#[test]
fn a_job_that_is_too_slow_is_timed_out() {
    let forge = TestForge::start();
    let tree = forge.work_tree();
    let manifest = of_jobs(&[("slow", "echo begun; sleep 600")]) + "timeout = \"1s\"\n";
    tree.write("pikaci.toml", manifest).commit("Begin");
    let pushed = tree.push("main:topic");
    let lane = forge.wait_for_lane(&pushed, "check");
    assert_eq!((lane.outcome(), lane.fault()), ("timed_out", "job"));
    assert_eq!(forge.head_state(&pushed), "failed");
}

#[test]
fn a_broken_manifest_is_an_error_of_its_branch_alone() {
    let forge = TestForge::start();
    let tree = forge.work_tree_with(&of_jobs(&[("unit", "true")]));
    tree.branch("broken", "main")
        .write("pikaci.toml", "version = 1\n[targets.check]\ntitel = \"x\"\n")
        .commit("Break");
    let broken = tree.push("broken");
    assert!(broken.output.contains("3:1"), "the push names line and column: {}", broken.output);
    tree.branch("sound", "main").write("note", "sound\n").commit("Go on");
    let sound = tree.push("sound");

    assert_eq!(forge.wait_for_lane(&sound, "check").state(), "passed");
    assert_eq!(forge.head_state(&broken), "manifest_error");
    assert!(forge.client().get(&forge.branch_page(&broken)).expect(200).body.contains("titel"));
    // Mended, it goes on as if nothing had been.
    tree.git(&["switch", "--quiet", "broken"]);
    tree.write("pikaci.toml", of_jobs(&[("unit", "true")])).commit("Mend");
    let mended = tree.push("broken");
    assert_eq!(mended.branch_id(), broken.branch_id());
    assert_eq!(forge.wait_for_lane(&mended, "check").state(), "passed");
}

#[test]
fn a_push_back_to_a_tested_head_shows_its_result_without_a_new_run() {
    let forge = TestForge::start();
    let tree = forge.work_tree_with(&of_jobs(&[("unit", "test ! -e broken")]));
    tree.branch("topic", "main").write("note", "one\n");
    let good = tree.commit("Good");
    let pushed = tree.push("topic");
    let tested = forge.wait_for_lane(&pushed, "check");
    assert_eq!(tested.state(), "passed");

    tree.write("broken", "\n").commit("Bad");
    let bad = tree.push("topic");
    eventually("the new head is red", || (forge.head_state(&bad) == "failed").then_some(()));
    let runs = forge.runs().len();
    tree.git(&["reset", "--quiet", "--hard", &good]);
    let back = tree.push("+topic");
    eventually("the old head is green again", || (forge.head_state(&back) == "passed").then_some(()));
    assert_eq!(forge.lane(&back, "check").run_id(), tested.run_id());
    assert_eq!(forge.runs().len(), runs);
}

#[test]
fn rerunning_a_green_lane_cannot_turn_a_red_head_green() {
    let forge = TestForge::start();
    let tree = forge.work_tree();
    let manifest = of_target("good", &[("unit", "true")]) + &target_text("bad", &[("unit", "false")]);
    tree.write("pikaci.toml", manifest).commit("Begin");
    let pushed = tree.push("main:topic");
    let good = forge.wait_for_lane(&pushed, "good");
    assert_eq!(forge.wait_for_lane(&pushed, "bad").state(), "failed");
    assert_eq!(forge.head_state(&pushed), "failed");

    forge.rerun(&good, false);
    let again = forge.wait_for_attempt(&pushed, "good", 2);
    assert_eq!(again.state(), "passed");
    assert_eq!(forge.head_state(&pushed), "failed");
}

#[test]
fn rerun_failed_runs_only_what_did_not_pass() {
    let forge = TestForge::start();
    let tree = forge.work_tree();
    tree.write("pikaci.toml", of_jobs(&[("good", "true"), ("bad", "false")])).commit("Begin");
    let pushed = tree.push("main:topic");
    let first = forge.wait_for_lane(&pushed, "check");
    forge.rerun(&first, true);
    let second = forge.wait_for_attempt(&pushed, "check", 2);
    let record = forge.record(&second);
    assert_eq!(record["rerun_of"], first.run_id());
    let jobs: Vec<&str> =
        record["jobs"].as_array().unwrap().iter().filter_map(|job| job["id"].as_str()).collect();
    assert_eq!(jobs, ["bad"]);
    // The first attempt's record and log are as they were.
    let record =
        forge.client().get(&format!("/news/api/forge/pikaci/run/{}", first.run_id())).expect(200).json();
    assert_eq!(record["jobs"].as_array().unwrap().len(), 2);
}

#[test]
fn a_lane_without_failed_jobs_or_without_its_tree_is_never_an_infrastructure_fault() {
    let forge = TestForge::start();
    let tree = forge.work_tree();
    tree.write("pikaci.toml", of_jobs(&[("good", "true")])).commit("Begin");
    let pushed = tree.push("main:topic");
    let first = forge.wait_for_lane(&pushed, "check");
    let path = format!("/news/api/forge/lane-run/{}/rerun", first.lane_run());
    let refused = forge.client().post(&path, &json!({ "failed": true })).expect(409).json();
    assert!(refused["error"].as_str().unwrap().contains("every job of this run passed"), "{refused}");
    // What a backup leaves out, and retention removes.
    std::fs::remove_dir_all(forge.state().snapshots_dir()).unwrap();
    forge.rerun(&first, false);
    let second = forge.wait_for_attempt(&pushed, "check", 2);
    assert_eq!((second.state(), forge.record(&second)["rerun_of"].clone()), ("passed", Value::Null));
    forge.client().post(&path, &json!({ "failed": true })).expect(409);
}

#[test]
fn a_target_that_no_changed_path_concerns_is_not_run() {
    let forge = TestForge::start();
    let source = "[targets.source]\npaths = [\"src/**\"]\n[[targets.source.jobs]]\nid = \"unit\"\ncommand = \"true\"\n";
    let tree = forge.work_tree_with(&(of_jobs(&[("unit", "true")]) + source));
    tree.branch("words", "main").write("README.md", "words\n").commit("Write");
    let words = tree.push("words");
    assert_eq!(forge.wait_for_lane(&words, "check").state(), "passed");
    assert_eq!(forge.lane(&words, "source").state(), "not_concerned");
    tree.branch("code", "main").write("src/lib.rs", "\n").commit("Code");
    let code = tree.push("code");
    assert_eq!(forge.wait_for_lane(&code, "source").state(), "passed");
}
