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
const PUSH_NOTICED_MAX: Duration = Duration::from_secs(5);
const NOTICE_EVERY: Duration = Duration::from_millis(250);

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
            None => match tokio::time::timeout_at(
                latest(LOOK_EVERY),
                listen(self.client, self.repository, self.branch),
            )
            .await
            {
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
}

async fn listen(client: &Client, repository: &str, branch: Option<i64>) -> Result<Events, ClientError> {
    let branch = branch.map(|id| id.to_string());
    let mut query = vec![("repository", repository)];
    query.extend(branch.iter().map(|id| ("branch", id.as_str())));
    let response = client.send(client.request(Method::GET, &["forge", "changes"], &query)).await?;
    let events = response.bytes_stream().eventsource();
    Ok(Box::pin(events.take_while(|event| std::future::ready(event.is_ok())).map(|_| ())))
}

/// What can be looked at again by its number.
trait Look: Sized {
    fn look(client: &Client, id: i64) -> impl Future<Output = Result<Self, ClientError>> + Send;
}

impl Look for Branch {
    fn look(client: &Client, id: i64) -> impl Future<Output = Result<Branch, ClientError>> + Send {
        client.branch(id)
    }
}

impl Look for LaneRunDetail {
    fn look(client: &Client, id: i64) -> impl Future<Output = Result<LaneRunDetail, ClientError>> + Send {
        client.lane_run(id)
    }
}

enum Watched<T, V> {
    Decided(T),
    TimedOut(V),
}

/// Looks again and again until there is something to return.
async fn watch<T, V: Look>(
    mut changes: Changes<'_>,
    id: i64,
    until: Option<Instant>,
    mut decide: impl FnMut(&V) -> Result<Option<T>, ClientError>,
) -> Result<Watched<T, V>, ClientError> {
    let mut answered = Instant::now();
    loop {
        let is_over = until.is_some_and(|until| until <= Instant::now());
        match V::look(changes.client, id).await {
            Ok(seen) => {
                answered = Instant::now();
                if let Some(decided) = decide(&seen)? {
                    return Ok(Watched::Decided(decided));
                }
                if is_over {
                    return Ok(Watched::TimedOut(seen));
                }
            }
            // Away for the moment; how long is counted, and the wait's own end still holds.
            Err(error) if !error.is_passing() || is_over || answered.elapsed() > AWAY_MAX => {
                return Err(error);
            }
            Err(_) => {}
        }
        changes.next(until).await;
    }
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
    let id = branch.row.id;
    let wanted = head.unwrap_or(&branch.head.oid).to_owned();
    if !has_head(branch, &wanted) {
        notice(client, id, &wanted).await?;
    }
    let changes = Changes { client, repository: &branch.row.repository, branch: Some(id), events: None };
    let decide = |branch: &Branch| {
        seen(branch);
        let found = Box::new(branch.clone());
        if branch.head.oid != wanted {
            return Ok(Some(WaitEnd::Superseded(found)));
        }
        Ok(match HeadEnd::of(&branch.head.state, &branch.head.lanes) {
            Some(end) => Some(WaitEnd::Ended(end, found)),
            None if branch.row.state != "open" => Some(WaitEnd::Gone(found)),
            None => None,
        })
    };
    match watch(changes, id, until, decide).await? {
        Watched::Decided(end) => Ok(end),
        Watched::TimedOut(branch) => Ok(WaitEnd::TimedOut(Box::new(branch))),
    }
}

fn has_head(branch: &Branch, head: &str) -> bool {
    branch.head.oid == head || branch.earlier_heads.iter().any(|earlier| earlier.oid == head)
}

/// Waits until the forge has taken in a head that was pushed just now.
async fn notice(client: &Client, id: i64, head: &str) -> Result<(), ClientError> {
    let until = Instant::now() + PUSH_NOTICED_MAX;
    loop {
        let branch = client.branch(id).await?;
        if has_head(&branch, head) {
            return Ok(());
        }
        if Instant::now() >= until {
            let (head, name, has) = (short(head), &branch.row.name, short(&branch.head.oid));
            let what = format!(
                "head {head} of branch {name} on the forge, which has {has}; push yours, or name the branch to wait for that one"
            );
            return Err(ClientError::Missing { what });
        }
        tokio::time::sleep(NOTICE_EVERY).await;
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
    let changes = Changes { client, repository, branch, events: None };
    let decide = |detail: &LaneRunDetail| Ok(is_it(detail).then(|| detail.clone()));
    match watch(changes, detail.run.id, until, decide).await? {
        Watched::Decided(detail) => Ok(Some(detail)),
        Watched::TimedOut(_) => Ok(None),
    }
}

/// A commit as people write it.
pub fn short(oid: &str) -> &str {
    oid.get(..12).unwrap_or(oid)
}
