//! Tells another host's commits what became of them: one state for the head, and one for each lane.

use std::path::Path;
use std::time::Duration;

use pikaci::{Fault, Outcome};
use serde::Serialize;
use serde_json::json;

use crate::config::{StatusHost, StatusesConfig};
use crate::forge::event::{Event, EventKind};
use crate::forge::state::HeadState;
use crate::forge::{Forge, Hosted};
use crate::outgoing;
use crate::store::StoreError;

/// How long one request may take.
const DEADLINE: Duration = Duration::from_secs(20);
/// How many events are looked at in one round.
const EVENTS_MAX: u32 = 200;
/// What stands before a lane's name.
const CONTEXT: &str = "pika";
/// How long a description is that all hosts take.
const DESCRIPTION_CHARS_MAX: usize = 140;

/// What a commit is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Status {
    /// The event that tells of it.
    #[serde(skip)]
    event: i64,
    oid: String,
    context: String,
    state: State,
    description: String,
    target_url: String,
}

/// In the words of GitHub's API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Pending,
    Success,
    Failure,
    Error,
}

/// How far a host was told.
pub(super) enum Told {
    /// Of everything.
    All,
    /// There is more.
    Part,
    /// It took none, and may do so later.
    Refused,
}

/// Why a state was not taken.
enum Refusal {
    /// It may be later.
    Later(String),
    /// It never will be.
    Never(String),
}

impl Forge {
    /// Tells what has happened since the last time, up to an event: later ones may be of commits that are not there yet.
    pub(super) async fn tell_statuses(
        &self,
        hosted: &Hosted,
        statuses: &StatusesConfig,
        up_to: i64,
    ) -> Result<Told, StoreError> {
        let state = self.store().ensure_mirror(hosted.id).await?;
        let name = hosted.config.name.clone();
        let read = self.store().list_events(vec![(hosted.id, name)], state.told_event, EVENTS_MAX).await?;
        let Ok(mut events) = read else {
            // What is no longer kept can't be told; it is old.
            let (_, latest) = self.store().event_bounds().await?;
            self.store().note_statuses(hosted.id, latest, None).await?;
            return Ok(Told::All);
        };
        if events.position > up_to {
            events.events.retain(|event| event.id <= up_to);
            (events.position, events.has_more) = (up_to.max(state.told_event), false);
        }
        let mut problem = None;
        for status in latest_of(events.events.iter().filter_map(|event| self.status_of(event))) {
            match send(statuses, &status).await {
                Ok(()) => {}
                Err(Refusal::Never(message)) => problem = Some(message),
                Err(Refusal::Later(message)) => {
                    tracing::warn!(
                        repository = hosted.config.name,
                        message,
                        "commits could not be told their state"
                    );
                    // Those before it were taken, or there is a later one of the same thing.
                    let told = (status.event - 1).max(state.told_event);
                    self.store().note_statuses(hosted.id, told, Some(message)).await?;
                    return Ok(Told::Refused);
                }
            }
        }
        if events.position != state.told_event || problem != state.statuses_message {
            let kept = problem.or_else(|| state.statuses_message.filter(|_| events.events.is_empty()));
            self.store().note_statuses(hosted.id, events.position, kept).await?;
        }
        Ok(if events.has_more { Told::Part } else { Told::All })
    }

    fn status_of(&self, event: &Event) -> Option<Status> {
        let detail = &event.detail;
        let lane = || format!("{CONTEXT}/{}", detail.lane.as_deref().unwrap_or_default());
        let (context, state, description) = match event.kind {
            EventKind::HeadPushed => (CONTEXT.to_owned(), State::Pending, "waits to be tested".to_owned()),
            EventKind::HeadVerdict => {
                let verdict = detail.verdict?;
                let state = match verdict {
                    HeadState::Passed | HeadState::NothingRequired => State::Success,
                    HeadState::Failed | HeadState::Cancelled => State::Failure,
                    HeadState::Queued | HeadState::Running => State::Pending,
                    HeadState::Infra | HeadState::NoManifest | HeadState::ManifestError => State::Error,
                };
                (CONTEXT.to_owned(), state, verdict.as_str().replace('_', " "))
            }
            EventKind::LaneQueued => (lane(), State::Pending, "waits".to_owned()),
            EventKind::LaneStarted => (lane(), State::Pending, "runs".to_owned()),
            EventKind::LaneFinished => {
                let state = match (&detail.outcome, &detail.fault) {
                    (Some(Outcome::Passed | Outcome::Skipped), _) => State::Success,
                    (_, Some(Fault::Infra)) | (None, _) => State::Error,
                    _ => State::Failure,
                };
                let outcome = detail.outcome.as_ref().map_or_else(String::new, ToString::to_string);
                let said = detail.message.clone().unwrap_or_default();
                let joint = if outcome.is_empty() || said.is_empty() { "" } else { ": " };
                (lane(), state, format!("{outcome}{joint}{said}"))
            }
            _ => return None,
        };
        let url = &self.config().public_url;
        let target_url = match detail.lane_run_id {
            Some(id) => format!("{url}/news/{}/lane-run/{id}", event.repository),
            None => format!("{url}/news/{}/branch/{}", event.repository, event.branch_id),
        };
        let description = description.lines().next().unwrap_or_default();
        Some(Status {
            event: event.id,
            oid: detail.head_oid.clone()?,
            context,
            state,
            description: description.chars().take(DESCRIPTION_CHARS_MAX).collect(),
            target_url,
        })
    }
}

/// Of several states of one thing, the last; in the order of their events.
fn latest_of(statuses: impl Iterator<Item = Status>) -> Vec<Status> {
    let mut latest: Vec<Status> = Vec::new();
    for status in statuses {
        latest.retain(|other| (&other.oid, &other.context) != (&status.oid, &status.context));
        latest.push(status);
    }
    latest
}

async fn send(config: &StatusesConfig, status: &Status) -> Result<(), Refusal> {
    let token = read_token(&config.token_file).await?;
    let client = outgoing::client(DEADLINE, config.url.starts_with("https://"));
    let client = client.map_err(|error| Refusal::Later(error.without_url().to_string()))?;
    let request = match config.kind {
        StatusHost::GitHub | StatusHost::Forgejo => client
            .post(format!("{}/statuses/{}", config.url, status.oid))
            .header("authorization", format!("token {token}"))
            .json(&json!({
                "state": status.state, "context": status.context,
                "description": status.description, "target_url": status.target_url,
            })),
        StatusHost::GitLab => {
            let state = match status.state {
                State::Pending => "pending",
                State::Success => "success",
                State::Failure | State::Error => "failed",
            };
            client
                .post(format!("{}/statuses/{}", config.url, status.oid))
                .header("private-token", token)
                .json(&json!({
                    "state": state, "name": status.context,
                    "description": status.description, "target_url": status.target_url,
                }))
        }
    };
    let answer = request.send().await;
    let answer = answer.map_err(|error| {
        Refusal::Later(format!("the host of the statuses can't be asked: {}", error.without_url()))
    })?;
    let code = answer.status();
    let said =
        || format!("the host of the statuses answered {code} for {} of {}", status.context, &status.oid);
    match code.as_u16() {
        200..=299 => Ok(()),
        401 | 403 | 408 | 429 | 500.. => Err(Refusal::Later(said())),
        // GitLab refuses a state that a commit has already.
        400 if config.kind == StatusHost::GitLab => Ok(()),
        _ => Err(Refusal::Never(said())),
    }
}

async fn read_token(file: &Path) -> Result<String, Refusal> {
    let text = tokio::fs::read_to_string(file).await;
    let text = text.map_err(|error| {
        Refusal::Later(format!("the token of the statuses can't be read: {}", error.kind()))
    })?;
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}
