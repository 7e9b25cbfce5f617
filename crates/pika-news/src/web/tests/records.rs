//! Which records of runs are kept to be sent again.

use pikaci::{JobStatus, StateRoot};

use super::fixture::{run_id, write_pikaci_run_fixture};
use crate::web::records::Records;
use crate::web::runs::Found;

fn written() -> (tempfile::TempDir, Found) {
    let folder = tempfile::tempdir().unwrap();
    let state = StateRoot::new(folder.path());
    write_pikaci_run_fixture(&state, b"", &JobStatus::Passed);
    (folder, Found { run: run_id(), state, repository: "sample".to_owned() })
}

/// Replaces the stored record as its writer does.
fn replace(found: &Found, change: impl FnOnce(&mut serde_json::Value)) {
    let path = found.state.run_dir(&found.run).join("run.json");
    let mut record = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut record);
    let new = path.with_extension("new");
    std::fs::write(&new, record.to_string()).unwrap();
    std::fs::rename(&new, &path).unwrap();
}

#[test]
fn a_final_record_is_kept_until_it_is_replaced_or_removed() {
    let (_folder, found) = written();
    let records = Records::new();
    assert_eq!(records.find(&found), None);
    let first = records.load(&found).unwrap();
    assert_eq!(records.find(&found).unwrap(), first);
    replace(&found, |record| record["target_description"] = "another".into());
    assert_eq!(records.find(&found), None);
    let second = records.load(&found).unwrap();
    assert!(second != first && records.find(&found).unwrap() == second);
    std::fs::remove_dir_all(found.state.run_dir(&found.run)).unwrap();
    assert_eq!(records.find(&found), None);
}

#[test]
fn the_record_of_a_run_that_goes_on_is_read_every_time() {
    let (_folder, found) = written();
    replace(&found, |record| record["status"] = "running".into());
    let records = Records::new();
    // Nobody holds its lock: it is shown as interrupted, and may be taken up again.
    let shown: serde_json::Value = serde_json::from_slice(&records.load(&found).unwrap()).unwrap();
    assert_eq!(shown["status"], "failed");
    assert_eq!(records.find(&found), None);
}
