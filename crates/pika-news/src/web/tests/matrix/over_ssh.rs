//! The same for git over SSH: fetch and push of everybody, told by the real ssh.
//!
//! A key stands for a user: there is nobody without one, and none that is too old or too narrow.

use std::path::Path;
use std::process::Stdio;

use tokio::net::TcpListener;
use tokio::process::Command;

use super::*;
use crate::ssh::{SshLimits, SshServer, load_or_make};

const CALLERS: [Caller; 7] = [
    Caller::Anonymous,
    Caller::Reader,
    Caller::Writer,
    Caller::Administrator,
    Caller::OtherWriter,
    Caller::ForgeAdministrator,
    Caller::Disabled,
];

fn make_key(file: &Path) -> String {
    let mut command = std::process::Command::new("ssh-keygen");
    let made = command.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(file).status().unwrap();
    assert!(made.success());
    std::fs::read_to_string(file.with_extension("pub")).unwrap()
}

/// Asks for a service of git's, and says what came of it.
async fn ask(folder: &Path, port: u16, caller: Caller, command: &str) -> Answer {
    let options = [
        "BatchMode=yes".to_owned(),
        "IdentitiesOnly=yes".to_owned(),
        "IdentityAgent=none".to_owned(),
        "StrictHostKeyChecking=accept-new".to_owned(),
        "LogLevel=ERROR".to_owned(),
        format!("UserKnownHostsFile={}", folder.join("known_hosts").display()),
    ];
    let mut ssh = Command::new("ssh");
    ssh.args(["-F", "none", "-p", &port.to_string(), "-i"]).arg(folder.join(format!("{caller:?}")));
    for option in options {
        ssh.args(["-o", &option]);
    }
    let output = ssh.args(["git@127.0.0.1", command]).stdin(Stdio::null()).output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    match () {
        // What the service says first: its references.
        () if !output.stdout.is_empty() => Answer::Allowed,
        () if said.contains("Permission denied") => Answer::SignIn,
        () if said.contains("there is no such repository here") => Answer::Hidden,
        () if said.contains("this needs the role") => Answer::Forbidden,
        () => panic!("{caller:?}, {command}: {said}"),
    }
}

#[tokio::test]
async fn git_over_ssh_is_allowed_to_whom_it_is_over_http() {
    let matrix = Matrix::new().await;
    let folder = tempfile::tempdir().unwrap();
    for caller in CALLERS {
        let line = make_key(&folder.path().join(format!("{caller:?}")));
        let auth = &matrix.fixture.auth;
        if caller == Caller::Disabled {
            auth.set_disabled("test", "disabled", false).await.unwrap();
        }
        if let Some(user) = matrix.users.get(&caller) {
            auth.add_ssh_key(user, &line, "test").await.unwrap();
        }
        if caller == Caller::Disabled {
            auth.set_disabled("test", "disabled", true).await.unwrap();
        }
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let repository = matrix.fixture.forge.git(REPOSITORY).unwrap();
    let server = SshServer::new(
        matrix.fixture.auth.clone(),
        [(REPOSITORY.to_owned(), repository)].into_iter().collect(),
        "/nonexistent/hook.sock".into(),
        String::new(),
        load_or_make(&folder.path().join("host_key")).unwrap(),
        SshLimits::default(),
    );
    let serving = tokio::spawn(server.serve(listener, matrix.fixture.shutdown.clone()));
    let mut wrong = Vec::new();
    for is_public in [false, true] {
        let public = if is_public { BTreeSet::from([REPOSITORY.to_owned()]) } else { BTreeSet::new() };
        matrix.fixture.auth.set_public(public.into());
        for (need, command) in
            [(Need::Fetch, "git-upload-pack '/sample.git'"), (Need::Push, "git-receive-pack '/sample.git'")]
        {
            for caller in CALLERS {
                let wanted = match caller {
                    Caller::Anonymous => Answer::SignIn,
                    caller => expected(need, Kind::Git, caller, is_public),
                };
                let got = ask(folder.path(), port, caller, command).await;
                if got != wanted {
                    wrong.push(format!(
                        "{command} (public: {is_public}) by {caller:?}: wanted {wanted:?}, got {got:?}"
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    matrix.fixture.shutdown.cancel();
    serving.await.unwrap();
}
