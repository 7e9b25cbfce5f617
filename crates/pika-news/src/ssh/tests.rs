//! The server on this machine, to the real git and the real ssh, and to keys and commands that it must not heed.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Output, Stdio};

use pika_git::{BranchName, Repository};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::task::JoinHandle;

use super::*;
use crate::auth::{Role, User};
use crate::store::Store;

/// A server with one repository, a writer with a key, and a working copy of theirs.
struct Fixture {
    scratch: TempDir,
    bare: Repository,
    address: SocketAddr,
    store: Store,
    authenticator: Authenticator,
    ada: User,
    shutdown: CancellationToken,
    serving: JoinHandle<()>,
}

impl Fixture {
    async fn start() -> Fixture {
        Fixture::start_with(|_| {}).await
    }

    async fn start_with(change: impl FnOnce(&mut SshLimits)) -> Fixture {
        let scratch = tempfile::tempdir().unwrap();
        let bare = Repository::init(scratch.path().join("sample.git"), &branch("main")).await.unwrap();
        let store = Store::open(&scratch.path().join("forge.db")).unwrap();
        let authenticator = Authenticator::new(store.clone());
        let ada = authenticator.ensure_user("ada", false).await.unwrap();
        let sample = store.ensure_repository("sample", 1).await.unwrap();
        store.set_role(sample, ada.id, Some(Role::Write), "test".to_owned(), 1).await.unwrap();
        let repositories = Repositories::from_iter([("sample".to_owned(), bare.clone())]);
        let mut limits = SshLimits::default();
        change(&mut limits);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let server = SshServer::new(
            authenticator.clone(),
            repositories,
            "/nonexistent/hook.sock".into(),
            "ssh://git@forge/NAME.git".to_owned(),
            load_or_make(&scratch.path().join("host_key")).unwrap(),
            limits,
        );
        let serving = tokio::spawn(server.serve(listener, shutdown.clone()));
        let fixture = Fixture { scratch, bare, address, store, authenticator, ada, shutdown, serving };
        let key = fixture.make_key("ada");
        fixture.authenticator.add_ssh_key(&fixture.ada, &key, "laptop").await.unwrap();
        std::fs::create_dir(fixture.work()).unwrap();
        fixture.git(&["init", "--quiet", "--initial-branch=main", "."]).await;
        fixture.git(&["remote", "add", "origin", &fixture.url()]).await;
        fixture
    }

    /// Makes a key pair and returns the public line.
    fn make_key(&self, name: &str) -> String {
        let key = self.scratch.path().join(name);
        let made = std::process::Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"])
            .arg(&key)
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        std::fs::read_to_string(key.with_extension("pub")).unwrap()
    }

    fn work(&self) -> PathBuf {
        self.scratch.path().join("work")
    }

    fn url(&self) -> String {
        format!("ssh://git@{}/sample.git", self.address)
    }

    fn ssh_words(&self, key: &str) -> Vec<String> {
        let scratch = self.scratch.path().display();
        let options = [
            "BatchMode=yes",
            "IdentitiesOnly=yes",
            "IdentityAgent=none",
            "StrictHostKeyChecking=accept-new",
            "LogLevel=ERROR",
        ];
        let mut words: Vec<String> = ["ssh", "-F", "none"].map(str::to_owned).into();
        words.extend(options.iter().flat_map(|option| ["-o".to_owned(), (*option).to_owned()]));
        words.extend(["-o".to_owned(), format!("UserKnownHostsFile={scratch}/known_hosts")]);
        words.extend(["-i".to_owned(), format!("{scratch}/{key}")]);
        words
    }

    /// Runs ssh with further options and a command.
    async fn ssh(&self, key: &str, options: &[&str], command: &str) -> Output {
        let mut words = self.ssh_words(key);
        words.extend(["-p".to_owned(), self.address.port().to_string()]);
        words.extend(options.iter().map(|option| (*option).to_owned()));
        words.push("anybody@127.0.0.1".to_owned());
        let mut ssh = Command::new(&words[0]);
        ssh.args(&words[1..]).stdin(Stdio::null()).kill_on_drop(true);
        if !command.is_empty() {
            ssh.arg(command);
        }
        ssh.output().await.unwrap()
    }

    fn client(&self, key: &str) -> Command {
        let mut command = Command::new("git");
        command.current_dir(self.work()).env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin");
        command.env("HOME", "/nonexistent").env("GIT_CONFIG_NOSYSTEM", "1").stdin(Stdio::null());
        for who in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{who}_NAME"), "Ada").env(format!("GIT_{who}_EMAIL"), "ada@example.org");
        }
        command.env("GIT_SSH_COMMAND", self.ssh_words(key).join(" ")).kill_on_drop(true);
        command
    }

    async fn try_git(&self, arguments: &[&str]) -> Output {
        self.client("ada").args(arguments).output().await.unwrap()
    }

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

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_is_pushed_cloned_rewritten_and_deleted_by_key() {
    let fixture = Fixture::start().await;
    std::fs::write(fixture.work().join("file"), "one\n").unwrap();
    let first = fixture.commit("first").await;
    fixture.git(&["push", "--quiet", "origin", "HEAD:refs/heads/main", "HEAD:refs/heads/topic"]).await;
    assert_eq!(fixture.head("main").await, Some(first));
    for (version, path) in [("0", "sample.git"), ("1", "news/git/sample.git"), ("2", "sample")] {
        let clone = fixture.scratch.path().join(format!("clone-{version}"));
        let (protocol, url) =
            (format!("protocol.version={version}"), format!("ssh://git@{}/{path}", fixture.address));
        fixture.git(&["-c", &protocol, "clone", "--quiet", "--depth=1", &url, clone.to_str().unwrap()]).await;
        assert_eq!(std::fs::read_to_string(clone.join("file")).unwrap(), "one\n");
    }
    fixture.git(&["commit", "--quiet", "--amend", "-m", "rewritten"]).await;
    assert!(!fixture.try_git(&["push", "origin", "HEAD:refs/heads/topic"]).await.status.success());
    fixture.git(&["push", "--quiet", "--force", "origin", "HEAD:refs/heads/topic"]).await;
    fixture.git(&["push", "--quiet", "origin", ":refs/heads/topic"]).await;
    assert_eq!(fixture.head("topic").await, None);
    let log = std::fs::read_to_string(fixture.bare.path().join("logs/refs/heads/main")).unwrap();
    assert!(log.contains(" ada <"), "the log of a branch says who pushed: {log}");
    fixture.bare.fsck().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn version_2_of_the_protocol_is_spoken_when_it_is_asked_for() {
    let fixture = Fixture::start().await;
    fixture.commit("first").await;
    fixture.git(&["push", "--quiet", "origin", "HEAD:refs/heads/main"]).await;
    let mut list = fixture.client("ada");
    list.args(["-c", "protocol.version=2", "ls-remote", "origin"]).env("GIT_TRACE_PACKET", "1");
    let trace = lossy(&list.output().await.unwrap().stderr);
    assert!(trace.contains("< version 2"), "{trace}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_push_arrives_whole_and_comes_back() {
    let fixture = Fixture::start().await;
    std::fs::write(fixture.work().join("noise"), noise(20 << 20)).unwrap();
    let head = fixture.commit("large").await;
    fixture.git(&["push", "--quiet", "origin", "HEAD:refs/heads/main"]).await;
    assert_eq!(fixture.head("main").await, Some(head));
    let clone = fixture.scratch.path().join("clone");
    fixture.git(&["clone", "--quiet", &fixture.url(), clone.to_str().unwrap()]).await;
    assert_eq!(std::fs::metadata(clone.join("noise")).unwrap().len(), 20 << 20);
    fixture.bare.fsck().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_above_the_limit_is_refused() {
    let fixture = Fixture::start_with(|limits| limits.pack_bytes_max = 100_000).await;
    std::fs::write(fixture.work().join("noise"), noise(1 << 20)).unwrap();
    fixture.commit("large").await;
    let refused = fixture.try_git(&["push", "origin", "HEAD:refs/heads/main"]).await;
    assert!(!refused.status.success());
    assert!(lossy(&refused.stderr).contains("exceeds maximum allowed size"), "{}", lossy(&refused.stderr));
    assert_eq!(fixture.head("main").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_unknown_or_revoked_or_of_somebody_disabled_gets_in_nowhere() {
    let fixture = Fixture::start().await;
    let stranger = fixture.make_key("stranger");
    let refused = fixture.ssh("stranger", &[], "git-upload-pack '/sample.git'").await;
    assert!(lossy(&refused.stderr).contains("Permission denied (publickey)"), "{refused:?}");
    let password = ["-o", "PreferredAuthentications=password,keyboard-interactive,none"];
    assert_eq!(fixture.ssh("ada", &password, "").await.status.code(), Some(255));

    let added = fixture.authenticator.add_ssh_key(&fixture.ada, &stranger, "second").await.unwrap();
    assert_eq!(fixture.ssh("stranger", &[], "").await.status.code(), Some(1), "now it is known");
    assert!(fixture.authenticator.revoke_ssh_key(&fixture.ada, added.id).await.unwrap());
    assert_eq!(fixture.ssh("stranger", &[], "").await.status.code(), Some(255));

    fixture.authenticator.disable_user("ada").await.unwrap();
    let refused = fixture.ssh("ada", &[], "").await;
    assert!(lossy(&refused.stderr).contains("Permission denied (publickey)"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_connection_is_worth_nothing_once_its_key_is_revoked() {
    let fixture = Fixture::start().await;
    let control = format!("ControlPath={}/control", fixture.scratch.path().display());
    let shared = ["-o", &control];
    let mut words = fixture.ssh_words("ada");
    words.extend(["-p".to_owned(), fixture.address.port().to_string(), "-o".to_owned(), control.clone()]);
    words.extend(["-M", "-N", "-f", "git@127.0.0.1"].map(str::to_owned));
    let mut master = Command::new(&words[0]);
    master.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // It returns once it is signed in, and goes on behind.
    assert!(master.status().await.unwrap().success());
    let answered = fixture.ssh("ada", &shared, "git-upload-pack '/sample.git'").await;
    assert!(lossy(&answered.stdout).contains("capabilities^{}"), "{answered:?}");
    let keys = fixture.authenticator.list_ssh_keys(&fixture.ada).await.unwrap();
    fixture.authenticator.revoke_ssh_key(&fixture.ada, keys[0].id).await.unwrap();
    let refused = fixture.ssh("ada", &shared, "git-upload-pack '/sample.git'").await;
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(refused.stdout.is_empty() && lossy(&refused.stderr).contains("was revoked"), "{refused:?}");
    fixture.ssh("ada", &["-o", &control, "-O", "exit"], "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_git_runs_and_who_asks_for_a_shell_is_greeted() {
    let fixture = Fixture::start().await;
    let greeted = fixture.ssh("ada", &[], "").await;
    assert_eq!(greeted.status.code(), Some(1));
    let words = lossy(&greeted.stderr);
    assert!(words.contains("Hi ada,") && words.contains("git clone ssh://git@forge/NAME.git"), "{words}");
    let witness = fixture.scratch.path().join("witness");
    let touch = format!("touch {}", witness.display());
    for hostile in [
        touch.clone(),
        format!("git-upload-pack '/sample.git'; {touch}"),
        format!("git-upload-pack '$({touch})'"),
        format!("git-upload-pack --upload-pack='{touch}' '/sample.git'"),
        "git-upload-pack '../../etc'".to_owned(),
        "git-upload-pack '/sample.git/../sample.git'".to_owned(),
        "git-upload-archive '/sample.git'".to_owned(),
        "scp -t /tmp".to_owned(),
    ] {
        let refused = fixture.ssh("ada", &[], &hostile).await;
        assert_eq!(refused.status.code(), Some(1), "{hostile}: {refused:?}");
        assert!(
            refused.stdout.is_empty() && lossy(&refused.stderr).starts_with("pika: "),
            "{hostile}: {refused:?}"
        );
    }
    assert!(!witness.exists());
    let subsystem = fixture.ssh("ada", &["-s"], "sftp").await;
    assert_eq!(subsystem.status.code(), Some(255), "{subsystem:?}");
    let forwarded = fixture.ssh("ada", &["-W", "127.0.0.1:1"], "").await;
    assert!(!forwarded.status.success() && forwarded.stdout.is_empty(), "{forwarded:?}");
    let mut listening = fixture.ssh_words("ada");
    listening.extend(["-p".to_owned(), fixture.address.port().to_string()]);
    listening.extend(
        ["-o", "ExitOnForwardFailure=yes", "-N", "-R", "0:127.0.0.1:1", "git@127.0.0.1"].map(str::to_owned),
    );
    let refused = Command::new("ssh").args(&listening[1..]).stdin(Stdio::null()).output().await.unwrap();
    assert!(!refused.status.success(), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_may_clone_and_not_push_and_a_stranger_learns_nothing() {
    let fixture = Fixture::start().await;
    fixture.commit("first").await;
    fixture.git(&["push", "--quiet", "origin", "HEAD:refs/heads/main"]).await;
    let sample = fixture.store.ensure_repository("sample", 1).await.unwrap();
    fixture.store.set_role(sample, fixture.ada.id, Some(Role::Read), "test".to_owned(), 1).await.unwrap();
    fixture.git(&["ls-remote", "origin"]).await;
    fixture.commit("second").await;
    let refused = fixture.try_git(&["push", "origin", "HEAD:refs/heads/main"]).await;
    assert!(lossy(&refused.stderr).contains("this needs the role `write`"), "{refused:?}");
    fixture.store.set_role(sample, fixture.ada.id, None, "test".to_owned(), 1).await.unwrap();
    for repository in ["sample", "missing"] {
        let refused = fixture.ssh("ada", &[], &format!("git-upload-pack '/{repository}.git'")).await;
        assert_eq!(lossy(&refused.stderr), "pika: there is no such repository here\n");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_whose_client_is_killed_in_the_middle_leaves_nothing() {
    let fixture = Fixture::start_with(|limits| limits.exchanges_max = 1).await;
    std::fs::write(fixture.work().join("noise"), noise(1 << 20)).unwrap();
    let head = fixture.commit("large").await;
    let list = fixture.scratch.path().join("revisions");
    std::fs::write(&list, format!("{head}\n")).unwrap();
    let mut pack = fixture.client("ada");
    pack.args(["pack-objects", "--revs", "--stdout", "-q"]).stdin(std::fs::File::open(list).unwrap());
    let pack = pack.output().await.unwrap().stdout;
    let command = format!("{} {head} refs/heads/main\0 report-status", "0".repeat(40));
    let mut half = format!("{:04x}{command}0000", command.len() + 4).into_bytes();
    half.extend(&pack[..pack.len() / 2]);

    let mut words = fixture.ssh_words("ada");
    words.extend(["-p".to_owned(), fixture.address.port().to_string()]);
    words.extend(["git@127.0.0.1", "git-receive-pack '/sample.git'"].map(str::to_owned));
    let mut client = Command::new(&words[0]);
    client.args(&words[1..]).stdin(Stdio::piped()).stdout(Stdio::null()).kill_on_drop(true);
    let mut client = client.spawn().unwrap();
    let mut input = client.stdin.take().unwrap();
    input.write_all(&half).await.unwrap();
    input.flush().await.unwrap();
    client.kill().await.unwrap();

    // There is one turn: this push begins when the broken one is over.
    fixture.git(&["push", "--quiet", "origin", "HEAD:refs/heads/other"]).await;
    assert_eq!(fixture.head("main").await, None);
    assert_eq!(fixture.head("other").await, Some(head));
    fixture.bare.fsck().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_sign_in_is_let_go_and_a_flood_is_turned_away() {
    let fixture = Fixture::start_with(|limits| {
        limits.login_deadline = Duration::from_millis(200);
        limits.connections_of_address_max = 2;
    })
    .await;
    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(TcpStream::connect(fixture.address).await.unwrap());
    }
    for mut stream in silent {
        let mut said = Vec::new();
        let read = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut said);
        let ended = tokio::time::timeout(Duration::from_secs(10), read).await;
        assert!(ended.is_ok(), "the server ends the connection");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hook_of_a_push_knows_its_pusher_and_its_words_reach_them() {
    let fixture = Fixture::start().await;
    let hook = fixture.scratch.path().join("hook");
    std::fs::write(&hook, "#!/bin/sh\necho \"$PIKA_NEWS_ACTOR by $PIKA_NEWS_HOOK_SOCKET\"\n").unwrap();
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).unwrap();
    fixture.bare.install_hooks(Path::new(&hook)).unwrap();
    fixture.commit("first").await;
    let words = fixture.git(&["push", "origin", "HEAD:refs/heads/main"]).await;
    assert!(words.contains("remote: ada by /nonexistent/hook.sock"), "{words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_lets_go_who_only_waits() {
    let fixture = Fixture::start().await;
    let _idle = TcpStream::connect(fixture.address).await.unwrap();
    fixture.git(&["ls-remote", "origin"]).await;
    fixture.shutdown.cancel();
    tokio::time::timeout(Duration::from_secs(10), fixture.serving).await.unwrap().unwrap();
}
