//! What prepared outputs save: a Rust lane that finds its tests compiled, against one that compiles them; attaching 5 GB,
//! against pushing them into the guest; and looking one up among ten thousand.
//!
//! The lane runs in the local executor's sandbox, with this repository's own smallest crate and the host's compiler: what is
//! compared is compiling with not compiling, and a guest's start would only blur it.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use incus_client::{Client, Devices, ExecRequest, InstancePatch, NewInstance};
use incus_testbed::Testbed;
use tempfile::TempDir;

use super::Bench;
use super::figure::{Figure, Goal, alternate};
use super::process::{git, timed};

const KEPT: usize = 10_000;
const FILES: usize = 500;
const FILE_BYTES: usize = 10_000_000;

const LANE: &str = r#"version = 1

[defaults]
network = true
env = { CARGO_INCREMENTAL = "0", CARGO_PROFILE_DEV_DEBUG = "0" }

[prepared.tests]
provider = "command"
inputs = ["**"]
command = '''
cargo test --quiet --locked -p pikaci-incus-run --lib --no-run
mkdir "$PIKACI_ARTIFACTS/out"
find "$CARGO_TARGET_DIR/debug/deps" -name 'pikaci_incus_run-*' -type f -perm -u+x -exec cp {} "$PIKACI_ARTIFACTS/out/tests" ';'
'''

[targets.prepared]
jobs = [{ id = "unit", prepared = ["tests"], network = false, command = "cd crates/pikaci-incus-run && /staged/tests/tests --quiet" }]

[targets.compiled]
jobs = [{ id = "unit", command = "cargo test --quiet --locked -p pikaci-incus-run --lib" }]
"#;

const FIND: &str = r#"version = 1

[prepared.small]
provider = "command"
inputs = ["pikaci.toml"]
command = 'mkdir "$PIKACI_ARTIFACTS/out"; echo small > "$PIKACI_ARTIFACTS/out/file"'

[targets.find]
jobs = [{ id = "unit", prepared = ["small"], command = "true" }]
"#;

pub(super) fn bench(bench: &Bench) -> Result<Vec<Figure>> {
    let mut figures = lane(bench)?;
    figures.extend(attach(bench)?);
    figures.extend(look_up(bench)?);
    Ok(figures)
}

fn pikaci(bench: &Bench, folder: &Path, target: &str) -> Command {
    let mut command = Command::new(bench.pikaci());
    command.current_dir(folder).args(["run", target, "--executor", "local"]);
    command
}

fn lane(bench: &Bench) -> Result<Vec<Figure>> {
    let folder = tempfile::tempdir_in(&bench.binaries)?;
    let clone = folder.path().join("repository");
    let here = crate::cargo::root();
    let mut cloning = Command::new("git");
    timed(cloning.args(["clone", "--quiet", "--no-hardlinks"]).arg(here).arg(&clone))?;
    fs::write(clone.join("pikaci.toml"), LANE)?;
    fs::write(clone.join(".gitignore"), "/.pikaci\n/target\n")?;
    // The first one builds; what is measured is the next ones.
    timed(&mut pikaci(bench, &clone, "prepared"))?;
    let ours = || timed(&mut pikaci(bench, &clone, "prepared"));
    let peer = || timed(&mut pikaci(bench, &clone, "compiled"));
    let pairs = alternate(bench.runs.min(3), ours, peer)?;
    Ok(vec![Figure::paired("lane with prepared tests / compiling them", &pairs, Goal::RatioBelow(1.0))])
}

fn attach(bench: &Bench) -> Result<Vec<Figure>> {
    crate::test::install_requirements()?;
    let runner = crate::test::guest_runner()?;
    let testbed = Testbed::start_below_tmp()?;
    let folder = tempfile::tempdir()?;
    let output = folder.path().join("output");
    fill(&output)?;
    let set_up = |arguments: &[&str]| {
        let mut command = Command::new(bench.pikaci());
        command.current_dir(folder.path()).env("INCUS_DIR", testbed.incus_dir()).args(arguments);
        timed(command.env("XDG_CONFIG_HOME", folder.path().join("config")))
    };
    let shared = folder.path().to_str().context("a temporary folder of plain characters")?;
    set_up(&["init-incus", "--share", shared])?;
    set_up(&["image", "build", "--recipe", "busybox", "--runner", runner.to_str().context("plain")?])?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let client = Client::unix(testbed.socket()).with_project("pikaci");
    let image = runtime.block_on(client.resolve_alias("pikaci/dev"))?;
    let fresh = || -> Result<()> {
        let mut instance = NewInstance::container("attached", &image).started();
        (instance.ephemeral, instance.profiles) = (true, vec!["pikaci".to_owned()]);
        Ok(runtime.block_on(client.create_instance(&instance))?)
    };
    let gone = || -> Result<()> { Ok(runtime.block_on(client.destroy_instance("attached"))?) };
    let ours = || {
        fresh()?;
        let start = Instant::now();
        runtime.block_on(async {
            let patch = InstancePatch { devices: share(&output), ..InstancePatch::default() };
            client.patch_instance("attached", &patch, None).await?;
            let look = format!("test -s /staged/output/{}", FILES - 1);
            let code =
                client.exec_unattended("attached", &ExecRequest::new(["/bin/sh", "-c", &look])).await?;
            if code != 0 {
                bail!("{look} ended with {code}");
            }
            Ok(())
        })?;
        let took = start.elapsed();
        gone()?;
        Ok(took)
    };
    let peer = || {
        fresh()?;
        let mut push = Command::new("incus");
        push.args(["file", "push", "--quiet", "--recursive", "--create-dirs", "--project", "pikaci"])
            .arg(&output);
        let took = timed(push.arg("attached/staged/").env("INCUS_DIR", testbed.incus_dir()))?;
        gone()?;
        Ok(took)
    };
    let pairs = alternate(3, ours, peer)?;
    Ok(vec![Figure::paired("attach 5 GB / incus file push", &pairs, Goal::RatioBelow(0.02))])
}

/// Files that no file system makes smaller.
fn fill(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let mut content = vec![0u8; FILE_BYTES];
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    for chunk in content.chunks_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        chunk.copy_from_slice(&state.to_le_bytes()[..chunk.len()]);
    }
    for number in 0..FILES {
        let mut file = fs::File::create(folder.join(number.to_string()))?;
        file.write_all(&number.to_le_bytes())?;
        file.write_all(&content)?;
    }
    Ok(())
}

fn share(folder: &Path) -> Devices {
    let keys = [
        ("type", "disk".to_owned()),
        ("source", folder.display().to_string()),
        ("path", "/staged/output".to_owned()),
        ("readonly", "true".to_owned()),
    ];
    let keys = keys.map(|(name, value)| (name.to_owned(), value)).into();
    Devices::from([("output".to_owned(), keys)])
}

fn look_up(bench: &Bench) -> Result<Vec<Figure>> {
    let few = Found::new(bench)?;
    let many = Found::new(bench)?;
    many.keep_many()?;
    let pairs = alternate(bench.runs, || many.find(bench), || few.find(bench))?;
    let times = pairs.iter().map(|(many, _)| *many).collect();
    Ok(vec![
        Figure::alone("look-up of an output among 10,000", times),
        Figure::paired("look-up among 10,000 / as the only one", &pairs, Goal::RatioBelow(1.5)),
    ])
}

/// A repository whose output is there already.
struct Found {
    folder: TempDir,
}

impl Found {
    fn new(bench: &Bench) -> Result<Found> {
        let folder = tempfile::tempdir_in(&bench.binaries)?;
        fs::write(folder.path().join("pikaci.toml"), FIND)?;
        fs::write(folder.path().join(".gitignore"), "/.pikaci\n")?;
        git(folder.path(), &["init", "--quiet", "--initial-branch=main"])?;
        timed(&mut pikaci(bench, folder.path(), "find"))?;
        Ok(Found { folder })
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join(".pikaci/prepared")
    }

    /// Outputs beside it, of its own shape.
    fn keep_many(&self) -> Result<()> {
        let is_key = |entry: &fs::DirEntry| entry.file_name().len() == 64;
        let first = fs::read_dir(self.state())?.filter_map(Result::ok).find(is_key).context("it was kept")?;
        let record = fs::read_to_string(first.path().join("record.json"))?;
        let first = first.file_name().to_string_lossy().into_owned();
        for number in 0..KEPT {
            let key = format!("{number:064x}");
            let folder = self.state().join(&key);
            fs::create_dir_all(folder.join("out"))?;
            fs::write(folder.join("record.json"), record.replace(&first, &key))?;
        }
        Ok(())
    }

    /// What the record of a run says that it took.
    fn find(&self, bench: &Bench) -> Result<Duration> {
        let mut command = pikaci(bench, self.folder.path(), "find");
        timed(&mut command)?;
        let mut asked = Command::new(bench.pikaci());
        asked.current_dir(self.folder.path()).args(["prepared-outputs", "latest", "--json"]);
        let record: serde_json::Value = serde_json::from_slice(&asked.output()?.stdout)?;
        let output = &record["outputs"][0];
        if output["is_hit"] != true {
            bail!("it was not found: {output}");
        }
        Ok(Duration::from_millis(output["duration_ms"].as_u64().context("a duration")?.max(1)))
    }
}
