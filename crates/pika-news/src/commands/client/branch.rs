//! `pika-news branch list|show|wait|merge|close|reopen`

use std::time::Duration;

use clap::Subcommand;
use pika_news::client::model::{Branch, BranchRow, HeadEnd, Lane};
use pika_news::client::summary::{self, lane_to_explain};
use pika_news::client::wait::{WaitEnd, short, wait_for_head};
use serde_json::json;

use super::failure::{self, Failure};
use super::output::{Table, age, duration, json, line, plain, plain_lines};
use super::{DONE, EXIT_CODES, PlaceArguments, Session, time};

/// What is done about branches.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the branches, the latest change first
    List {
        /// Only those that are open, merged, closed or deleted; `all` for every one
        #[arg(long, value_name = "STATE", default_value = "open", value_parser = ["open", "merged", "closed", "deleted", "all"])]
        state: String,
        /// At most so many
        #[arg(long, value_name = "COUNT", default_value_t = 50)]
        limit: u32,
        #[command(flatten)]
        place: PlaceArguments,
    },
    /// Show a branch: its head, its lanes, and whether it can be merged
    Show(BranchArguments),
    /// Wait until the head has an outcome, and end with its exit code
    #[command(after_help = EXIT_CODES)]
    Wait {
        #[command(flatten)]
        branch: BranchArguments,
        /// Wait for this commit; without it for what is checked out, or for the head of a branch that is named
        #[arg(long, value_name = "COMMIT")]
        head: Option<String>,
        /// Give up after this time, such as 90s, 30m or 2h
        #[arg(long, value_name = "TIME", value_parser = time)]
        timeout: Option<Duration>,
    },
    /// Merge the head that you see
    Merge(ChangeArguments),
    /// Close without merging; a push opens it again
    Close(ChangeArguments),
    /// Open a closed branch again
    Reopen(ChangeArguments),
}

#[derive(Debug, clap::Args)]
pub(crate) struct BranchArguments {
    /// A branch's name or number [default: the branch that is checked out]
    #[arg(value_name = "BRANCH")]
    branch: Option<String>,
    #[command(flatten)]
    place: PlaceArguments,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ChangeArguments {
    #[command(flatten)]
    branch: BranchArguments,
    /// The head that it must have; without it what is checked out, or what a branch that is named has now
    #[arg(long, value_name = "COMMIT")]
    head: Option<String>,
}

/// Does it.
pub(super) async fn run(command: &Command) -> Result<u8, Failure> {
    match command {
        Command::List { state, limit, place } => list(state, *limit, place).await,
        Command::Show(arguments) => show(arguments).await,
        Command::Wait { branch, head, timeout } => wait(branch, head.as_deref(), *timeout).await,
        Command::Merge(arguments) => merge(arguments).await,
        Command::Close(arguments) => close(arguments).await,
        Command::Reopen(arguments) => reopen(arguments).await,
    }
}

async fn list(state: &str, limit: u32, place: &PlaceArguments) -> Result<u8, Failure> {
    let session = Session::open(place).await?;
    let repository = session.repository().await?;
    let state = Some(state).filter(|state| *state != "all");
    let list = session.client.branches(&repository, state, limit).await?;
    if session.is_json {
        json(&list)?;
        return Ok(DONE);
    }
    let mut table = Table::new(&["id", "branch", "state", "head", "ci", "changed", "subject"]);
    for row in &list.rows {
        table.push([
            row.id.to_string(),
            row.name.clone(),
            row.state.clone(),
            short(&row.head_oid).to_owned(),
            ci(row),
            format!("{} ago", age(row.updated_at_ms)),
            row.subject.chars().take(60).collect(),
        ]);
    }
    line(&table.to_string());
    if list.has_more {
        line(&format!("there are more than {limit}; --limit shows more"));
    }
    Ok(DONE)
}

/// The head's state, with the required lanes that are not green.
fn ci(row: &BranchRow) -> String {
    let red = row
        .lanes
        .iter()
        .filter(|lane| lane.is_required && matches!(lane.state.as_str(), "failed" | "timed_out"));
    let red: Vec<&str> = red.map(|lane| lane.target.as_str()).collect();
    let state = row.head_state.replace('_', " ");
    if red.is_empty() { state } else { format!("{state} ({})", super::output::list(&red, 3)) }
}

async fn show(arguments: &BranchArguments) -> Result<u8, Failure> {
    let session = Session::open(&arguments.place).await?;
    let branch = session.branch(arguments.branch.as_deref()).await?;
    if session.is_json {
        json(&branch)?;
    } else {
        line(&shown(&session, &branch));
    }
    Ok(DONE)
}

fn shown(session: &Session, branch: &Branch) -> String {
    let row = &branch.row;
    let mut text = plain(&summary::headline(branch));
    text.push_str(&format!("\n{}", plain(&branch.head.subject)));
    text.push_str(&format!("\n{}/news/{}/branch/{}", session.client.origin(), row.repository, row.id));
    if let Some(message) = &branch.head.selection.message {
        text.push_str(&format!("\npikaci.toml is wrong:\n{}", plain_lines(message)));
    }
    if !branch.head.lanes.is_empty() {
        text.push_str(&format!("\n\n{}", lanes(&branch.head.lanes)));
    }
    let merge = match (&branch.merge_oid, branch.merge.is_ready, &branch.merge.reason) {
        (Some(oid), _, _) => Some(format!("merged into {} as {}", branch.merge_target, short(oid))),
        (None, true, _) => Some(format!("it can be merged into {}", branch.merge_target)),
        (None, false, Some(reason)) => Some(format!("it can't be merged: {reason}")),
        (None, false, None) => None,
    };
    if let Some(merge) = merge {
        text.push_str(&format!("\n\n{}", plain(&merge)));
    }
    text
}

fn lanes(lanes: &[Lane]) -> Table {
    let mut table = Table::new(&["lane", "state", "required", "run", "attempt", "took", "note"]);
    for lane in lanes {
        let run = lane.attempts.first();
        let number = |number: Option<String>| number.unwrap_or_else(|| "-".to_owned());
        let took = run.and_then(|run| Some(run.finished_at_ms? - run.started_at_ms?));
        table.push([
            lane.target.clone(),
            lane.state.replace('_', " "),
            if lane.is_required { "yes" } else { "no" }.to_owned(),
            number(run.map(|run| run.id.to_string())),
            number(run.map(|run| run.attempt.to_string())),
            number(took.map(duration)),
            lane.reason.clone().unwrap_or_default(),
        ]);
    }
    table
}

async fn wait(
    arguments: &BranchArguments,
    head: Option<&str>,
    timeout: Option<Duration>,
) -> Result<u8, Failure> {
    let session = Session::open(&arguments.place).await?;
    let branch = session.branch(arguments.branch.as_deref()).await?;
    let head = match head {
        Some(head) => Some(session.commit(head).await?),
        None => session.checked_out_head(arguments.branch.as_deref()).await?,
    };
    let mut said = String::new();
    let is_quiet = session.is_json;
    let seen = |branch: &Branch| {
        let now = progress(branch);
        if now != said && !is_quiet {
            eprintln!("{}", plain(&now));
            said = now;
        }
    };
    let end = wait_for_head(&session.client, &branch, head.as_deref(), timeout, seen).await?;
    let (word, code) = judge(&end);
    if session.is_json {
        json(&json!({ "end": word, "exit_code": code, "branch": end.branch() }))?;
        return Ok(code);
    }
    match &end {
        WaitEnd::Ended(HeadEnd::Passed, branch) => line(&shown(&session, branch)),
        WaitEnd::Ended(_, branch) if lane_to_explain(branch).is_some() => {
            line(&plain_lines(&summary::failure(&session.client, branch).await?));
        }
        WaitEnd::Ended(_, branch) | WaitEnd::Gone(branch) => line(&shown(&session, branch)),
        WaitEnd::Superseded(branch) => {
            let text = format!("the branch has a newer head, {}; wait for that one", short(&branch.head.oid));
            line(&text);
        }
        WaitEnd::TimedOut(branch) => line(&format!("{}\nthe time to wait is over", shown(&session, branch))),
    }
    Ok(code)
}

/// Where the lanes stand, in a line.
fn progress(branch: &Branch) -> String {
    let state = |lane: &Lane| match (&lane.reason, lane.state.as_str()) {
        (Some(reason), "queued") => format!("{} queued ({reason})", lane.target),
        (_, state) => format!("{} {}", lane.target, state.replace('_', " ")),
    };
    let lanes: Vec<String> = branch.head.lanes.iter().map(state).collect();
    format!("{} {}: {}", short(&branch.head.oid), branch.head.state.replace('_', " "), lanes.join(", "))
}

/// What a wait came to, as a word and as an exit code.
fn judge(end: &WaitEnd) -> (&'static str, u8) {
    match end {
        WaitEnd::Ended(HeadEnd::Passed, _) => ("passed", DONE),
        WaitEnd::Ended(HeadEnd::Failed, _) => ("failed", failure::FAILED),
        WaitEnd::Ended(HeadEnd::TimedOut, _) => ("timed_out", failure::TIMED_OUT),
        WaitEnd::Ended(HeadEnd::Cancelled, _) => ("cancelled", failure::CANCELLED),
        WaitEnd::Ended(HeadEnd::Infra, _) => ("infra", failure::INFRASTRUCTURE),
        WaitEnd::Ended(HeadEnd::Manifest, _) => ("manifest", failure::USAGE),
        WaitEnd::Superseded(_) => ("superseded", failure::CANCELLED),
        WaitEnd::Gone(_) => ("gone", failure::CANCELLED),
        WaitEnd::TimedOut(_) => ("wait_timed_out", failure::TIMED_OUT),
    }
}

/// The head that a change is made for: the one that the caller has seen.
async fn expected_head(
    session: &Session,
    arguments: &ChangeArguments,
    branch: &Branch,
) -> Result<String, Failure> {
    match &arguments.head {
        Some(head) => Ok(session.commit(head).await?),
        None => {
            let here = session.checked_out_head(arguments.branch.branch.as_deref()).await?;
            Ok(here.unwrap_or_else(|| branch.head.oid.clone()))
        }
    }
}

async fn merge(arguments: &ChangeArguments) -> Result<u8, Failure> {
    let session = Session::open(&arguments.branch.place).await?;
    let branch = session.branch(arguments.branch.branch.as_deref()).await?;
    let head = expected_head(&session, arguments, &branch).await?;
    let merged = session.client.merge(branch.row.id, &head).await?;
    if session.is_json {
        json(&merged)?;
    } else {
        let text = format!("merged {} into {} as {}", branch.row.name, merged.target, short(&merged.oid));
        line(&plain(&text));
    }
    Ok(DONE)
}

async fn reopen(arguments: &ChangeArguments) -> Result<u8, Failure> {
    let session = Session::open(&arguments.branch.place).await?;
    let branch = session.branch(arguments.branch.branch.as_deref()).await?;
    let head = expected_head(&session, arguments, &branch).await?;
    let open = session.client.reopen(branch.row.id, &head).await?;
    if session.is_json {
        json(&open)?;
    } else {
        line(&plain(&format!("reopened {}", branch.row.name)));
    }
    Ok(DONE)
}

async fn close(arguments: &ChangeArguments) -> Result<u8, Failure> {
    let session = Session::open(&arguments.branch.place).await?;
    let branch = session.branch(arguments.branch.branch.as_deref()).await?;
    let head = expected_head(&session, arguments, &branch).await?;
    let closed = session.client.close(branch.row.id, &head).await?;
    if session.is_json {
        json(&closed)?;
    } else {
        line(&plain(&format!("closed {}", branch.row.name)));
    }
    Ok(DONE)
}
