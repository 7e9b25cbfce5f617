//! What happens on the server, as it happens.

use serde::Deserialize;
use serde_json::Value;

use crate::call::Call;
use crate::client::Client;
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
///
/// The server asks every few seconds whether somebody listens, and only [`Events::next`] answers: who does not call it for
/// longer than that is dropped.
///
/// ```no_run
/// # async fn example(client: incus_client::Client) -> Result<(), incus_client::Error> {
/// let mut events = client.events(&["lifecycle"]).await?;
/// while let Some(event) = events.next().await? {
///     println!("{}: {}", event.project, event.metadata["action"]);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Events {
    stream: WebSocket,
}

impl Client {
    /// Listens for events of these kinds in the project: `operation`, `lifecycle`, `logging`; none named means all.
    ///
    /// Only what happens after this has returned is told. [`Error::Refused`]: the client may not see events of a kind, such
    /// as `logging` with a restricted certificate.
    pub async fn events(&self, kinds: &[&str]) -> Result<Events, Error> {
        let mut call = Call::get("/1.0/events");
        if !kinds.is_empty() {
            call = call.query("type", kinds.join(","));
        }
        Ok(Events { stream: self.websocket(&call, "events").await? })
    }
}

impl Events {
    /// The next event; `None` when the server ends the stream. Waits for as long as nothing happens; safe to drop at any moment.
    ///
    /// - [`Error::Shape`]: this one is no event; those after it can still be read.
    /// - [`Error::Dropped`]: the stream is over, without the server's saying so.
    pub async fn next(&mut self) -> Result<Option<Event>, Error> {
        match self.stream.read().await? {
            Some(text) => {
                serde_json::from_slice(&text).map(Some).map_err(|error| Error::shape("events", error))
            }
            None => Ok(None),
        }
    }
}
