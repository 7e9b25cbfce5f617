//! `cargo xtask bench [NAME…] [--runs N] [--json]`: our figures, each beside its peer's in the same run.
//!
//! Invariant: ours and the peer's runs alternate, so that a machine whose speed drifts slows both. Medians and ratios are
//! printed; a missed goal is said as plainly as a met one, and is no error of the command.

mod act;
mod buildbot;
mod figure;
mod forge;
mod incus;
mod lane;
mod log_throughput;
mod prepared;
mod process;
mod push;
mod run_true;
mod scale;
mod snapshot;
mod tools;
mod tutorial;
mod watchers;

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use figure::Figure;

/// What every bench is given.
pub(crate) struct Bench {
    /// The release binaries' folder.
    binaries: PathBuf,
    /// Where the peers are installed, once.
    tools: PathBuf,
    /// How many counted runs of each side.
    runs: usize,
}

impl Bench {
    fn pikaci(&self) -> PathBuf {
        self.binaries.join("pikaci")
    }

    fn pika_tutorial(&self) -> PathBuf {
        self.binaries.join("pika-tutorial")
    }

    fn pika_news(&self) -> PathBuf {
        self.binaries.join("pika-news")
    }
}

type Entry = (&'static str, &'static str, fn(&Bench) -> Result<Vec<Figure>>);

const BENCHES: [Entry; 9] = [
    ("run-true", "`pikaci run` of a job that runs `true`, against act in host mode", run_true::bench),
    ("snapshot", "a tree of 20,000 files, first and unchanged, against `git worktree add`", snapshot::bench),
    ("log", "a job that prints 200 MB, against the same command piped into a file", log_throughput::bench),
    ("tutorial", "tutorials without a model: large diffs, and the first hundred commits", tutorial::bench),
    ("incus", "jobs in fresh Incus instances, against the same work as raw requests", incus::bench),
    ("prepared", "outputs that are built once, against building and copying them", prepared::bench),
    (
        "scale",
        "a forge with a long history, against a young one and against nginx; many watchers",
        scale::bench,
    ),
    ("push", "a push of 100 MB over HTTP and SSH, against one into a bare folder", push::bench),
    ("lane", "push to verdict against buildbot; memory of the forge; push to first log line", lane::bench),
];

/// Which benches are run, and how.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// run-true, snapshot, log, tutorial, incus, prepared, scale, push or lane; all of them when none is named.
    names: Vec<String>,
    /// Counted runs of each side; slow benches take fewer.
    #[arg(long, default_value_t = 11, value_parser = clap::value_parser!(u16).range(3..=1000))]
    runs: u16,
    /// Print the figures as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the named benches, or all of them.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let is_known = |name: &&String| BENCHES.iter().any(|(known, _, _)| known == name);
    if let Some(unknown) = arguments.names.iter().find(|name| !is_known(name)) {
        bail!("no bench {unknown:?}; there are:\n{}", listing());
    }
    let bench = prepare(usize::from(arguments.runs))?;
    let mut figures = Vec::new();
    for (name, what, run) in BENCHES {
        if arguments.names.is_empty() || arguments.names.iter().any(|wanted| wanted == name) {
            eprintln!("{name}: {what}");
            figures.extend(run(&bench).with_context(|| format!("bench {name}"))?);
        }
    }
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&figures)?);
    } else {
        print!("{}", figure::table(&figures));
    }
    Ok(())
}

fn prepare(runs: usize) -> Result<Bench> {
    let packages = ["--package=pikaci-cli", "--package=pika-news", "--package=pika-tutorial"];
    // In one go, so that nothing is compiled twice with other features.
    crate::cargo::run(&[&["build", "--release", "--bins", "--example=add_history"], &packages[..]].concat())?;
    let target = crate::cargo::target_directory()?;
    Ok(Bench { binaries: target.join("release"), tools: target.join("bench-tools"), runs })
}

fn listing() -> String {
    BENCHES.iter().map(|(name, what, _)| format!("  {name:<10} {what}\n")).collect()
}
