//! What freezing a tree costs: 20,000 files, 121 MB, against `git worktree add` of the same tree.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::Bench;
use super::figure::{Figure, Goal};
use super::process::git;

const FILES: usize = 20_000;
const BYTES: usize = 121_000_000;

const MANIFEST: &str = "version = 1

[targets.check]
title = \"Nothing\"

[[targets.check.jobs]]
id = \"nothing\"
command = \"true\"
";

pub(super) fn bench(bench: &Bench) -> Result<Vec<Figure>> {
    let folder = tempfile::tempdir_in(bench.binaries.parent().context("the target folder")?)?;
    let repository = folder.path().join("repository");
    make_tree(&repository)?;
    git(&repository, &["init", "--quiet", "--initial-branch=main"])?;
    git(&repository, &["add", "."])?;
    git(&repository, &["commit", "--quiet", "--message=everything"])?;
    let runs = bench.runs.min(5);
    let (mut first, mut unchanged) = (Vec::new(), Vec::new());
    for round in 0..=runs {
        let state = folder.path().join(format!("state-{round}"));
        let ours_first = snapshot(bench, &repository, &state, true)?;
        let ours_unchanged = snapshot(bench, &repository, &state, false)?;
        let worktree = folder.path().join(format!("worktree-{round}"));
        let path = worktree.to_str().context("a path in UTF-8")?;
        let peer = git(&repository, &["worktree", "add", "--quiet", "--detach", path])?;
        if round > 0 {
            first.push((ours_first, peer));
            unchanged.push((ours_unchanged, peer));
        }
        git(&repository, &["worktree", "remove", "--force", path])?;
        remove(&state)?;
    }
    Ok(vec![
        Figure::paired("snapshot of 20,000 files, first / git worktree add", &first, Goal::RatioBelow(0.8)),
        Figure::paired(
            "snapshot of 20,000 files, unchanged / git worktree add",
            &unchanged,
            Goal::RatioBelow(0.1),
        ),
    ])
}

/// Runs the job that does nothing, and returns the time from the start of `pikaci` to its event `snapshot_taken`.
fn snapshot(bench: &Bench, repository: &Path, state: &Path, is_first: bool) -> Result<Duration> {
    use std::io::BufRead as _;
    let start = Instant::now();
    let mut child = Command::new(bench.pikaci())
        .current_dir(repository)
        .arg("--state-root")
        .arg(state)
        .args(["run", "check", "--output", "jsonl"])
        .stdout(Stdio::piped())
        .spawn()?;
    let lines = std::io::BufReader::new(child.stdout.take().context("a pipe")?).lines();
    let mut taken = None;
    for line in lines {
        let event: Value = serde_json::from_str(&line?)?;
        if event["event"] == "snapshot_taken" {
            taken = Some(start.elapsed());
            let copied = event["files_copied"].as_u64().unwrap_or(0);
            if is_first != (copied > 0) {
                bail!(
                    "expected {} snapshot, but {copied} files were copied",
                    if is_first { "a first" } else { "an unchanged" }
                );
            }
        }
    }
    if !child.wait()?.success() {
        bail!("pikaci run failed");
    }
    taken.context("no event snapshot_taken")
}

/// Files of different sizes in 200 folders, with content that no file system can share or compress away.
fn make_tree(root: &Path) -> Result<()> {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for index in 0..FILES {
        let folder = root.join(format!("folder-{}", index % 200));
        if index < 200 {
            fs::create_dir_all(&folder)?;
        }
        let bytes = BYTES / FILES * (index % 20 + 1) * 2 / 21;
        let mut content = Vec::with_capacity(bytes + 8);
        while content.len() < bytes {
            // xorshift64: fast, and never the same twice within a tree.
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            content.extend_from_slice(&random.to_le_bytes());
        }
        fs::write(folder.join(format!("file-{index}")), &content[..bytes])?;
    }
    fs::write(root.join("pikaci.toml"), MANIFEST)?;
    Ok(())
}

/// Removes a state root, whose snapshots are read-only.
fn remove(state: &Path) -> Result<()> {
    let made_writable = Command::new("chmod").args(["-R", "u+w"]).arg(state).status()?;
    if !made_writable.success() {
        bail!("cannot make {} writable", state.display());
    }
    Ok(fs::remove_dir_all(state)?)
}
