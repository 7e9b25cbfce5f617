//! A push of a pack that no compression makes smaller, over HTTP and over SSH, beside the same push into a bare folder.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::Bench;
use super::buildbot::free_port;
use super::figure::{Figure, Goal};
use super::forge::Forge;
use super::process::git;

const PACK_BYTES: usize = 100_000_000;
/// A push of this size takes seconds.
const RUNS_MAX: usize = 7;
const GOAL: Goal = Goal::RatioBelow(1.5);

pub(super) fn bench(bench: &Bench) -> Result<Vec<Figure>> {
    let ssh_port = free_port()?;
    let forge = Forge::start(bench)?.restart_after(|folder| {
        let file = folder.join("pika-news.toml");
        let text = fs::read_to_string(&file)?;
        fs::write(&file, format!("{text}\n[ssh]\nlisten = \"127.0.0.1:{ssh_port}\"\n"))?;
        Ok(())
    })?;
    let key = forge.folder().join("key");
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status();
    if !made.context("ssh-keygen")?.success() {
        bail!("ssh-keygen made no key");
    }
    let public_key = fs::read_to_string(key.with_extension("pub"))?;
    forge.post("/news/api/forge/ssh-keys", &serde_json::json!({ "public_key": public_key }))?;
    let ssh = format!(
        "ssh -F none -o BatchMode=yes -o IdentitiesOnly=yes -o IdentityAgent=none -o LogLevel=ERROR \
         -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -i {}",
        key.display()
    );
    let bare = forge.folder().join("peer.git");
    git(forge.folder(), &["init", "--quiet", "--bare", "peer.git"])?;
    let bare = bare.display().to_string();
    let http = format!(
        "http://bench:{}@{}/news/git/bench.git",
        forge.token(),
        forge.address().trim_start_matches("http://")
    );
    let over_ssh = format!("ssh://git@127.0.0.1:{ssh_port}/bench.git");
    let runs = bench.runs.min(RUNS_MAX);
    let (mut http_pairs, mut ssh_pairs) = (Vec::new(), Vec::new());
    forge.commit("base")?;
    // The first of all is not counted: it warms what is read.
    for run in 0..=runs {
        // From the same commit each time: of a branch on top of the last one, ours would be sent that one again, which was
        // forgotten there, and the peer would not.
        git(forge.clone(), &["checkout", "--quiet", "--force", "base"])?;
        // New bytes each time: what the other side has is not sent again.
        fs::write(forge.clone().join("noise"), noise(run as u64 + 1))?;
        let branch = format!("push-{run}");
        forge.commit(&branch)?;
        let ours_http = push(forge.clone(), &ssh, &http, &format!("{branch}:{branch}-http"))?;
        forget(&forge, &format!("{branch}-http"))?;
        let peer = push(forge.clone(), &ssh, &bare, &format!("{branch}:{branch}"))?;
        let ours_ssh = push(forge.clone(), &ssh, &over_ssh, &format!("{branch}:{branch}-ssh"))?;
        forget(&forge, &format!("{branch}-ssh"))?;
        if run > 0 {
            http_pairs.push((ours_http, peer));
            ssh_pairs.push((ours_ssh, peer));
        }
    }
    Ok(vec![
        Figure::paired("push of a 100 MB pack over HTTP, against a bare folder", &http_pairs, GOAL),
        Figure::paired("push of a 100 MB pack over SSH, against a bare folder", &ssh_pairs, GOAL),
    ])
}

/// Pushes and says how long that took.
fn push(clone: &Path, ssh: &str, remote: &str, refspec: &str) -> Result<Duration> {
    let started = Instant::now();
    let pushed = Command::new("git")
        .current_dir(clone)
        .args(["push", "--quiet", remote, refspec])
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_SSH_COMMAND", ssh)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()?;
    if !pushed.status.success() {
        bail!("git push failed: {}", String::from_utf8_lossy(&pushed.stderr));
    }
    Ok(started.elapsed())
}

/// Removes a branch with its objects, so that the next push has to send them again.
fn forget(forge: &Forge, branch: &str) -> Result<()> {
    let bare = forge.bare();
    git(&bare, &["update-ref", "-d", &format!("refs/heads/{branch}")])?;
    git(&bare, &["reflog", "expire", "--expire=now", "--all"])?;
    git(&bare, &["gc", "--quiet", "--prune=now"])?;
    Ok(())
}

/// Bytes that no compression makes smaller, others for each seed.
fn noise(seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut bytes = Vec::with_capacity(PACK_BYTES + 8);
    while bytes.len() < PACK_BYTES {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend((mixed ^ (mixed >> 31)).to_le_bytes());
    }
    bytes
}
