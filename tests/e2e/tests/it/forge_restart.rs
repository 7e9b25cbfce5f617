//! Crashes and shutdowns in the middle of a lane.

use e2e::{TestForge, TestForgeOptions, eventually, is_alive};
use pikaci::RunId;
use rustix::process::{Pid, Signal, kill_process};

use crate::manifest::{WAITS, of_jobs};

/// The `pikaci` that runs this.
fn pikaci_pid(forge: &TestForge, run: &RunId) -> u32 {
    pikaci::store::find_lock_holder(&forge.state(), run).unwrap().expect("the run is alive").pid
}

fn kill(pid: u32) {
    kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap(), Signal::KILL).unwrap();
}

#[test]
fn a_run_outlives_kill_9_of_the_forge_and_is_adopted_by_the_next_one() {
    let mut forge = TestForge::start();
    let tree = forge.work_tree();
    tree.write("pikaci.toml", of_jobs(&[("unit", WAITS)])).commit("Begin");
    let pushed = tree.push("main:topic");
    let run = forge.wait_for_log("unit", "ready", &[]);
    let pid = pikaci_pid(&forge, &run);
    forge.kill();
    assert!(is_alive(pid));
    forge.restart();
    assert_eq!(forge.lane(&pushed, "check").state(), "running");

    forge.let_go_on(&run, "unit");
    let lane = forge.wait_for_lane(&pushed, "check");
    assert_eq!((lane.state(), lane.attempts()), ("passed", 1));
    assert_eq!(lane.run_id(), run.as_str());
    assert_eq!(forge.runs(), std::slice::from_ref(&run));
    assert_eq!(forge.guest_log(run.as_str(), "unit"), "ready\nwent\n");
}

#[test]
fn a_run_that_ended_while_the_forge_was_gone_keeps_its_verdict() {
    let mut forge = TestForge::start();
    let tree = forge.work_tree();
    tree.write("pikaci.toml", of_jobs(&[("unit", WAITS)])).commit("Begin");
    let pushed = tree.push("main:topic");
    let run = forge.wait_for_log("unit", "ready", &[]);
    let pid = pikaci_pid(&forge, &run);
    forge.kill();
    forge.let_go_on(&run, "unit");
    eventually("pikaci ends", || (!is_alive(pid)).then_some(()));
    forge.restart();
    let lane = forge.wait_for_lane(&pushed, "check");
    assert_eq!((lane.state(), lane.attempts()), ("passed", 1));
    assert_eq!(forge.runs(), [run]);
}

#[test]
fn kill_9_of_pikaci_is_the_machinerys_fault_and_the_lane_is_tried_again() {
    let forge = TestForge::start();
    let tree = forge.work_tree();
    tree.write("pikaci.toml", of_jobs(&[("unit", WAITS)])).commit("Begin");
    let pushed = tree.push("main:topic");
    let first = forge.wait_for_log("unit", "ready", &[]);
    kill(pikaci_pid(&forge, &first));
    let second = forge.wait_for_log("unit", "ready", std::slice::from_ref(&first));
    forge.let_go_on(&second, "unit");
    let lane = forge.wait_for_attempt(&pushed, "check", 2);
    assert_eq!((lane.state(), lane.run_id()), ("passed", second.as_str()));
    let lost = forge.client().get(&format!("/news/api/forge/pikaci/run/{first}")).expect(200).json();
    assert_eq!((&lost["status"], &lost["fault"]), (&"failed".into(), &"infra".into()));
}

#[test]
fn kill_9_of_both_is_found_at_the_next_start_and_tried_again() {
    let mut forge = TestForge::start();
    let tree = forge.work_tree();
    tree.write("pikaci.toml", of_jobs(&[("unit", WAITS)])).commit("Begin");
    let pushed = tree.push("main:topic");
    let first = forge.wait_for_log("unit", "ready", &[]);
    let pid = pikaci_pid(&forge, &first);
    forge.kill();
    kill(pid);
    forge.restart();
    let second = forge.wait_for_log("unit", "ready", std::slice::from_ref(&first));
    forge.let_go_on(&second, "unit");
    assert_eq!(forge.wait_for_attempt(&pushed, "check", 2).state(), "passed");
    let stored = pikaci::store::load_stored_run_record(&forge.state(), &first).unwrap();
    assert!(stored.finished_at.is_some(), "the lost run's record was finished");
}

#[test]
fn sigterm_waits_for_a_lane_that_is_about_to_end() {
    let mut forge = TestForge::start_with(&TestForgeOptions { drain_s: 30, ..TestForgeOptions::default() });
    let tree = forge.work_tree();
    tree.write("pikaci.toml", of_jobs(&[("unit", WAITS)])).commit("Begin");
    let pushed = tree.push("main:topic");
    let run = forge.wait_for_log("unit", "ready", &[]);
    forge.process().signal(Signal::TERM);
    forge.let_go_on(&run, "unit");
    assert!(forge.process().wait(e2e::DEADLINE).success());
    forge.restart();
    // Nothing is left to do for the new one: the verdict was stored before the old one ended.
    assert_eq!(forge.lane(&pushed, "check").state(), "passed");
}

#[test]
fn sigterm_leaves_a_long_lane_running_for_the_next_start() {
    let mut forge = TestForge::start_with(&TestForgeOptions { drain_s: 0, ..TestForgeOptions::default() });
    let tree = forge.work_tree();
    tree.write("pikaci.toml", of_jobs(&[("unit", WAITS)])).commit("Begin");
    let pushed = tree.push("main:topic");
    let run = forge.wait_for_log("unit", "ready", &[]);
    let pid = pikaci_pid(&forge, &run);
    assert!(forge.terminate().success());
    assert!(is_alive(pid));
    forge.restart();
    forge.let_go_on(&run, "unit");
    let lane = forge.wait_for_lane(&pushed, "check");
    assert_eq!((lane.state(), lane.attempts()), ("passed", 1));
}

#[test]
fn what_was_pushed_while_the_forge_was_gone_is_picked_up() {
    let mut forge = TestForge::start();
    let tree = forge.work_tree_with(&of_jobs(&[("unit", "true")]));
    forge.kill();
    tree.branch("topic", "main").write("note", "one\n");
    let head = tree.commit("Go on");
    tree.git(&["push", "--quiet", forge.repository().to_str().unwrap(), "topic"]);
    forge.restart();
    let run = eventually("the head is tested", || {
        let records =
            forge.runs().into_iter().filter_map(|run| pikaci::load_run_record(&forge.state(), &run).ok());
        records
            .into_iter()
            .find(|record| record.git_head.as_deref() == Some(&head) && record.finished_at.is_some())
    });
    assert_eq!(run.outcome, Some(pikaci::Outcome::Passed));
}
