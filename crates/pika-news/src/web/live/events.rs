//! The stream of events: typed, in order, and taken up where a client left it.
//!
//! Invariants: the id of an event is its own, so that a client that comes back gets each event once, also after a restart; only
//! what the viewer may read is told; at most a page of events is in memory for a watcher, who reads from the database at their
//! own pace; who comes back too late is told so.

use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::response::sse::Event as Sent;
use serde::{Deserialize, Serialize};

use super::{Feed, HEARTBEAT, RIGHTS_CHECKED_EVERY, json, respond};
use crate::auth::{Action, Principal, Resource};
use crate::forge::Forge;
use crate::forge::event::{Event, Gone};
use crate::web::Web;
use crate::web::code::Code;
use crate::web::error::{ApiError, WebError};
use crate::web::extract::Query;
use crate::web::viewer::{Viewer, allow};

/// How many events are read at once for a watcher.
const EVENTS_AT_ONCE: u32 = 50;
const EVENTS_DEFAULT: u32 = 50;
const EVENTS_MAX: u32 = 200;
/// How often it is looked for what another process has written, such as a command of the operator.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Which events are wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::web) struct EventsQuery {
    /// Only what follows this id. Without it a list begins with the oldest event that is kept, a stream with the next one.
    after: Option<i64>,
    /// Only those of this repository.
    repository: Option<String>,
    /// How many at most; 50 unless said, 200 at most.
    limit: Option<u32>,
}

/// A part of the events, the oldest first.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(in crate::web) struct EventPage {
    items: Vec<Event>,
    /// What `after` is to be for the next part; absent when there is none yet.
    next: Option<i64>,
    /// What `after` is to be to hear only of what has not happened yet, once `next` is absent.
    position: i64,
}

/// Lists what happened in the repositories that whoever asks may read, the oldest first.
#[utoipa::path(
    get, path = "/news/api/forge/events", tag = "events",
    params(EventsQuery),
    responses((status = 200, body = EventPage))
)]
pub(in crate::web) async fn list(
    viewer: Viewer,
    State(web): State<Web>,
    Query(query): Query<EventsQuery>,
) -> Result<axum::Json<EventPage>, ApiError> {
    let repository = wanted(&viewer.principal, query.repository)?;
    let names = readable(web.forge(), &viewer.principal, repository.as_deref());
    let after = match query.after {
        Some(after) => after,
        None => web.forge().event_bounds().await?.0,
    };
    let limit = query.limit.unwrap_or(EVENTS_DEFAULT).clamp(1, EVENTS_MAX);
    let found = web.forge().events(&names, after, limit).await?.map_err(gone)?;
    let next = found.has_more.then_some(found.position);
    Ok(axum::Json(EventPage { items: found.events, next, position: found.position }))
}

/// Streams what happens, from an event on.
#[utoipa::path(
    get, path = "/news/api/forge/events/stream", tag = "events",
    params(EventsQuery, ("Last-Event-ID" = Option<i64>, Header, description = "The last event that was received")),
    responses((status = 200, description = "Server-sent events, named as `kind`", body = String, content_type = "text/event-stream"))
)]
pub(in crate::web) async fn stream(
    viewer: Viewer,
    State(web): State<Web>,
    Query(query): Query<EventsQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let repository = wanted(&viewer.principal, query.repository)?;
    let last = headers.get("last-event-id").map(|id| id.to_str().ok().and_then(|id| id.trim().parse().ok()));
    let after = match (last, query.after) {
        (Some(None), _) => return Err(WebError::bad_request("Last-Event-ID is the id of an event").into()),
        (Some(Some(id)), _) | (None, Some(id)) => id,
        (None, None) => web.forge().event_bounds().await?.1,
    };
    // Before the stream begins it can still be said in a status.
    web.forge().events(&[], after, 0).await?.map_err(gone)?;
    let (receiver, feed) = Feed::start(&web, viewer, repository)?;
    tokio::spawn(feed.events(web.forge().clone(), after));
    Ok(respond(receiver))
}

fn wanted(principal: &Principal, repository: Option<String>) -> Result<Option<String>, WebError> {
    let repository = repository.filter(|name| !name.is_empty());
    if let Some(name) = &repository {
        allow(principal, Action::Read, Resource::Repository(name))?;
    }
    Ok(repository)
}

fn readable(forge: &Forge, principal: &Principal, only: Option<&str>) -> Vec<String> {
    let is_wanted = |name: &String| only.is_none_or(|only| only == name) && principal.can_read(name);
    forge.repository_names().into_iter().filter(is_wanted).collect()
}

fn gone(gone: Gone) -> WebError {
    let message = match gone {
        Gone::Removed { oldest } => format!(
            "what followed this event is no longer kept, the oldest event has the id {oldest}; read the state of what you \
             follow anew, and go on from there"
        ),
        Gone::Unknown { latest } => format!(
            "this forge has given no such id, the latest is {latest}: it was restored from a backup; read the state of what \
             you follow anew, and go on from there"
        ),
    };
    WebError::Refused(Code::Gone, message)
}

impl Feed {
    async fn events(mut self, forge: Forge, after: i64) {
        let mut written = forge.store().watch_events();
        let mut position = after;
        // A client that is cut off before the first event still knows where it was.
        if !self.send(json("ready", &serde_json::json!({})).id(position.to_string())).await {
            return;
        }
        let mut told = Instant::now();
        while self.may_go_on().await {
            written.mark_unchanged();
            let names = readable(&forge, &self.principal, self.repository.as_deref());
            let found = match forge.events(&names, position, EVENTS_AT_ONCE).await {
                Ok(Ok(found)) => found,
                Ok(Err(reason)) => {
                    let error = gone(reason);
                    let body = serde_json::json!({ "error": error.message(), "code": error.code().as_str() });
                    self.send(json("gone", &body)).await;
                    return;
                }
                // The client comes back, and by then it may be over.
                Err(error) => {
                    tracing::warn!(%error, "a stream of events ends: they can't be read");
                    return;
                }
            };
            for event in &found.events {
                if !self.send(json(event.kind.as_str(), event).id(event.id.to_string())).await {
                    return;
                }
                told = Instant::now();
            }
            let has_moved = found.position > position;
            position = found.position;
            if found.has_more {
                continue;
            }
            // What others may read moves on too: a quiet client must not fall behind what is kept.
            if has_moved && found.events.is_empty() && told.elapsed() > HEARTBEAT {
                if !self.send(Sent::default().id(position.to_string())).await {
                    return;
                }
                told = Instant::now();
            }
            tokio::select! {
                _ = written.changed() => {}
                () = tokio::time::sleep(LOOK_EVERY.min(RIGHTS_CHECKED_EVERY)) => {}
                () = self.pieces.closed() => return,
                () = self.shutdown.cancelled() => return,
            }
        }
    }
}
