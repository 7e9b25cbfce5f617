//! The closed vocabularies of the records. Each keeps a word that a newer version wrote.

use serde::{Deserialize, Serialize};

/// Where a run stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// Not finished. A reader that finds the writer's lock free must treat this as interrupted.
    #[default]
    Running,
    /// Every job passed, or was skipped while another passed.
    Passed,
    /// Some job did not pass; [`Outcome`] and [`Fault`] say how and whose fault.
    Failed,
    /// Nothing had to run. Not the same as passed.
    Skipped,
    /// A word of a newer version.
    #[serde(untagged)]
    Unknown(String),
}

/// Where a job stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobStatus {
    /// Not finished.
    #[default]
    Running,
    /// The command exited with 0.
    Passed,
    /// The job did not pass.
    Failed,
    /// The job never started, because something it needs did not pass.
    Skipped,
    /// A word of a newer version.
    #[serde(untagged)]
    Unknown(String),
}

/// How something ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// All well.
    Passed,
    /// It did not pass.
    Failed,
    /// It was stopped at its deadline.
    TimedOut,
    /// Somebody stopped it.
    Cancelled,
    /// It never started.
    Skipped,
    /// A word of a newer version.
    #[serde(untagged)]
    Unknown(String),
}

/// Whose fault it was. Decided where the fact arises, never by searching a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The tested code or its manifest.
    Job,
    /// The machinery: the only fault that is retried by itself.
    Infra,
    /// A person or program that asked for the stop.
    User,
    /// A word of a newer version.
    #[serde(untagged)]
    Unknown(String),
}

/// What ran a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExecutorKind {
    /// A fresh Incus instance.
    RemoteLinuxVm,
    /// A sandbox, or a plain process, on the host itself.
    HostLocal,
    /// A word of a newer version.
    #[serde(untagged)]
    Unknown(String),
}

macro_rules! word_as_text {
    ($($word:ident { $($variant:ident = $text:literal),* $(,)? })*) => {$(
        impl $word {
            /// The word as the records spell it.
            pub fn as_str(&self) -> &str {
                match self {
                    $($word::$variant => $text,)*
                    $word::Unknown(text) => text,
                }
            }
        }

        impl std::fmt::Display for $word {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.pad(self.as_str())
            }
        }
    )*};
}

word_as_text! {
    RunStatus { Running = "running", Passed = "passed", Failed = "failed", Skipped = "skipped" }
    JobStatus { Running = "running", Passed = "passed", Failed = "failed", Skipped = "skipped" }
    Outcome { Passed = "passed", Failed = "failed", TimedOut = "timed_out", Cancelled = "cancelled", Skipped = "skipped" }
    Fault { Job = "job", Infra = "infra", User = "user" }
    ExecutorKind { RemoteLinuxVm = "remote_linux_vm", HostLocal = "host_local" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_of_a_newer_version_survives_reading_and_writing() {
        let outcome: Outcome = serde_json::from_str("\"evicted\"").unwrap();
        assert_eq!(outcome, Outcome::Unknown("evicted".to_owned()));
        assert_eq!(serde_json::to_string(&outcome).unwrap(), "\"evicted\"");
    }

    #[test]
    fn words_are_shown_as_they_are_stored() {
        for outcome in [Outcome::TimedOut, Outcome::Passed] {
            assert_eq!(serde_json::to_string(&outcome).unwrap(), format!("\"{outcome}\""));
        }
        assert_eq!(ExecutorKind::RemoteLinuxVm.to_string(), "remote_linux_vm");
    }
}
