//! Who may push what, over both transports, with the real hooks.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use e2e::{TestForge, TestForgeOptions, WorkTree};
use serde_json::{Value, json};

const RULES: &str = "[[repositories.rules]]\npattern = \"release/*\"\npush = \"admin\"\n";

/// A forge with both transports, and a writer, Bo, with a token and a key.
struct Fixture {
    forge: TestForge,
    folder: tempfile::TempDir,
    ssh_port: u16,
    token: String,
}

/// How somebody reaches the repository.
#[derive(Clone, Copy, Debug)]
enum Transport {
    Http,
    Ssh,
}

impl Fixture {
    fn start() -> Fixture {
        let ssh_port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let options = TestForgeOptions {
            more: format!("[ssh]\nlisten = \"127.0.0.1:{ssh_port}\"\n"),
            after: RULES.to_owned(),
            ..TestForgeOptions::default()
        };
        let forge = TestForge::start_with(&options);
        let folder = tempfile::tempdir().unwrap();
        let token = forge.add_administrator("bo");
        let not_administrator = json!({ "is_admin": false });
        forge.client().put("/news/api/forge/users/bo/role", &not_administrator).expect_success();
        let fixture = Fixture { forge, folder, ssh_port, token };
        fixture.set_role("write");
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "bo", "-f"])
            .arg(fixture.key())
            .status();
        assert!(made.unwrap().success());
        let line = std::fs::read_to_string(fixture.key().with_extension("pub")).unwrap();
        fixture.bo().post("/news/api/forge/ssh-keys", &json!({ "public_key": line })).expect_success();
        fixture
    }

    fn bo(&self) -> e2e::Client {
        e2e::Client::new(self.forge.url(), Some(&self.token))
    }

    fn set_role(&self, role: &str) {
        let path = "/news/api/forge/repository/sample/members/bo";
        self.forge.client().put(path, &json!({ "role": role })).expect_success();
    }

    fn key(&self) -> PathBuf {
        self.folder.path().join("key")
    }

    fn url(&self, transport: Transport) -> String {
        match transport {
            Transport::Http => {
                let authority = self.forge.url().trim_start_matches("http://");
                format!("http://bo:{}@{authority}/news/git/sample.git", self.token)
            }
            Transport::Ssh => format!("ssh://git@127.0.0.1:{}/sample.git", self.ssh_port),
        }
    }

    fn git(&self, folder: &Path, arguments: &[&str]) -> Output {
        let ssh = format!(
            "ssh -F none -o BatchMode=yes -o IdentitiesOnly=yes -o IdentityAgent=none -o LogLevel=ERROR \
             -o StrictHostKeyChecking=accept-new -o UserKnownHostsFile={0}/known_hosts -i {0}/key",
            self.folder.path().display()
        );
        let mut git = Command::new("git");
        git.current_dir(folder).args(arguments).env("GIT_SSH_COMMAND", ssh).env("GIT_TERMINAL_PROMPT", "0");
        git.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        git.output().unwrap()
    }

    /// Pushes as Bo; returns what was said.
    fn push(&self, tree: &WorkTree, transport: Transport, refspec: &str) -> Result<String, String> {
        let output = self.git(tree.path(), &["push", &self.url(transport), refspec]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(said) } else { Err(said) }
    }
}

#[track_caller]
fn refused(pushed: Result<String, String>, words: &str) {
    let said = pushed.unwrap_err();
    assert!(said.contains(words) && said.contains("pre-receive hook declined"), "{said}");
}

#[test]
fn the_rules_hold_over_http_and_over_ssh() {
    let fixture = Fixture::start();
    let tree = fixture.forge.work_tree();
    tree.commit("Begin");
    for (index, transport) in [Transport::Http, Transport::Ssh].into_iter().enumerate() {
        let push = |refspec: &str| fixture.push(&tree, transport, refspec);
        if index == 0 {
            push("HEAD:main").expect("a writer begins the default branch");
        }
        let topic = format!("topic-{index}");
        let base = tree.head();
        tree.commit("More");
        refused(push("HEAD:main"), "default branch main: pushing to it needs the role `admin`");
        refused(push(":main"), "default branch main: deleting it is not allowed");
        let answered = push(&format!("HEAD:{topic}")).unwrap();
        assert!(answered.contains("/branch/"), "the forge has heard of it: {answered}");
        // Rewritten, and removed.
        tree.git(&["reset", "--quiet", "--hard", &base]);
        tree.commit("Else");
        assert!(push(&format!("HEAD:{topic}")).unwrap_err().contains("non-fast-forward"));
        push(&format!("+HEAD:{topic}")).unwrap();
        push(&format!(":{topic}")).unwrap();
        refused(push("+HEAD:main"), "default branch main");
        refused(push("HEAD:release/1"), "branch release/1: pushing to it needs the role `admin`");
        refused(push("HEAD:refs/notes/commits"), "branches (refs/heads/…) and tags (refs/tags/…) only");
        refused(push("HEAD:refs/pika/x"), "refs/pika/x");
        let tag = format!("v{index}");
        push(&format!("HEAD:refs/tags/{tag}")).unwrap();
        tree.commit("Newer");
        refused(push(&format!("+HEAD:refs/tags/{tag}")), "moving it is not allowed; push a new tag");
        refused(push(&format!(":refs/tags/{tag}")), "deleting it needs the role `admin`");

        fixture.set_role("admin");
        tree.git(&["fetch", "--quiet", "origin", "main"]);
        tree.git(&["reset", "--quiet", "--hard", "FETCH_HEAD"]);
        tree.commit("As administrator");
        push("HEAD:main").unwrap();
        push("HEAD:release/1").unwrap();
        push(&format!(":refs/tags/{tag}")).unwrap();
        tree.git(&["commit", "--quiet", "--amend", "--allow-empty", "--message", "Rewritten"]);
        refused(push("+HEAD:main"), "a push that is no fast-forward is not allowed");
        tree.git(&["reset", "--quiet", "--hard", "HEAD@{1}"]);
        fixture.set_role("write");
    }
    // One reference that may not move refuses all of a push.
    let atomic =
        fixture.git(tree.path(), &["push", &fixture.url(Transport::Ssh), "HEAD:fine", "HEAD:refs/pika/y"]);
    assert!(!atomic.status.success());
    assert_eq!(tree.git(&["ls-remote", "origin", "refs/heads/fine", "refs/pika/*"]), "");
    // The operator is not asked.
    let repository = fixture.forge.repository();
    let by_path =
        fixture.git(tree.path(), &["push", repository.to_str().unwrap(), "HEAD:refs/notes/commits"]);
    assert!(by_path.status.success(), "{by_path:?}");
    tree.git(&["--git-dir", repository.to_str().unwrap(), "fsck", "--strict"]);
}

#[test]
fn a_disabled_user_is_out_over_both_transports_and_pages_show_both_addresses() {
    let fixture = Fixture::start();
    let tree = fixture.forge.work_tree();
    tree.commit("Begin");
    fixture.push(&tree, Transport::Ssh, "HEAD:main").unwrap();
    let page = fixture.bo().get("/news/sample").expect(200).body;
    assert!(page.contains(&fixture.url(Transport::Ssh)), "{page}");
    fixture.forge.client().post("/news/api/forge/users/bo/disable", &Value::Null).expect_success();
    for transport in [Transport::Http, Transport::Ssh] {
        let listed = fixture.git(tree.path(), &["ls-remote", &fixture.url(transport)]);
        assert!(!listed.status.success(), "{transport:?}: {listed:?}");
    }
}
