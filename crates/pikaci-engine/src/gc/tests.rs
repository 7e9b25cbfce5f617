//! What is collected, and what never is.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use pikaci::{Event, RunWriter};

use super::*;
use crate::exam::Fixture;
use crate::executor::sample_shell_job;
use crate::executor::scripted::ScriptedExecutor;

fn digest(number: u8) -> Digest {
    Digest::from_bytes([number; 32])
}

fn run_id(number: u32) -> RunId {
    RunId::new("2026-03-01T14:22:33Z".parse().unwrap(), number)
}

/// Runs newest first as (number, live, snapshot, bytes); snapshots as (number, files).
fn inventory(runs: &[(u32, bool, Option<u8>, u64)], snapshots: &[(u8, &[(u64, u64)])]) -> Inventory {
    let runs = runs.iter().map(|(number, is_live, snapshot, bytes)| RunEntry {
        run: run_id(*number),
        is_live: *is_live,
        snapshot: snapshot.map(digest),
        created_at: Some(Timestamp::from_second(i64::from(*number)).unwrap()),
        bytes: *bytes,
        logs: *bytes / 10,
        artifacts: *bytes / 2,
    });
    let snapshots = snapshots.iter().map(|(number, files)| SnapshotEntry {
        digest: digest(*number),
        files: files.iter().copied().collect::<BTreeMap<_, _>>(),
    });
    Inventory { runs: runs.collect(), snapshots: snapshots.collect(), leftovers: Vec::new() }
}

fn planned(inventory: &Inventory, bytes_max: u64, runs_min: usize) -> Vec<String> {
    let removals = plan(inventory, &Budget { bytes_max, ..Budget::keeping(runs_min) });
    lines(&removals)
}

fn lines(removals: &[Removal]) -> Vec<String> {
    removals
        .iter()
        .map(|removal| format!("{} ({}), {} bytes", removal.what, removal.reason, removal.bytes))
        .collect()
}

#[test]
fn within_the_budget_only_what_no_run_needs_is_removed() {
    let inventory =
        inventory(&[(2, false, Some(2), 10)], &[(3, &[(30, 5)]), (2, &[(20, 5)]), (1, &[(20, 5), (10, 7)])]);
    // Snapshot 3 is the newest: the next one links to it. Snapshot 1 shares a file with 2.
    assert_eq!(
        planned(&inventory, 1000, 1),
        ["snapshot 010101010101 (no run that is kept needs it), 7 bytes"]
    );
}

#[test]
fn over_the_budget_the_oldest_runs_go_with_what_only_they_needed() {
    let runs =
        [(4, false, Some(4), 10), (3, false, Some(3), 10), (2, false, Some(2), 10), (1, false, Some(1), 10)];
    let snapshots: [(u8, &[(u64, u64)]); 4] =
        [(4, &[(1, 100)]), (3, &[(2, 100)]), (2, &[(3, 100)]), (1, &[(4, 100)])];
    let plan = planned(&inventory(&runs, &snapshots), 250, 1);
    let expected = [
        format!("run {} (over the budget, and the oldest), 10 bytes", run_id(1)),
        "snapshot 010101010101 (no run that is kept needs it), 100 bytes".to_owned(),
        format!("run {} (over the budget, and the oldest), 10 bytes", run_id(2)),
        "snapshot 020202020202 (no run that is kept needs it), 100 bytes".to_owned(),
    ];
    assert_eq!(plan, expected);
}

#[test]
fn the_newest_runs_and_live_ones_stay_whatever_they_weigh() {
    let runs = [(3, false, Some(1), 100), (2, true, Some(1), 100), (1, false, Some(1), 100)];
    let plan = planned(&inventory(&runs, &[(1, &[(1, 100)])]), 0, 1);
    assert_eq!(plan, [format!("run {} (over the budget, and the oldest), 100 bytes", run_id(1))]);
}

#[test]
fn logs_artifacts_snapshots_and_age_have_bounds_of_their_own_and_records_outlive_what_they_tell_of() {
    let runs = [
        (4, false, Some(4), 100),
        (3, true, Some(3), 100),
        (2, false, Some(2), 100),
        (1, false, Some(1), 100),
    ];
    let snapshots: [(u8, &[(u64, u64)]); 4] =
        [(4, &[(1, 100)]), (3, &[(2, 100)]), (2, &[(3, 100)]), (1, &[(4, 100)])];
    let inventory = inventory(&runs, &snapshots);
    let of = |budget: Budget| lines(&plan(&inventory, &budget));
    assert_eq!(
        of(Budget { artifact_bytes_max: 150, ..Budget::keeping(1) }),
        [format!("artifacts of run {} (over the budget, and the oldest), 50 bytes", run_id(1))]
    );
    assert_eq!(
        of(Budget { log_bytes_max: 0, ..Budget::keeping(1) }),
        [1, 2].map(|run| format!("logs of run {} (over the budget, and the oldest), 10 bytes", run_id(run)))
    );
    assert_eq!(
        of(Budget { snapshot_bytes_max: 300, ..Budget::keeping(1) }),
        [
            format!("run {} (over the budget, and the oldest), 100 bytes", run_id(1)),
            "snapshot 010101010101 (no run that is kept needs it), 100 bytes".to_owned()
        ]
    );
    assert_eq!(
        of(Budget { not_before: Some(Timestamp::from_second(9).unwrap()), ..Budget::keeping(1) }),
        [
            format!("run {} (older than what is kept), 100 bytes", run_id(1)),
            format!("run {} (older than what is kept), 100 bytes", run_id(2)),
            "snapshot 020202020202 (no run that is kept needs it), 100 bytes".to_owned(),
            "snapshot 010101010101 (no run that is kept needs it), 100 bytes".to_owned()
        ]
    );
    // What artifacts were freed counts for the whole: no run has to go.
    let both = Budget { artifact_bytes_max: 100, bytes_max: 700, ..Budget::keeping(1) };
    assert_eq!(of(both).len(), 2);
}

#[test]
fn a_run_without_its_artifacts_and_long_logs_says_so_and_nothing_beside_it_is_touched() {
    let fixture = Fixture::new();
    let (record, _) = fixture.run(
        fixture.request(vec![sample_shell_job("unit", "true")]),
        Arc::new(ScriptedExecutor::default()),
        |_| false,
    );
    let (run, job) = (&record.run_id, &record.jobs[0].id);
    let folder = fixture.state.artifacts_dir(run, job);
    let outside = fixture.root().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("file"), "theirs").unwrap();
    std::fs::create_dir_all(folder.join("out")).unwrap();
    std::fs::write(folder.join("out/file"), vec![b'x'; 100_000]).unwrap();
    std::os::unix::fs::symlink(&outside, folder.join("link")).unwrap();
    std::fs::write(fixture.state.guest_log(run, job), vec![b'y'; 100_000]).unwrap();
    let budget = Budget { artifact_bytes_max: 0, log_bytes_max: 0, ..Budget::keeping(0) };
    let collected = collect(&fixture.state, &budget, false).unwrap();
    assert_eq!(collected.removed.len(), 2, "{collected:?}");
    let log = std::fs::read_to_string(fixture.state.guest_log(run, job)).unwrap();
    assert!(log.contains("this log was removed"), "{log}");
    assert!(!folder.join("out").exists() && !folder.join("link").is_symlink());
    assert_eq!(std::fs::read_to_string(outside.join("file")).unwrap(), "theirs");
    assert!(pikaci::store::load_run_record(&fixture.state, run).is_ok());
    // Once is enough.
    assert_eq!(collect(&fixture.state, &budget, false).unwrap().removed, []);
}

#[test]
fn while_a_run_takes_its_snapshot_no_snapshot_is_removed() {
    let runs = [(3, true, None, 1)];
    assert_eq!(planned(&inventory(&runs, &[(2, &[(1, 9)]), (1, &[(2, 9)])]), 0, 0), Vec::<String>::new());
}

#[test]
fn a_collected_state_root_can_be_used_and_a_live_run_is_untouched() {
    let fixture = Fixture::new();
    let jobs = || vec![sample_shell_job("unit", "true")];
    for number in 0..3 {
        std::fs::write(fixture.root().join("file"), format!("content {number}\n")).unwrap();
        fixture.run(fixture.request(jobs()), Arc::new(ScriptedExecutor::default()), |_| false);
    }
    let live = run_id(7);
    let started = Event::RunStarted {
        run_id: live.clone(),
        created_at: "2026-03-01T14:22:33Z".parse().unwrap(),
        rerun_of: None,
        target_id: None,
        target_description: None,
        source_root: String::new(),
        filters: Vec::new(),
    };
    let writer = RunWriter::create(&fixture.state, &started).unwrap();
    let budget = Budget { bytes_max: 0, ..Budget::keeping(1) };
    let dry = collect(&fixture.state, &budget, true).unwrap();
    assert_eq!(dry.removed.len(), collect(&fixture.state, &budget, false).unwrap().removed.len());
    assert!(fixture.state.run_dir(&live).exists());
    drop(writer);
    crate::recover::sweep(&fixture.state).unwrap();
    let nothing = Budget { bytes_max: 0, ..Budget::keeping(0) };
    let collected = collect(&fixture.state, &nothing, false).unwrap();
    assert!(collected.spared.is_empty(), "{:?}", collected.spared);
    let snapshots = || {
        let names = std::fs::read_dir(fixture.state.snapshots_dir()).unwrap();
        names.filter(|entry| entry.as_ref().unwrap().path().is_dir()).count()
    };
    // The newest snapshot, which the next one links to, and the cache.
    assert_eq!(snapshots(), 2);
    let (record, _) = fixture.run(fixture.request(jobs()), Arc::new(ScriptedExecutor::default()), |_| false);
    assert_eq!(record.status, pikaci::RunStatus::Passed);
}

#[test]
fn what_killed_processes_left_is_removed_when_it_is_old_and_not_before() {
    let fixture = Fixture::new();
    let jobs = vec![sample_shell_job("unit", "true")];
    fixture.run(fixture.request(jobs), Arc::new(ScriptedExecutor::default()), |_| false);
    let snapshots = fixture.state.snapshots_dir();
    let (tree, list) = (snapshots.join(".building-1-0"), list_path(&snapshots, &digest(9)));
    std::fs::create_dir(&tree).unwrap();
    std::fs::write(tree.join("file"), "half").unwrap();
    std::fs::write(&list, "of a folder that never got its name").unwrap();
    let budget = Budget::keeping(1);
    assert_eq!(collect(&fixture.state, &budget, false).unwrap().removed, []);
    let old = std::time::SystemTime::now() - LEFTOVER_AGE * 2;
    for path in [&tree, &list] {
        std::fs::File::open(path).unwrap().set_modified(old).unwrap();
    }
    let collected = collect(&fixture.state, &budget, false).unwrap();
    assert!(collected.removed.iter().all(|removal| removal.reason == Reason::HalfMade));
    assert_eq!((collected.removed.len(), tree.exists(), list.exists()), (2, false, false));
}
