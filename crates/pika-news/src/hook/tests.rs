//! The hook, with a forge that answers, that is away, and that is slow.

use std::sync::{Arc, Mutex};

use pika_git::BranchName;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::hook_socket::{HookSocket, PushReceiver};

const NULL: &str = "0000000000000000000000000000000000000000";
const ONE: &str = "1111111111111111111111111111111111111111";
const TWO: &str = "2222222222222222222222222222222222222222";

#[derive(Clone, Default)]
struct Recorder {
    pushes: Arc<Mutex<Vec<Push>>>,
    answer: PushAnswer,
}

impl PushReceiver for Recorder {
    async fn receive(&self, push: Push) -> PushAnswer {
        self.pushes.lock().unwrap().push(push);
        self.answer.clone()
    }

    async fn check(&self, push: Push) -> PushAnswer {
        self.receive(push).await
    }
}

/// Runs a hook as git does, away from the runtime, and returns what it printed.
async fn run(call: &HookCall, input: String) -> String {
    let call = call.clone();
    let running = tokio::task::spawn_blocking(move || {
        let mut output = Vec::new();
        call.run(input.as_bytes(), &mut output);
        String::from_utf8(output).unwrap()
    });
    running.await.unwrap()
}

async fn call_in(scratch: &TempDir, socket: Option<PathBuf>) -> (HookCall, Repository) {
    let main = BranchName::parse("main").unwrap();
    let repository = Repository::init(scratch.path().join("bare.git"), &main).await.unwrap();
    let actor = Some("ada".to_owned());
    (
        HookCall {
            repository: repository.path().to_owned(),
            socket,
            actor,
            git: Git::default(),
            quarantine: Quarantine::default(),
        },
        repository,
    )
}

#[tokio::test]
async fn the_forge_hears_what_moved_and_the_pusher_sees_its_answer() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("hook.sock");
    let answer = PushAnswer {
        lines: vec!["see http://forge/1".to_owned(), "bad \u{1b}[31mred".to_owned()],
        is_allowed: true,
    };
    let recorder = Recorder { answer, ..Recorder::default() };
    let socket = HookSocket::bind(&path).await.unwrap();
    tokio::spawn(socket.serve(recorder.clone(), CancellationToken::new()));
    let (call, repository) = call_in(&scratch, Some(path)).await;
    let input =
        format!("{NULL} {ONE} refs/heads/new\n{ONE} {TWO} refs/heads/moved\n{TWO} {NULL} refs/tags/gone\n");
    assert_eq!(run(&call, input).await, "see http://forge/1\nbad [31mred\n");

    let update = |reference: &str, old: Option<&str>, new: Option<&str>| PushedRef {
        reference: reference.to_owned(),
        old: old.map(str::to_owned),
        new: new.map(str::to_owned),
        is_fast_forward: false,
    };
    let expected = Push {
        stage: Stage::Stored,
        repository: repository.path().to_owned(),
        actor: Some("ada".to_owned()),
        updates: vec![
            update("refs/heads/new", None, Some(ONE)),
            update("refs/heads/moved", Some(ONE), Some(TWO)),
            update("refs/tags/gone", Some(TWO), None),
        ],
    };
    assert_eq!(*recorder.pushes.lock().unwrap(), [expected]);
}

#[tokio::test]
async fn a_push_over_a_file_path_finds_the_forge_in_the_configuration() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("hook.sock");
    let recorder = Recorder::default();
    tokio::spawn(HookSocket::bind(&path).await.unwrap().serve(recorder.clone(), CancellationToken::new()));
    let (call, repository) = call_in(&scratch, None).await;
    let silent = run(&call, format!("{NULL} {ONE} refs/heads/new\n")).await;
    assert!(silent.contains("git config pika-news.socket"), "{silent}");
    repository.set_config(SOCKET_SETTING, path.to_str().unwrap()).await.unwrap();
    assert_eq!(run(&call, format!("{NULL} {ONE} refs/heads/new\n")).await, "");
    assert_eq!(recorder.pushes.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_forge_that_is_away_or_breaks_off_costs_a_word_and_not_the_push() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("hook.sock");
    let (call, _) = call_in(&scratch, Some(path.clone())).await;
    let input = format!("{NULL} {ONE} refs/heads/new\n");
    let away = run(&call, input.clone()).await;
    assert!(away.contains("the push is stored") && away.contains("does not answer"), "{away}");

    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    let broken = run(&call, input).await;
    assert!(broken.contains("the push is stored"), "{broken}");
}

#[tokio::test]
async fn what_git_would_never_write_is_not_passed_on() {
    let scratch = tempfile::tempdir().unwrap();
    let (call, _) = call_in(&scratch, Some(scratch.path().join("none"))).await;
    let many = format!("{NULL} {ONE} refs/heads/new\n").repeat(UPDATES_MAX + 1);
    for input in ["nonsense\n".to_owned(), format!("{ONE} {TWO}\n"), many] {
        let said = run(&call, input).await;
        assert!(said.contains("a line that can't be read"), "{said}");
    }
    assert_eq!(run(&call, String::new()).await, "");
}

#[test]
fn a_hook_takes_its_place_from_git_and_the_rest_from_the_forge() {
    let variables = |name: &str| match name {
        SOCKET_VARIABLE => Some("/run/hook.sock".into()),
        ACTOR_VARIABLE => Some("".into()),
        _ => None,
    };
    let expected = HookCall {
        repository: PathBuf::from("."),
        socket: Some(PathBuf::from("/run/hook.sock")),
        actor: None,
        git: Git::default(),
        quarantine: Quarantine::default(),
    };
    assert_eq!(HookCall::from_variables(variables), expected);
}

/// Asks as git does before a push is stored; returns whether it may be, and what was printed.
async fn check(call: &HookCall, input: String) -> (bool, String) {
    let call = call.clone();
    let running = tokio::task::spawn_blocking(move || {
        let mut output = Vec::new();
        let is_allowed = call.check(input.as_bytes(), &mut output);
        (is_allowed, String::from_utf8(output).unwrap())
    });
    running.await.unwrap()
}

#[tokio::test]
async fn a_push_is_stored_only_when_the_forge_has_said_yes() {
    let scratch = tempfile::tempdir().unwrap();
    let input = format!("{NULL} {ONE} refs/heads/new\n");
    let (mut call, _) = call_in(&scratch, Some(scratch.path().join("away"))).await;
    let (is_allowed, said) = check(&call, input.clone()).await;
    assert!(!is_allowed && said.contains("could not be asked: it does not answer"), "{said}");

    for is_allowed in [true, false] {
        let path = scratch.path().join(format!("{is_allowed}.sock"));
        let answer = PushAnswer { lines: vec!["because".to_owned()], is_allowed };
        let recorder = Recorder { answer, ..Recorder::default() };
        let socket = HookSocket::bind(&path).await.unwrap();
        tokio::spawn(socket.serve(recorder.clone(), CancellationToken::new()));
        call.socket = Some(path);
        assert_eq!(check(&call, input.clone()).await, (is_allowed, "because\n".to_owned()));
        assert_eq!(recorder.pushes.lock().unwrap()[0].stage, Stage::Asked);
    }
    // A forge of before this question takes it for a push that is stored, and says nothing of whether it may be.
    let old: PushAnswer = serde_json::from_str("{\"lines\":[]}").unwrap();
    assert!(!old.is_allowed);
}

#[tokio::test]
async fn what_can_not_be_read_or_compared_is_refused_and_a_push_over_a_path_is_not_asked_about() {
    let scratch = tempfile::tempdir().unwrap();
    let (mut call, _) = call_in(&scratch, Some(scratch.path().join("away"))).await;
    assert!(!check(&call, "nonsense\n".to_owned()).await.0);
    // Commits that nobody has.
    let (is_allowed, said) = check(&call, format!("{ONE} {TWO} refs/heads/main\n")).await;
    assert!(!is_allowed && said.contains("where a branch goes"), "{said}");
    call.actor = None;
    assert_eq!(check(&call, "nonsense\n".to_owned()).await, (true, String::new()));
}
