//! A job as it was planned: the manifest's entry with every default filled in.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{JobId, TargetId};

/// One job of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSpec {
    /// Unique within its target.
    pub id: JobId,
    /// What a person reads.
    pub description: String,
    /// The target that the job belongs to.
    pub target_id: TargetId,
    /// What to run.
    pub command: JobCommand,
    /// The command's deadline, in seconds from its start. Time spent waiting for a slot does not count.
    pub timeout_secs: u64,
    /// Whether the command runs as root inside the guest.
    #[serde(default)]
    pub run_as_root: bool,
    /// Whether the guest has a network.
    #[serde(default)]
    pub network: bool,
    /// Added to the command's environment. No secrets: it is stored with the run.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Jobs of the same target that must pass first.
    #[serde(default)]
    pub needs: Vec<JobId>,
    /// Globs below `/artifacts` of what is kept.
    #[serde(default)]
    pub artifacts: Vec<String>,
    /// Globs below `/artifacts` of JUnit reports; kept as well.
    #[serde(default)]
    pub junit: Vec<String>,
    /// Names of the prepared outputs that are mounted.
    #[serde(default)]
    pub prepared: Vec<String>,
    /// Names of the secrets that it gets as files, when the run has them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
    /// The image's alias or fingerprint.
    pub image: String,
    /// What kind of instance it runs in.
    pub instance: InstanceType,
    /// Processors of the instance.
    pub cpus: u32,
    /// Memory of the instance, in bytes.
    pub memory_bytes: u64,
    /// Size of the instance's disk, in bytes; `None`: what the operator's profile says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_bytes: Option<u64>,
    /// What it prepares for other jobs; `None` for a job that is there for its own sake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<OutputSpec>,
}

/// The longest name of a secret, in bytes.
pub const SECRET_NAME_BYTES_MAX: usize = 100;

/// Whether a text may name a secret: it becomes one safe component of a path.
pub fn is_secret_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= SECRET_NAME_BYTES_MAX
        && !name.starts_with('.')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
}

/// A prepared output, as the job that makes it knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputSpec {
    /// Its name in the manifest.
    pub name: String,
    /// What builds it.
    pub provider: Provider,
    /// What the provider `nix` builds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nix: Option<NixSource>,
    /// Patterns of the files that it depends on, below the repository's root.
    pub inputs: Vec<String>,
    /// Where guests see it: a path below `/staged`.
    pub mount: String,
}

/// What builds a prepared output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    /// A command of the repository, in a guest of its own.
    Command,
    /// Nix, on the host.
    Nix,
}

impl Provider {
    /// The word that manifest and records have.
    pub fn as_str(self) -> &'static str {
        match self {
            Provider::Command => "command",
            Provider::Nix => "nix",
        }
    }
}

/// What `nix build` is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NixSource {
    /// An installable, such as `.#tests`; `.` is the snapshot.
    Installable(String),
    /// Text of the Nix language, evaluated in the snapshot's folder.
    Expression(String),
}

impl JobSpec {
    /// The command's deadline.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_secs)
    }

    /// Compiles what the guest's `/bin/sh` is given: the job's environment, then its command.
    ///
    /// Text stops at the first failing line (`set -e`), as CI users expect. An argument list is run as it is, whatever
    /// bytes it holds.
    pub fn guest_command(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.env {
            text.push_str(&format!("export {name}={}\n", quoted(value)));
        }
        match &self.command {
            JobCommand::Shell(script) => {
                text.push_str("set -e\n");
                text.push_str(script);
            }
            JobCommand::Argv(arguments) => {
                let words: Vec<String> = arguments.iter().map(|argument| quoted(argument)).collect();
                text.push_str(&format!("exec {}", words.join(" ")));
            }
        }
        text
    }
}

/// What a job runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum JobCommand {
    /// Text for `/bin/sh`.
    Shell(String),
    /// A program and its arguments, no shell.
    Argv(Vec<String>),
}

impl JobCommand {
    /// The command in one line, for people.
    pub fn summary(&self) -> String {
        match self {
            JobCommand::Shell(script) => {
                let is_said = |line: &&str| !line.is_empty() && !line.starts_with('#');
                let mut lines = script.lines().map(str::trim).filter(is_said);
                let first = lines.next().unwrap_or_default().to_owned();
                if lines.next().is_some() { format!("{first} …") } else { first }
            }
            JobCommand::Argv(arguments) => arguments.join(" "),
        }
    }
}

/// What kind of instance a job runs in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum InstanceType {
    /// A kernel of its own.
    #[default]
    VirtualMachine,
    /// The host's kernel.
    Container,
}

/// Quotes one word for a POSIX shell.
fn quoted(word: &str) -> String {
    let is_plain = !word.is_empty()
        && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-./=:,+@%".contains(&byte));
    if is_plain { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_script_is_summed_up_by_its_first_command() {
        let summary = |script: &str| JobCommand::Shell(script.to_owned()).summary();
        assert_eq!(summary("# Why it is done.\n\n  make test\n"), "make test");
        assert_eq!(summary("make\nmake test"), "make …");
        assert_eq!(summary("# nothing"), "");
    }

    proptest! {
        #[test]
        fn a_quoted_word_reaches_the_program_unchanged(word in "[^\0]{0,40}") {
            let script = format!("printf %s {}", quoted(&word));
            let output = std::process::Command::new("/bin/sh").arg("-c").arg(script).output().unwrap();
            prop_assert_eq!(String::from_utf8_lossy(&output.stdout), word);
        }
    }
}
