//! What a tutorial without a model costs: diffs of 1 to 200,000 lines, and this repository's own first hundred commits.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::Bench;
use super::figure::Figure;
use super::forge::Forge;
use super::process::{wait_for, watched};

const LINES: [usize; 4] = [1, 100, 10_000, 200_000];
/// The size that has goals.
const GOAL_LINES: usize = 10_000;
const FILE_LINES: usize = 500;
const COMMITS: usize = 100;

pub(super) fn bench(bench: &Bench) -> Result<Vec<Figure>> {
    let folder = tempfile::tempdir()?;
    let mut figures = Vec::new();
    for lines in LINES {
        let diff = folder.path().join(format!("{lines}.diff"));
        fs::write(&diff, write_diff(lines))?;
        let (mut times, mut peak) = (Vec::new(), 0);
        for round in 0..=bench.runs.min(5) {
            let mut command = Command::new(bench.pika_tutorial());
            let (time, memory) =
                watched(command.arg(&diff).arg("--json").arg("--out").arg(folder.path().join("json")))?;
            if round > 0 {
                times.push(time);
            }
            peak = peak.max(memory);
        }
        let name = format!("tutorial of {lines} lines");
        if lines == GOAL_LINES {
            figures.push(Figure::time(&name, times, 2_000.0));
            figures.push(Figure::memory(&format!("{name}, memory"), peak, 200.0));
        } else {
            figures.push(Figure::alone(&name, times));
        }
    }
    let largest = folder.path().join(format!("{}.diff", LINES[LINES.len() - 1]));
    let rounds = (0..=bench.runs.min(5)).map(|_| first_byte(bench, &largest, &folder.path().join("json")));
    let times: Vec<Duration> = rounds.skip(1).collect::<Result<_>>()?;
    figures.push(Figure::time("page of 200000 lines, stored tutorial, to the first byte", times, 300.0));
    figures.extend(branch_page(bench)?);
    figures.extend(history(bench, folder.path())?);
    Ok(figures)
}

/// How long it takes until the page of a stored tutorial begins.
fn first_byte(bench: &Bench, diff: &Path, tutorial: &Path) -> Result<Duration> {
    let start = Instant::now();
    let mut command = Command::new(bench.pika_tutorial());
    let mut child = command.arg(diff).arg("--tutorial").arg(tutorial).stdout(Stdio::piped()).spawn()?;
    let mut output = child.stdout.take().context("the page's pipe")?;
    output.read_exact(&mut [0])?;
    let time = start.elapsed();
    std::io::copy(&mut output, &mut std::io::sink())?;
    ensure!(child.wait()?.success(), "pika-tutorial failed");
    Ok(time)
}

/// How soon the forge's page of a large branch begins: when its changes were not read yet, and when they were.
fn branch_page(bench: &Bench) -> Result<[Figure; 2]> {
    let lines = LINES[LINES.len() - 1];
    let forge = Forge::start(bench)?;
    forge.commit("main")?;
    forge.push("main")?;
    for file in 0..lines / FILE_LINES {
        let folder = forge.clone().join(format!("src/m{}", file % 40));
        fs::create_dir_all(&folder)?;
        fs::write(
            folder.join(format!("f{file}.rs")),
            (0..FILE_LINES).map(|line| new_line(file, line)).collect::<String>(),
        )?;
    }
    let mut cold = Vec::new();
    let mut branch = String::new();
    for round in 0..=bench.runs.min(5) {
        // Another base each time would be another diff; another branch is one too.
        let name = format!("large-{round}");
        forge.commit(&name)?;
        branch = forge.push(&name)?;
        let (time, _) = forge.branch_page(&branch)?;
        if round > 0 {
            cold.push(time);
        }
    }
    wait_for("the changes of the large branch", Duration::from_secs(60), || {
        forge.branch_page(&branch).ok().filter(|(_, page)| page.contains("data-src"))
    })?;
    let times = (0..bench.runs).map(|_| Ok(forge.branch_page(&branch)?.0)).collect::<Result<Vec<_>>>()?;
    Ok([
        Figure::time(
            "page of a branch of 200000 lines just pushed, its changes to follow, to the first byte",
            cold,
            300.0,
        ),
        Figure::time("the same with its tutorial, changes read", times, 300.0),
    ])
}

/// Explains the first commits of the repository that this is run in. A copy without history has none.
fn history(bench: &Bench, folder: &Path) -> Result<Vec<Figure>> {
    let list = Command::new("git").args(["rev-list", "--reverse", "--first-parent", "HEAD"]).output()?;
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    let mut times = Vec::new();
    let (mut hunks, mut explained) = (0, 0);
    for commit in list.lines().take(COMMITS) {
        let patch = Command::new("git").args(["show", "--format=", "-M", commit]).output()?;
        let (diff, json) = (folder.join("commit.diff"), folder.join("commit.json"));
        fs::write(&diff, patch.stdout)?;
        let mut command = Command::new(bench.pika_tutorial());
        times.push(watched(command.arg(&diff).arg("--json").arg("--out").arg(&json))?.0);
        let tutorial: Value = serde_json::from_slice(&fs::read(&json)?)?;
        if tutorial["problems"] != Value::Array(Vec::new()) {
            bail!("commit {commit}: {}", tutorial["problems"]);
        }
        hunks += tutorial["coverage"]["hunks"].as_u64().unwrap_or(0);
        explained += tutorial["coverage"]["explained"].as_u64().unwrap_or(0);
    }
    let Some(slowest) = times.iter().max().copied() else { return Ok(Vec::new()) };
    ensure!(hunks == explained, "{} hunks of the history are in no step", hunks - explained);
    let count = times.len();
    Ok(vec![
        Figure::alone(
            &format!("tutorial of a commit, the first {count}, median ({hunks} hunks, all shown)"),
            times,
        ),
        Figure::alone(&format!("tutorial of a commit, the first {count}, slowest"), vec![slowest]),
    ])
}

/// A diff with this many changed lines: of each four files three are new, and one changes in many places.
fn write_diff(lines: usize) -> String {
    let mut text = String::new();
    for file in 0..lines.div_ceil(FILE_LINES) {
        let count = FILE_LINES.min(lines - file * FILE_LINES);
        let path = format!("src/m{}/f{file}.rs", file % 40);
        text += &format!("diff --git a/{path} b/{path}\n");
        if file % 4 == 3 {
            text += &format!("index 1111111..2222222 100644\n--- a/{path}\n+++ b/{path}\n");
            for place in 0..count.div_ceil(10) {
                let changed = 10.min(count - place * 10);
                let (old, new) = (changed / 2, changed - changed / 2);
                let start = 1 + place * 40;
                let item = format!("fn item_{file}_{place}() {{");
                text += &format!("@@ -{start},{} +{start},{} @@ {item}\n {item}\n", old + 2, new + 2);
                text += &(0..old)
                    .map(|line| format!("-    let a{line} = call_{file}({line});\n"))
                    .collect::<String>();
                text += &(0..new)
                    .map(|line| format!("+    let b{line} = item_{}_0({line});\n", file / 2))
                    .collect::<String>();
                text += " }\n";
            }
        } else {
            text += &format!("new file mode 100644\n--- /dev/null\n+++ b/{path}\n@@ -0,0 +1,{count} @@\n");
            text += &(0..count).map(|line| format!("+{}", new_line(file, line))).collect::<String>();
        }
    }
    text
}

/// One line of a new file, as a person would write it.
fn new_line(file: usize, line: usize) -> String {
    match line % 7 {
        0 => format!("/// Does the thing number {line}.\n"),
        1 => format!("pub fn item_{file}_{line}(argument: usize) -> usize {{\n"),
        2 => format!("    let value = item_{}_{}(argument + {line});\n", file / 2, line % 60),
        3 => format!("    if value > {line} {{ return value * 2; }}\n"),
        4 => format!("    value - \"text {line}\".len()\n"),
        5 => "}\n".to_owned(),
        _ => "\n".to_owned(),
    }
}
