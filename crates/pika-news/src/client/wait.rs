//! Waits until something on the forge has changed, or has come to its end.
//!
//! Invariants: a wait looks only after it listens, so that nothing is missed between the two; a forge that is restarted
//! meanwhile is waited for; every wait ends.

use std::pin::Pin;
use std::time::Duration;

use eventsource_stream::Eventsource as _;
use futures_util::{Stream, StreamExt as _};
use reqwest::Method;
use tokio::time::Instant;

use super::model::{Branch, HeadEnd, LaneRunDetail};
use super::{Client, ClientError};

/// How long a forge may be away before that is an error.
const AWAY_MAX: Duration = Duration::from_secs(180);
/// How often is looked although nothing was heard.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// How long a stream that broke is left alone, and how often is looked meanwhile.
const STREAM_PAUSE: Duration = Duration::from_secs(1);
/// How long a push may take to be noticed by the forge.
const PUSH_NOTICED_MAX: Duration = Duration::from_secs(10);

type Events = Pin<Box<dyn Stream<Item = ()> + Send>>;

/// Word of what changes in a repository.
struct Changes<'a> {
    client: &'a Client,
    repository: &'a str,
    branch: Option<i64>,
    events: Option<Events>,
}

impl Changes<'_> {
    /// Waits for word, but no longer than usual, and not past `until`.
    async fn next(&mut self, until: Option<Instant>) {
        let latest = |pause: Duration| {
            let usual = Instant::now() + pause;
            until.map_or(usual, |until| until.min(usual))
        };
        let events = match &mut self.events {
            Some(events) => events,
            None => match tokio::time::timeout_at(latest(LOOK_EVERY), self.listen()).await {
                Ok(Ok(events)) => self.events.insert(events),
                Ok(Err(_)) => return tokio::time::sleep_until(latest(STREAM_PAUSE)).await,
                Err(_) => return,
            },
        };
        if let Ok(None) = tokio::time::timeout_at(latest(LOOK_EVERY), events.next()).await {
            self.events = None;
            tokio::time::sleep_until(latest(STREAM_PAUSE)).await;
        }
    }

    async fn listen(&self) -> Result<Events, ClientError> {
        let branch = self.branch.map(|id| id.to_string());
        let mut query = vec![("repository", self.repository)];
        query.extend(branch.iter().map(|id| ("branch", id.as_str())));
        let response = self.client.send(self.client.request(Method::GET, &["changes"], &query)).await?;
        let events = response.bytes_stream().eventsource();
        Ok(Box::pin(events.take_while(|event| std::future::ready(event.is_ok())).map(|_| ())))
    }
}

/// Looks again and again until there is something to return.
async fn watch<T, V>(
    changes: &mut Changes<'_>,
    until: Option<Instant>,
    mut look: impl AsyncFnMut() -> Result<V, ClientError>,
    mut decide: impl FnMut(&V) -> Result<Option<T>, ClientError>,
) -> Result<Watched<T, V>, ClientError> {
    let mut answered = Instant::now();
    loop {
        match look().await {
            Ok(seen) => {
                answered = Instant::now();
                if let Some(decided) = decide(&seen)? {
                    return Ok(Watched::Decided(decided));
                }
                if until.is_some_and(|until| until <= Instant::now()) {
                    return Ok(Watched::TimedOut(seen));
                }
            }
            Err(error) if !error.is_passing() || answered.elapsed() > AWAY_MAX => return Err(error),
            // Away for the moment. How long is counted, and the wait's own end still holds.
            Err(error) if until.is_some_and(|until| until <= Instant::now()) => return Err(error),
            Err(_) => {}
        }
        changes.next(until).await;
    }
}

enum Watched<T, V> {
    Decided(T),
    TimedOut(V),
}

/// What a wait for a head came to.
#[derive(Clone, Debug)]
pub enum WaitEnd {
    /// The head has come to an end.
    Ended(HeadEnd, Box<Branch>),
    /// The branch moved on before it had.
    Superseded(Box<Branch>),
    /// The branch was merged, closed or deleted before it had.
    Gone(Box<Branch>),
    /// The time was over.
    TimedOut(Box<Branch>),
}

impl WaitEnd {
    /// The branch as it was seen last.
    pub fn branch(&self) -> &Branch {
        match self {
            WaitEnd::Ended(_, branch)
            | WaitEnd::Superseded(branch)
            | WaitEnd::Gone(branch)
            | WaitEnd::TimedOut(branch) => branch,
        }
    }
}

/// Waits for the end of a head: of `head`, or of the one that the branch has when this begins.
pub async fn wait_for_head(
    client: &Client,
    branch: &Branch,
    head: Option<&str>,
    timeout: Option<Duration>,
    mut seen: impl FnMut(&Branch),
) -> Result<WaitEnd, ClientError> {
    let until = timeout.map(|timeout| Instant::now() + timeout);
    let unnoticed_until = Instant::now() + PUSH_NOTICED_MAX;
    let id = branch.row.id;
    let wanted = head.unwrap_or(&branch.head.oid).to_owned();
    let mut changes = Changes { client, repository: &branch.row.repository, branch: Some(id), events: None };
    let decide = |branch: &Branch| {
        seen(branch);
        let found = Box::new(branch.clone());
        if branch.head.oid == wanted {
            return Ok(match HeadEnd::of(&branch.head.state, &branch.head.lanes) {
                Some(end) => Some(WaitEnd::Ended(end, found)),
                None if branch.row.state != "open" => Some(WaitEnd::Gone(found)),
                None => None,
            });
        }
        if branch.earlier_heads.iter().any(|earlier| earlier.oid == wanted) {
            return Ok(Some(WaitEnd::Superseded(found)));
        }
        if Instant::now() < unnoticed_until {
            return Ok(None);
        }
        let what = format!(
            "head {} of branch {}: the forge has {} there; push yours, or name the branch to wait for that one",
            short(&wanted),
            branch.row.name,
            short(&branch.head.oid)
        );
        Err(ClientError::Missing { what })
    };
    match watch(&mut changes, until, async || client.branch(id).await, decide).await? {
        Watched::Decided(end) => Ok(end),
        Watched::TimedOut(branch) => Ok(WaitEnd::TimedOut(Box::new(branch))),
    }
}

/// Waits for the end of an attempt at a lane. `None`: the time was over.
pub async fn wait_for_lane_run(
    client: &Client,
    detail: &LaneRunDetail,
    timeout: Option<Duration>,
    mut seen: impl FnMut(&LaneRunDetail),
) -> Result<Option<LaneRunDetail>, ClientError> {
    wait_for(client, detail, timeout, |detail| {
        seen(detail);
        detail.run.is_finished()
    })
    .await
}

/// Waits until an attempt at a lane has a run of `pikaci`, or has come to its end without.
pub async fn wait_for_run(client: &Client, detail: &LaneRunDetail) -> Result<LaneRunDetail, ClientError> {
    let begun = |detail: &LaneRunDetail| detail.run.run_id.is_some() || detail.run.is_finished();
    let begun = wait_for(client, detail, None, begun).await?;
    begun.ok_or_else(|| ClientError::Missing { what: "run yet".to_owned() })
}

async fn wait_for(
    client: &Client,
    detail: &LaneRunDetail,
    timeout: Option<Duration>,
    mut is_it: impl FnMut(&LaneRunDetail) -> bool,
) -> Result<Option<LaneRunDetail>, ClientError> {
    let until = timeout.map(|timeout| Instant::now() + timeout);
    let (repository, branch) = (detail.repository.as_str(), Some(detail.branch_id));
    let mut changes = Changes { client, repository, branch, events: None };
    let decide = |detail: &LaneRunDetail| Ok(is_it(detail).then(|| detail.clone()));
    match watch(&mut changes, until, async || client.lane_run(detail.run.id).await, decide).await? {
        Watched::Decided(detail) => Ok(Some(detail)),
        Watched::TimedOut(_) => Ok(None),
    }
}

/// A commit as people write it.
pub fn short(oid: &str) -> &str {
    oid.get(..12).unwrap_or(oid)
}
