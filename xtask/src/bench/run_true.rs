//! What a run costs that does nothing: `pikaci run` of `true`, against act.

use std::fs;
use std::process::Command;

use anyhow::Result;

use super::figure::{Figure, Goal, alternate};
use super::process::{git, timed};
use super::{Bench, act, tools};

const MANIFEST: &str = "version = 1

[targets.check]
title = \"Nothing\"

[[targets.check.jobs]]
id = \"nothing\"
command = \"true\"
";

pub(super) fn bench(bench: &Bench) -> Result<Vec<Figure>> {
    let act = tools::program(bench, "act")?;
    let folder = tempfile::tempdir()?;
    let (repository, home) = (folder.path().join("repository"), folder.path().join("home"));
    fs::create_dir_all(repository.join(".github/workflows"))?;
    fs::create_dir_all(&home)?;
    fs::write(repository.join("pikaci.toml"), MANIFEST)?;
    fs::write(repository.join(".github/workflows/check.yml"), act::WORKFLOW)?;
    fs::write(repository.join(".gitignore"), "/.pikaci\n")?;
    git(&repository, &["init", "--quiet", "--initial-branch=main"])?;
    git(&repository, &["add", "."])?;
    git(&repository, &["commit", "--quiet", "--message=everything"])?;
    let pikaci = bench.pikaci();
    let ours = || timed(Command::new(&pikaci).current_dir(&repository).args(["run", "check"]));
    let pairs = alternate(bench.runs, ours, || act::run(&act, &repository, &home))?;
    Ok(vec![Figure::paired("run of `true` / act", &pairs, Goal::RatioBelow(0.7))])
}
