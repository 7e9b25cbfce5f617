//! Work that goes on after the server has answered.
//!
//! Invariant: how an operation ended is read from its record, never from the status of the request that waits for it:
//! Incus 6.0 answers that with the operation's own error, or with 500 when the time for waiting is over.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep, timeout};

use crate::call::{Call, segment};
use crate::client::Client;
use crate::error::Error;

/// How long the request for a cancel may take.
const CANCEL_DEADLINE: Duration = Duration::from_secs(10);
/// How long the server is asked to wait at once: shorter than what proxies let pass in silence.
const SLICE: Duration = Duration::from_secs(30);
/// What the server needs to answer, beside the time that it was asked to wait.
const ANSWER_MARGIN: Duration = Duration::from_secs(10);
/// A server that does not wait is asked again after a pause, longer each time.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How often in a row the connection may be lost while it waits.
const LOSSES_MAX: u32 = 2;
/// `Success` among the API's status codes (rest-api.md, "List of current status codes"); all below go on.
const SUCCESS: u16 = 200;

/// An operation as the server tells of it.
#[derive(Clone, Debug, Deserialize)]
pub struct OperationRecord {
    /// Its name: a UUID.
    pub id: String,
    /// What it does, for people.
    #[serde(default)]
    pub description: String,
    /// 103 while it runs, 200 when it went well, 400 when it failed, 401 when it was cancelled.
    pub status_code: u16,
    /// What went wrong.
    #[serde(default)]
    pub err: String,
    /// What it concerns.
    #[serde(default)]
    pub metadata: Value,
    /// The API's paths of what it works on, by kind.
    #[serde(default)]
    pub resources: Option<BTreeMap<String, Vec<String>>>,
    /// Whether it may be cancelled. Incus lets few be: most go on to their end.
    #[serde(default)]
    pub may_cancel: bool,
}

impl OperationRecord {
    /// Whether it has ended, well or badly.
    pub fn is_over(&self) -> bool {
        self.status_code >= SUCCESS
    }
}

/// An operation that was begun. Dropped before its end, it is cancelled, as far as the server can.
///
/// ```no_run
/// # async fn example(client: incus_client::Client) -> Result<(), incus_client::Error> {
/// use std::time::Duration;
///
/// let new = incus_client::NewInstance::container("one", "e1b1…");
/// let operation = client.begin_create_instance(&new).await?;
/// println!("{} is under way", operation.record().id);
/// operation.wait(Duration::from_secs(300)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Operation {
    client: Client,
    what: String,
    record: OperationRecord,
    is_over: bool,
}

impl Operation {
    pub(crate) fn new(client: Client, what: String, record: OperationRecord) -> Operation {
        Operation { client, what, record, is_over: false }
    }

    /// As the server told of it last.
    pub fn record(&self) -> &OperationRecord {
        &self.record
    }

    pub(crate) fn what(&self) -> &str {
        &self.what
    }

    /// Waits for its end. Dropping the wait cancels the operation.
    ///
    /// - [`Error::OperationFailed`]: it ended badly.
    /// - [`Error::OperationForgotten`]: the server does not know it any more.
    /// - [`Error::TimedOut`]: the deadline came first; the operation is cancelled.
    /// - [`Error::Dropped`]: the server was lost, twice in a row, or does not listen any more.
    pub async fn wait(self, deadline: Duration) -> Result<OperationRecord, Error> {
        self.wait_since(Instant::now(), deadline).await
    }

    /// As [`Operation::wait`], where part of the deadline is over already.
    pub(crate) async fn wait_since(
        self,
        start: Instant,
        deadline: Duration,
    ) -> Result<OperationRecord, Error> {
        let what = self.what.clone();
        let record = self.ended_since(start, deadline).await?;
        if record.status_code == SUCCESS {
            return Ok(record);
        }
        Err(Error::OperationFailed { what, status: record.status_code, message: record.err })
    }

    /// Waits for its end, whichever it is.
    pub(crate) async fn ended_since(
        mut self,
        start: Instant,
        deadline: Duration,
    ) -> Result<OperationRecord, Error> {
        let left = deadline.saturating_sub(start.elapsed());
        match timeout(left, self.follow(start, deadline)).await {
            Ok(ended) => ended.map(|()| self.record.clone()),
            Err(_) => Err(Error::TimedOut { what: self.what.clone(), after: deadline }),
        }
    }

    /// Asks until the record is that of an end.
    async fn follow(&mut self, start: Instant, deadline: Duration) -> Result<(), Error> {
        let (mut pause, mut losses) = (PAUSE_MIN, 0);
        while !self.record.is_over() {
            let asked_at = Instant::now();
            let left = deadline.saturating_sub(start.elapsed());
            match self.ask_to_wait(left).await {
                Ok(record) => (self.record, losses) = (record, 0),
                Err(Error::Dropped { .. } | Error::TimedOut { .. }) if losses + 1 < LOSSES_MAX => losses += 1,
                // Something was sent: the request that began it.
                Err(Error::Unreachable { source, .. }) => return Err(Error::dropped(&self.what, source)),
                Err(error) => return Err(error),
            }
            if asked_at.elapsed() >= pause {
                pause = PAUSE_MIN;
            } else if !self.record.is_over() {
                sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
        self.is_over = true;
        Ok(())
    }

    async fn ask_to_wait(&mut self, left: Duration) -> Result<OperationRecord, Error> {
        let path = format!("/1.0/operations/{}", segment(&self.record.id));
        let slice = left.min(SLICE);
        // Whole seconds, rounded up: with 0 the server answers at once.
        let seconds = slice.as_secs() + 1;
        let call = Call::get(format!("{path}/wait")).query("timeout", seconds.to_string());
        let refusal = match self.client.ask(call.deadline(slice + ANSWER_MARGIN)).await {
            Err(
                error @ (Error::NotFound { .. }
                | Error::Conflict { .. }
                | Error::Stale { .. }
                | Error::Refused { .. }),
            ) => error,
            answered => return answered,
        };
        // Is that the operation's own error, or does it concern the request? Ended ones can be read for five seconds.
        match self.client.ask(Call::get(path).deadline(ANSWER_MARGIN)).await {
            Err(Error::NotFound { .. }) => {
                self.is_over = true;
                let what = self.what.clone();
                Err(match refusal {
                    Error::Refused { status, message, .. } => {
                        Error::OperationFailed { what, status, message }
                    }
                    _ => Error::OperationForgotten { what },
                })
            }
            answered => answered,
        }
    }

    /// Lets it go on by itself.
    pub fn detach(mut self) -> OperationRecord {
        self.is_over = true;
        self.record.clone()
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        if self.is_over || self.record.is_over() {
            return;
        }
        let (client, id) = (self.client.clone(), self.record.id.clone());
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                // Nobody is left to hear of a failure.
                let _ = client.with_deadline(CANCEL_DEADLINE).cancel_operation(&id).await;
            });
        }
    }
}

impl Client {
    /// Every operation of the project, those that ended within the last seconds included.
    pub async fn operations(&self) -> Result<Vec<OperationRecord>, Error> {
        let call = Call::get("/1.0/operations").query("recursion", "1");
        let by_status: Option<BTreeMap<String, Option<Vec<OperationRecord>>>> = self.ask(call).await?;
        Ok(by_status.into_iter().flatten().filter_map(|(_, records)| records).flatten().collect())
    }

    /// Asks for the end of an operation. [`Error::Refused`] when it is one that can't be cancelled: most can't.
    pub async fn cancel_operation(&self, id: &str) -> Result<(), Error> {
        let call = Call::new(hyper::Method::DELETE, format!("/1.0/operations/{}", segment(id)));
        self.ask::<Value>(call).await.map(|_| ())
    }
}
