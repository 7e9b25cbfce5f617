//! The socket, with hooks that stall, send nonsense, or belong to a second forge.

use super::*;

#[derive(Clone)]
struct Silent;

impl PushReceiver for Silent {
    async fn receive(&self, _: Push) -> PushAnswer {
        PushAnswer { lines: vec!["heard".to_owned()], is_allowed: false }
    }

    async fn check(&self, push: Push) -> PushAnswer {
        self.receive(push).await
    }
}

async fn said(path: &Path, message: &[u8]) -> String {
    let mut stream = UnixStream::connect(path).await.unwrap();
    stream.write_all(message).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn stalled_and_broken_hooks_do_not_keep_others_from_being_heard() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("hook.sock");
    let socket = HookSocket::bind(&path).await.unwrap();
    let stop = CancellationToken::new();
    let serving = tokio::spawn(socket.serve(Silent, stop.clone()));
    let _stalled = UnixStream::connect(&path).await.unwrap();
    assert_eq!(said(&path, b"no json\n").await, "");
    assert_eq!(
        said(&path, br#"{"repository":"/x","actor":null,"updates":[]}"#).await,
        "",
        "the line has no end"
    );
    let push = b"{\"repository\":\"/x\",\"actor\":null,\"updates\":[]}\n";
    assert_eq!(said(&path, push).await, "{\"lines\":[\"heard\"],\"is_allowed\":false}\n");
    stop.cancel();
    serving.await.unwrap();
}

#[tokio::test]
async fn a_second_forge_is_refused_and_a_dead_one_replaced() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("hook.sock");
    let first = HookSocket::bind(&path).await.unwrap();
    let refused = HookSocket::bind(&path).await.unwrap_err();
    assert!(matches!(refused, HookSocketError::InUse { .. }), "{refused}");
    drop(first);
    // A process that another test starts at this moment holds the lock of its parent until it is another program.
    let replaced = async {
        while HookSocket::bind(&path).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), replaced).await.unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let long = scratch.path().join("x".repeat(200));
    let refused = HookSocket::bind(&long).await.unwrap_err();
    assert!(matches!(refused, HookSocketError::TooLong { .. }), "{refused}");
}
