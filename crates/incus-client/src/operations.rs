//! Work that goes on after the server has answered.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::client::{Call, Client, segment};
use crate::error::Error;

/// How long the request for a cancel may take.
const CANCEL_DEADLINE: Duration = Duration::from_secs(10);
/// What the server needs to answer, beside the time that it was asked to wait.
const ANSWER_MARGIN: Duration = Duration::from_secs(5);
/// `Success` among the API's status codes (rest-api.md, "List of current status codes").
const SUCCESS: u16 = 200;
/// From here on, an operation has ended badly.
const FAILURES: u16 = 400;

/// An operation as the server tells of it.
#[derive(Clone, Debug, Deserialize)]
pub struct OperationRecord {
    /// Its name: a UUID.
    pub id: String,
    /// What it does, for people.
    #[serde(default)]
    pub description: String,
    /// 103 while it runs, 200 when it went well, 400 and above when it did not.
    pub status_code: u16,
    /// What went wrong.
    #[serde(default)]
    pub err: String,
    /// What it concerns.
    #[serde(default)]
    pub metadata: Value,
    /// The API's paths of what it works on, by kind.
    #[serde(default)]
    pub resources: Option<std::collections::BTreeMap<String, Vec<String>>>,
    /// Whether it may be cancelled.
    #[serde(default)]
    pub may_cancel: bool,
}

/// An operation that was begun. Dropped before its end, it is cancelled, as far as the server can.
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

    fn path(&self) -> String {
        format!("/1.0/operations/{}", segment(&self.record.id))
    }

    /// Waits for its end. When the deadline comes first, it is cancelled.
    pub async fn wait(mut self, deadline: Duration) -> Result<OperationRecord, Error> {
        let start = Instant::now();
        loop {
            let Some(left) = deadline.checked_sub(start.elapsed()) else {
                return Err(Error::TimedOut { what: self.what.clone(), after: deadline });
            };
            // Whole seconds, rounded up: with 0 the server answers at once. It may answer before the end.
            let seconds = left.as_secs().saturating_add(1).min(3600);
            let call = Call::get(format!("{}/wait", self.path())).query("timeout", seconds.to_string());
            let call = call.deadline(left + ANSWER_MARGIN);
            let asked = tokio::time::timeout(left, self.client.ask::<OperationRecord>(call)).await;
            match asked {
                Err(_) => return Err(Error::TimedOut { what: self.what.clone(), after: deadline }),
                Ok(Ok(record)) => self.record = record,
                // Some servers answer with the operation's own error: 404 may be the operation's, or mean that there is none.
                Ok(Err(Error::NotFound { .. })) => self.record = self.ended(left).await?,
                Ok(Err(Error::Refused { status, message, .. })) => {
                    self.is_over = true;
                    return Err(Error::OperationFailed { what: self.what.clone(), status, message });
                }
                Ok(Err(error)) => return Err(error),
            }
            match self.record.status_code {
                SUCCESS => {
                    self.is_over = true;
                    return Ok(self.record.clone());
                }
                status if status >= FAILURES => {
                    self.is_over = true;
                    let (what, message) = (self.what.clone(), self.record.err.clone());
                    return Err(Error::OperationFailed { what, status, message });
                }
                _ => {}
            }
        }
    }

    /// The record of an operation whose end was asked for in vain.
    async fn ended(&mut self, deadline: Duration) -> Result<OperationRecord, Error> {
        let found = self.client.ask::<OperationRecord>(Call::get(self.path()).deadline(deadline)).await;
        match found {
            Ok(record) if record.status_code >= SUCCESS => Ok(record),
            Ok(_) => Err(Error::shape(&self.what, "it runs, and can't be waited for")),
            Err(Error::NotFound { .. }) => {
                self.is_over = true;
                Err(Error::OperationForgotten { what: self.what.clone() })
            }
            Err(error) => Err(error),
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
        if self.is_over {
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
        let by_status: std::collections::BTreeMap<String, Option<Vec<OperationRecord>>> =
            self.ask(call).await?;
        Ok(by_status.into_values().flatten().flatten().collect())
    }

    /// Asks for the end of an operation.
    pub async fn cancel_operation(&self, id: &str) -> Result<(), Error> {
        self.tell(Call::new(hyper::Method::DELETE, format!("/1.0/operations/{}", segment(id)))).await
    }
}
