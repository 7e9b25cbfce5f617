//! The state root against real folders: what readers see while a writer works, stops, or was never honest.

use std::fs;
use std::os::unix::fs::symlink;

use jiff::Timestamp;
use tempfile::TempDir;

use super::*;
use crate::event::Event;
use crate::record::{ExecutorKind, Fault, JobRecord, JobStatus, LogKind, Outcome, RunStatus};
use crate::verdict::run_verdict;

fn now() -> Timestamp {
    "2026-03-01T14:22:33Z".parse().unwrap()
}

fn run_id() -> RunId {
    RunId::parse("20260301T142233Z-7f3a9c10").unwrap()
}

fn job_id(text: &str) -> JobId {
    JobId::parse(text).unwrap()
}

fn state() -> (TempDir, StateRoot) {
    let folder = TempDir::new().unwrap();
    let state = StateRoot::new(folder.path().join("state"));
    (folder, state)
}

fn started() -> Event {
    Event::RunStarted {
        run_id: run_id(),
        created_at: now(),
        rerun_of: None,
        target_id: None,
        target_description: None,
        source_root: "/source".to_owned(),
        filters: Vec::new(),
    }
}

fn job(id: &str, status: JobStatus) -> JobRecord {
    let outcome = match status {
        JobStatus::Passed => Some(Outcome::Passed),
        JobStatus::Failed => Some(Outcome::Failed),
        _ => None,
    };
    JobRecord {
        id: job_id(id),
        description: String::new(),
        fault: (status == JobStatus::Failed).then_some(Fault::Job),
        status,
        outcome,
        executor: ExecutorKind::HostLocal,
        plan_node_id: None,
        timeout_secs: 60,
        host_log_path: host_log_path(&job_id(id)),
        guest_log_path: guest_log_path(&job_id(id)),
        started_at: now(),
        finished_at: None,
        exit_code: None,
        message: None,
        pre_execution_prepare_duration_ms: None,
        remote_linux_vm_execution: None,
        attempts: Vec::new(),
    }
}

fn start_job(writer: &mut RunWriter, id: &str) {
    writer.append(&Event::JobStarted { run_id: run_id(), job: job(id, JobStatus::Running) }).unwrap();
}

fn finish(writer: &mut RunWriter) {
    let mut run = writer.record().clone();
    (run.status, run.outcome, run.fault) = {
        let (status, outcome, fault) = run_verdict(&run.jobs);
        (status, Some(outcome), fault)
    };
    run.finished_at = Some(now());
    writer.append(&Event::RunFinished { run }).unwrap();
}

fn write_guest_log(state: &StateRoot, id: &str, content: &[u8]) {
    let path = state.guest_log(&run_id(), &job_id(id));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

#[test]
fn a_finished_run_is_read_as_it_was_written() {
    let (_folder, state) = state();
    let mut writer = RunWriter::create(&state, &started()).unwrap();
    start_job(&mut writer, "unit");
    writer.append(&Event::JobFinished { run_id: run_id(), job: job("unit", JobStatus::Passed) }).unwrap();
    finish(&mut writer);
    let written = writer.record().clone();
    drop(writer);
    let read = load_run_record(&state, &run_id()).unwrap();
    assert_eq!(read, written);
    assert_eq!((read.status, read.jobs.len()), (RunStatus::Passed, 1));
    assert_eq!(list_runs(&state).unwrap(), [run_id()]);
}

#[test]
fn a_run_is_running_while_its_lock_is_held_and_interrupted_when_it_is_free() {
    let (_folder, state) = state();
    let mut writer = RunWriter::create(&state, &started()).unwrap();
    start_job(&mut writer, "unit");
    assert_eq!(load_run_record(&state, &run_id()).unwrap().status, RunStatus::Running);
    assert_eq!(find_lock_holder(&state, &run_id()).unwrap().unwrap().pid, std::process::id());
    drop(writer);
    let read = load_run_record(&state, &run_id()).unwrap();
    assert_eq!((read.status, read.fault), (RunStatus::Failed, Some(Fault::Infra)));
    assert_eq!(read.jobs[0].fault, Some(Fault::Infra));
    assert_eq!(load_stored_run_record(&state, &run_id()).unwrap().status, RunStatus::Running);
}

#[test]
fn a_second_writer_is_refused_and_told_who_writes() {
    let (_folder, state) = state();
    let writer = RunWriter::create(&state, &started()).unwrap();
    assert!(matches!(RunWriter::create(&state, &started()), Err(StoreError::RunExists { .. })));
    match RunWriter::reopen(&state, &run_id(), now()) {
        Err(StoreError::Locked { holder, .. }) => assert_eq!(holder.pid, std::process::id()),
        other => panic!("expected a refusal, got {other:?}"),
    }
    drop(writer);
    assert!(RunWriter::reopen(&state, &run_id(), now()).is_ok());
}

#[test]
fn a_run_is_taken_up_from_its_events_even_when_a_write_was_torn() {
    let (_folder, state) = state();
    let mut writer = RunWriter::create(&state, &started()).unwrap();
    start_job(&mut writer, "unit");
    drop(writer);
    let events = state.run_dir(&run_id()).join("events.jsonl");
    let mut content = fs::read(&events).unwrap();
    content.extend_from_slice(b"{\"event\":\"job_fin");
    fs::write(&events, content).unwrap();
    fs::write(state.run_dir(&run_id()).join("run.json"), b"{\"run_i").unwrap();

    assert_eq!(load_run_record(&state, &run_id()).unwrap().jobs.len(), 1);
    let mut writer = RunWriter::reopen(&state, &run_id(), now()).unwrap();
    writer.append(&Event::JobFinished { run_id: run_id(), job: job("unit", JobStatus::Failed) }).unwrap();
    finish(&mut writer);
    drop(writer);
    let read = load_run_record(&state, &run_id()).unwrap();
    assert_eq!((&read.status, &read.fault), (&RunStatus::Failed, &Some(Fault::Job)));
    fs::remove_file(state.run_dir(&run_id()).join("run.json")).unwrap();
    assert_eq!(load_run_record(&state, &run_id()).unwrap(), read);
}

#[test]
fn one_unreadable_run_does_not_break_a_listing() {
    let (_folder, state) = state();
    drop(RunWriter::create(&state, &started()).unwrap());
    let broken = RunId::parse("20260301T142234Z-00000000").unwrap();
    fs::create_dir_all(state.run_dir(&broken)).unwrap();
    fs::write(state.run_dir(&broken).join("run.json"), "not json").unwrap();
    let listed: Vec<(RunId, bool)> =
        list_run_records(&state).unwrap().map(|(run, record)| (run, record.is_ok())).collect();
    assert_eq!(listed, [(broken, false), (run_id(), true)]);
}

#[test]
fn fields_and_words_of_a_newer_version_are_tolerated() {
    let (_folder, state) = state();
    fs::create_dir_all(state.run_dir(&run_id())).unwrap();
    let text = r#"{"run_id":"20260301T142233Z-7f3a9c10","status":"failed","outcome":"evicted","created_at":
        "2026-03-01T14:22:33Z","mood":"fine","jobs":[{"id":"unit","executor":"balloon","started_at":"2026-03-01T14:22:33Z"}]}"#;
    fs::write(state.run_dir(&run_id()).join("run.json"), text).unwrap();
    let read = load_run_record(&state, &run_id()).unwrap();
    assert_eq!(read.outcome, Some(Outcome::Unknown("evicted".to_owned())));
    assert_eq!(read.jobs[0].executor, ExecutorKind::Unknown("balloon".to_owned()));
}

#[test]
fn a_run_of_a_newer_format_is_refused_by_name() {
    let (_folder, state) = state();
    fs::create_dir_all(state.run_dir(&run_id())).unwrap();
    let text =
        r#"{"schema_version":99,"run_id":"20260301T142233Z-7f3a9c10","created_at":"2026-03-01T14:22:33Z"}"#;
    fs::write(state.run_dir(&run_id()).join("run.json"), text).unwrap();
    assert!(matches!(load_run_record(&state, &run_id()), Err(StoreError::TooNew { found: 99, .. })));
}

#[test]
fn a_forged_record_reads_nothing_outside_its_run() {
    let (folder, state) = state();
    let secret = folder.path().join("secret");
    fs::write(&secret, "secret").unwrap();
    let artifacts = state.artifacts_dir(&run_id(), &job_id("links"));
    fs::create_dir_all(&artifacts).unwrap();
    symlink(&secret, artifacts.join("guest.log")).unwrap();
    symlink(folder.path(), state.run_dir(&run_id()).join("out")).unwrap();
    let mut writer = RunWriter::create(&StateRoot::new(folder.path().join("forged")), &started()).unwrap();
    for (id, path) in [
        ("absolute", secret.to_str().unwrap().to_owned()),
        ("parent", "../../../secret".to_owned()),
        ("folder-link", "out/secret".to_owned()),
        ("other-run", format!("/x/runs/{}/../../../secret", run_id())),
        ("links", guest_log_path(&job_id("links"))),
    ] {
        let mut job = job(id, JobStatus::Failed);
        job.guest_log_path = path;
        writer.append(&Event::JobStarted { run_id: run_id(), job }).unwrap();
    }
    let forged = serde_json::to_vec(writer.record()).unwrap();
    fs::write(state.run_dir(&run_id()).join("run.json"), forged).unwrap();
    for id in ["absolute", "parent", "folder-link", "other-run", "links"] {
        let logs = load_logs(&state, &run_id(), Some(&job_id(id)), LogKind::Both).unwrap();
        assert_eq!(logs.guest, None, "{id}");
    }
}

#[test]
fn a_record_that_names_another_run_is_refused() {
    let (_folder, state) = state();
    let other = RunId::parse("20260301T142234Z-00000000").unwrap();
    drop(RunWriter::create(&state, &started()).unwrap());
    fs::rename(state.run_dir(&run_id()), state.run_dir(&other)).unwrap();
    assert!(matches!(load_run_record(&state, &other), Err(StoreError::Malformed { .. })));
}

#[test]
fn a_moved_state_root_is_still_read() {
    let (folder, state) = state();
    let mut writer = RunWriter::create(&state, &started()).unwrap();
    let mut moved = job("unit", JobStatus::Passed);
    moved.guest_log_path = format!("/elsewhere/runs/{}/jobs/unit/artifacts/guest.log", run_id());
    writer.append(&Event::JobFinished { run_id: run_id(), job: moved }).unwrap();
    write_guest_log(&state, "unit", b"hello\n");
    drop(writer);
    let elsewhere = StateRoot::new(folder.path().join("elsewhere"));
    fs::rename(state.path(), elsewhere.path()).unwrap();
    let logs = load_logs(&elsewhere, &run_id(), None, LogKind::Guest).unwrap();
    assert_eq!(logs.guest.as_deref(), Some("hello\n"));
}

#[test]
fn a_missing_side_is_absent_and_a_broken_byte_is_shown_as_one() {
    let (_folder, state) = state();
    let mut writer = RunWriter::create(&state, &started()).unwrap();
    start_job(&mut writer, "unit");
    write_guest_log(&state, "unit", b"a\xffb");
    let logs = load_logs(&state, &run_id(), None, LogKind::Both).unwrap();
    assert_eq!((logs.host, logs.guest.as_deref()), (None, Some("a\u{fffd}b")));
    let metadata = load_logs_metadata(&state, &run_id(), None).unwrap();
    assert_eq!((metadata.jobs[0].host_log_exists, metadata.jobs[0].guest_log_bytes), (false, 3));
    let range = read_log_range(&state, &run_id(), &job_id("unit"), LogSide::Guest, 1, 1).unwrap().unwrap();
    assert_eq!((range.bytes, range.total_bytes), (vec![0xff], 3));
    let beyond = read_log_range(&state, &run_id(), &job_id("unit"), LogSide::Guest, 99, 1).unwrap().unwrap();
    assert_eq!((beyond.bytes, beyond.offset), (vec![], 3));
}

#[test]
fn an_earlier_attempt_keeps_its_log_when_the_next_one_starts() {
    let (_folder, state) = state();
    let mut writer = RunWriter::create(&state, &started()).unwrap();
    start_job(&mut writer, "unit");
    write_guest_log(&state, "unit", b"first");
    writer.archive_attempt(&job_id("unit"), 1).unwrap();
    write_guest_log(&state, "unit", b"second");
    let read = |attempt| {
        let mut file =
            open_log(&state, &run_id(), &job_id("unit"), LogSide::Guest, attempt).unwrap().unwrap();
        std::io::read_to_string(&mut file).unwrap()
    };
    assert_eq!((read(Some(1)), read(None)), ("first".to_owned(), "second".to_owned()));
}

#[test]
fn prepared_outputs_are_read_when_the_record_names_them() {
    let (_folder, state) = state();
    let mut writer = RunWriter::create(&state, &started()).unwrap();
    assert_eq!(load_prepared_outputs_record(&state, &run_id()).unwrap(), None);
    let prepared_outputs_path = writer.write_prepared_outputs(&Default::default()).unwrap();
    writer.append(&Event::PreparedOutputsWritten { run_id: run_id(), prepared_outputs_path }).unwrap();
    assert!(load_prepared_outputs_record(&state, &run_id()).unwrap().is_some());
    fs::write(state.run_dir(&run_id()).join("prepared-outputs.json"), "broken").unwrap();
    assert!(load_prepared_outputs_record(&state, &run_id()).is_err());
    assert_eq!(load_run_bundle(&state, &run_id()).unwrap().prepared_outputs, None);
}
