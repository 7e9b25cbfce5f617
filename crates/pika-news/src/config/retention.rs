//! The section `[retention]`: how much of what is past is kept.

use serde::Deserialize;
use toml::Spanned;

use super::Checker;

/// The most days that runs may be kept for by their age.
const DAYS_MAX: u16 = 36_500;
const RUNS_MIN_MAX: u32 = 100_000;

/// How much of what is past is kept, of each repository by itself. Once a day the oldest goes until the rest is within.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetentionConfig {
    /// How many of the newest runs stay, whatever they take.
    pub runs_min: u32,
    /// Runs that are older go.
    pub days: Option<u16>,
    /// What logs may take, in bytes: the long ones of the oldest runs go.
    pub log_bytes_max: Option<u64>,
    /// What artifacts may take, in bytes: those of the oldest runs go.
    pub artifact_bytes_max: Option<u64>,
    /// What snapshots may take, in bytes: the oldest runs go with theirs.
    pub snapshot_bytes_max: Option<u64>,
    /// What prepared outputs may take, in bytes: those that were not used for longest go.
    pub prepared_bytes_max: Option<u64>,
}

impl Default for RetentionConfig {
    fn default() -> RetentionConfig {
        RetentionConfig {
            runs_min: 20,
            days: None,
            log_bytes_max: None,
            artifact_bytes_max: None,
            snapshot_bytes_max: None,
            prepared_bytes_max: None,
        }
    }
}

impl RetentionConfig {
    /// The arguments of `pikaci gc` that say the same.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let mut arguments = vec!["--keep".to_owned(), self.runs_min.to_string()];
        if let Some(days) = self.days {
            arguments.extend(["--max-age-days".to_owned(), days.to_string()]);
        }
        let sizes = [
            ("--max-logs-size", self.log_bytes_max),
            ("--max-artifacts-size", self.artifact_bytes_max),
            ("--max-snapshots-size", self.snapshot_bytes_max),
            ("--max-prepared-size", self.prepared_bytes_max),
        ];
        for (name, bytes) in sizes {
            if let Some(bytes) = bytes {
                arguments.extend([name.to_owned(), as_size(bytes)]);
            }
        }
        arguments
    }
}

/// A number of bytes as `pikaci` reads it.
pub(crate) fn as_size(bytes: u64) -> String {
    format!("{}KiB", (bytes / 1024).max(1))
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRetention {
    runs_min: Option<Spanned<u32>>,
    days: Option<Spanned<u16>>,
    logs_max: Option<Spanned<String>>,
    artifacts_max: Option<Spanned<String>>,
    snapshots_max: Option<Spanned<String>>,
    prepared_max: Option<Spanned<String>>,
}

impl Checker<'_> {
    pub(super) fn retention(&mut self, raw: RawRetention) -> RetentionConfig {
        let default = RetentionConfig::default();
        let size = |checker: &mut Self, key: &str, raw: Option<Spanned<String>>| {
            raw.map(|raw| checker.size(key, Some(raw), 0))
        };
        RetentionConfig {
            runs_min: self.within("runs_min", raw.runs_min, 0, RUNS_MIN_MAX, default.runs_min),
            days: raw.days.map(|days| self.within("days", Some(days), 1, DAYS_MAX, 1)),
            log_bytes_max: size(self, "logs_max", raw.logs_max),
            artifact_bytes_max: size(self, "artifacts_max", raw.artifacts_max),
            snapshot_bytes_max: size(self, "snapshots_max", raw.snapshots_max),
            prepared_bytes_max: size(self, "prepared_max", raw.prepared_max),
        }
    }
}
