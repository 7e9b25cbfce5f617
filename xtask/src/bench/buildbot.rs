//! The peer buildbot: a master and one worker on loopback, with SQLite.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::process::{Server, timed, wait_for};
use super::{Bench, tools};

/// A running master with its worker. Both are stopped when this goes out of scope.
pub(super) struct Buildbot {
    address: String,
    _master: Server,
    _worker: Server,
    _folder: TempDir,
}

impl Buildbot {
    /// Installs what is missing, and starts both in the foreground of processes of ours.
    pub(super) fn start(bench: &Bench) -> Result<Buildbot> {
        let (master, worker) =
            (tools::program(bench, "buildbot")?, tools::program(bench, "buildbot-worker")?);
        let folder = tempfile::tempdir()?;
        let (web, wire) = (free_port()?, free_port()?);
        timed(Command::new(&master).current_dir(&folder).args(["create-master", "--quiet", "master"]))?;
        std::fs::write(folder.path().join("master/master.cfg"), configuration(web, wire))?;
        let peer = format!("127.0.0.1:{wire}");
        timed(Command::new(&worker).current_dir(&folder).args([
            "create-worker",
            "--quiet",
            "worker",
            &peer,
            "w",
            "secret",
        ]))?;
        let start = |program: &Path, name: &str| {
            let mut command = Command::new(program);
            command.current_dir(&folder).args(["start", "--nodaemon", name]);
            Server::start(&mut command, &folder.path().join(format!("{name}.log")))
        };
        let (master, worker) = (start(&master, "master")?, start(&worker, "worker")?);
        let buildbot = Buildbot {
            address: format!("http://127.0.0.1:{web}/api/v2"),
            _master: master,
            _worker: worker,
            _folder: folder,
        };
        wait_for("the connection of buildbot's worker", Duration::from_secs(60), || {
            let workers = buildbot.get("/workers").ok()?;
            workers["workers"][0]["connected_to"].as_array().is_some_and(|to| !to.is_empty()).then_some(())
        })?;
        Ok(buildbot)
    }

    /// Forces a build of `true`, and waits until it is complete.
    pub(super) fn build(&self) -> Result<Duration> {
        let start = Instant::now();
        let parameters =
            json!({"builderid": "1", "owner": "Bench <bench@example.invalid>", "reason": "bench"});
        let request = json!({"jsonrpc": "2.0", "method": "force", "id": 1, "params": parameters});
        let mut answer = ureq::post(format!("{}/forceschedulers/force", self.address))
            .header("Content-Type", "application/json")
            .send(request.to_string())
            .context("force a build")?;
        let answer: Value = serde_json::from_str(&answer.body_mut().read_to_string()?)?;
        let requests = answer["result"][1].as_object().context("a build request in buildbot's answer")?;
        let request = requests.values().next().context("a build request in buildbot's answer")?;
        wait_for("buildbot's build", Duration::from_secs(30), || {
            let found = self.get(&format!("/buildrequests/{request}?field=complete")).ok()?;
            found["buildrequests"][0]["complete"].as_bool()?.then_some(())
        })?;
        Ok(start.elapsed())
    }

    fn get(&self, path: &str) -> Result<Value> {
        let text = ureq::get(format!("{}{path}", self.address)).call()?.body_mut().read_to_string()?;
        Ok(serde_json::from_str(&text)?)
    }
}

fn configuration(web: u16, wire: u16) -> String {
    format!(
        r#"from buildbot.plugins import schedulers, steps, util, worker
c = BuildmasterConfig = {{}}
c['workers'] = [worker.Worker("w", "secret")]
c['protocols'] = {{'pb': {{'port': 'tcp:{wire}:interface=127.0.0.1'}}}}
c['schedulers'] = [schedulers.ForceScheduler(name="force", builderNames=["true"])]
factory = util.BuildFactory([steps.ShellCommand(command=["true"])])
c['builders'] = [util.BuilderConfig(name="true", workernames=["w"], factory=factory)]
c['www'] = dict(port="tcp:{web}:interface=127.0.0.1", plugins={{}})
c['db_url'] = "sqlite:///state.sqlite"
c['buildbotNetUsageData'] = None
c['title'] = "bench"
c['titleURL'] = c['buildbotURL'] = "http://127.0.0.1:{web}/"
"#
    )
}

/// A port that nobody listens on at this moment.
pub(super) fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
