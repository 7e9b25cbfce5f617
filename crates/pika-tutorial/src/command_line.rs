//! The arguments that name a writer, for every command that has them.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::explain::ExplainOptions;
use crate::provider::{Provider, ProviderKind, ProviderSettings, SettingsError};

/// Who writes the tutorial, and how long that may take.
#[derive(Clone, Debug, clap::Args)]
pub struct WriterArguments {
    /// Who writes: builtin (no model, no network), openai, anthropic, or command
    #[arg(long, value_name = "NAME")]
    provider: Option<ProviderKind>,
    /// A shell command that reads the request (JSON) and writes the answer; it sees this environment
    #[arg(long, value_name = "CMD")]
    command: Option<String>,
    /// Where the server of the model is
    #[arg(long, value_name = "URL")]
    base_url: Option<String>,
    /// The model's name
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// A file that holds the key of the server
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// How many tokens an answer may have
    #[arg(long, value_name = "COUNT")]
    output_tokens: Option<u32>,
    /// How long everything may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    deadline: u64,
}

impl WriterArguments {
    /// Makes the writer. `environment` is what a command sees.
    pub fn provider(&self, environment: Vec<(OsString, OsString)>) -> Result<Provider, SettingsError> {
        let implied = if self.command.is_some() { ProviderKind::Command } else { ProviderKind::Builtin };
        let shell = |command: &String| ["sh", "-c", command.as_str()].map(str::to_owned).to_vec();
        Provider::new(&ProviderSettings {
            provider: self.provider.unwrap_or(implied),
            command: self
                .command
                .as_ref()
                .filter(|command| !command.trim().is_empty())
                .map(shell)
                .unwrap_or_default(),
            environment,
            base_url: self.base_url.clone(),
            model: self.model.clone(),
            key_file: self.key_file.clone(),
            output_tokens_max: self.output_tokens,
            ..ProviderSettings::default()
        })
    }

    /// How much may be spent.
    pub fn options(&self) -> ExplainOptions {
        ExplainOptions { deadline: Duration::from_secs(self.deadline), ..ExplainOptions::default() }
    }
}
