//! What the forge counts and measures, for Prometheus.
//!
//! Invariants: every name is here, with its unit at its end; no name of a repository, branch or user is a label, so that
//! whoever reads the figures learns nothing else; measuring never fails and never waits.

use std::sync::OnceLock;
use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use pikaci::{Fault, Outcome};

use crate::store::TutorialStatus;

const HTTP_REQUESTS: &str = "pika_news_http_requests_total";
const HTTP_DURATION: &str = "pika_news_http_request_duration_seconds";
const SSH_EXCHANGES: &str = "pika_news_ssh_exchanges_total";
const SSH_DURATION: &str = "pika_news_ssh_exchange_duration_seconds";
const LANES_QUEUED: &str = "pika_news_lanes_queued";
const LANES_RUNNING: &str = "pika_news_lanes_running";
const LANE_SLOTS: &str = "pika_news_lane_slots";
const LANE_WAIT: &str = "pika_news_lane_wait_seconds";
const LANE_DURATION: &str = "pika_news_lane_duration_seconds";
const LANES_FINISHED: &str = "pika_news_lanes_finished_total";
const FIRST_ATTEMPT_FAILURES: &str = "pika_news_lane_first_attempt_failures_total";
const LANES_ADOPTED: &str = "pika_news_lanes_adopted_total";
const LOG_LAG: &str = "pika_news_log_lag_seconds";
const LOG_WATCHERS: &str = "pika_news_streams_open";
const COLLECTIONS: &str = "pika_news_collections_total";
const TUTORIALS_QUEUED: &str = "pika_news_tutorials_queued";
const TUTORIALS_FINISHED: &str = "pika_news_tutorials_finished_total";
const PUSHES: &str = "pika_news_pushes_total";
const REPOSITORY_PROBLEMS: &str = "pika_news_repository_problems";
const PROGRESS: &str = "pika_news_actor_progress_timestamp_seconds";
const RESIDENT: &str = "process_resident_memory_bytes";

/// Bounds of durations, in seconds: from an answer out of memory to a lane that takes an hour.
const DURATIONS_S: [f64; 16] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0];

static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// Begins to count. Before it, and when another recorder is installed, nothing is counted.
pub fn install() {
    RECORDER.get_or_init(|| {
        let builder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &DURATIONS_S);
        let handle = builder.and_then(PrometheusBuilder::install_recorder).ok()?;
        describe();
        Some(handle)
    });
}

/// The figures as text, in the format that Prometheus scrapes.
pub fn render() -> String {
    let Some(Some(handle)) = RECORDER.get() else { return String::new() };
    if let Some(bytes) = resident_bytes() {
        gauge!(RESIDENT).set(bytes as f64);
    }
    handle.run_upkeep();
    handle.render()
}

/// Sums up what was measured. Without it every measurement stays in memory until somebody asks for the figures, which may be
/// never.
pub(crate) fn sum_up() {
    if let Some(Some(handle)) = RECORDER.get() {
        handle.run_upkeep();
    }
}

fn describe() {
    describe_counter!(HTTP_REQUESTS, "Answered requests, by route, method and status");
    describe_histogram!(HTTP_DURATION, Unit::Seconds, "From a request's head to its answer's, by route");
    describe_counter!(SSH_EXCHANGES, "Fetches and pushes over SSH, by service and outcome");
    describe_histogram!(
        SSH_DURATION,
        Unit::Seconds,
        "From the command to the end of a fetch or push over SSH"
    );
    describe_gauge!(LANES_QUEUED, "Lane runs that wait");
    describe_gauge!(LANES_RUNNING, "Lane runs that are alive");
    describe_gauge!(LANE_SLOTS, "Lane runs that may be alive at once");
    describe_histogram!(LANE_WAIT, Unit::Seconds, "From queued to begun");
    describe_histogram!(LANE_DURATION, Unit::Seconds, "From begun to its outcome, by outcome");
    describe_counter!(LANES_FINISHED, "Lane runs that have an outcome, by outcome and fault");
    describe_counter!(FIRST_ATTEMPT_FAILURES, "Lanes whose first attempt did not pass, by fault");
    describe_counter!(LANES_ADOPTED, "Lane runs that were taken up from an earlier forge");
    describe_histogram!(
        LOG_LAG,
        Unit::Seconds,
        "From a log's last write to the piece that is sent to a watcher"
    );
    describe_gauge!(LOG_WATCHERS, "Open streams of logs and changes");
    describe_counter!(COLLECTIONS, "Times that old runs of a repository were removed, by success");
    describe_gauge!(TUTORIALS_QUEUED, "Tutorials that wait to be written");
    describe_counter!(TUTORIALS_FINISHED, "Tutorials whose writer came to an end, by outcome");
    describe_counter!(PUSHES, "Heads that were taken in");
    describe_gauge!(REPOSITORY_PROBLEMS, "Repositories whose refs could not be compared lately");
    describe_gauge!(PROGRESS, Unit::Seconds, "When a part of the forge last went round, in Unix time");
    describe_gauge!(RESIDENT, Unit::Bytes, "Resident memory");
}

pub(crate) fn request(route: &str, method: &str, status: u16, took: Duration) {
    let (route, method) = (route.to_owned(), method.to_owned());
    counter!(HTTP_REQUESTS, "route" => route.clone(), "method" => method, "status" => status.to_string())
        .increment(1);
    histogram!(HTTP_DURATION, "route" => route).record(took);
}

/// `outcome` is `answered`, `gone` (the client left), `refused`, `busy` or `failed`.
pub(crate) fn ssh_exchange(service: &str, outcome: &'static str, took: Duration) {
    let service = service.to_owned();
    counter!(SSH_EXCHANGES, "service" => service.clone(), "outcome" => outcome).increment(1);
    histogram!(SSH_DURATION, "service" => service).record(took);
}

pub(crate) fn lane_begun(waited: Duration) {
    histogram!(LANE_WAIT).record(waited);
}

pub(crate) fn lane_finished(outcome: &Outcome, fault: Option<&Fault>, is_first: bool, took: Duration) {
    let fault = fault.map_or_else(|| "none".to_owned(), word);
    histogram!(LANE_DURATION, "outcome" => word(outcome)).record(took);
    counter!(LANES_FINISHED, "outcome" => word(outcome), "fault" => fault.clone()).increment(1);
    if is_first && !matches!(outcome, Outcome::Passed | Outcome::Skipped) {
        counter!(FIRST_ATTEMPT_FAILURES, "fault" => fault).increment(1);
    }
}

/// A word as records write it.
fn word<T: serde::Serialize>(word: &T) -> String {
    let written = serde_json::to_value(word).ok().and_then(|value| Some(value.as_str()?.to_owned()));
    written.unwrap_or_else(|| "unknown".to_owned())
}

pub(crate) fn lane_adopted() {
    counter!(LANES_ADOPTED).increment(1);
}

pub(crate) fn collected(is_done: bool) {
    counter!(COLLECTIONS, "is_done" => is_done.to_string()).increment(1);
}

pub(crate) fn tutorial_finished(status: TutorialStatus) {
    counter!(TUTORIALS_FINISHED, "outcome" => word(&status)).increment(1);
}

pub(crate) fn pushed() {
    counter!(PUSHES).increment(1);
}

pub(crate) fn log_lag(lag: Duration) {
    histogram!(LOG_LAG).record(lag);
}

pub(crate) fn stream_opened() {
    gauge!(LOG_WATCHERS).increment(1.0);
}

pub(crate) fn stream_closed() {
    gauge!(LOG_WATCHERS).decrement(1.0);
}

/// Sets what is looked up when somebody asks.
pub(crate) fn set_health(health: &crate::forge::view::Health) {
    gauge!(LANES_QUEUED).set(f64::from(health.lanes_queued));
    gauge!(LANES_RUNNING).set(health.lanes_running as f64);
    gauge!(LANE_SLOTS).set(health.slots as f64);
    gauge!(TUTORIALS_QUEUED).set(f64::from(health.tutorials_queued));
    gauge!(REPOSITORY_PROBLEMS).set(health.problems.len() as f64);
    for actor in &health.actors {
        // What has not begun has no time.
        if let Some(at_ms) = actor.progressed_at_ms {
            gauge!(PROGRESS, "actor" => actor.name).set(at_ms as f64 / 1000.0);
        }
    }
}

/// The second field of `/proc/self/statm` is in pages (proc(5)).
fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}
