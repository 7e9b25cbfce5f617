//! The peer `act`: runs a GitHub workflow on the host.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::process::timed;

/// The workflow of one job of one step.
pub(super) const WORKFLOW: &str = "on: push
jobs:
  check:
    runs-on: ubuntu-latest
    steps:
      - run: \"true\"
";

/// Runs the workflow of a repository once.
pub(super) fn run(act: &Path, repository: &Path, home: &Path) -> Result<Duration> {
    let mut command = Command::new(act);
    command.current_dir(repository).args(["push", "-P", "ubuntu-latest=-self-hosted"]);
    // Its own home: act asks questions at its first start, and keeps a cache.
    command.env_clear().env("HOME", home).env("PATH", std::env::var_os("PATH").unwrap_or_default());
    timed(&mut command)
}
