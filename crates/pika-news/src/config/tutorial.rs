//! The section `[tutorial]`: who writes tutorials, and what may be spent on one.
//!
//! Invariant: settings that make no writer are a problem when the file is read, not when the first branch is pushed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use pika_tutorial::{ExplainOptions, Provider, ProviderKind, ProviderSettings};
use serde::Deserialize;
use toml::Spanned;

use super::Checker;

/// What a command that writes tutorials sees of the forge's own environment.
const PASS_ENV_DEFAULT: [&str; 5] = ["PATH", "HOME", "LANG", "TZ", "TMPDIR"];
const SLOTS_MAX: usize = 16;
const RETRIES_MAX: u32 = 10;

/// Who writes tutorials.
#[derive(Clone, Debug, PartialEq)]
pub struct TutorialConfig {
    /// The writer.
    pub settings: ProviderSettings,
    /// The names of the variables that a command is given; it sees nothing else.
    pub pass_env: Vec<String>,
    /// How many are written at once.
    pub slots: usize,
    /// How many tries follow one that failed.
    pub retries: u32,
    /// How long is waited before the first of them; each further one waits four times as long.
    pub retry_delay: Duration,
    /// How long one try may take.
    pub deadline: Duration,
    /// The largest diff that is explained, in bytes. It is held in memory.
    pub diff_bytes_max: u64,
}

impl Default for TutorialConfig {
    fn default() -> TutorialConfig {
        TutorialConfig {
            settings: ProviderSettings::default(),
            pass_env: PASS_ENV_DEFAULT.map(str::to_owned).to_vec(),
            slots: 1,
            retries: 3,
            retry_delay: Duration::from_secs(30),
            deadline: ExplainOptions::default().deadline,
            diff_bytes_max: 64 << 20,
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTutorial {
    provider: Option<Spanned<ProviderKind>>,
    command: Option<Vec<String>>,
    pass_env: Option<Vec<Spanned<String>>>,
    base_url: Option<String>,
    model: Option<String>,
    key_file: Option<PathBuf>,
    output_tokens_max: Option<u32>,
    idle_s: Option<Spanned<u64>>,
    input_usd_per_million: Option<f64>,
    output_usd_per_million: Option<f64>,
    slots: Option<Spanned<usize>>,
    retries: Option<Spanned<u32>>,
    retry_delay_s: Option<Spanned<u64>>,
    deadline_s: Option<Spanned<u64>>,
    diff_max: Option<Spanned<String>>,
}

impl Checker<'_> {
    pub(super) fn tutorial(&mut self, raw: RawTutorial, folder: &Path) -> TutorialConfig {
        let default = TutorialConfig::default();
        let span = raw.provider.as_ref().map_or(0..0, Spanned::span);
        let has_idle = raw.idle_s.is_some();
        let idle_s = self.within("idle_s", raw.idle_s, 1, 3600, 90);
        let settings = ProviderSettings {
            provider: raw.provider.map(Spanned::into_inner).unwrap_or_default(),
            command: raw.command.unwrap_or_default(),
            base_url: raw.base_url,
            model: raw.model,
            key_file: raw.key_file.map(|path| folder.join(path)),
            output_tokens_max: raw.output_tokens_max,
            idle_s: has_idle.then_some(idle_s),
            input_usd_per_million: raw.input_usd_per_million,
            output_usd_per_million: raw.output_usd_per_million,
            ..ProviderSettings::default()
        };
        if let Err(error) = Provider::new(&settings) {
            self.push(span.clone(), format!("[tutorial]: {error}"));
        }
        if let Some(file) = settings.key_file.as_ref().filter(|file| !file.is_file()) {
            self.push(span, format!("[tutorial]: there is no file {}; correct `key_file`", file.display()));
        }
        TutorialConfig {
            settings,
            pass_env: match raw.pass_env {
                Some(names) => names.into_iter().filter_map(|name| self.variable(name)).collect(),
                None => default.pass_env,
            },
            slots: self.within("slots", raw.slots, 1, SLOTS_MAX, default.slots),
            retries: self.within("retries", raw.retries, 0, RETRIES_MAX, default.retries),
            retry_delay: Duration::from_secs(self.within(
                "retry_delay_s",
                raw.retry_delay_s,
                1,
                3600,
                default.retry_delay.as_secs(),
            )),
            deadline: Duration::from_secs(self.within(
                "deadline_s",
                raw.deadline_s,
                1,
                86_400,
                default.deadline.as_secs(),
            )),
            diff_bytes_max: self.size("diff_max", raw.diff_max, default.diff_bytes_max),
        }
    }
}
