//! What happens on the server, as it happens.

use serde::Deserialize;
use serde_json::Value;

use crate::client::{Call, Client};
use crate::error::Error;
use crate::websocket::WebSocket;

/// Something that happened.
#[derive(Clone, Debug, Deserialize)]
pub struct Event {
    /// `operation`, `lifecycle` or `logging`.
    #[serde(rename = "type")]
    pub kind: String,
    /// When, RFC 3339.
    #[serde(default)]
    pub timestamp: String,
    /// Where.
    #[serde(default)]
    pub project: String,
    /// What. Its shape depends on the kind.
    #[serde(default)]
    pub metadata: Value,
}

/// A stream of events. What happened while nobody listened is not told.
#[derive(Debug)]
pub struct Events {
    stream: WebSocket,
}

impl Client {
    /// Listens for events of these kinds in the project.
    pub async fn events(&self, kinds: &[&str]) -> Result<Events, Error> {
        let call = Call::get("/1.0/events").query("type", kinds.join(","));
        Ok(Events { stream: self.websocket(&call, "events").await? })
    }
}

impl Events {
    /// The next event; `None` when the server ends the stream.
    pub async fn next(&mut self) -> Result<Option<Event>, Error> {
        match self.stream.read().await? {
            Some(text) => {
                serde_json::from_slice(&text).map(Some).map_err(|error| Error::shape("events", error))
            }
            None => Ok(None),
        }
    }
}
