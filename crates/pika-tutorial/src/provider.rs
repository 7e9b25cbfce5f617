//! Whoever writes an answer: this program, a server that speaks one of two protocols, or any command.
//!
//! Invariants: no tools are offered to a model; a key is read from its file when it is used, and is in no message; whatever
//! waits has a deadline, and what is dropped while it waits leaves no process and no connection behind.

mod anthropic;
mod command;
mod http;
mod openai;
mod settings;

use std::time::Duration;

use tokio::time::Instant;

use crate::request::Request;

pub use settings::{ProviderKind, ProviderSettings, SettingsError};

/// Writes answers.
#[derive(Clone, Debug)]
pub struct Provider {
    kind: ProviderKind,
    model: Option<String>,
    way: Way,
}

#[derive(Clone, Debug)]
enum Way {
    Builtin,
    Command(command::CommandWriter),
    Http(http::HttpWriter),
}

/// What came back.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Answered {
    pub(crate) bytes: Vec<u8>,
    /// The writer stopped at a limit of its own.
    pub(crate) is_cut: bool,
    pub(crate) usage: Option<Usage>,
    /// Something that a reader of the tutorial should know.
    pub(crate) remark: Option<String>,
}

/// What an answer took.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Usage {
    /// Tokens read.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
    /// What they cost, when the prices are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
}

impl std::ops::Add for Usage {
    type Output = Usage;

    fn add(self, other: Usage) -> Usage {
        let cost_usd = match (self.cost_usd, other.cost_usd) {
            (None, cost) | (cost, None) => cost,
            (Some(one), Some(two)) => Some(one + two),
        };
        Usage {
            input_tokens: self.input_tokens + other.input_tokens,
            output_tokens: self.output_tokens + other.output_tokens,
            cost_usd,
        }
    }
}

/// Why no whole answer came, and how much of one did.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) error: AskError,
    pub(crate) partial: Vec<u8>,
}

impl From<AskError> for Failed {
    fn from(error: AskError) -> Failed {
        Failed { error, partial: Vec::new() }
    }
}

/// Why a writer gave no answer. Texts of servers and programs are shortened, and shown to people only.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The program could not be started.
    #[error("the command could not be started: {source}")]
    Start {
        /// Why.
        source: std::io::Error,
    },
    /// The program failed and answered nothing of use.
    #[error("the command ended with {status}{}", after_colon(complaint))]
    Exit {
        /// How it ended.
        status: String,
        /// The end of what it wrote to its standard error.
        complaint: String,
    },
    /// The whole time was used up.
    #[error("there was no answer in {} s", limit.as_secs())]
    TimedOut {
        /// How long was waited.
        limit: Duration,
    },
    /// Nothing came for too long.
    #[error("the answer stalled for {} s", idle.as_secs())]
    Stalled {
        /// How long was waited.
        idle: Duration,
    },
    /// The server refuses this request, and would refuse it again.
    #[error("the server answered {status}{}", after_colon(message))]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What the server said.
        message: String,
    },
    /// The server can't answer now.
    #[error("the server answered {status}{}", after_colon(message))]
    Busy {
        /// The HTTP status.
        status: u16,
        /// How long it asks to wait.
        retry_after: Option<Duration>,
        /// What the server said.
        message: String,
    },
    /// The server reported a failure within its answer.
    #[error("the server reported a failure: {message}")]
    Reported {
        /// What the server said.
        message: String,
    },
    /// The connection failed.
    #[error("the connection to the server failed: {message}")]
    Connection {
        /// Why.
        message: String,
    },
    /// The answer is empty.
    #[error("the answer is empty")]
    Empty,
    /// The key could not be read.
    #[error("the key file could not be read: {source}")]
    Key {
        /// Why.
        source: std::io::Error,
    },
}

fn after_colon(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

impl AskError {
    /// Whether the same request may succeed later.
    pub fn is_passing(&self) -> bool {
        match self {
            AskError::Exit { .. }
            | AskError::Stalled { .. }
            | AskError::Busy { .. }
            | AskError::Reported { .. }
            | AskError::Connection { .. }
            | AskError::Empty => true,
            AskError::Start { .. }
            | AskError::TimedOut { .. }
            | AskError::Refused { .. }
            | AskError::Key { .. } => false,
        }
    }

    /// How long the server asks to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            AskError::Busy { retry_after, .. } => *retry_after,
            AskError::Start { .. }
            | AskError::Exit { .. }
            | AskError::TimedOut { .. }
            | AskError::Stalled { .. }
            | AskError::Refused { .. }
            | AskError::Reported { .. }
            | AskError::Connection { .. }
            | AskError::Empty
            | AskError::Key { .. } => None,
        }
    }
}

impl Provider {
    /// The writer that needs nothing.
    pub fn builtin() -> Provider {
        Provider { kind: ProviderKind::Builtin, model: None, way: Way::Builtin }
    }

    /// Makes the writer that the settings describe.
    pub fn new(settings: &ProviderSettings) -> Result<Provider, SettingsError> {
        let way = match settings.provider {
            ProviderKind::Builtin => Way::Builtin,
            ProviderKind::Command => Way::Command(command::CommandWriter::new(settings)?),
            ProviderKind::Openai => Way::Http(http::HttpWriter::new(settings, http::Protocol::OpenAi)?),
            ProviderKind::Anthropic => Way::Http(http::HttpWriter::new(settings, http::Protocol::Anthropic)?),
        };
        let model = match settings.provider {
            ProviderKind::Builtin | ProviderKind::Command => None,
            ProviderKind::Openai | ProviderKind::Anthropic => settings.model.clone(),
        };
        Ok(Provider { kind: settings.provider, model, way })
    }

    /// Its kind.
    pub fn kind(&self) -> ProviderKind {
        self.kind
    }

    /// The model that it asks.
    pub fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// Asks, until `ends_at`. The builtin writer is not asked: it needs the diff, not a request.
    pub(crate) async fn ask(&self, request: &Request, ends_at: Instant) -> Result<Answered, Failed> {
        let answered = match &self.way {
            Way::Builtin => return Err(AskError::Empty.into()),
            Way::Command(writer) => writer.ask(request, ends_at).await?,
            Way::Http(writer) => writer.ask(request, ends_at).await?,
        };
        if answered.bytes.trim_ascii().is_empty() {
            return Err(AskError::Empty.into());
        }
        Ok(answered)
    }
}

/// A text of somebody else's for a message: short, on one line, without control characters.
fn foreign(text: &str) -> String {
    const CHARS_MAX: usize = 300;
    let plain: String = text
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .take(4 * CHARS_MAX)
        .collect();
    let plain = plain.split_whitespace().collect::<Vec<_>>().join(" ");
    crate::check::excerpt(&plain, CHARS_MAX)
}
