//! Tests of mirrors, with a second repository of this machine as the other host.

use super::*;
use crate::branch::BranchName;
use crate::fixture::Fixture;

async fn other(fixture: &Fixture) -> (Repository, MirrorTarget) {
    let path = fixture.scratch.path().join("other.git");
    let other = Repository::init(&path, &BranchName::parse("main").unwrap()).await.unwrap();
    let target = MirrorTarget {
        url: path.to_string_lossy().into_owned(),
        credential: MirrorCredential::None,
        deadline: Duration::from_secs(60),
        prune_percent_max: Some(40),
    };
    (other, target)
}

async fn references(repository: &Repository) -> Vec<String> {
    let arguments = ["for-each-ref", "--format=%(refname) %(objectname)", "refs/heads", "refs/tags"];
    let output = repository.call("list").arguments(arguments).output().await.unwrap();
    String::from_utf8(output).unwrap().lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn branches_and_tags_are_made_the_same_by_force() {
    let fixture = Fixture::new().await;
    fixture.write("a", "1\n");
    fixture.push("main", "first");
    fixture.push("topic", "first");
    fixture.git(&["tag", "v1"]);
    fixture.git(&["push", "--quiet", "origin", "v1"]);
    let (other, target) = other(&fixture).await;
    let done = fixture.bare.mirror(&target).await.unwrap();
    assert_eq!((done.pushed, done.deleted, done.rejected_count, done.prune_refused), (3, 0, 0, None));
    assert_eq!(references(&other).await, references(&fixture.bare).await);
    // Rewritten, a tag moved, a branch gone.
    fixture.write("a", "2\n");
    fixture.git(&["add", "."]);
    fixture.git(&["commit", "--quiet", "--amend", "-m", "rewritten"]);
    fixture.git(&["tag", "-f", "v1"]);
    fixture.git(&["push", "--quiet", "--force", "origin", "HEAD:refs/heads/main", "v1", ":topic"]);
    let done = fixture.bare.mirror(&target).await.unwrap();
    assert_eq!((done.pushed, done.deleted, done.rejected_count, done.prune_refused), (2, 1, 0, None));
    assert_eq!(references(&other).await, references(&fixture.bare).await);
    assert_eq!(fixture.bare.mirror(&target).await.unwrap(), Mirrored::default());
}

#[tokio::test]
async fn what_would_delete_too_much_over_there_is_refused_and_the_rest_is_pushed() {
    let fixture = Fixture::new().await;
    fixture.write("a", "1\n");
    fixture.push("main", "first");
    fixture.push("one", "first");
    fixture.push("two", "first");
    let (other, target) = other(&fixture).await;
    fixture.bare.mirror(&target).await.unwrap();
    fixture.git(&["push", "--quiet", "origin", ":one", ":two"]);
    fixture.write("a", "2\n");
    fixture.push("main", "second");
    let done = fixture.bare.mirror(&target).await.unwrap();
    assert_eq!((done.pushed, done.deleted, done.prune_refused), (1, 0, Some((2, 3))));
    assert_eq!(references(&other).await.len(), 3);
    let never = MirrorTarget { prune_percent_max: None, ..target };
    assert_eq!(fixture.bare.mirror(&never).await.unwrap().prune_refused, None);
    assert_eq!(references(&other).await.len(), 3);
}

#[tokio::test]
async fn a_reference_that_is_not_taken_is_told_and_stops_no_other() {
    let fixture = Fixture::new().await;
    fixture.write("a", "1\n");
    fixture.push("main", "first");
    fixture.push("topic", "first");
    let (other, target) = other(&fixture).await;
    let hook = fixture.scratch.path().join("other.git/hooks/update");
    std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
    std::fs::write(&hook, "#!/bin/sh\ntest \"$1\" != refs/heads/topic\n").unwrap();
    std::fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    // The other host runs its own hooks, whatever ours are.
    other.set_config("core.hooksPath", &hook.parent().unwrap().to_string_lossy()).await.unwrap();
    let done = fixture.bare.mirror(&target).await.unwrap();
    assert_eq!((done.pushed, done.rejected_count), (1, 1), "{done:?}");
    assert_eq!(done.rejected[0].0, "refs/heads/topic");
}

#[tokio::test]
async fn a_password_goes_to_the_host_and_is_in_no_argument_and_no_variable() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let fixture = Fixture::new().await;
    fixture.write("a", "1\n");
    fixture.push("main", "first");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let password_file = fixture.scratch.path().join("password");
    std::fs::write(&password_file, "hunter-2-of-the-mirror\nsecond line\n").unwrap();
    let target = MirrorTarget {
        url: format!("http://{address}/x.git"),
        credential: MirrorCredential::Password { username: "pika".to_owned(), password_file },
        deadline: Duration::from_secs(20),
        prune_percent_max: None,
    };
    let host = tokio::spawn(async move {
        let mut seen = Vec::new();
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 8192];
            let count = connection.read(&mut request).await.unwrap();
            let text = String::from_utf8_lossy(&request[..count]).into_owned();
            let is_authorized = text.to_lowercase().contains("authorization: basic");
            if is_authorized {
                // While git waits for the answer, its arguments and variables can be read.
                for process in std::fs::read_dir("/proc").unwrap().flatten() {
                    for file in ["cmdline", "environ"] {
                        let text = std::fs::read(process.path().join(file)).unwrap_or_default();
                        let text = String::from_utf8_lossy(&text).into_owned();
                        if text.contains("PIKA_MIRROR") || text.contains(&format!("{address}/x.git")) {
                            seen.push(text);
                        }
                    }
                }
            }
            let status = if is_authorized { "403 Forbidden" } else { "401 Unauthorized" };
            let challenge =
                "WWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\nConnection: close\r\n";
            connection.write_all(format!("HTTP/1.1 {status}\r\n{challenge}\r\n").as_bytes()).await.unwrap();
            if is_authorized {
                return (text, seen);
            }
        }
    });
    let error = fixture.bare.mirror(&target).await.unwrap_err();
    let (request, seen) = host.await.unwrap();
    // `pika:hunter-2-of-the-mirror` as HTTP sends it.
    assert!(request.contains("cGlrYTpodW50ZXItMi1vZi10aGUtbWlycm9y"), "{request}");
    assert!(!seen.is_empty() && seen.iter().all(|text| !text.contains("hunter-2")), "{seen:?}");
    assert!(!error.to_string().contains("hunter"), "{error}");
}

#[tokio::test]
async fn a_host_that_never_answers_is_left_at_the_deadline() {
    let fixture = Fixture::new().await;
    fixture.write("a", "1\n");
    fixture.push("main", "first");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = MirrorTarget {
        url: format!("http://{}/x.git", listener.local_addr().unwrap()),
        credential: MirrorCredential::None,
        deadline: Duration::from_millis(300),
        prune_percent_max: None,
    };
    let error = fixture.bare.mirror(&target).await.unwrap_err();
    assert!(matches!(error, GitError::TimedOut { .. }), "{error}");
}
