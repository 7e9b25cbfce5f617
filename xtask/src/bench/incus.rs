//! What jobs in fresh instances cost, against the same work as raw requests in the same run: a cold job, a warm one, twenty
//! on four slots, a loud one; and the memory of fifty at once.
//!
//! Invariant: both sides use one private daemon, and the deletion of instances is waited for outside of what is timed.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use incus_client::{Client, Devices, ExecRequest, InstancePatch, NewInstance};
use incus_testbed::Testbed;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

use super::figure::{Figure, Goal, alternate};
use super::process::{git, memory, timed};
use super::{Bench, log_throughput};

const IMAGE: &str = "pikaci/dev";
const JOBS: usize = 20;
const SLOTS: usize = 4;
const MANY: usize = 50;
const LOG_BYTES: u64 = log_throughput::BYTES;

pub(super) fn bench(bench: &Bench) -> Result<Vec<Figure>> {
    let world = World::new(bench)?;
    let mut figures = Vec::new();
    let cold = alternate(bench.runs, || world.job("cold", 1), || world.raw_cold())?;
    figures.push(Figure::paired("cold job / create, start, exec", &cold, Goal::RatioBelow(1.25)));
    let warm = alternate(bench.runs, || world.warm_job(), || world.raw_warm())?;
    figures.push(Figure::paired("warm job / attach, exec", &warm, Goal::RatioBelow(1.5)));
    let across: Vec<(Duration, Duration)> =
        warm.iter().zip(&cold).map(|((warm, _), (_, cold))| (*warm, *cold)).collect();
    figures.push(Figure::paired("warm job / create, start, exec", &across, Goal::RatioBelow(0.4)));
    let many = alternate(bench.runs.min(5), || world.job("many", SLOTS), || world.raw_many())?;
    figures.push(Figure::paired("20 jobs on 4 slots / raw", &many, Goal::RatioBelow(1.25)));
    let loud = alternate(bench.runs.min(5), || world.loud(), || world.raw_loud())?;
    figures.push(Figure::throughput("log of 200 MB / incus exec", LOG_BYTES, &loud, Goal::RatioAbove(0.8)));
    figures.push(Figure::memory("memory of pikaci with 50 jobs", world.memory_with_many()?, 64.0));
    Ok(figures)
}

/// A daemon with an image, a repository, and the settings that a pool needs.
struct World {
    folder: TempDir,
    repository: PathBuf,
    pikaci: PathBuf,
    runtime: Runtime,
    client: Client,
    image: String,
    /// Dropped last: the daemon.
    testbed: Testbed,
}

impl World {
    fn new(bench: &Bench) -> Result<World> {
        crate::test::install_requirements()?;
        let runner = crate::test::guest_runner()?;
        let testbed = Testbed::start_below_tmp()?;
        let folder = tempfile::tempdir()?;
        let repository = folder.path().join("repository");
        fs::create_dir_all(&repository)?;
        fs::write(repository.join("pikaci.toml"), manifest())?;
        fs::write(repository.join(".gitignore"), "/.pikaci\n")?;
        git(&repository, &["init", "--quiet", "--initial-branch=main"])?;
        git(&repository, &["add", "."])?;
        git(&repository, &["commit", "--quiet", "--message=everything"])?;
        // A network that can't be: a bridge would outlive the daemon, and no job here asks for one.
        let network = "network = \"a/b\"\n";
        fs::write(folder.path().join("cold.toml"), network)?;
        let pool = format!(
            "{network}[images.\"{IMAGE}\"]\npool = {{ size = 1, instance = \"container\", memory = \"256MiB\" }}\n"
        );
        fs::write(folder.path().join("warm.toml"), pool)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let client = Client::unix(testbed.socket()).with_project("pikaci");
        let pikaci = bench.pikaci();
        let mut world = World { folder, repository, pikaci, runtime, client, image: String::new(), testbed };
        timed(world.command("cold").args(["init-incus", "--share"]).arg(world.folder.path()))?;
        let mut build = world.command("cold");
        build.args(["image", "build", "--recipe", "busybox", "--runner"]).arg(runner);
        timed(&mut build)?;
        world.image = world.runtime.block_on(world.client.resolve_alias(IMAGE))?;
        Ok(world)
    }

    fn command(&self, settings: &str) -> Command {
        let mut command = Command::new(&self.pikaci);
        command
            .current_dir(&self.repository)
            .env("INCUS_DIR", self.testbed.incus_dir())
            .env("XDG_CONFIG_HOME", self.folder.path().join("config"))
            .env("PIKACI_INCUS_SETTINGS", self.folder.path().join(format!("{settings}.toml")));
        command
    }

    /// From the start of the process to its verdict.
    fn run(&self, settings: &str, target: &str, slots: usize) -> Result<Duration> {
        let mut command = self.command(settings);
        command.args(["run", target, "--executor", "incus", "--output", "jsonl"]);
        command.args(["--jobs", &slots.to_string()]).stdin(Stdio::null()).stdout(Stdio::piped());
        let start = Instant::now();
        let mut child = command.spawn()?;
        let stdout = child.stdout.take().context("it has no output")?;
        let mut verdict = None;
        for line in BufReader::new(stdout).lines() {
            let line = line?;
            if line.contains("\"event\":\"run_finished\"") {
                verdict = Some(start.elapsed());
                if !line.contains("\"status\":\"passed\"") {
                    bail!("{target} did not pass: {line}");
                }
            }
        }
        child.wait()?;
        verdict.context("there was no verdict")
    }

    fn job(&self, target: &str, slots: usize) -> Result<Duration> {
        self.run("cold", target, slots)
    }

    fn warm_job(&self) -> Result<Duration> {
        timed(self.command("warm").args(["pool", "fill"]))?;
        let took = self.run("warm", "cold", 1)?;
        timed(self.command("warm").args(["pool", "drain"]))?;
        Ok(took)
    }

    /// How long a job took to print, by its own record: its instance was made before.
    fn loud(&self) -> Result<Duration> {
        let output =
            self.command("cold").args(["run", "loud", "--executor", "incus", "--output", "json"]).output()?;
        let record: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        let phases = record["jobs"][0]["remote_linux_vm_execution"]["phases"].as_array().cloned();
        let waited = phases.into_iter().flatten().find(|phase| phase["phase"] == "wait_for_completion");
        let milliseconds = waited.and_then(|phase| phase["duration_ms"].as_u64());
        Ok(Duration::from_millis(milliseconds.context("the record has no such phase")?))
    }

    /// The most memory of `pikaci` while fifty of its jobs run.
    fn memory_with_many(&self) -> Result<u64> {
        let mut command = self.command("cold");
        command.args([
            "run",
            "crowd",
            "--executor",
            "incus",
            "--output",
            "jsonl",
            "--jobs",
            &MANY.to_string(),
        ]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().context("it has no output")?;
        let (mut launched, mut peak) = (0, 0);
        for line in BufReader::new(stdout).lines() {
            let line = line?;
            launched += usize::from(line.contains("\"phase\":\"launch_guest\""));
            if launched >= MANY {
                peak = peak.max(memory(child.id()).unwrap_or(0));
            }
        }
        child.wait()?;
        if launched < MANY {
            bail!("only {launched} of {MANY} jobs were running at the same time");
        }
        Ok(peak)
    }

    fn instance(&self, name: &str, devices: Devices) -> NewInstance {
        let mut instance = NewInstance::container(name, &self.image).started();
        instance.ephemeral = true;
        instance.profiles = vec!["pikaci".to_owned()];
        instance.devices = devices;
        instance
    }

    fn raw_cold(&self) -> Result<Duration> {
        self.runtime.block_on(async {
            let start = Instant::now();
            self.client.create_instance(&self.instance("raw-cold", share(&self.repository))).await?;
            self.client.exec_unattended("raw-cold", &ExecRequest::new(["/bin/true"])).await?;
            let took = start.elapsed();
            self.client.destroy_instance("raw-cold").await?;
            Ok(took)
        })
    }

    fn raw_warm(&self) -> Result<Duration> {
        self.runtime.block_on(async {
            self.client.create_instance(&self.instance("raw-warm", Devices::new())).await?;
            let start = Instant::now();
            let patch = InstancePatch { devices: share(&self.repository), ..InstancePatch::default() };
            self.client.patch_instance("raw-warm", &patch, None).await?;
            self.client.exec_unattended("raw-warm", &ExecRequest::new(["/bin/true"])).await?;
            let took = start.elapsed();
            self.client.destroy_instance("raw-warm").await?;
            Ok(took)
        })
    }

    /// The same twenty, four at a time; their deletion goes on behind them, as ours does.
    fn raw_many(&self) -> Result<Duration> {
        self.runtime.block_on(async {
            let slots = Arc::new(Semaphore::new(SLOTS));
            let start = Instant::now();
            let jobs = (0..JOBS).map(|number| {
                let (slots, client) = (Arc::clone(&slots), self.client.clone());
                let name = format!("raw-many-{number}");
                let instance = self.instance(&name, share(&self.repository));
                async move {
                    let _slot = slots.acquire().await?;
                    client.create_instance(&instance).await?;
                    client.exec_unattended(&name, &ExecRequest::new(["/bin/true"])).await?;
                    anyhow::Ok(tokio::spawn(async move { client.destroy_instance(&name).await }))
                }
            });
            let deleting = futures_util::future::try_join_all(jobs).await?;
            let took = start.elapsed();
            for deleted in deleting {
                deleted.await??;
            }
            Ok(took)
        })
    }

    fn raw_loud(&self) -> Result<Duration> {
        self.runtime.block_on(self.client.create_instance(&self.instance("raw-loud", Devices::new())))?;
        let script = format!(
            "incus exec --project pikaci raw-loud -- sh -c '{}' > peer.log",
            log_throughput::command()
        );
        let mut command = Command::new("sh");
        command.arg("-c").arg(script).current_dir(self.folder.path());
        let took = timed(command.env("INCUS_DIR", self.testbed.incus_dir()));
        self.runtime.block_on(self.client.destroy_instance("raw-loud"))?;
        took
    }
}

/// One read-only folder, as a job has it.
fn share(folder: &Path) -> Devices {
    let keys = [
        ("type", "disk".to_owned()),
        ("source", folder.display().to_string()),
        ("path", "/workspace/snapshot".to_owned()),
        ("readonly", "true".to_owned()),
    ];
    let keys = keys.map(|(name, value)| (name.to_owned(), value)).into();
    Devices::from([("snapshot".to_owned(), keys)])
}

fn manifest() -> String {
    let target = |id: &str, jobs: usize, command: &str| {
        let mut text = format!("\n[targets.{id}]\ntitle = \"{id}\"\n");
        for number in 0..jobs {
            text.push_str(&format!(
                "\n[[targets.{id}.jobs]]\nid = \"{id}{number}\"\ncommand = \"{command}\"\n"
            ));
        }
        text
    };
    let head = "version = 1\n\n[defaults]\ninstance = \"container\"\nmemory = \"256MiB\"\n";
    [
        head.to_owned(),
        target("cold", 1, "true"),
        target("many", JOBS, "true"),
        target("loud", 1, &log_throughput::command()),
        target("crowd", MANY, "sleep 30"),
    ]
    .concat()
}
