//! The changes of a head, explained: a part of the branch's page that waits for nothing, and the pages around it.
//!
//! Invariants: the branch's page comes at once, whatever git or a writer does; nothing on it has a length that depends on
//! that of the diff; what a model wrote is rendered by `pika_tutorial`, which escapes it.

use std::time::Duration;

use askama::Template;
use axum::Form;
use axum::extract::{Path, Query, State};
use axum::response::{Html, IntoResponse as _, Redirect, Response};
use pika_tutorial::{Embedding, render_file, render_files, render_steps};
use serde::Deserialize;

use super::branch::{back, find, find_writable};
use super::{as_seen_by, changes, not_found, render, time, words};
use crate::auth::{Principal, User};
use crate::forge::ForgeError;
use crate::forge::tutorial::{ExplainedHead, Shown as ShownTutorial, TutorialState};
use crate::forge::view::BranchView;
use crate::store::TutorialStatus;
use crate::web::Web;
use crate::web::error::{PageError, WebError};
use crate::web::viewer::{PageViewer, Visitor};

/// How long the branch's page waits for its changes before it comes without them.
const PATIENCE: Duration = Duration::from_millis(120);

/// The part of the branch's page that shows what changed.
#[derive(Template)]
#[template(path = "fragment.html")]
struct Fragment {
    changes: Shown,
    base_short: String,
    head_short: String,
}

/// What is there to be shown.
enum Shown {
    Explained(Box<Part>),
    /// It is being read; the address brings it.
    Pending(String),
    Failed(String),
    Plain(pika_git::Diff),
}

/// The tutorial beside its diff.
struct Part {
    path: String,
    head: String,
    since: Option<String>,
    note: Option<Note>,
    can_retry: bool,
    cost: Option<String>,
    steps: String,
    files: usize,
    added: usize,
    removed: usize,
    diff: String,
}

/// What is to be said about the tutorial before it.
struct Note {
    class: &'static str,
    name: &'static str,
    title: String,
    text: String,
}

/// How the part is asked for.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ChangesQuery {
    #[serde(default)]
    head: Option<String>,
}

/// Renders what changed; with patience, or without any.
pub(super) async fn section(
    web: &Web,
    viewer: &Principal,
    branch: &BranchView,
    is_patient: bool,
) -> Result<String, WebError> {
    let (repository, id, head) = (&branch.row.repository, branch.row.id, &branch.head.oid);
    let path = format!("/news/{repository}/branch/{id}");
    let explained = web.forge().explained(repository, id, head);
    let explained =
        if is_patient { Some(explained.await) } else { tokio::time::timeout(PATIENCE, explained).await.ok() };
    let changes = match explained {
        None => Shown::Pending(format!("{path}/changes?head={head}")),
        Some(Ok(explained)) => Shown::Explained(Box::new(part(web, viewer, branch, path, &explained).await?)),
        Some(Err(ForgeError::Git(
            pika_git::GitError::TooLarge { .. } | pika_git::GitError::TooManyLines { .. },
        ))) => match changes::read_part(web.forge(), repository, &branch.head).await {
            Ok(diff) => Shown::Plain(diff),
            Err(error) => Shown::Failed(format!("The changes can't be shown: {}.", error.message())),
        },
        Some(Err(error)) => {
            Shown::Failed(format!("The changes can't be shown: {}.", WebError::from(error).message()))
        }
    };
    let base_short = branch.head.base_oid.as_deref().map_or("", words::short).to_owned();
    let head_short = words::short(head).to_owned();
    Fragment { changes, base_short, head_short }.render().map_err(|error| WebError::internal(&error))
}

async fn part(
    web: &Web,
    viewer: &Principal,
    branch: &BranchView,
    path: String,
    explained: &ExplainedHead,
) -> Result<Part, WebError> {
    let (id, head) = (branch.row.id, &branch.head.oid);
    // What somebody has looked at and ticked off is remembered for users alone.
    let (since, ticked) = match viewer.user() {
        Some(user) => (
            web.forge().look(user.id, &branch.row.repository, id, head).await?,
            web.forge().ticks(user.id, id).await?,
        ),
        None => Default::default(),
    };
    let embedding = Embedding {
        file_url: format!("{path}/file?head={head}&file="),
        tick_url: viewer.user().map(|_| format!("{path}/tick")),
        ticked,
    };
    let (added, removed) = explained.diff.counts();
    let (steps, diff) = render_parts(explained, embedding).await?;
    Ok(Part {
        head: head.clone(),
        since,
        note: note(&explained.state.clone().told_to(viewer.can_write(&branch.row.repository))),
        can_retry: explained.state.can_retry && viewer.can_write(&branch.row.repository),
        cost: cost(&explained.state),
        steps,
        files: explained.diff.files().len(),
        added,
        removed,
        diff,
        path,
    })
}

/// Off the thread that serves others: a diff may have many files.
async fn render_parts(explained: &ExplainedHead, embedding: Embedding) -> Result<(String, String), WebError> {
    let (explained, diff) = (explained.explained.clone(), explained.diff.clone());
    let rendered = tokio::task::spawn_blocking(move || {
        (render_steps(&explained, &diff, &embedding), render_files(&explained, &diff, &embedding))
    });
    rendered.await.map_err(|error| WebError::internal(&error))
}

fn note(state: &TutorialState) -> Option<Note> {
    let note = |class, name, title: String, text: String| Some(Note { class, name, title, text });
    let failure = || state.failure.clone().unwrap_or_else(|| "the reason is not known".to_owned());
    let instead = match &state.shown {
        ShownTutorial::Own => String::new(),
        ShownTutorial::Builtin => "The builtin tutorial stands in its place.".to_owned(),
        ShownTutorial::Earlier { head, kept, stale } => format!(
            "The one of {} stands in its place: {kept} of its steps hold, {stale} are marked as stale.",
            words::short(head)
        ),
    };
    let provider = &state.provider;
    match state.status {
        None if state.provider == "builtin" => None,
        None => note("", "not_asked", "No writer was asked for this head.".to_owned(), instead),
        Some(TutorialStatus::Queued) if state.tries > 0 => {
            let wait_ms = state.next_try_at_ms.map_or(0, |at| (at - time::now_ms()).max(0).unsigned_abs());
            note(
                "is-bad",
                "waiting",
                "The tutorial could not be written yet.".to_owned(),
                format!(
                    "Try {} of {} failed: {}. The next one comes in {}. {instead}",
                    state.tries,
                    state.tries_max,
                    failure(),
                    time::duration(wait_ms)
                ),
            )
        }
        Some(TutorialStatus::Queued) => note(
            "is-busy",
            "queued",
            format!("The tutorial waits to be written by the provider {provider}."),
            instead,
        ),
        Some(TutorialStatus::Running) => note(
            "is-busy",
            "running",
            format!("The tutorial is being written by the provider {provider}."),
            instead,
        ),
        Some(TutorialStatus::Failed) => note(
            "is-bad",
            "failed",
            "The tutorial could not be written.".to_owned(),
            format!(
                "{} {} failed, the last with: {}. {instead}",
                state.tries,
                tries_word(state.tries),
                failure()
            ),
        ),
        Some(TutorialStatus::Cancelled) => {
            note("", "cancelled", "The tutorial was stopped.".to_owned(), format!("{}. {instead}", failure()))
        }
        Some(TutorialStatus::Partial) => note(
            "is-busy",
            "partial",
            "A part of the tutorial could not be written.".to_owned(),
            format!("{}. What came is shown.", failure()),
        ),
        Some(TutorialStatus::CarriedOver) => note(
            "",
            "carried_over",
            "This is the tutorial of an earlier head.".to_owned(),
            "Nothing that it shows has changed since.".to_owned(),
        ),
        Some(TutorialStatus::Written) => None,
    }
}

fn tries_word(count: u32) -> &'static str {
    if count == 1 { "try" } else { "tries" }
}

fn cost(state: &TutorialState) -> Option<String> {
    let cost = &state.cost;
    if cost.attempts == 0 || cost.duration_ms == 0 {
        return None;
    }
    let mut text = format!(
        "{} {}, {}",
        cost.attempts,
        if cost.attempts == 1 { "attempt" } else { "attempts" },
        time::duration(cost.duration_ms)
    );
    if cost.input_tokens + cost.output_tokens > 0 {
        text += &format!(", {} tokens read, {} written", cost.input_tokens, cost.output_tokens);
    }
    if let Some(usd) = cost.usd {
        text += &format!(", ${usd:.4}");
    }
    Some(text)
}

/// `GET /news/{repository}/branch/{id}/changes`: the part by itself, when it is there.
pub(super) async fn show(
    Visitor(viewer): Visitor,
    State(web): State<Web>,
    Path((repository, id)): Path<(String, String)>,
    Query(query): Query<ChangesQuery>,
) -> Result<Response, PageError> {
    let shown = async {
        let branch = find(&web, &viewer, &repository, &id).await?;
        if query.head.is_some_and(|head| head != branch.head.oid) {
            return Err(not_found("head any more: the branch has a newer one"));
        }
        Ok(Html(section(&web, &viewer, &branch, true).await?).into_response())
    };
    shown.await.map_err(PageError::from).map_err(as_seen_by(&viewer))
}

/// Which file of which diff.
#[derive(Debug, Deserialize)]
pub(super) struct FileQuery {
    head: String,
    file: usize,
    /// The file of what changed since this head.
    since: Option<String>,
    #[serde(default)]
    fragment: Option<String>,
}

#[derive(Template)]
#[template(path = "file.html")]
struct FilePage {
    user: Option<User>,
    branch: BranchView,
    path: String,
    head: String,
    file: String,
}

/// `GET /news/{repository}/branch/{id}/file?head=&file=`: one file of the diff, as it is opened.
pub(super) async fn file(
    Visitor(viewer): Visitor,
    State(web): State<Web>,
    Path((repository, id)): Path<(String, String)>,
    Query(query): Query<FileQuery>,
) -> Result<Response, PageError> {
    let shown = async {
        let branch = find(&web, &viewer, &repository, &id).await?;
        let (explained, diff) = match &query.since {
            None => {
                let found = web.forge().explained(&repository, branch.row.id, &query.head).await?;
                (found.explained, found.diff)
            }
            Some(from) => {
                let since = web.forge().since(&repository, branch.row.id, from, &query.head).await?;
                (since.explained.into(), since.diff)
            }
        };
        let index = query.file.checked_sub(1).filter(|index| *index < diff.files().len());
        let index = index.ok_or_else(|| not_found("file in this diff"))?;
        let rendered = tokio::task::spawn_blocking(move || render_file(&explained, &diff, index));
        let file = rendered.await.map_err(|error| WebError::internal(&error))?;
        if query.fragment.is_some() {
            return Ok(Html(file).into_response());
        }
        let path = format!("/news/{repository}/branch/{}", branch.row.id);
        render(&FilePage { user: viewer.user().cloned(), branch, path, head: query.head.clone(), file })
    };
    shown.await.map_err(as_seen_by(&viewer))
}

/// Since which head.
#[derive(Debug, Deserialize)]
pub(super) struct SinceQuery {
    from: String,
}

#[derive(Template)]
#[template(path = "since.html")]
struct SincePage {
    user: Option<User>,
    branch: BranchView,
    path: String,
    from: String,
    to: String,
    steps: String,
    diff: String,
}

/// `GET /news/{repository}/branch/{id}/since?from=`: what changed since a head, with a short tutorial of its own.
pub(super) async fn since(
    Visitor(viewer): Visitor,
    State(web): State<Web>,
    Path((repository, id)): Path<(String, String)>,
    Query(query): Query<SinceQuery>,
) -> Result<Response, PageError> {
    let shown = async {
        let branch = find(&web, &viewer, &repository, &id).await?;
        let (id, head) = (branch.row.id, branch.head.oid.clone());
        let since = web.forge().since(&repository, id, &query.from, &head).await?;
        let path = format!("/news/{repository}/branch/{id}");
        let embedding = Embedding {
            file_url: format!("{path}/file?head={head}&since={}&file=", since.from),
            tick_url: viewer.user().map(|_| format!("{path}/tick")),
            ticked: match viewer.user() {
                Some(user) => web.forge().ticks(user.id, id).await?,
                None => Default::default(),
            },
        };
        let (from, to) = (since.from, since.to);
        let rendered = tokio::task::spawn_blocking(move || {
            let steps = render_steps(&since.explained, &since.diff, &embedding);
            (steps, render_files(&since.explained, &since.diff, &embedding))
        });
        let (steps, diff) = rendered.await.map_err(|error| WebError::internal(&error))?;
        render(&SincePage { user: viewer.user().cloned(), branch, path, from, to, steps, diff })
    };
    shown.await.map_err(as_seen_by(&viewer))
}

/// The head that a reader has seen.
#[derive(Debug, Deserialize)]
pub(super) struct SeenForm {
    head: String,
}

/// Notes that everything up to a head was seen.
pub(super) async fn seen(
    PageViewer(viewer): PageViewer,
    State(web): State<Web>,
    Path((repository, id)): Path<(String, String)>,
    Form(form): Form<SeenForm>,
) -> Result<Response, PageError> {
    let done = async {
        let branch = find(&web, &viewer, &repository, &id).await?;
        web.forge().note_seen(viewer.user_id(), &repository, branch.row.id, &form.head).await?;
        Ok(back(&branch))
    };
    done.await.map_err(as_seen_by(&viewer))
}

/// A step that a reader is done with.
#[derive(Debug, Deserialize)]
pub(super) struct TickForm {
    step: String,
    is_ticked: bool,
}

/// Ticks a step off, or takes that back.
pub(super) async fn tick(
    PageViewer(viewer): PageViewer,
    State(web): State<Web>,
    Path((repository, id)): Path<(String, String)>,
    Form(form): Form<TickForm>,
) -> Result<Response, PageError> {
    let done = async {
        let branch = find(&web, &viewer, &repository, &id).await?;
        web.forge().tick(viewer.user_id(), branch.row.id, &form.step, form.is_ticked).await?;
        let path = format!("/news/{repository}/branch/{}#tutorial", branch.row.id);
        Ok(Redirect::to(&path).into_response())
    };
    done.await.map_err(as_seen_by(&viewer))
}

/// The head whose tutorial is asked for again.
#[derive(Debug, Deserialize)]
pub(super) struct RetryForm {
    expected_head: String,
}

/// Asks for the tutorial again.
pub(super) async fn retry(
    PageViewer(viewer): PageViewer,
    State(web): State<Web>,
    Path((repository, id)): Path<(String, String)>,
    Form(form): Form<RetryForm>,
) -> Result<Response, PageError> {
    let done = async {
        let branch = find_writable(&web, &viewer, &repository, &id).await?;
        let id = branch.row.id;
        web.forge().retry_tutorial(&repository, id, &form.expected_head, viewer.name()).await?;
        Ok(back(&branch))
    };
    done.await.map_err(as_seen_by(&viewer))
}
