//! Explanations of runs that really are on disk.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;

use insta::assert_snapshot;
use jiff::Timestamp;
use tempfile::TempDir;

use super::*;
use crate::event::Event;
use crate::job::InstanceType;
use crate::record::{AttemptRecord, ExecutorKind, PlanRecord, SCHEMA_VERSION};
use crate::store::{RunWriter, guest_log_path, host_log_path};
use crate::verdict::run_verdict;

const HEAD: &str = "0123456789abcdef0123456789abcdef01234567";

/// A finished run whose jobs ended as the test says.
struct Fixture {
    _folder: TempDir,
    state: StateRoot,
    record: RunRecord,
}

fn now() -> Timestamp {
    "2026-03-01T14:22:33Z".parse().unwrap()
}

fn run_id() -> RunId {
    RunId::parse("20260301T142233Z-7f3a9c10").unwrap()
}

fn job_id(text: &str) -> JobId {
    JobId::parse(text).unwrap()
}

fn ended(id: &str, outcome: Outcome, fault: Option<Fault>) -> JobRecord {
    let status = match outcome {
        Outcome::Passed => JobStatus::Passed,
        Outcome::Skipped => JobStatus::Skipped,
        _ => JobStatus::Failed,
    };
    JobRecord {
        id: job_id(id),
        description: format!("cargo {id}"),
        exit_code: (fault == Some(Fault::Job)).then_some(101),
        status,
        outcome: Some(outcome),
        fault,
        executor: ExecutorKind::HostLocal,
        plan_node_id: None,
        timeout_secs: 1800,
        host_log_path: host_log_path(&job_id(id)),
        guest_log_path: guest_log_path(&job_id(id)),
        started_at: now(),
        finished_at: Some(now()),
        message: None,
        pre_execution_prepare_duration_ms: None,
        remote_linux_vm_execution: None,
        attempts: Vec::new(),
    }
}

fn spec(id: &str, junit: &[&str]) -> JobSpec {
    JobSpec {
        id: job_id(id),
        description: format!("cargo {id}"),
        target_id: TargetId::parse("pre-merge").unwrap(),
        command: JobCommand::Shell(format!("cargo {id} --workspace\necho done")),
        timeout_secs: 1800,
        run_as_root: false,
        network: false,
        env: std::collections::BTreeMap::new(),
        needs: Vec::new(),
        artifacts: Vec::new(),
        junit: junit.iter().map(|pattern| (*pattern).to_owned()).collect(),
        prepared: Vec::new(),
        secrets: Vec::new(),
        image: "pikaci/dev".to_owned(),
        instance: InstanceType::VirtualMachine,
        cpus: 2,
        memory_bytes: 1 << 30,
        disk_bytes: None,
        output: None,
    }
}

impl Fixture {
    fn new(jobs: &[JobRecord]) -> Fixture {
        Fixture::planned(jobs, None)
    }

    fn planned(jobs: &[JobRecord], specs: Option<Vec<JobSpec>>) -> Fixture {
        let folder = TempDir::new().unwrap();
        let state = StateRoot::new(folder.path().join("state"));
        let started = Event::RunStarted {
            run_id: run_id(),
            created_at: now(),
            rerun_of: None,
            target_id: Some(TargetId::parse("pre-merge").unwrap()),
            target_description: None,
            source_root: "/source".to_owned(),
            filters: Vec::new(),
        };
        let mut writer = RunWriter::create(&state, &started).unwrap();
        if let Some(jobs) = specs {
            let target_id = Some(TargetId::parse("pre-merge").unwrap());
            writer
                .write_plan(&PlanRecord {
                    schema_version: SCHEMA_VERSION,
                    run_id: run_id(),
                    target_id,
                    jobs,
                    secrets: Vec::new(),
                })
                .unwrap();
        }
        for job in jobs {
            writer.append(&Event::JobFinished { run_id: run_id(), job: job.clone() }).unwrap();
        }
        let mut record = writer.record().clone();
        (record.status, record.outcome, record.fault) = {
            let (status, outcome, fault) = run_verdict(jobs);
            (status, Some(outcome), fault)
        };
        record.git_head = Some(HEAD.to_owned());
        record.git_dirty = Some(false);
        let fixture = Fixture { _folder: folder, state, record };
        writer.append(&Event::RunFinished { run: fixture.record.clone() }).unwrap();
        for job in &fixture.record.jobs {
            fs::create_dir_all(fixture.state.artifacts_dir(&run_id(), &job.id)).unwrap();
        }
        fixture
    }

    fn guest_log(self, job: &str, text: impl AsRef<[u8]>) -> Fixture {
        fs::write(self.state.guest_log(&run_id(), &job_id(job)), text).unwrap();
        self
    }

    fn artifact(self, job: &str, path: &str, text: impl AsRef<[u8]>) -> Fixture {
        let path = self.state.artifacts_dir(&run_id(), &job_id(job)).join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn explain(&self) -> Why {
        explain(&self.state, &run_id()).unwrap()
    }
}

const CARGO_LOG: &str = "\u{1b}[1m\u{1b}[32m   Compiling\u{1b}[0m pikaci v0.1.0\n\
running 3 tests\n\
test id::tests::error_messages_are_short ... ok\n\
test id::tests::fails ... FAILED\n\
\n\
failures:\n\
\n\
---- id::tests::fails stdout ----\n\
thread 'id::tests::fails' panicked at src/id.rs:7:9:\n\
assertion `left == right` failed\n\
  left: 1\n right: 2\n\
\n\
test result: FAILED. 2 passed; 1 failed\n\
\n\
error: test failed, to rerun pass `--lib`\n\n";

#[test]
fn a_failed_job_is_explained_by_the_end_of_its_log_and_how_to_run_it_again() {
    let jobs = vec![
        ended("format", Outcome::Passed, None),
        ended("test", Outcome::Failed, Some(Fault::Job)),
        ended("docs", Outcome::Failed, Some(Fault::Job)),
        ended("soak", Outcome::Skipped, None),
    ];
    let fixture = Fixture::planned(&jobs, Some(vec![spec("test", &[])])).guest_log("test", CARGO_LOG);
    assert_snapshot!(fixture.explain(), @r#"
    run 20260301T142233Z-7f3a9c10 failed, target pre-merge

    job test failed, the fault of the tested code, exit code 101
      cargo test --workspace …

    jobs/test/artifacts/guest.log (372 bytes)
          ┆
       56 │ test id::tests::error_messages_are_short ... ok
      104 │ test id::tests::fails ... FAILED
      137 │ 
      138 │ failures:
      148 │ 
      149 │ ---- id::tests::fails stdout ----
      183 │ thread 'id::tests::fails' panicked at src/id.rs:7:9:
      236 │ assertion `left == right` failed
      269 │ left: 1
      277 │  right: 2
      287 │ 
      288 │ test result: FAILED. 2 passed; 1 failed
      328 │ 
      329 │ error: test failed, to rerun pass `--lib`

    also failed: docs

    skipped jobs: 1

    to see it again: pikaci run pre-merge/test --rev 0123456789abcdef0123456789abcdef01234567
    "#);
}

#[test]
fn offsets_are_those_of_the_log() {
    let mut log = b"first\n".repeat(100);
    log.extend_from_slice(b"\xff\xfe\x1b[31merror: caf\xe9\x1b[0m\n");
    log.extend_from_slice(&b"later\r\n".repeat(100));
    let fixture = Fixture::new(&[ended("test", Outcome::Failed, Some(Fault::Job))]).guest_log("test", &log);
    let excerpt = fixture.explain().job.unwrap().log.unwrap();
    let line = excerpt.lines.iter().find(|line| line.text.contains("error")).unwrap();
    assert_eq!((line.offset, line.text.as_str()), (600, "\u{fffd}\u{fffd}error: caf\u{fffd}"));
    let end = usize::try_from(line.offset + line.bytes).unwrap();
    assert_eq!(&log[600..end], b"\xff\xfe\x1b[31merror: caf\xe9\x1b[0m\n");
    assert_eq!(excerpt.lines.last().unwrap().offset + 7, excerpt.total_bytes);
}

#[test]
fn what_the_tested_code_did_comes_before_what_the_machinery_did() {
    let jobs = vec![
        ended("stopped", Outcome::Cancelled, Some(Fault::User)),
        ended("lost", Outcome::Failed, Some(Fault::Infra)),
        ended("test", Outcome::TimedOut, Some(Fault::Job)),
        ended("docs", Outcome::Failed, Some(Fault::Job)),
    ];
    let why = Fixture::new(&jobs).explain();
    let others: Vec<&str> = why.others.iter().map(|other| other.id.as_str()).collect();
    assert_eq!((why.job.unwrap().id.as_str(), others.as_slice()), ("test", &["docs", "lost", "stopped"][..]));
}

#[test]
fn a_lost_guest_is_explained_by_the_log_of_the_executor() {
    let mut job = ended("test", Outcome::Failed, Some(Fault::Infra));
    job.message = Some("the guest is gone".to_owned());
    let attempt = AttemptRecord {
        number: 1,
        outcome: Outcome::Failed,
        fault: Some(Fault::Infra),
        started_at: now(),
        finished_at: now(),
        exit_code: None,
        message: None,
    };
    job.attempts = vec![attempt.clone(), AttemptRecord { number: 2, ..attempt }];
    let fixture = Fixture::new(&[job]).guest_log("test", "running 3 tests\n");
    fs::write(
        fixture.state.host_log(&run_id(), &job_id("test")),
        "instance started\nexec: connection reset\n",
    )
    .unwrap();
    assert_snapshot!(fixture.explain(), @r#"
    run 20260301T142233Z-7f3a9c10 failed, not by the fault of the tested code, target pre-merge

    job test failed, not by the fault of the tested code, attempt 2
      cargo test
      the guest is gone

    jobs/test/host.log (40 bytes)
       0 │ instance started
      17 │ exec: connection reset

    to see it again: pikaci run pre-merge/test --rev 0123456789abcdef0123456789abcdef01234567
    "#);
}

#[test]
fn failed_tests_are_named_from_the_reports_that_the_plan_names() {
    let report = |suite: &str, name: &str| {
        format!(
            "<testsuite name=\"{suite}\"><testcase name=\"{name}\" file=\"src/{suite}.rs\" line=\"7\"><failure message=\"left != right\">left: 1\nright: 2</failure></testcase><testcase name=\"fine\"/></testsuite>"
        )
    };
    let jobs = vec![ended("test", Outcome::Failed, Some(Fault::Job))];
    let fixture = Fixture::planned(&jobs, Some(vec![spec("test", &["report/**/*.xml"])]))
        .guest_log("test", "")
        .artifact("test", "report/b.xml", report("b", "fails"))
        .artifact("test", "report/deep/a.xml", &report("a", "fails too")[..90])
        .artifact("test", "report/c.xml", "no report")
        .artifact("test", "other.xml", report("other", "not named"));
    let artifacts = fixture.state.artifacts_dir(&run_id(), &job_id("test"));
    symlink(artifacts.join("other.xml"), artifacts.join("report/link.xml")).unwrap();
    symlink("/", artifacts.join("report/root")).unwrap();
    assert_snapshot!(fixture.explain(), @r#"
    run 20260301T142233Z-7f3a9c10 failed, target pre-merge

    job test failed, the fault of the tested code, exit code 101
      cargo test --workspace …

    1 of 3 tests failed
      b fails (src/b.rs:7)
          left != right
          left: 1
          right: 2
      report/c.xml: this is no JUnit report: it holds no <testsuite> and no <testcase>
      report/deep/a.xml: byte 72: syntax error: attribute value not closed: `"` not found before end of input; what comes before counts

    to see it again: pikaci run pre-merge/test --rev 0123456789abcdef0123456789abcdef01234567
    "#);
}

#[test]
fn reports_are_not_looked_for_where_a_link_leads() {
    let jobs = [ended("test", Outcome::Failed, Some(Fault::Job))];
    let fixture = Fixture::planned(&jobs, Some(vec![spec("test", &["*.xml"])]));
    let (artifacts, elsewhere) =
        (fixture.state.artifacts_dir(&run_id(), &job_id("test")), fixture.state.path());
    fs::write(
        elsewhere.join("secret.xml"),
        "<testsuite><testcase name=\"t\"><error/></testcase></testsuite>",
    )
    .unwrap();
    fs::remove_dir(&artifacts).unwrap();
    symlink(elsewhere, &artifacts).unwrap();
    let tests = fixture.explain().job.unwrap().tests.unwrap();
    assert_eq!(
        (tests.reports, tests.problems),
        (0, vec!["the job left no report that matches *.xml".to_owned()])
    );
}

#[test]
fn the_number_of_tests_that_are_named_is_bounded() {
    let tests: String = (0..500)
        .map(|at| format!("<testcase name=\"t{at}\"><error>{}</error></testcase>", "x".repeat(9000)))
        .collect();
    let jobs = vec![ended("test", Outcome::Failed, Some(Fault::Job))];
    let fixture = Fixture::planned(&jobs, Some(vec![spec("test", &["*.xml"])]))
        .artifact("test", "a.xml", format!("<testsuite>{tests}</testsuite>"))
        .artifact("test", "b.xml", format!("<testsuite>{tests}</testsuite>"));
    let tests = fixture.explain().job.unwrap().tests.unwrap();
    assert_eq!((tests.reports, tests.tests, tests.failed, tests.failures.len()), (2, 1000, 1000, 20));
    assert!(tests.failures.iter().all(|test| test.details.len() <= 1024));
}

#[test]
fn a_long_log_is_read_at_its_end_and_at_its_beginning_when_the_end_says_nothing() {
    let jobs = || vec![ended("test", Outcome::Failed, Some(Fault::Job))];
    let mut log = b"error: the cause\n".to_vec();
    log.extend(b"nothing to see here\n".repeat(50_000));
    let lines = Fixture::new(&jobs()).guest_log("test", &log).explain().job.unwrap().log.unwrap().lines;
    assert_eq!((lines[0].offset, lines[0].text.as_str()), (0, "error: the cause"));
    log.extend_from_slice(b"error: the consequence\n");
    let lines = Fixture::new(&jobs()).guest_log("test", &log).explain().job.unwrap().log.unwrap().lines;
    assert!(lines[0].offset > 700_000, "{}", lines[0].offset);
    assert_eq!(lines.last().unwrap().text, "error: the consequence");
}

#[test]
fn a_huge_log_without_a_line_end_is_explained_by_its_last_words() {
    let fixture = Fixture::new(&[ended("test", Outcome::Failed, Some(Fault::Job))]);
    let path = fixture.state.guest_log(&run_id(), &job_id("test"));
    let mut file = fs::File::create(path).unwrap();
    // Sparse: a hundred megabytes of NUL, then the end.
    file.set_len(100 * 1024 * 1024).unwrap();
    std::io::Seek::seek(&mut file, std::io::SeekFrom::End(0)).unwrap();
    file.write_all(b"\xffthe last words").unwrap();
    let log = fixture.explain().job.unwrap().log.unwrap();
    assert_eq!(log.lines.len(), 1);
    assert!(log.lines[0].is_cut && log.lines[0].text.ends_with("\u{fffd}the last words"));
    assert!(log.lines[0].text.len() <= 512);
}

#[test]
fn what_is_picked_of_a_log_is_bounded() {
    let line = format!("error: {}\n", "ü".repeat(700));
    let fixture = Fixture::new(&[ended("test", Outcome::Failed, Some(Fault::Job))])
        .guest_log("test", line.repeat(5000));
    let lines = fixture.explain().job.unwrap().log.unwrap().lines;
    assert!(lines.len() <= 40 && lines.iter().map(|line| line.text.len()).sum::<usize>() <= 8 * 1024);
    assert!(lines.iter().all(|line| line.is_cut));
    let short = Fixture::new(&[ended("test", Outcome::Failed, Some(Fault::Job))])
        .guest_log("test", "error: x\n".repeat(5000));
    assert_eq!(short.explain().job.unwrap().log.unwrap().lines.len(), 40);
}

#[test]
fn a_run_that_passed_needs_no_explanation() {
    let fixture = Fixture::new(&[ended("test", Outcome::Passed, None)]);
    assert_snapshot!(fixture.explain(), @r#"
    run 20260301T142233Z-7f3a9c10 passed, target pre-merge
    there is nothing to explain
    "#);
}

#[test]
fn a_head_that_is_no_commit_is_not_offered_to_a_shell() {
    let mut record = Fixture::new(&[ended("test", Outcome::Failed, Some(Fault::Job))]).record;
    let again = |record: &RunRecord| reproduce(record, &record.jobs[0], None);
    assert_eq!(again(&record), format!("pikaci run pre-merge/test --rev {HEAD}"));
    record.git_head = Some("; rm -rf /".to_owned());
    assert_eq!(again(&record), "pikaci run pre-merge/test");
    record.git_head = Some(HEAD.to_owned());
    record.git_dirty = Some(true);
    assert_eq!(again(&record), "pikaci run pre-merge/test");
    record.target_id = None;
    assert_eq!(again(&record), format!("pikaci rerun {} --failed", run_id()));
}

#[test]
fn a_job_of_an_instance_is_seen_again_in_an_instance() {
    let mut record = Fixture::new(&[ended("test", Outcome::Failed, Some(Fault::Job))]).record;
    record.jobs[0].executor = ExecutorKind::RemoteLinuxVm;
    let again = |record: &RunRecord| reproduce(record, &record.jobs[0], None);
    assert_eq!(again(&record), format!("pikaci run pre-merge/test --rev {HEAD} --executor incus"));
    record.git_dirty = Some(true);
    assert_eq!(again(&record), "pikaci run pre-merge/test --executor incus");
}

#[test]
fn programs_read_the_explanation_as_json() {
    let fixture =
        Fixture::new(&[ended("test", Outcome::Failed, Some(Fault::Job))]).guest_log("test", "error: x\n");
    assert_snapshot!(serde_json::to_string_pretty(&fixture.explain()).unwrap(), @r#"
    {
      "run_id": "20260301T142233Z-7f3a9c10",
      "target_id": "pre-merge",
      "status": "failed",
      "outcome": "failed",
      "fault": "job",
      "job": {
        "id": "test",
        "description": "cargo test",
        "outcome": "failed",
        "fault": "job",
        "exit_code": 101,
        "timeout_secs": 1800,
        "attempts": 0,
        "log": {
          "path": "jobs/test/artifacts/guest.log",
          "total_bytes": 9,
          "lines": [
            {
              "offset": 0,
              "bytes": 9,
              "text": "error: x"
            }
          ]
        },
        "reproduce": "pikaci run pre-merge/test --rev 0123456789abcdef0123456789abcdef01234567"
      },
      "others": [],
      "others_failed": 0,
      "skipped": 0
    }
    "#);
}

#[test]
fn an_unknown_run_is_not_found() {
    let folder = TempDir::new().unwrap();
    let error = explain(&StateRoot::new(folder.path()), &run_id()).unwrap_err();
    assert!(error.is_not_found());
}
