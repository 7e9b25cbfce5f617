//! How a writer is configured.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The kinds of writers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProviderKind {
    /// This program: no model, no network.
    #[default]
    Builtin,
    /// A server that speaks OpenAI's protocol for chats.
    Openai,
    /// A server that speaks Anthropic's protocol for messages.
    Anthropic,
    /// A program that reads the request and writes the answer.
    Command,
}

impl ProviderKind {
    /// All of them.
    pub const ALL: [ProviderKind; 4] =
        [ProviderKind::Builtin, ProviderKind::Openai, ProviderKind::Anthropic, ProviderKind::Command];

    /// Its word in configurations and records.
    pub fn as_str(self) -> &'static str {
        match self {
            ProviderKind::Builtin => "builtin",
            ProviderKind::Openai => "openai",
            ProviderKind::Anthropic => "anthropic",
            ProviderKind::Command => "command",
        }
    }
}

impl fmt::Display for ProviderKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for ProviderKind {
    type Err = SettingsError;

    fn from_str(text: &str) -> Result<ProviderKind, SettingsError> {
        let found = ProviderKind::ALL.into_iter().find(|kind| kind.as_str() == text);
        found.ok_or_else(|| SettingsError::UnknownKind { found: text.to_owned() })
    }
}

/// The settings of a writer. What a kind does not need is ignored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProviderSettings {
    /// Which kind.
    pub provider: ProviderKind,
    /// `command`: the program and its arguments.
    pub command: Vec<String>,
    /// `command`: the variables that it sees; it sees no others. Set by the caller, who knows the environment.
    #[serde(skip)]
    pub environment: Vec<(OsString, OsString)>,
    /// `command`: the folder that it runs in.
    #[serde(skip)]
    pub folder: Option<PathBuf>,
    /// `openai`, `anthropic`: where the server is, when it is not the one that the protocol is named for.
    pub base_url: Option<String>,
    /// `openai`, `anthropic`: the model.
    pub model: Option<String>,
    /// `openai`, `anthropic`: a file that holds the key. A server of one's own may need none.
    pub key_file: Option<PathBuf>,
    /// `openai`, `anthropic`: how many tokens an answer may have.
    pub output_tokens_max: Option<u32>,
    /// `openai`, `anthropic`: how long the server may be silent.
    pub idle_s: Option<u64>,
    /// What a million tokens read cost.
    pub input_usd_per_million: Option<f64>,
    /// What a million tokens written cost.
    pub output_usd_per_million: Option<f64>,
}

impl ProviderSettings {
    pub(super) fn idle(&self) -> Duration {
        const IDLE_S: u64 = 90;
        Duration::from_secs(self.idle_s.unwrap_or(IDLE_S).max(1))
    }
}

/// Why settings make no writer. Its text names the setting and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// No such kind.
    #[error("there is no provider {found:?}; it is one of builtin, openai, anthropic, command")]
    UnknownKind {
        /// What was written.
        found: String,
    },
    /// A setting is missing.
    #[error("the provider {kind} needs `{setting}`")]
    Missing {
        /// The kind.
        kind: ProviderKind,
        /// The setting.
        setting: &'static str,
    },
    /// The address is none.
    #[error("base_url {url:?} is no http or https address")]
    Url {
        /// What was written.
        url: String,
    },
    /// The client could not be made.
    #[error("the HTTP client could not be set up: {message}")]
    Client {
        /// Why.
        message: String,
    },
}
