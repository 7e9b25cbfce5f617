//! Jobs in instances, through the command line: signals, crashes, and who takes up what.

use std::time::{Duration, Instant};

use e2e::{IncusProject, eventually, soon};
use pikaci::{Fault, Outcome, RunStatus};
use rustix::process::Signal;

use crate::manifest::target_text;

const COUNTS: &str = "for i in $(seq 1 40); do echo $i; sleep 0.1; done";

fn counted() -> String {
    (1..=40).map(|number| format!("{number}\n")).collect()
}

#[test]
fn a_run_in_instances_leaves_its_records_and_nothing_else() {
    let world =
        IncusProject::new(&target_text("check", &[("good", "cat pikaci.toml | head -1"), ("bad", "exit 3")]));
    world.pikaci(&["run", "check"]).expect(1);
    let record = world.project.latest();
    assert_eq!((record.status, record.fault), (RunStatus::Failed, Some(Fault::Job)));
    assert_eq!(world.pikaci(&["logs", "latest", "--job", "good"]).output, "version = 1\n");
    assert_eq!(world.instances(), Vec::<String>::new());
    world.pikaci(&["doctor"]).expect(0);
    let images = world.pikaci(&["image", "list", "--json"]).expect(0).json();
    assert_eq!(images[0]["contract"], "1");
    world.pikaci(&["image", "verify"]).expect(0);
    assert_eq!(world.instances(), Vec::<String>::new());
}

#[test]
fn sigterm_cancels_the_job_in_its_instance_and_the_instance_is_gone() {
    let world = IncusProject::new(&target_text(
        "check",
        &[("stuck", "trap '' TERM; echo ready; while :; do sleep 1; done")],
    ));
    let mut running = world.start(&["run", "check"]);
    let run = world.project.wait_for_log("stuck", "ready");
    let start = Instant::now();
    running.signal(Signal::TERM);
    soon("the record says so", Duration::from_secs(5), || {
        (world.project.latest().status != RunStatus::Running).then_some(())
    });
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(running.wait(Duration::from_secs(30)).code(), Some(130));
    let record = world.project.latest();
    assert_eq!((record.outcome, record.fault), (Some(Outcome::Cancelled), Some(Fault::User)));
    assert_eq!(world.pikaci(&["logs", run.as_str()]).output, "ready\n");
    assert_eq!(world.instances(), Vec::<String>::new());
}

#[test]
fn a_run_whose_pikaci_was_killed_is_taken_up_by_the_sweep() {
    let world = IncusProject::new(&target_text("check", &[("counts", COUNTS)]));
    let mut running = world.start(&["run", "check"]);
    let run = world.project.wait_for_log("counts", "3\n");
    running.kill();
    let swept = world.pikaci(&["sweep"]).expect(0);
    assert!(swept.output.contains(&format!("run {run}: taken up")), "{}", swept.output);
    eventually("the run ends", || (world.project.latest().status != RunStatus::Running).then_some(()));
    let record = world.project.latest();
    assert_eq!((record.status, record.jobs[0].attempts.len()), (RunStatus::Passed, 1));
    assert_eq!(world.pikaci(&["logs", run.as_str()]).output, counted());
    eventually("its instance is gone", || world.instances().is_empty().then_some(()));
}

#[test]
fn the_next_run_takes_up_what_was_killed_and_deletes_what_nobody_waits_for() {
    let manifest = format!(
        "{}{}",
        target_text("check", &[("counts", COUNTS)]),
        target_text("other", &[("quick", "true")])
    );
    let world = IncusProject::new(&manifest);
    let mut running = world.start(&["run", "check"]);
    let run = world.project.wait_for_log("counts", "3\n");
    running.kill();
    world.pikaci(&["run", "other"]).expect(0);
    eventually("the first run ends", || {
        let record = pikaci::load_run_record(&world.project.state(), &run).ok()?;
        (record.status == RunStatus::Passed).then_some(())
    });
    assert_eq!(world.pikaci(&["logs", run.as_str()]).output, counted());
    eventually("no instance is left", || world.instances().is_empty().then_some(()));
}

#[test]
fn an_image_that_could_not_be_tried_is_not_verified() {
    let world = IncusProject::new(&target_text("check", &[("quick", "true")]));
    world.incus(&["profile", "device", "remove", "pikaci", "root"]);
    let verified = world.pikaci(&["image", "verify"]).expect(3);
    assert!(verified.output.contains("profile pikaci has no root disk"), "{}", verified.output);
}

#[test]
fn a_certificate_that_serves_one_project_serves_the_next_as_well() {
    let world = IncusProject::new(&target_text("check", &[("quick", "true")]));
    let again = world.pikaci(&["init-incus"]).expect(0);
    assert!(again.output.contains("kept     certificate"), "{}", again.output);
    let other = format!("{}-other", world.name());
    std::fs::write(world.settings(), format!("project = {other:?}\nnetwork = \"a/b\"\n")).unwrap();
    let changed = world.pikaci(&["init-incus"]);
    let undone = world.incus(&["profile", "delete", "pikaci", "--project", &other]);
    world.incus(&["project", "delete", &other]);
    let line = changed.expect(0).output;
    assert!(line.contains("changed  certificate") && line.contains("projects"), "{line}{undone}");
}
