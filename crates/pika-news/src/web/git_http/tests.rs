//! The routes of git, served on this machine to the real git and to clients that misbehave.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use pika_git::BranchName;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;

use super::*;
use crate::auth::{Role, Scopes};
use crate::store::Store;

/// A server with one repository, and a working copy of it.
struct Server {
    scratch: TempDir,
    bare: Repository,
    address: SocketAddr,
    authenticator: Authenticator,
    token: String,
}

impl Server {
    async fn start() -> Server {
        Server::start_with(|_| {}).await
    }

    async fn start_with(change: impl FnOnce(&mut GitHttpConfig)) -> Server {
        let scratch = tempfile::tempdir().unwrap();
        let bare = Repository::init(scratch.path().join("sample.git"), &branch("main")).await.unwrap();
        let mut config = GitHttpConfig::new(PathBuf::from("/nonexistent/hook.sock"));
        change(&mut config);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let store = Store::open(&scratch.path().join("forge.db")).unwrap();
        let authenticator = Authenticator::new(store.clone());
        let ada = authenticator.ensure_user("ada", false).await.unwrap();
        let sample = store.ensure_repository("sample", 1).await.unwrap();
        store.set_role(sample, ada.id, Some(Role::Write), "test".to_owned(), 1).await.unwrap();
        let token =
            authenticator.create_token(&ada, "git", &Scopes::all(), None).await.unwrap().reveal().to_owned();
        let repositories = Repositories::from_iter([("sample".to_owned(), bare.clone())]);
        let router = router(authenticator.clone(), repositories, config);
        tokio::spawn(async move { axum::serve(listener, router).await });
        let server = Server { scratch, bare, address, authenticator, token };
        std::fs::create_dir(server.work()).unwrap();
        server.git(&["init", "--quiet", "--initial-branch=main", "."]).await;
        server.git(&["remote", "add", "origin", &server.url()]).await;
        server
    }

    fn work(&self) -> PathBuf {
        self.scratch.path().join("work")
    }

    fn url(&self) -> String {
        self.url_with(&self.token)
    }

    fn url_with(&self, token: &str) -> String {
        format!("http://any:{token}@{}/news/git/sample.git", self.address)
    }

    async fn try_git(&self, arguments: &[&str]) -> Output {
        client(&self.work()).args(arguments).output().await.unwrap()
    }

    /// Runs git in the working copy and returns what it printed, on both streams.
    async fn git(&self, arguments: &[&str]) -> String {
        let output = self.try_git(arguments).await;
        let text = format!("{}{}", lossy(&output.stdout), lossy(&output.stderr));
        assert!(output.status.success(), "git {arguments:?}: {text}");
        text.trim().to_owned()
    }

    async fn commit(&self, message: &str) -> String {
        self.git(&["add", "--all"]).await;
        self.git(&["commit", "--quiet", "--allow-empty", "-m", message]).await;
        self.git(&["rev-parse", "HEAD"]).await
    }

    async fn head(&self, name: &str) -> Option<String> {
        self.bare.find_branch(&branch(name)).await.unwrap().map(|oid| oid.to_string())
    }

    /// Sends bytes as they are and returns the answer, headers and all.
    async fn send(&self, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        lossy(&answer)
    }

    async fn get(&self, path: &str, token: Option<&str>) -> String {
        let authorization =
            token.map_or_else(String::new, |token| format!("Authorization: Bearer {token}\r\n"));
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{authorization}\r\n");
        self.send(request.as_bytes()).await
    }
}

fn client(folder: &Path) -> Command {
    let mut command = Command::new("git");
    command.current_dir(folder).env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").stdin(Stdio::null());
    command.env("HOME", "/nonexistent").env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_TERMINAL_PROMPT", "0");
    command.env("GIT_AUTHOR_NAME", "Ada").env("GIT_AUTHOR_EMAIL", "ada@example.org");
    command.env("GIT_COMMITTER_NAME", "Ada").env("GIT_COMMITTER_EMAIL", "ada@example.org");
    command.kill_on_drop(true);
    command
}

fn branch(name: &str) -> BranchName {
    BranchName::parse(name).unwrap()
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Bytes that no compression makes smaller.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    std::iter::repeat_with(next).take(bytes).collect()
}

#[tokio::test]
async fn a_branch_is_pushed_cloned_rewritten_and_deleted() {
    let server = Server::start().await;
    std::fs::write(server.work().join("file"), "one\n").unwrap();
    let first = server.commit("first").await;
    server.git(&["push", "--quiet", "origin", "HEAD:refs/heads/main", "HEAD:refs/heads/topic"]).await;
    assert_eq!(server.head("main").await.as_deref(), Some(&*first));

    let clone = server.scratch.path().join("clone");
    server.git(&["clone", "--quiet", &server.url(), clone.to_str().unwrap()]).await;
    assert_eq!(std::fs::read_to_string(clone.join("file")).unwrap(), "one\n");

    server.git(&["commit", "--quiet", "--amend", "-m", "rewritten"]).await;
    let rewritten = server.git(&["rev-parse", "HEAD"]).await;
    let refused = server.try_git(&["push", "--quiet", "origin", "HEAD:refs/heads/topic"]).await;
    assert!(!refused.status.success());
    server.git(&["push", "--quiet", "--force", "origin", "HEAD:refs/heads/topic"]).await;
    assert_eq!(server.head("topic").await.as_deref(), Some(&*rewritten));
    server.git(&["push", "--quiet", "origin", ":refs/heads/topic"]).await;
    assert_eq!(server.head("topic").await, None);
    let log = std::fs::read_to_string(server.bare.path().join("logs/refs/heads/main")).unwrap();
    assert!(log.contains(" ada <"), "the log of a branch says who pushed: {log}");
    server.bare.fsck().await.unwrap();
}

#[tokio::test]
async fn every_version_of_the_protocol_clones_and_fetches_shallowly() {
    let server = Server::start().await;
    for number in 0..5 {
        server.commit(&format!("number {number}")).await;
    }
    server.git(&["push", "--quiet", "origin", "HEAD:refs/heads/main"]).await;
    for version in ["0", "1", "2"] {
        let clone = server.scratch.path().join(format!("clone-{version}"));
        let protocol = format!("protocol.version={version}");
        let clone = clone.to_str().unwrap();
        server.git(&["-c", &protocol, "clone", "--quiet", "--depth=2", &server.url(), clone]).await;
        assert_eq!(server.git(&["-C", clone, "rev-list", "--count", "HEAD"]).await, "2");
        server.git(&["-C", clone, "-c", &protocol, "fetch", "--quiet", "--unshallow"]).await;
        assert_eq!(server.git(&["-C", clone, "rev-list", "--count", "HEAD"]).await, "5");
    }
}

#[tokio::test]
async fn a_long_request_may_be_compressed() {
    let server = Server::start().await;
    for number in 0..60 {
        server.commit(&format!("number {number}")).await;
        server.git(&["branch", &format!("branch-{number}")]).await;
    }
    server.git(&["push", "--quiet", "--all", "origin"]).await;
    let clone = server.scratch.path().join("clone");
    let traced = client(&server.work())
        .args(["clone", "--quiet", &server.url(), clone.to_str().unwrap()])
        .env("GIT_TRACE_CURL", "1")
        .env("GIT_TRACE_CURL_NO_DATA", "1")
        .output()
        .await
        .unwrap();
    let trace = lossy(&traced.stderr);
    assert!(traced.status.success(), "{trace}");
    assert!(trace.to_lowercase().contains("content-encoding: gzip"), "the client did compress: {trace}");
}

#[tokio::test]
async fn a_large_push_arrives_whole_through_small_buffers() {
    let server = Server::start().await;
    std::fs::write(server.work().join("noise"), noise(20 << 20)).unwrap();
    let head = server.commit("large").await;
    server.git(&["push", "--quiet", "origin", "HEAD:refs/heads/main"]).await;
    assert_eq!(server.head("main").await, Some(head));
    server.bare.fsck().await.unwrap();
}

#[tokio::test]
async fn without_a_valid_token_there_is_nothing_not_even_whether_a_repository_exists() {
    let server = Server::start().await;
    for name in ["sample", "missing"] {
        let path = format!("/news/git/{name}.git/info/refs?service=git-upload-pack");
        for token in [None, Some("wrong"), Some("")] {
            let answer = server.get(&path, token).await;
            assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
            assert!(answer.contains("www-authenticate: Basic realm="), "{answer}");
        }
    }
    let cookie = format!(
        "GET /news/git/sample.git/info/refs?service=git-upload-pack HTTP/1.1\r\nHost: x\r\nConnection: close\r\nCookie: pika_session={}\r\n\r\n",
        server.token
    );
    let answer = server.send(cookie.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    let refused = server.try_git(&["ls-remote", &server.url_with("wrong")]).await;
    assert!(!refused.status.success());
    let answer =
        server.get("/news/git/missing.git/info/refs?service=git-upload-pack", Some(&server.token)).await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    let answer =
        server.get("/news/git/..%2Fsample.git/info/refs?service=git-upload-pack", Some(&server.token)).await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
}

#[tokio::test]
async fn a_user_who_is_disabled_can_push_no_more() {
    let server = Server::start().await;
    server.commit("first").await;
    server.git(&["push", "--quiet", "origin", "HEAD:refs/heads/main"]).await;
    server.authenticator.disable_user("ada").await.unwrap();
    server.commit("second").await;
    let refused = server.try_git(&["push", "--quiet", "origin", "HEAD:refs/heads/main"]).await;
    assert!(!refused.status.success());
}

#[tokio::test]
async fn clients_that_do_not_speak_the_protocol_are_told() {
    let server = Server::start().await;
    for path in ["info/refs", "info/refs?service=git-upload-archive", "HEAD", "objects/info/packs", "config"]
    {
        let answer = server.get(&format!("/news/git/sample.git/{path}"), Some(&server.token)).await;
        assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("smart HTTP"), "{path}: {answer}");
    }
    let head = format!("Host: x\r\nConnection: close\r\nAuthorization: Bearer {}\r\n", server.token);
    let post =
        |rest: &str| format!("POST /news/git/sample.git/git-receive-pack HTTP/1.1\r\n{head}{rest}\r\n");
    let answer = server.send(post("Content-Length: 0\r\nContent-Type: text/plain\r\n").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 415 "), "{answer}");
    let push = "Content-Type: application/x-git-receive-pack-request\r\n";
    let answer = server.send(post(&format!("Content-Length: 99999999999\r\n{push}")).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    let answer =
        server.send(post(&format!("Content-Length: 0\r\nGit-Protocol: a b\r\n{push}")).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

#[tokio::test]
async fn a_push_above_the_limit_is_refused_by_git_in_words() {
    let server = Server::start_with(|config| config.pack_bytes_max = 100_000).await;
    std::fs::write(server.work().join("noise"), noise(1 << 20)).unwrap();
    server.commit("large").await;
    let refused = server.try_git(&["push", "origin", "HEAD:refs/heads/main"]).await;
    assert!(!refused.status.success());
    let words = lossy(&refused.stderr);
    assert!(words.contains("exceeds maximum allowed size"), "{words}");
    assert_eq!(server.head("main").await, None);
}

#[tokio::test]
async fn a_push_whose_client_dies_in_the_middle_leaves_nothing() {
    let server = Server::start_with(|config| config.exchanges_max = 1).await;
    std::fs::write(server.work().join("noise"), noise(1 << 20)).unwrap();
    let head = server.commit("large").await;
    let list = server.scratch.path().join("revisions");
    std::fs::write(&list, format!("{head}\n")).unwrap();
    let mut pack = client(&server.work());
    pack.args(["pack-objects", "--revs", "--stdout", "-q"]).stdin(std::fs::File::open(list).unwrap());
    let pack = pack.output().await.unwrap().stdout;
    let command = format!("{} {head} refs/heads/main\0 report-status", "0".repeat(40));
    let mut body = format!("{:04x}{command}0000", command.len() + 4).into_bytes();
    body.extend(&pack[..pack.len() / 2]);

    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let header = format!(
        "POST /news/git/sample.git/git-receive-pack HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/x-git-receive-pack-request\r\nContent-Length: {}\r\n\r\n",
        server.token,
        body.len() * 2
    );
    stream.write_all(header.as_bytes()).await.unwrap();
    stream.write_all(&body).await.unwrap();
    drop(stream);

    // There is one turn: this push begins when the broken one is over.
    server.git(&["push", "--quiet", "origin", "HEAD:refs/heads/other"]).await;
    assert_eq!(server.head("main").await, None);
    assert_eq!(server.head("other").await, Some(head));
    server.bare.fsck().await.unwrap();
}

#[tokio::test]
async fn the_hook_knows_the_forge_and_the_pusher_and_its_words_reach_the_client() {
    let server = Server::start().await;
    let hook = server.scratch.path().join("hook");
    std::fs::write(&hook, "#!/bin/sh\necho \"$PIKA_NEWS_ACTOR by $PIKA_NEWS_HOOK_SOCKET with ${HOME}\"\n")
        .unwrap();
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).unwrap();
    server.bare.install_hooks(&hook).unwrap();
    server.commit("first").await;
    let words = server.git(&["push", "origin", "HEAD:refs/heads/main"]).await;
    assert!(words.contains("remote: ada by /nonexistent/hook.sock with /nonexistent"), "{words}");
}
