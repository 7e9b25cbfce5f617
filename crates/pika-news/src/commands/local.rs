//! `pika-news local`: the tutorial of a working tree, in any repository, without a server.
//!
//! Invariant: nothing of the working tree changes, and the command succeeds whatever a model answers.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use pika_git::{Oid, PatchEnd, WorkTree};
use pika_tutorial::command_line::WriterArguments;
use pika_tutorial::{
    About, Change, CommitMessage, Diff, End, Explained, Side, Sources, StepState, explain,
    list_wanted_sources, write_page,
};

/// What a branch is compared with when nobody says, the first that is there.
const DEFAULT_BRANCHES: [&str; 5] = ["origin/HEAD", "origin/main", "origin/master", "main", "master"];
/// Where the page is written when nobody says: in git's own folder, where it is in nobody's way.
const PAGE: &str = "pika-tutorial.html";

/// How many commits are read, and counted.
const COMMITS_MAX: usize = 1_000;

/// What to explain.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Compare with this revision, from where the branch left it; else with the default branch
    #[arg(long, value_name = "REV")]
    base: Option<String>,
    /// Explain the files as they are, new ones included, and not only what is committed
    #[arg(long)]
    include_uncommitted: bool,
    /// Where to write the page, `-` for the standard output; else into git's folder
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print the checked tutorial as JSON; a page is written only with --out
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    writer: WriterArguments,
}

/// Explains.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let provider = arguments.writer.provider(std::env::vars_os().collect())?;
    let folder = std::env::current_dir().context("cannot find the current folder")?;
    super::runtime()?.block_on(async {
        let tree = WorkTree::find(&super::serve::git(), &folder, configuration())?;
        let change = read_change(&tree, arguments).await?;
        let explained = explain(&change, &provider, &arguments.writer.options()).await;
        let page = match (&arguments.out, arguments.json) {
            (Some(out), _) => Some(out.clone()),
            (None, true) => None,
            (None, false) => Some(tree.git_folder().join(PAGE)),
        };
        let is_printed = page.as_deref() == Some(Path::new("-"));
        if is_printed && arguments.json {
            bail!("the standard output can't hold both the page and its JSON; name a file with --out");
        }
        match &page {
            Some(_) if is_printed => {
                write_page(&mut std::io::stdout().lock(), &explained, &change.diff)
                    .context("cannot write the page to the standard output")?;
            }
            Some(page) => write(page, &explained, &change.diff)?,
            None => {}
        }
        if arguments.json {
            println!("{}", serde_json::to_string_pretty(&explained)?);
        } else if let Some(page) = &page {
            if !is_printed {
                println!("{}", page.display());
            }
            eprintln!("{}", outcome(&explained));
        }
        Ok(())
    })
}

/// The variables that lead git to this person's configuration.
fn configuration() -> Vec<(OsString, OsString)> {
    let names = ["HOME", "XDG_CONFIG_HOME", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM"];
    names.iter().filter_map(|name| Some((OsString::from(name), std::env::var_os(name)?))).collect()
}

async fn read_change(tree: &WorkTree, arguments: &Arguments) -> Result<Change> {
    let head = tree.find_head().await?;
    let end = match (&head, arguments.include_uncommitted) {
        (_, true) => PatchEnd::Files,
        (Some(head), false) => PatchEnd::Commit(head),
        (None, false) => {
            bail!("nothing is committed yet; add --include-uncommitted to explain the files as they are")
        }
    };
    let base = find_base(tree, arguments, head.as_ref()).await?;
    let diff = Arc::new(Diff::parse(tree.read_patch(base.as_ref(), end).await?));
    let mut sources = Sources::default();
    let wanted = list_wanted_sources(&diff);
    for side in [Side::Base, Side::Head] {
        let paths: Vec<Vec<u8>> =
            wanted.iter().filter(|(of, _)| *of == side).map(|(_, path)| path.clone()).collect();
        let commit = match (side, end) {
            (Side::Base, _) => base.as_ref(),
            (Side::Head, PatchEnd::Commit(head)) => Some(head),
            (Side::Head, PatchEnd::Files) => None,
        };
        // Without a base there is nothing before the change.
        if side == Side::Base && commit.is_none() {
            continue;
        }
        for (path, content) in tree.read_files(commit, &paths).await? {
            sources.insert(side, &path, content);
        }
    }
    let includes_uncommitted = arguments.include_uncommitted && tree.has_uncommitted().await?;
    if head.is_some() && !arguments.include_uncommitted && tree.has_uncommitted().await? {
        eprintln!(
            "there are uncommitted changes, which are left out; --include-uncommitted explains them too"
        );
    }
    let about = About { includes_uncommitted, ..about(tree, base.as_ref(), head.as_ref()).await? };
    Ok(Change { about, diff, sources: Arc::new(sources) })
}

/// Where the branch left what it is compared with. On the default branch itself: what is not committed, when that is asked
/// for, else the last commit.
async fn find_base(tree: &WorkTree, arguments: &Arguments, head: Option<&Oid>) -> Result<Option<Oid>> {
    let Some(head) = head else { return Ok(None) };
    if let Some(revision) = &arguments.base {
        let Some(found) = tree.find_commit(revision).await? else {
            bail!("there is no commit {revision:?} here")
        };
        let parting = tree.find_merge_base(&found, head).await?;
        return Ok(Some(parting.unwrap_or(found)));
    }
    for name in DEFAULT_BRANCHES {
        if let Some(found) = tree.find_commit(name).await? {
            match tree.find_merge_base(&found, head).await? {
                Some(parting) if parting != *head => return Ok(Some(parting)),
                Some(_) | None => break,
            }
        }
    }
    if arguments.include_uncommitted {
        return Ok(Some(head.clone()));
    }
    Ok(tree.find_commit("HEAD~1").await?)
}

async fn about(tree: &WorkTree, base: Option<&Oid>, head: Option<&Oid>) -> Result<About> {
    let name = tree.root().file_name().unwrap_or_default().to_string_lossy().into_owned();
    let id = |commit: Option<&Oid>| commit.map(ToString::to_string).unwrap_or_default();
    let commits = match head {
        Some(head) => tree.list_commits(base, head, COMMITS_MAX).await?,
        None => Vec::new(),
    };
    let branch = tree.find_branch().await?.unwrap_or_default();
    let title = match &commits[..] {
        [] => String::new(),
        [only] => only.subject.clone(),
        [..] => {
            let more = if commits.len() == COMMITS_MAX { "+" } else { "" };
            let place = if branch.is_empty() { String::new() } else { format!("{branch}: ") };
            format!("{place}{}{more} commits", commits.len())
        }
    };
    let about = About { repository: name, branch, title, base: id(base), head: id(head), ..About::default() };
    Ok(about.with_commits(commits.into_iter().map(|commit| CommitMessage {
        id: commit.oid.to_string(),
        subject: commit.subject,
        body: commit.body,
    })))
}

fn write(page: &Path, explained: &Explained, diff: &Diff) -> Result<()> {
    let cannot = || format!("cannot write {}", page.display());
    let mut writer = BufWriter::new(File::create(page).with_context(cannot)?);
    write_page(&mut writer, explained, diff).with_context(cannot)?;
    writer.flush().with_context(cannot)
}

/// One line about how it went.
fn outcome(explained: &Explained) -> String {
    let tutorial = &explained.tutorial;
    let (steps, coverage) = (tutorial.steps.len(), &tutorial.coverage);
    let checked = tutorial.count(StepState::Verified);
    let shown = format!(
        "{steps} {}, {checked} quoting the diff; {} of {} hunks shown",
        if steps == 1 { "step" } else { "steps" },
        coverage.explained,
        coverage.hunks
    );
    match &explained.end {
        End::Written => shown,
        End::Partial { reason } => format!("{shown}; a part is missing: {reason}"),
        End::FellBack { reason } => format!("{shown}; builtin, because {reason}"),
    }
}
