//! The provider `command` with programs that answer, fail, linger and never end.

use std::time::{Duration, Instant};

use pika_tutorial::{
    End, ExplainOptions, Explained, Provider, ProviderKind, ProviderSettings, StepState, explain,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::sample::{change, good_answer, options};

fn provider(script: &str) -> Provider {
    let settings = ProviderSettings {
        provider: ProviderKind::Command,
        command: ["sh", "-c", script].map(str::to_owned).to_vec(),
        environment: vec![("PATH".into(), std::env::var_os("PATH").unwrap())],
        ..ProviderSettings::default()
    };
    Provider::new(&settings).unwrap()
}

async fn play(script: &str, options: &ExplainOptions) -> Explained {
    explain(&change(), &provider(script), options).await
}

/// A folder with the good answer in it.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("answer"), good_answer()).unwrap();
    folder
}

#[tokio::test]
async fn a_program_reads_the_request_and_writes_the_answer() {
    let folder = folder();
    let path = folder.path().display();
    let explained = play(&format!("cat > {path}/request; echo Here:; cat {path}/answer"), &options()).await;
    assert_eq!(explained.end, End::Written);
    assert_eq!(explained.tutorial.count(StepState::Verified), 3);
    assert_eq!(explained.tutorial.provider, "command");
    let json = serde_json::to_value(&explained).unwrap();
    for key in ["head", "base", "provider", "executive_summary", "steps", "coverage", "problems", "end"] {
        assert!(!json[key].is_null(), "{key}");
    }
    assert_eq!(json["end"], "written");
    assert_eq!(serde_json::from_value::<Explained>(json).unwrap(), explained);
    let request: Value =
        serde_json::from_slice(&std::fs::read(folder.path().join("request")).unwrap()).unwrap();
    assert_eq!(request["schema_version"], 1);
    assert_eq!(request["branch"], "state");
    assert_eq!(request["files"][1]["hunks"][0]["text"], "+# The plan\n+Two words.");
    assert!(request["instructions"].as_str().unwrap().contains("executive_summary"));
}

#[tokio::test]
async fn a_program_that_reads_nothing_may_answer() {
    let folder = folder();
    let explained = play(&format!("exec cat {}/answer", folder.path().display()), &options()).await;
    assert_eq!(explained.end, End::Written);
}

#[tokio::test]
async fn a_program_sees_the_variables_that_it_was_given_and_no_others() {
    let folder = folder();
    let path = folder.path().display();
    play(&format!("cat > /dev/null; env > {path}/env; cat {path}/answer"), &options()).await;
    let seen = std::fs::read_to_string(folder.path().join("env")).unwrap();
    // The shell adds its own.
    let names: Vec<&str> = seen.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    assert!(names.iter().all(|name| ["PATH", "PWD", "SHLVL", "_", "OLDPWD"].contains(name)), "{names:?}");
}

#[tokio::test]
async fn a_program_that_fails_is_tried_again_and_then_said_to_fail() {
    let folder = folder();
    let path = folder.path().display();
    let explained = play(&format!("echo x >> {path}/tries; echo no luck >&2; exit 3"), &options()).await;
    let End::FellBack { reason } = &explained.end else { panic!("{:?}", explained.end) };
    assert_eq!(reason, "the command ended with exit status: 3: no luck");
    assert_eq!(std::fs::read_to_string(folder.path().join("tries")).unwrap().lines().count(), 3);
    assert_eq!(explained.tutorial.provider, "builtin");
}

#[tokio::test]
async fn what_a_failing_program_answered_is_used() {
    let folder = folder();
    let explained = play(&format!("cat {}/answer; exit 1", folder.path().display()), &options()).await;
    assert!(matches!(explained.end, End::Partial { .. }));
    assert_eq!(explained.tutorial.count(StepState::Verified), 3);
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named_as_such_and_not_tried_again() {
    let settings = ProviderSettings {
        provider: ProviderKind::Command,
        command: vec!["/nonexistent/program".to_owned()],
        ..ProviderSettings::default()
    };
    let explained = explain(&change(), &Provider::new(&settings).unwrap(), &options()).await;
    assert!(
        matches!(&explained.end, End::FellBack { reason } if reason.starts_with("the command could not be started"))
    );
    assert_eq!(explained.calls.len(), 1);
}

#[tokio::test]
async fn an_empty_answer_is_no_answer() {
    let explained = play("cat > /dev/null", &options()).await;
    assert!(matches!(&explained.end, End::FellBack { reason } if reason == "the answer is empty"));
}

/// Waits until a process is gone, or only waits to be reaped.
async fn until_gone(pid: &str) {
    let ends_at = Instant::now() + Duration::from_secs(10);
    loop {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        if stat.is_empty() || stat.contains(") Z ") {
            return;
        }
        assert!(Instant::now() < ends_at, "{pid} is still there");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_program_that_never_ends_is_killed_with_its_children() {
    let folder = folder();
    let path = folder.path().display();
    // It ignores the polite signal, and so does its child.
    let script =
        format!("trap '' TERM; sh -c 'echo $$ > {path}/child; sleep 600' & while :; do sleep 600; done");
    let options = ExplainOptions { deadline: Duration::from_millis(700), ..options() };
    let started_at = Instant::now();
    let explained = play(&script, &options).await;
    assert!(
        matches!(&explained.end, End::FellBack { reason } if reason.starts_with("there was no answer in"))
    );
    assert!(started_at.elapsed() < Duration::from_secs(6), "{:?}", started_at.elapsed());
    until_gone(&std::fs::read_to_string(folder.path().join("child")).unwrap()).await;
}

#[tokio::test]
async fn what_a_program_left_in_the_background_delays_nothing_and_is_killed() {
    let folder = folder();
    let path = folder.path().display();
    let script = format!("cat {path}/answer; sleep 600 & echo $! > {path}/child");
    let started_at = Instant::now();
    let explained = play(&script, &options()).await;
    assert_eq!(explained.end, End::Written);
    assert!(started_at.elapsed() < Duration::from_secs(5), "{:?}", started_at.elapsed());
    until_gone(&std::fs::read_to_string(folder.path().join("child")).unwrap()).await;
}

#[tokio::test]
async fn dropping_the_question_kills_the_program() {
    let folder = folder();
    let path = folder.path().join("child");
    let script = format!("echo $$ > {0}.new; mv {0}.new {0}; sleep 600", path.display());
    let asking = tokio::spawn(async move { play(&script, &options()).await });
    let ends_at = Instant::now() + Duration::from_secs(10);
    while !path.exists() {
        assert!(Instant::now() < ends_at);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    asking.abort();
    until_gone(&std::fs::read_to_string(&path).unwrap()).await;
}

#[tokio::test]
async fn an_endless_answer_is_cut_and_its_program_killed() {
    let folder = folder();
    let path = folder.path().display();
    let started_at = Instant::now();
    let explained = play(&format!("cat {path}/answer; yes"), &options()).await;
    assert_eq!(explained.tutorial.count(StepState::Verified), 3);
    assert!(started_at.elapsed() < Duration::from_secs(25), "{:?}", started_at.elapsed());
}
