//! `pika-news run watch|rerun|cancel`, `logs`, `why` and `queue`

use std::time::{Duration, Instant};

use clap::{Subcommand, ValueEnum};
use pika_news::client::log::{LogEvent, LogName};
use pika_news::client::model::{Branch, LaneRunDetail};
use pika_news::client::summary::{self, lane_to_explain};
use pika_news::client::wait::{short, wait_for_lane_run, wait_for_run};
use pikaci::{JobId, RunStatus};
use serde_json::json;

use super::failure::{self, Failure};
use super::output::{Table, age, bytes, json, line, plain, plain_lines};
use super::terminal::LogPrinter;
use super::{DONE, EXIT_CODES, PlaceArguments, Session, time};

/// How often is looked for the next job of a run that goes on.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long a run may have a name and no record.
const BEGIN_MAX: Duration = Duration::from_secs(30);

/// What is done about an attempt at a lane.
#[derive(Debug, Subcommand)]
pub(crate) enum RunCommand {
    /// Watch an attempt until it is finished, and end with its exit code
    #[command(after_help = EXIT_CODES)]
    Watch {
        #[command(flatten)]
        lane: LaneArguments,
        /// Give up after this time, such as 90s, 30m or 2h
        #[arg(long, value_name = "TIME", value_parser = time)]
        timeout: Option<Duration>,
    },
    /// Queue another attempt
    Rerun {
        #[command(flatten)]
        lane: LaneArguments,
        /// Only the jobs that did not pass
        #[arg(long)]
        failed: bool,
    },
    /// Stop an attempt
    Cancel(LaneArguments),
}

/// Which attempt at which lane.
#[derive(Debug, clap::Args)]
pub(crate) struct LaneArguments {
    /// A branch's name or number [default: the branch that is checked out]
    #[arg(value_name = "BRANCH")]
    branch: Option<String>,
    /// The lane [default: one that did not pass, else one that runs, else the first]
    #[arg(long, value_name = "TARGET")]
    lane: Option<String>,
    /// The number of a lane run, in place of branch and lane
    #[arg(long, value_name = "NUMBER", conflicts_with_all = ["branch", "lane"])]
    run: Option<i64>,
    #[command(flatten)]
    place: PlaceArguments,
}

#[derive(Debug, clap::Args)]
pub(crate) struct LogsArguments {
    #[command(flatten)]
    lane: LaneArguments,
    /// The job [default: the one whose log matters most; with --follow one after the other]
    #[arg(long, value_name = "ID")]
    job: Option<String>,
    /// What the job printed, or what the machinery says of it
    #[arg(long, value_enum, default_value_t = Kind::Guest)]
    kind: Kind,
    /// An earlier attempt at the job
    #[arg(long, value_name = "NUMBER")]
    attempt: Option<u32>,
    /// Go on until the job has ended; also wait for it to begin
    #[arg(long, short)]
    follow: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    Guest,
    Host,
}

#[derive(Debug, clap::Args)]
pub(crate) struct WhyArguments {
    #[command(flatten)]
    lane: LaneArguments,
}

#[derive(Debug, clap::Args)]
pub(crate) struct QueueArguments {
    /// Of all repositories that you may read
    #[arg(long)]
    all: bool,
    /// At most so many
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    limit: u32,
    #[command(flatten)]
    place: PlaceArguments,
}

/// Does it.
pub(super) async fn run(command: &RunCommand) -> Result<u8, Failure> {
    match command {
        RunCommand::Watch { lane, timeout } => watch(lane, *timeout).await,
        RunCommand::Rerun { lane, failed } => rerun(lane, *failed).await,
        RunCommand::Cancel(lane) => cancel(lane).await,
    }
}

impl LaneArguments {
    async fn open(&self) -> Result<(Session, LaneRunDetail), Failure> {
        let session = Session::open(&self.place).await?;
        let id = match self.run {
            Some(id) => id,
            None => self.latest(&session.branch(self.branch.as_deref()).await?)?,
        };
        let detail = session.client.lane_run(id).await?;
        Ok((session, detail))
    }

    /// The latest attempt at the lane that is meant.
    fn latest(&self, branch: &Branch) -> Result<i64, Failure> {
        let lanes = &branch.head.lanes;
        let lane = match &self.lane {
            Some(target) => lanes.iter().find(|lane| lane.target == *target),
            None => lane_to_explain(branch)
                .or_else(|| lanes.iter().find(|lane| lane.state == "running"))
                .or_else(|| lanes.iter().find(|lane| !lane.attempts.is_empty())),
        };
        let run = lane.and_then(|lane| lane.attempts.first());
        run.map(|run| run.id).ok_or_else(|| {
            let targets: Vec<&str> = lanes.iter().map(|lane| lane.target.as_str()).collect();
            let has = match targets.as_slice() {
                [] => "no lanes".to_owned(),
                targets => format!("the lanes {}", super::output::list(targets, 20)),
            };
            let (name, head) = (&branch.row.name, short(&branch.head.oid));
            Failure::usage(format!("no such lane was run: branch {name} has {has} at {head}"))
        })
    }
}

async fn watch(arguments: &LaneArguments, timeout: Option<Duration>) -> Result<u8, Failure> {
    let (session, detail) = arguments.open().await?;
    let is_quiet = session.is_json;
    let mut said = String::new();
    let seen = |detail: &LaneRunDetail| {
        let now = headline(detail);
        if now != said && !is_quiet {
            eprintln!("{}", plain(&now));
            said = now;
        }
    };
    let Some(detail) = wait_for_lane_run(&session.client, &detail, timeout, seen).await? else {
        eprintln!("pika-news: the time to wait is over");
        return Ok(failure::TIMED_OUT);
    };
    let code = code(&detail);
    if session.is_json {
        json(&detail)?;
    } else if code == DONE {
        line(&plain(&headline(&detail)));
    } else {
        line(&plain_lines(&session.client.why(detail.run.id).await?.text));
    }
    Ok(code)
}

fn headline(detail: &LaneRunDetail) -> String {
    let LaneRunDetail { lane, run, branch_name, head_oid, .. } = detail;
    let note = run.waits.as_ref().or(run.message.as_ref());
    let note = note.map_or_else(String::new, |note| format!(": {note}"));
    let (target, head, state) = (&lane.target, short(head_oid), run.shown());
    format!(
        "lane {target} of {branch_name} at {head}: {state} (lane run {}, attempt {}){note}",
        run.id, run.attempt
    )
}

/// How a finished attempt ends this program.
fn code(detail: &LaneRunDetail) -> u8 {
    match (detail.run.outcome.as_deref(), detail.run.fault.as_deref()) {
        (Some("passed" | "skipped"), _) => DONE,
        (Some("timed_out"), _) => failure::TIMED_OUT,
        (Some("cancelled"), _) => failure::CANCELLED,
        (Some("failed"), Some("job" | "user")) => failure::FAILED,
        _ => failure::INFRASTRUCTURE,
    }
}

async fn rerun(arguments: &LaneArguments, is_failed_only: bool) -> Result<u8, Failure> {
    let (session, detail) = arguments.open().await?;
    let queued = session.client.rerun(detail.run.id, is_failed_only).await?;
    if session.is_json {
        json(&queued)?;
    } else {
        line(&plain(&format!(
            "queued lane {} again, as lane run {}",
            detail.lane.target, queued.lane_run_id
        )));
    }
    Ok(DONE)
}

async fn cancel(arguments: &LaneArguments) -> Result<u8, Failure> {
    let (session, detail) = arguments.open().await?;
    let detail = session.client.cancel(detail.run.id).await?;
    if session.is_json {
        json(&detail)?;
    } else {
        line(&plain(&headline(&detail)));
    }
    Ok(DONE)
}

/// Prints a log as it is, or as it is written; to a terminal, without what would act on it.
pub(super) async fn logs(arguments: &LogsArguments) -> Result<u8, Failure> {
    let (session, mut detail) = arguments.lane.open().await?;
    let is_followed = arguments.follow && arguments.attempt.is_none();
    if session.is_json && !is_followed {
        return Err(Failure::usage(
            "`--json` is for `--follow`; without it a log is printed as it is".to_owned(),
        ));
    }
    if arguments.follow && detail.run.run_id.is_none() {
        eprintln!("{}", plain(&headline(&detail)));
        detail = wait_for_run(&session.client, &detail).await?;
    }
    let Some(run_id) = detail.run.run_id.clone() else {
        return Err(Failure::usage(format!("nothing has run: {}", plain(&headline(&detail)))));
    };
    let kind = match arguments.kind {
        Kind::Guest => "guest",
        Kind::Host => "host",
    };
    let (job, attempt) = (arguments.job.clone(), arguments.attempt);
    let name = LogName { run_id, job, kind: kind.to_owned(), attempt };
    if !is_followed {
        let mut printer = LogPrinter::new();
        session.client.copy_log(&name, |piece| printer.print(piece)).await?;
    } else if name.job.is_some() {
        follow(&session, &name).await?;
    } else {
        follow_jobs(&session, name).await?;
    }
    Ok(DONE)
}

/// Follows the jobs of a run, one after the other in the order in which they began, until the run has ended.
async fn follow_jobs(session: &Session, mut name: LogName) -> Result<(), Failure> {
    let (mut followed, begun): (Vec<JobId>, _) = (Vec::new(), Instant::now());
    loop {
        // Named before it has a folder: for a moment there is no record.
        let record = match session.client.run(&name.run_id).await {
            Ok(record) => Some(record),
            Err(error) if error.is_not_found() && begun.elapsed() < BEGIN_MAX => None,
            Err(error) => return Err(error.into()),
        };
        let jobs = record.iter().flat_map(|record| &record.jobs);
        let next = jobs.map(|job| &job.id).find(|job| !followed.contains(job)).cloned();
        match (next, record) {
            (Some(job), _) => {
                eprintln!("==> {job}");
                name.job = Some(job.to_string());
                if !follow(session, &name).await? {
                    return Ok(());
                }
                followed.push(job);
            }
            (None, Some(record)) if record.status != RunStatus::Running => return Ok(()),
            (None, _) => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

/// Follows one job. `false`: nobody reads it any more.
async fn follow(session: &Session, name: &LogName) -> Result<bool, Failure> {
    let is_json = session.is_json;
    let (mut is_read, mut printer) = (true, LogPrinter::new());
    let shown = |event: LogEvent| {
        is_read = match (is_json, event) {
            (false, LogEvent::Text(text)) => printer.print(text.as_bytes()).is_ok(),
            (false, LogEvent::Restarted) => {
                eprintln!("pika-news: another attempt begins");
                true
            }
            (false, LogEvent::End(_)) => true,
            (true, event) => {
                let mut value = match event {
                    LogEvent::Text(text) => json!({ "event": "log", "text": text }),
                    LogEvent::Restarted => json!({ "event": "restart" }),
                    LogEvent::End(status) => json!({ "event": "end", "status": status }),
                };
                value["job"] = name.job.clone().into();
                bytes(format!("{value}\n").as_bytes()).is_ok()
            }
        };
        is_read
    };
    session.client.follow_log(name, shown).await?;
    Ok(is_read)
}

/// Explains a branch, or one attempt at one of its lanes.
pub(super) async fn why(arguments: &WhyArguments) -> Result<u8, Failure> {
    let lane = &arguments.lane;
    if lane.run.is_none() && lane.lane.is_none() {
        let session = Session::open(&lane.place).await?;
        let branch = session.branch(lane.branch.as_deref()).await?;
        let run = lane_to_explain(&branch).and_then(|lane| lane.attempts.first());
        match run.filter(|_| session.is_json) {
            Some(run) => json(&session.client.why(run.id).await?)?,
            // A branch as a whole may have more to say than its lanes: what is wrong with its manifest.
            None => {
                let text = summary::failure(&session.client, &branch).await?;
                match session.is_json {
                    true => json(&json!({
                        "branch_id": branch.row.id,
                        "branch_name": branch.row.name,
                        "head_oid": branch.head.oid,
                        "text": text,
                    }))?,
                    false => line(&plain_lines(&text)),
                }
            }
        }
        return Ok(DONE);
    }
    let (session, detail) = lane.open().await?;
    let why = session.client.why(detail.run.id).await?;
    if session.is_json {
        json(&why)?;
    } else {
        line(&plain_lines(&why.text));
    }
    Ok(DONE)
}

/// Lists what waits and what runs.
pub(super) async fn queue(arguments: &QueueArguments) -> Result<u8, Failure> {
    let session = Session::open(&arguments.place).await?;
    let repository = session.repository.as_deref().filter(|_| !arguments.all);
    let queue = session.client.queue(repository, arguments.limit).await?;
    if session.is_json {
        json(&queue)?;
        return Ok(DONE);
    }
    if queue.items.is_empty() {
        line("nothing waits and nothing runs");
        return Ok(DONE);
    }
    let mut table = Table::new(&["run", "repository", "branch", "head", "lane", "state", "since", "why"]);
    for row in &queue.items {
        table.push([
            row.id.to_string(),
            row.repository.clone(),
            row.branch.clone(),
            short(&row.head_oid).to_owned(),
            row.lane.clone(),
            row.status.clone(),
            age(row.started_at_ms.unwrap_or(row.queued_at_ms)),
            row.waits.clone().unwrap_or_default(),
        ]);
    }
    line(&table.to_string());
    if queue.next.is_some() {
        line("there are more; --limit shows more");
    }
    Ok(DONE)
}
