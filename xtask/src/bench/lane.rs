//! What the forge costs: push to verdict, push to first visible line, and memory, idle and under a loud job.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::Bench;
use super::buildbot::Buildbot;
use super::figure::{Figure, Goal, alternate};
use super::forge::Forge;
use super::log_throughput;
use super::process::{memory, peak_memory, wait_for};

const TRUE: &str = "version = 1

[targets.check]
title = \"Nothing\"

[[targets.check.jobs]]
id = \"nothing\"
command = \"true\"
";

const ONE_LINE: &str = "version = 1

[targets.check]
title = \"One line\"

[[targets.check.jobs]]
id = \"line\"
command = \"echo hello; sleep 0.2\"
";

pub(super) fn bench(bench: &Bench) -> Result<Vec<Figure>> {
    let forge = Forge::start(bench)?;
    // Memory that start-up needed and gave back counts until the allocator returns it: look after it is quiet.
    std::thread::sleep(Duration::from_secs(2));
    let idle = memory(forge.pid()).context("the forge's memory")?;
    let mut figures = vec![Figure::memory("memory of the idle forge", idle, 40.0)];
    figures.extend(push_to_verdict(bench, &forge)?);
    figures.push(push_to_first_line(&forge)?);
    figures.push(memory_under_log(&forge)?);
    Ok(figures)
}

fn push_to_verdict(bench: &Bench, forge: &Forge) -> Result<[Figure; 2]> {
    let buildbot = Buildbot::start(bench)?;
    fs::write(forge.clone().join("pikaci.toml"), TRUE)?;
    let (mut number, mut from_start) = (0, Vec::new());
    let ours = || {
        number += 1;
        let branch = format!("verdict-{number}");
        forge.commit(&branch)?;
        let start = Instant::now();
        let branch = forge.push(&branch)?;
        let attempt = forge.finished(&branch, Duration::from_secs(30))?;
        from_start.push(start.elapsed());
        if attempt["outcome"] != "passed" {
            bail!("the lane did not pass: {attempt}");
        }
        // The forge's own clock: from the push taken in to the verdict stored. The way there is git's.
        let time = |key: &str| attempt[key].as_u64().with_context(|| format!("{key} of {attempt}"));
        Ok(Duration::from_millis(time("finished_at_ms")?.saturating_sub(time("queued_at_ms")?)))
    };
    let pairs = alternate(bench.runs, ours, || buildbot.build())?;
    // The first of them was not counted.
    let whole: Vec<_> =
        from_start.split_off(1).into_iter().zip(pairs.iter().map(|(_, peer)| *peer)).collect();
    Ok([
        Figure::paired(
            "push received to verdict / buildbot force to complete",
            &pairs,
            Goal::RatioBelow(0.4),
        ),
        Figure::paired("the same with the whole `git push` before it", &whole, Goal::RatioBelow(0.4)),
    ])
}

fn push_to_first_line(forge: &Forge) -> Result<Figure> {
    fs::write(forge.clone().join("pikaci.toml"), ONE_LINE)?;
    let mut times = Vec::new();
    for number in 0..20 {
        let branch = format!("line-{number}");
        forge.commit(&branch)?;
        let start = Instant::now();
        let branch = forge.push(&branch)?;
        let limit = Duration::from_secs(20);
        let run = wait_for("the start of the lane", limit, || {
            Some(forge.lane(&branch).ok()?["run_id"].as_str()?.to_owned())
        })?;
        forge.wait_for_first_line(&run, limit)?;
        times.push(start.elapsed());
        forge.finished(&branch, limit)?;
    }
    Ok(Figure::alone("start of `git push` to first log line over SSE", times))
}

fn memory_under_log(forge: &Forge) -> Result<Figure> {
    fs::write(forge.clone().join("pikaci.toml"), log_throughput::manifest())?;
    forge.commit("loud")?;
    let branch = forge.push("loud")?;
    let attempt = forge.finished(&branch, Duration::from_secs(120))?;
    if attempt["outcome"] != "passed" {
        bail!("the loud lane did not pass: {attempt}");
    }
    forge.lane(&branch)?;
    let peak = peak_memory(forge.pid()).context("the forge's memory")?;
    Ok(Figure::memory("most memory of the forge, a log of 200 MB shown", peak, 64.0))
}
