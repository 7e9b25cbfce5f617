//! A forge of our own for a bench: served on loopback from a folder that goes away with it.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tempfile::TempDir;

use super::Bench;
use super::buildbot::free_port;
use super::process::{Server, git, wait_for};

/// A running forge with one repository, and a clone of it.
pub(super) struct Forge {
    address: String,
    token: String,
    clone: PathBuf,
    server: Server,
    program: PathBuf,
    folder: TempDir,
}

impl Forge {
    /// Starts it and waits until it answers.
    pub(super) fn start(bench: &Bench) -> Result<Forge> {
        let folder = tempfile::tempdir_in(&bench.binaries)?;
        let port = free_port()?;
        let configuration = folder.path().join("pika-news.toml");
        let data = folder.path().join("data");
        let text = format!(
            "data = {data:?}\nlisten = \"127.0.0.1:{port}\"\n\n[ci]\nslots = 2\n\n[[repositories]]\nname = \"bench\"\n"
        );
        std::fs::write(&configuration, text)?;
        let program = bench.pika_news();
        let mut command = Command::new(&program);
        command.args(["serve", "--config"]).arg(&configuration);
        let server = Server::start(&mut command, &folder.path().join("forge.log"))?;
        let address = format!("http://127.0.0.1:{port}");
        wait_for("the forge's first answer", Duration::from_secs(20), || {
            std::net::TcpStream::connect(("127.0.0.1", port)).ok()
        })?;
        let created = Command::new(&program)
            .args(["token", "create", "--user", "admin", "--config"])
            .arg(&configuration)
            .stderr(Stdio::inherit())
            .output()?;
        let token = String::from_utf8(created.stdout)?.trim().to_owned();
        if !created.status.success() || token.is_empty() {
            bail!("pika-news token create made no token");
        }
        let clone = folder.path().join("clone");
        std::fs::create_dir(&clone)?;
        git(&clone, &["init", "--quiet", "--initial-branch=main"])?;
        let remote = format!("http://bench:{token}@127.0.0.1:{port}/news/git/bench.git");
        git(&clone, &["remote", "add", "origin", &remote])?;
        Ok(Forge { address, token, clone, server, program, folder })
    }

    /// Stops it, lets `change` work on its configuration and data, and starts it again.
    pub(super) fn restart_after(mut self, change: impl FnOnce(&Path) -> Result<()>) -> Result<Forge> {
        self.server.stop();
        change(self.folder.path())?;
        let mut command = Command::new(&self.program);
        command.args(["serve", "--config"]).arg(self.folder.path().join("pika-news.toml"));
        self.server = Server::start(&mut command, &self.folder.path().join("forge.log"))?;
        let (_, port) = self.address.rsplit_once(':').context("the forge's port")?;
        let port: u16 = port.parse()?;
        wait_for("the forge's first answer", Duration::from_secs(60), || {
            std::net::TcpStream::connect(("127.0.0.1", port)).ok()
        })?;
        Ok(self)
    }

    /// Where it is reached, without a slash at the end.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// The password of git and of scripts.
    pub(super) fn token(&self) -> &str {
        &self.token
    }

    /// The folder of its configuration, `data` and clone.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its only repository.
    pub(super) fn bare(&self) -> PathBuf {
        self.folder.path().join("data/repositories/bench.git")
    }

    /// Its process.
    pub(super) fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// The working tree that is pushed from.
    pub(super) fn clone(&self) -> &Path {
        &self.clone
    }

    /// Commits everything on a new branch.
    pub(super) fn commit(&self, branch: &str) -> Result<()> {
        git(&self.clone, &["checkout", "--quiet", "-B", branch])?;
        git(&self.clone, &["add", "--all"])?;
        git(&self.clone, &["commit", "--quiet", "--allow-empty", "--message", branch])?;
        Ok(())
    }

    /// Pushes a branch. Returns its number, from the push's own answer.
    pub(super) fn push(&self, branch: &str) -> Result<String> {
        let pushed = Command::new("git")
            .current_dir(&self.clone)
            .args(["push", "--quiet", "origin", branch])
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .output()?;
        let answer = String::from_utf8_lossy(&pushed.stderr).into_owned();
        let after =
            answer.split("/branch/").nth(1).with_context(|| format!("no branch page in: {answer}"))?;
        Ok(after.chars().take_while(char::is_ascii_digit).collect())
    }

    /// What the API says of the latest lane of a branch.
    pub(super) fn lane(&self, branch: &str) -> Result<Value> {
        let url = format!("{}/news/api/forge/branch/{branch}/logs", self.address);
        let mut answer = ureq::get(url).header("Authorization", format!("Bearer {}", self.token)).call()?;
        Ok(serde_json::from_str(&answer.body_mut().with_config().limit(64 << 20).read_to_string()?)?)
    }

    /// Sends a JSON document to the API.
    pub(super) fn post(&self, path: &str, body: &Value) -> Result<()> {
        let request = ureq::post(format!("{}{path}", self.address));
        let request = request.header("Authorization", format!("Bearer {}", self.token));
        request.header("Content-Type", "application/json").send(body.to_string())?;
        Ok(())
    }

    /// How long it takes until the page of a branch begins, and the whole page.
    pub(super) fn branch_page(&self, branch: &str) -> Result<(Duration, String)> {
        let url = format!("{}/news/bench/branch/{branch}", self.address);
        let start = Instant::now();
        let answer = ureq::get(url).header("Authorization", format!("Bearer {}", self.token)).call()?;
        let mut body = answer.into_body().into_reader();
        let mut first = [0];
        body.read_exact(&mut first)?;
        let time = start.elapsed();
        let mut page = first.to_vec();
        body.read_to_end(&mut page)?;
        Ok((time, String::from_utf8_lossy(&page).into_owned()))
    }

    /// Waits until the latest lane of a branch is finished, and returns its latest attempt.
    pub(super) fn finished(&self, branch: &str, limit: Duration) -> Result<Value> {
        wait_for("the end of the lane", limit, || {
            let attempt = self.lane(branch).ok()?["lane"]["attempts"][0].take();
            attempt["finished_at_ms"].is_i64().then_some(attempt)
        })
    }

    /// Follows the log of a run's only job until its first bytes arrive.
    pub(super) fn wait_for_first_line(&self, run: &str, limit: Duration) -> Result<()> {
        use std::io::{BufRead as _, BufReader};
        let url = format!("{}/news/api/forge/pikaci/logs/{run}/stream?kind=guest", self.address);
        let agent: ureq::Agent = ureq::Agent::config_builder().timeout_global(Some(limit)).build().into();
        // The run has a name before it has a folder.
        let answer = wait_for("the run's folder", limit, || {
            agent.get(&url).header("Authorization", format!("Bearer {}", self.token)).call().ok()
        })?;
        for line in BufReader::new(answer.into_body().into_reader()).lines() {
            if line?.starts_with("event: log") {
                return Ok(());
            }
        }
        bail!("the stream of run {run} ended without a line")
    }
}
