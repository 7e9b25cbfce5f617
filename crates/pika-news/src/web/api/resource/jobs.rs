//! The jobs of a run of `pikaci`, and what their tests say.

use axum::Json;
use axum::extract::State;
use pikaci::{JobId, JobRecord};
use serde::Serialize;

use super::super::page::{Page, PageAnswer, PageQuery, Paged};
use crate::web::error::{ApiError, WebError};
use crate::web::extract::Path;
use crate::web::viewer::Viewer;
use crate::web::{Web, live, runs};

/// A job of a run. The run's record says more.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Job {
    /// Its place in the run; jobs are only ever added at the end.
    #[serde(skip)]
    place: usize,
    /// Its name within the run.
    id: String,
    /// What a person reads.
    description: String,
    /// `running`, `passed`, `failed` or `skipped`.
    status: String,
    /// How it ended: `passed`, `failed`, `timed_out`, `cancelled` or `skipped`.
    outcome: Option<String>,
    /// Whose fault it was: `job`, `infra` or `user`.
    fault: Option<String>,
    /// The command's exit code.
    exit_code: Option<i32>,
    /// What a reader should know beyond the outcome.
    message: Option<String>,
    /// Which attempt this is, from 1.
    attempt: u32,
    /// When the attempt began, in milliseconds since the Unix epoch.
    started_at_ms: i64,
    /// When it ended.
    finished_at_ms: Option<i64>,
}

/// Lists the jobs of a run that have begun, in the order in which they did.
#[utoipa::path(
    get, path = "/news/api/v1/runs/{run_id}/jobs", tag = "runs",
    params(("run_id" = String, Path, description = "The run of pikaci"), PageQuery),
    responses((status = 200, body = Page<Job>))
)]
pub(super) async fn jobs(
    viewer: Viewer,
    State(web): State<Web>,
    Path(run): Path<String>,
    page: Paged,
) -> Result<PageAnswer<Job>, ApiError> {
    let found = runs::find(&web, &viewer.principal, &run).await?;
    let from = usize::try_from(page.after_number()?.unwrap_or(0)).unwrap_or(0);
    let record = runs::read(move || Ok(pikaci::load_run_record(&found.state, &found.run)?)).await?;
    let jobs = record.jobs.iter().zip(1..).skip(from).take(page.rows() as usize);
    let rows = jobs.map(|(job, place)| shown(live::current_attempt(&record, &job.id), job, place));
    Ok(page.answer(rows.collect(), |row| row.place.to_string()))
}

fn shown(attempt: u32, job: &JobRecord, place: usize) -> Job {
    Job {
        place,
        id: job.id.to_string(),
        description: job.description.clone(),
        status: job.status.to_string(),
        outcome: job.outcome.as_ref().map(ToString::to_string),
        fault: job.fault.as_ref().map(ToString::to_string),
        exit_code: job.exit_code,
        message: job.message.clone(),
        attempt,
        started_at_ms: job.started_at.as_millisecond(),
        finished_at_ms: job.finished_at.map(jiff::Timestamp::as_millisecond),
    }
}

/// What the JUnit reports of a job say together.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct TestResults {
    /// Whether the job was to leave reports. The rest is empty when not.
    has_reports: bool,
    /// How many reports were read.
    reports: usize,
    /// How many tests they list.
    tests: u64,
    /// How many of them did not pass.
    failed: u64,
    /// The first of these.
    failures: Vec<FailedTest>,
    /// What could not be read, and why.
    problems: Vec<String>,
}

/// A test that did not pass. The texts are the tested code's own.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct FailedTest {
    /// Its class, or the suite that it is in.
    suite: String,
    /// Its name.
    name: String,
    /// Where it is, as the report says.
    file: Option<String>,
    /// Where in the file it is.
    line: Option<u64>,
    /// What went wrong, in one line.
    message: String,
    /// What else the report says about it; its beginning when that is long.
    details: String,
}

/// Shows what the JUnit reports of a job's latest attempt say.
#[utoipa::path(
    get, path = "/news/api/v1/runs/{run_id}/jobs/{job}/tests", tag = "runs",
    params(("run_id" = String, Path, description = "The run of pikaci"), ("job" = String, Path, description = "The job")),
    responses((status = 200, body = TestResults))
)]
pub(super) async fn tests(
    viewer: Viewer,
    State(web): State<Web>,
    Path((run, job)): Path<(String, String)>,
) -> Result<Json<TestResults>, ApiError> {
    let found = runs::find(&web, &viewer.principal, &run).await?;
    let job = runs::job(&found, Some(&named(&job)?)).await?;
    let read = runs::read(move || Ok(pikaci::why::read_tests(&found.state, &found.run, &job)?)).await?;
    let has_reports = read.is_some();
    let summary = read.unwrap_or_default();
    let failure = |test: pikaci::FailedTest| FailedTest {
        suite: test.suite,
        name: test.name,
        file: test.file,
        line: test.line,
        message: test.message,
        details: test.details,
    };
    Ok(Json(TestResults {
        has_reports,
        reports: summary.reports,
        tests: summary.tests,
        failed: summary.failed,
        failures: summary.failures.into_iter().map(failure).collect(),
        problems: summary.problems,
    }))
}

/// A job as a path names it; unlike in a query, there is none by default.
pub(super) fn named(job: &str) -> Result<String, WebError> {
    Ok(JobId::parse(job)?.to_string())
}
