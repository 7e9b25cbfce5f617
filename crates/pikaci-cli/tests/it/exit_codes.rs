//! Every exit code that is documented.

use std::os::unix::fs::PermissionsExt as _;

use rustix::process::Signal;

use crate::project::{Project, finish, signal, wait_until};

#[test]
fn a_passed_run_ends_with_0() {
    Project::new(&[("unit", "true")]).pikaci(&["run", "check"]).expect(0);
}

#[test]
fn a_skipped_run_ends_with_0() {
    let project = Project::new(&[("unit", "exit 1")]);
    project.pikaci(&["run", "check", "--base", "HEAD"]).expect(0);
    assert_eq!(project.latest().status, pikaci::RunStatus::Skipped);
}

#[test]
fn a_failed_job_ends_with_1_whatever_its_own_code() {
    for code in [1, 2, 3, 4, 130] {
        Project::new(&[("unit", &format!("exit {code}"))]).pikaci(&["run", "check"]).expect(1);
    }
}

#[test]
fn mistakes_of_the_caller_end_with_2_and_leave_no_run() {
    let project = Project::new(&[("unit", "true")]);
    let mistakes: [(&[&str], &str); 11] = [
        (&[], "Usage"),
        (&["run"], "TARGET"),
        (&["run", "chek"], "did you mean `check`"),
        (&["run", "check/unti"], "did you mean `unit`"),
        (&["run", "check", "--executor", "qemu"], "incus"),
        (&["run", "check", "--rev", "nowhere"], "nowhere"),
        (&["run", "check", "--base", "nowhere"], "nowhere"),
        (&["run", "check", "--jobs", "0"], "--jobs"),
        (&["status", "latest"], "pikaci run"),
        (&["status", "..%2F..%2Fetc"], "run is named by its id"),
        (&["logs", "20260301T142233Z-7f3a9c10"], "20260301T142233Z-7f3a9c10"),
    ];
    for (arguments, word) in mistakes {
        let ended = project.pikaci(arguments).expect(2);
        assert!(ended.errors.contains(word), "{word:?} is not in {}", ended.errors);
        assert_eq!(ended.output, "", "{arguments:?}");
    }
    assert_eq!(project.runs(), []);
}

#[test]
fn a_broken_manifest_ends_with_2_and_shows_the_place() {
    let project = Project::new(&[("unit", "true")]);
    project.write("pikaci.toml", "version = 1\n[targets.check]\ntitel = \"x\"\n");
    let ended = project.pikaci(&["run", "check"]).expect(2);
    assert!(ended.errors.contains("pikaci.toml:3:1"), "{}", ended.errors);
    assert_eq!(project.runs(), []);
}

#[test]
fn a_folder_without_repository_or_manifest_ends_with_2_and_the_remedy() {
    let project = Project::bare_folder();
    let ended = project.pikaci(&["run", "check"]).expect(2);
    assert!(ended.errors.contains("git init"), "{}", ended.errors);
    project.git(&["init", "--quiet"]);
    let ended = project.pikaci(&["run", "check"]).expect(2);
    assert!(ended.errors.contains("pikaci init"), "{}", ended.errors);
}

#[test]
fn a_manifest_that_is_a_pipe_is_refused_at_once() {
    let project = Project::new(&[("unit", "true")]);
    let path = project.source().join("pikaci.toml");
    std::fs::remove_file(&path).unwrap();
    let mode = rustix::fs::Mode::RWXU;
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let ended = project.pikaci(&["run", "check"]).expect(3);
    assert!(ended.errors.contains("no regular file"), "{}", ended.errors);
}

#[test]
fn a_repository_that_git_refuses_is_said_in_the_words_of_git() {
    let project = Project::new(&[("unit", "true")]);
    project.write(".git/config", "[core\n");
    let ended = project.pikaci(&["run", "check"]).expect(2);
    assert!(ended.errors.contains("bad config line 1"), "{}", ended.errors);
}

#[test]
fn a_guest_that_is_lost_ends_with_3() {
    let project = Project::new(&[("lost", "kill -9 $PPID; sleep 60")]);
    project.pikaci(&["run", "check"]).expect(3);
}

#[test]
fn a_state_root_that_cannot_be_made_ends_with_3_and_names_it() {
    let project = Project::new(&[("unit", "true")]);
    let ended = project.pikaci(&["--state-root", "pikaci.toml", "run", "check"]).expect(3);
    assert!(ended.errors.contains("pikaci.toml"), "{}", ended.errors);
}

#[test]
fn a_job_beyond_its_time_ends_with_4() {
    let project = Project::new(&[("slow", "sleep 600")]);
    let manifest = std::fs::read_to_string(project.source().join("pikaci.toml")).unwrap();
    project.write("pikaci.toml", &(manifest + "timeout = \"1s\"\n"));
    project.pikaci(&["run", "check"]).expect(4);
}

#[test]
fn a_signal_cancels_and_ends_with_130() {
    for kind in [Signal::INT, Signal::TERM] {
        let project = Project::new(&[("slow", "echo ready; sleep 600")]);
        let child = project.start(&["run", "check"]);
        project.wait_for_log("slow", "ready");
        signal(&child, kind);
        finish(child).expect(130);
        assert_eq!(project.latest().outcome, Some(pikaci::Outcome::Cancelled));
    }
}

#[test]
fn a_signal_ends_the_build_of_an_image_with_130_and_nothing_is_left_of_it() {
    let project = Project::bare_folder();
    project.write("bin/mmdebstrap", "#!/bin/sh\ntouch \"$TMPDIR/unpacked\" ready; sleep 600 & wait\n");
    let path = project.source().join("bin");
    std::fs::set_permissions(path.join("mmdebstrap"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", path.display(), std::env::var("PATH").unwrap());
    project.write("temporary/.keep", "");
    let temporary = project.source().join("temporary");
    // Any static program will do for the guest runner.
    let mut command =
        project.command(&["image", "build", "--runner", "/bin/busybox", "--output", "out/image.tar"]);
    let child = command.env("PATH", path).env("TMPDIR", &temporary).spawn().unwrap();
    wait_until("build", || project.source().join("ready").exists());
    let count = |folder: &str| std::fs::read_dir(project.source().join(folder)).unwrap().count();
    assert!(count("out") == 1 && count("temporary") > 1);
    signal(&child, Signal::INT);
    let ended = finish(child).expect(130);
    assert!(ended.errors.contains("cancelled"), "{}", ended.errors);
    assert_eq!((count("out"), count("temporary")), (0, 1));
}

#[test]
fn cancel_stops_a_run_of_another_process() {
    let project = Project::new(&[("slow", "echo ready; sleep 600")]);
    let child = project.start(&["run", "check"]);
    let run = project.wait_for_log("slow", "ready");
    let ended = project.pikaci(&["cancel", "latest"]).expect(0);
    assert_eq!(ended.output, format!("run {run} cancelled\n"));
    finish(child).expect(130);
    project.pikaci(&["cancel", run.as_str()]).expect(0);
}

#[test]
fn signals_that_arrive_together_are_one_cancel() {
    let project = Project::new(&[("deaf", "trap '' TERM; echo ready; while :; do sleep 0.01; done")]);
    let child = project.start(&["run", "check"]);
    project.wait_for_log("deaf", "ready");
    // Of different kinds: two of one kind may reach the program as one.
    signal(&child, Signal::TERM);
    signal(&child, Signal::HUP);
    finish(child).expect(130);
    assert_eq!(project.latest().outcome, Some(pikaci::Outcome::Cancelled));
}

/// Whether any process was started with this text among its arguments.
fn is_in_a_command_line(text: &str) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let mut command_lines =
        processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    command_lines.any(|line| String::from_utf8_lossy(&line).contains(text))
}

#[test]
fn a_second_signal_ends_at_once_and_leaves_no_process() {
    let mark = format!("deaf-{}", std::process::id());
    let command = format!("trap '' TERM; echo ready; : {mark}; while :; do sleep 0.01; done");
    let project = Project::new(&[("deaf", &command)]);
    let child = project.start(&["run", "check"]);
    let run = project.wait_for_log("deaf", "ready");
    assert!(is_in_a_command_line(&mark));
    signal(&child, Signal::INT);
    let events = project.state().run_dir(&run).join("events.jsonl");
    wait_until("cancel in the events", || {
        std::fs::read_to_string(&events).is_ok_and(|text| text.contains("cancel_requested"))
    });
    // Sooner, it would count as the first one's twin.
    std::thread::sleep(std::time::Duration::from_millis(150));
    signal(&child, Signal::INT);
    finish(child).expect(130);
    wait_until("end of the job's processes", || !is_in_a_command_line(&mark));
    let swept = project.pikaci(&["sweep"]).expect(0).output;
    assert!(swept.contains(run.as_str()), "{swept}");
}
