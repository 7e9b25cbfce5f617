//! Server-sent events: a job's log while it is written, and word of what changes.
//!
//! Invariants: the id of a log event is the offset of the byte after it, so that a client that comes back gets each
//! byte once; a watcher costs a few pieces of memory however slow it is; a stream ends when its user loses their
//! rights, when it is an hour old, and when the forge shuts down. Browsers come back by themselves.

mod decode;
pub(super) mod events;
mod follow;

use std::convert::Infallible;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use pikaci::{JobId, LogSide};
use serde::{Deserialize, Serialize};
use tokio::sync::{broadcast, mpsc};
use tokio_stream::wrappers::ReceiverStream;

use super::Web;
use super::code::Code;
use super::error::{ApiError, WebError};
use super::runs;
use super::viewer::Viewer;
use crate::auth::{Authenticator, Presented, Principal};
use crate::metrics;
use crate::turns::{Turn, Turns};
use crate::web::extract::{Path, Query};
pub(super) use follow::current_attempt;
use follow::{Follower, Look};

/// How many streams there may be at once; half of them of one user.
const STREAMS_MAX: usize = 512;
const STREAM_LIFETIME: Duration = Duration::from_secs(3600);
/// How long a client may take to accept one piece.
const SEND_DEADLINE: Duration = Duration::from_secs(60);
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How often it is asked whether the user still has rights.
const RIGHTS_CHECKED_EVERY: Duration = Duration::from_secs(5);
const PIECES_QUEUED_MAX: usize = 2;
/// A log that is written to is looked at this often, a quiet one ever more rarely.
const LOOK_EVERY_MIN: Duration = Duration::from_millis(20);
const LOOK_EVERY_MAX: Duration = Duration::from_millis(250);

/// The places for streams.
#[derive(Clone)]
pub(super) struct Streams {
    places: Turns,
}

impl Streams {
    pub(super) fn new() -> Streams {
        Streams { places: Turns::new(STREAMS_MAX) }
    }

    fn take(&self, principal: &Principal) -> Result<Turn, WebError> {
        self.places.try_take(principal).ok_or_else(|| {
            let message = format!(
                "{STREAMS_MAX} live views are open, or half of them are yours, which is the limit; try again in a minute"
            );
            WebError::Refused(Code::Busy, message)
        })
    }
}

/// What a log stream may be asked for.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct LogQuery {
    job: Option<String>,
    #[serde(default)]
    kind: Option<String>,
    #[serde(default)]
    from: u64,
    attempt: Option<u32>,
}

#[derive(Serialize, utoipa::ToSchema)]
struct LogPiece {
    offset: u64,
    text: String,
}

/// Follows a log from a byte on.
#[utoipa::path(
    get, path = "/news/api/forge/pikaci/logs/{run_id}/stream", tag = "runs",
    params(("run_id" = String, Path, description = "The run of pikaci"), LogQuery),
    responses((status = 200, description = "Server-sent events `log`, `restart`, `end`, `failure`; the id is the offset of the next byte", body = String, content_type = "text/event-stream"))
)]
pub(super) async fn log(
    viewer: Viewer,
    State(web): State<Web>,
    Path(run): Path<String>,
    Query(query): Query<LogQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let found = runs::find(&web, &viewer.principal, &run).await?;
    let side = runs::side(query.kind.as_deref())?;
    let job = runs::job_that_begins(&found, query.job.as_deref()).await?;
    // What the browser sends by itself when it comes back.
    let offset = match headers.get("last-event-id").map(|id| id.to_str().ok().and_then(|id| id.parse().ok()))
    {
        None => query.from,
        Some(Some(offset)) => offset,
        Some(None) => return Err(WebError::bad_request("Last-Event-ID is a byte offset").into()),
    };
    let repository = found.repository.clone();
    let follower = new_follower(found, job, side).starting_at(offset, query.attempt);
    let (receiver, feed) = Feed::start(&web, viewer, Some(repository))?;
    tokio::spawn(feed.log(follower));
    Ok(respond(receiver))
}

fn new_follower(found: runs::Found, job: JobId, side: LogSide) -> Follower {
    Follower::new(found.state, found.run, job, side)
}

/// Which changes a page wants to hear of.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ChangesQuery {
    repository: Option<String>,
    branch: Option<i64>,
}

/// Says that something which is shown may be out of date, not what.
#[utoipa::path(
    get, path = "/news/api/forge/changes", tag = "events",
    params(ChangesQuery),
    responses((status = 200, description = "Server-sent events `change`", body = String, content_type = "text/event-stream"))
)]
pub(super) async fn changes(
    viewer: Viewer,
    State(web): State<Web>,
    Query(query): Query<ChangesQuery>,
) -> Result<Response, ApiError> {
    let changes = web.forge().subscribe();
    let (receiver, feed) = Feed::start(&web, viewer, None)?;
    tokio::spawn(feed.changes(changes, query));
    Ok(respond(receiver))
}

type Pieces = mpsc::Receiver<Result<Event, Infallible>>;

fn respond(pieces: Pieces) -> Response {
    let keep_alive = KeepAlive::new().interval(HEARTBEAT).text("still here");
    let mut response = Sse::new(ReceiverStream::new(pieces)).keep_alive(keep_alive).into_response();
    // Proxies that collect an answer before they pass it on would make a live log a dead one.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The task that feeds one stream.
struct Feed {
    pieces: mpsc::Sender<Result<Event, Infallible>>,
    auth: Authenticator,
    presented: Presented,
    /// What its user may do, as it was found last.
    principal: Principal,
    /// What the stream is of; without one, each event is asked for.
    repository: Option<String>,
    shutdown: tokio_util::sync::CancellationToken,
    started: Instant,
    rights_checked: Instant,
    _place: Place,
}

/// A place among the streams, counted.
struct Place(#[allow(dead_code, reason = "held")] Turn);

impl Drop for Place {
    fn drop(&mut self) {
        metrics::stream_closed();
    }
}

impl Feed {
    fn start(web: &Web, viewer: Viewer, repository: Option<String>) -> Result<(Pieces, Feed), WebError> {
        let place = Place(web.streams().take(&viewer.principal)?);
        metrics::stream_opened();
        let (pieces, receiver) = mpsc::channel(PIECES_QUEUED_MAX);
        let feed = Feed {
            pieces,
            auth: web.auth().clone(),
            presented: viewer.presented,
            principal: viewer.principal,
            repository,
            shutdown: web.shutdown().clone(),
            started: Instant::now(),
            rights_checked: Instant::now(),
            _place: place,
        };
        Ok((receiver, feed))
    }

    async fn log(mut self, mut follower: Follower) {
        let mut pause = LOOK_EVERY_MIN;
        while self.may_go_on().await {
            let looked = tokio::task::spawn_blocking(move || {
                let look = follower.look();
                (follower, look)
            });
            let Ok((returned, look)) = looked.await else { return };
            follower = returned;
            let event = match look {
                Ok(Look::Nothing) => {
                    self.rest(pause).await;
                    pause = (pause * 2).min(LOOK_EVERY_MAX);
                    continue;
                }
                Ok(Look::Text { offset, end, text }) => {
                    json("log", &LogPiece { offset, text }).id(end.to_string())
                }
                Ok(Look::Restarted { attempt }) => {
                    json("restart", &serde_json::json!({ "attempt": attempt })).id("0")
                }
                Ok(Look::End { status }) => {
                    self.send(json("end", &serde_json::json!({ "status": status }))).await;
                    return;
                }
                Err(error) => {
                    let message = WebError::from(error).message();
                    self.send(json("failure", &serde_json::json!({ "error": message }))).await;
                    return;
                }
            };
            pause = LOOK_EVERY_MIN;
            if !self.send(event).await {
                return;
            }
        }
    }

    async fn changes(
        mut self,
        mut changes: broadcast::Receiver<crate::forge::view::Change>,
        query: ChangesQuery,
    ) {
        // So that a page which was rendered before the subscription began looks again if it was reconnected.
        if !self.send(Event::default().event("ready").data("{}")).await {
            return;
        }
        while self.may_go_on().await {
            let change = tokio::select! {
                change = changes.recv() => change,
                () = tokio::time::sleep(RIGHTS_CHECKED_EVERY) => continue,
                () = self.pieces.closed() => return,
                () = self.shutdown.cancelled() => return,
            };
            let event = match change {
                Ok(change) => {
                    let concerns = self.principal.can_read(&change.repository)
                        && query.repository.as_ref().is_none_or(|name| *name == change.repository)
                        && query.branch.is_none_or(|id| id == change.branch_id.0);
                    if !concerns {
                        continue;
                    }
                    json("change", &change)
                }
                // Some were missed: look again.
                Err(broadcast::error::RecvError::Lagged(_)) => Event::default().event("change").data("{}"),
                Err(broadcast::error::RecvError::Closed) => return,
            };
            if !self.send(event).await {
                return;
            }
        }
    }

    async fn may_go_on(&mut self) -> bool {
        if self.pieces.is_closed() || self.shutdown.is_cancelled() || self.started.elapsed() > STREAM_LIFETIME
        {
            return false;
        }
        if self.rights_checked.elapsed() > RIGHTS_CHECKED_EVERY {
            self.rights_checked = Instant::now();
            // A hiccup of the database takes nobody's rights; the next check tells.
            match self.auth.identify(&self.presented).await {
                Ok(Some(principal)) => self.principal = principal,
                Ok(None) => return false,
                Err(error) => tracing::debug!(%error, "the rights of a stream's user could not be looked up"),
            }
            return self.repository.as_ref().is_none_or(|name| self.principal.can_read(name));
        }
        self.repository.as_deref().is_none_or(|name| self.principal.can_read(name))
    }

    async fn rest(&self, pause: Duration) {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.pieces.closed() => {}
            () = self.shutdown.cancelled() => {}
        }
    }

    async fn send(&self, event: Event) -> bool {
        tokio::select! {
            sent = self.pieces.send_timeout(Ok(event), SEND_DEADLINE) => sent.is_ok(),
            () = self.shutdown.cancelled() => false,
        }
    }
}

fn json(name: &str, data: &impl Serialize) -> Event {
    let text = serde_json::to_string(data).unwrap_or_else(|_| "{}".to_owned());
    Event::default().event(name).data(text)
}
