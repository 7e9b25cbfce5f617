//! A forge with a long history: 5,000 branches and a million attempts at lanes, beside one with a hundredth of that.
//!
//! Load is made by `wrk`, from this machine to this machine, a few seconds at a time.

mod wrk;

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::Bench;
use super::buildbot::free_port;
use super::figure::{Figure, Goal};
use super::forge::Forge;
use super::process::{Server, git, memory, wait_for};
use super::watchers;

/// Branches of the old forge and of the young one.
const BRANCHES: [u32; 2] = [5000, 50];
/// A branch has 20 heads of two lanes: a million attempts, and ten thousand.
const ATTEMPTS_PER_LANE: u32 = 5;
/// Runs with a record on disk.
const RUNS: [u32; 2] = [100_000, 1000];

const MANIFEST: &str = "version = 1

[targets.check]
title = \"One line\"

[[targets.check.jobs]]
id = \"line\"
command = \"echo hello\"
";

pub(super) fn bench(bench: &Bench) -> Result<Vec<Figure>> {
    super::tools::require("wrk", "wrk")?;
    super::tools::require("nginx", "nginx-light")?;
    let old = aged(bench, BRANCHES[0], RUNS[0])?;
    let young = aged(bench, BRANCHES[1], RUNS[1])?;
    let mut figures = Vec::new();
    for (name, path) in paths(&old)? {
        figures.extend(compare(bench, name, (&old, &path), &young)?);
    }
    figures.push(against_nginx(bench, &old)?);
    figures.push(Figure::memory("memory of the old forge after that", memory_of(&old)?, 128.0));
    figures.extend(watchers::bench(&young)?);
    Ok(figures)
}

fn memory_of(forge: &Forge) -> Result<u64> {
    memory(forge.pid()).context("the forge's memory")
}

/// A forge with a real lane, a real branch, and made-up history behind them.
fn aged(bench: &Bench, branches: u32, runs: u32) -> Result<Forge> {
    let forge = Forge::start(bench)?;
    fs::write(forge.clone().join("pikaci.toml"), MANIFEST)?;
    forge.commit("main")?;
    let main = forge.push("main")?;
    forge.finished(&main, Duration::from_secs(30))?;
    fs::write(forge.clone().join("changed.txt"), "one\ntwo\nthree\n")?;
    forge.commit("topic")?;
    let branch = forge.push("topic")?;
    let attempt = forge.finished(&branch, Duration::from_secs(30))?;
    let run = attempt["run_id"].as_str().context("the run of the lane")?.to_owned();
    let bare = forge.bare();
    let (head, base) = (commit(&bare, "topic")?, commit(&bare, "main")?);
    eprintln!("  {branches} branches, {runs} runs, {} attempts", branches * 40 * ATTEMPTS_PER_LANE);
    forge.restart_after(|folder| {
        let history = bench.binaries.join("examples/add_history");
        let numbers = [branches.to_string(), ATTEMPTS_PER_LANE.to_string()];
        let status = Command::new(history)
            .arg(folder.join("pika-news.toml"))
            .arg("bench")
            .args(numbers)
            .args([&head, &base])
            .status()?;
        if !status.success() {
            bail!("add_history ended with {status}");
        }
        point_at(&bare, branches, &head)?;
        multiply_run(&folder.join("data/repositories/pikaci-state/bench/runs"), &run, runs)
    })
}

fn commit(bare: &Path, branch: &str) -> Result<String> {
    let output = Command::new("git").arg("-C").arg(bare).args(["rev-parse", branch]).output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// Makes the branches in git that the database speaks of.
fn point_at(bare: &Path, branches: u32, head: &str) -> Result<()> {
    let mut git = Command::new("git")
        .arg("-C")
        .arg(bare)
        .args(["update-ref", "--stdin"])
        .stdin(Stdio::piped())
        .spawn()?;
    let mut input = git.stdin.take().context("git's standard input")?;
    for number in 0..branches {
        writeln!(input, "create refs/heads/old-{number} {head}")?;
    }
    drop(input);
    if !git.wait()?.success() {
        bail!("git update-ref failed");
    }
    self::git(bare, &["pack-refs", "--all"])?;
    Ok(())
}

/// Writes the record of a real run under the names of made-up ones.
fn multiply_run(runs: &Path, run: &str, count: u32) -> Result<()> {
    let record = fs::read_to_string(runs.join(run).join("run.json"))?;
    for number in 1..=count {
        let name = run_name(number);
        let folder = runs.join(&name);
        fs::create_dir(&folder)?;
        fs::write(folder.join("run.json"), record.replace(run, &name))?;
    }
    Ok(())
}

fn run_name(number: u32) -> String {
    format!("20260301T000000Z-{number:08x}")
}

/// What is asked for, by name and path. The number of a branch in the middle is in both forges.
fn paths(forge: &Forge) -> Result<Vec<(&'static str, String)>> {
    let clone = forge.clone();
    if !clone.is_dir() {
        bail!("the clone is gone");
    }
    Ok(vec![
        ("branch list, API", "/news/api/forge/repository/bench/branches?limit=50".to_owned()),
        ("branch list, page", "/news/bench".to_owned()),
        ("branch page", "/news/bench/branch/20".to_owned()),
        ("run, API", format!("/news/api/forge/pikaci/run/{}", run_name(500))),
    ])
}

/// The 99th percentile of one request after another, on the old forge and on the young one by turns.
fn compare(bench: &Bench, name: &str, (old, path): (&Forge, &str), young: &Forge) -> Result<[Figure; 2]> {
    let ask = |forge: &Forge| wrk::latency_99(&format!("{}{path}", forge.address()), forge.token(), 1);
    let rounds = bench.runs.clamp(3, 7);
    ask(old)?;
    ask(young)?;
    let pairs =
        (0..rounds).map(|_| Ok((ask(old)?, ask(young)?))).collect::<Result<Vec<(Duration, Duration)>>>()?;
    let slowest = pairs.iter().map(|(old, _)| *old).collect();
    Ok([
        Figure::time(&format!("{name}: 99th percentile"), slowest, 10.0),
        Figure::paired(&format!("{name}: / a hundredth of the data"), &pairs, Goal::RatioBelow(1.5)),
    ])
}

/// Requests per second for one run's record, against nginx with the same bytes in a file.
fn against_nginx(bench: &Bench, forge: &Forge) -> Result<Figure> {
    let path = format!("/news/api/forge/pikaci/run/{}", run_name(500));
    let mut answer = ureq::get(format!("{}{path}", forge.address()))
        .header("Authorization", format!("Bearer {}", forge.token()))
        .call()?;
    let folder = forge.folder().join("nginx");
    fs::create_dir_all(folder.join("html"))?;
    fs::write(folder.join("html/run.json"), answer.body_mut().read_to_vec()?)?;
    let port = free_port()?;
    let configuration = format!(
        "daemon off; worker_processes auto; pid nginx.pid; error_log error.log;\n\
         events {{ worker_connections 512; }}\n\
         http {{ access_log off; default_type application/json; client_body_temp_path body; proxy_temp_path proxy;\n\
         fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;\n\
         server {{ listen 127.0.0.1:{port}; root html; }} }}\n"
    );
    fs::write(folder.join("nginx.conf"), configuration)?;
    let mut command = Command::new(super::tools::find("nginx")?);
    command.arg("-p").arg(&folder).args(["-c", "nginx.conf"]);
    let nginx = Server::start(&mut command, &folder.join("nginx.log"))?;
    wait_for("nginx", Duration::from_secs(10), || std::net::TcpStream::connect(("127.0.0.1", port)).ok())?;
    let ours = format!("{}{path}", forge.address());
    let theirs = format!("http://127.0.0.1:{port}/run.json");
    let pairs = (0..bench.runs.clamp(3, 5))
        .map(|_| Ok((wrk::per_second(&ours, forge.token(), 16)?, wrk::per_second(&theirs, "", 16)?)))
        .collect::<Result<Vec<_>>>()?;
    drop(nginx);
    Ok(Figure::rates("run, API: requests / nginx with the same bytes", &pairs, Goal::RatioAbove(0.25)))
}
