//! `pikaci init`
//!
//! Invariant: a file that is there is never overwritten, and what is written parses.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use pikaci::{MANIFEST_NAME, Manifest};
use pikaci_engine::snapshot::{GitFailure, git};

use super::DONE;
use crate::config::Config;
use crate::failure::Failure;
use crate::init::{manifest_for, survey};
use crate::output::print_line;

const GIT_DEADLINE: Duration = Duration::from_secs(60);

/// Writes a manifest that fits the repository.
pub(crate) fn init(config: &Config) -> Result<u8, Failure> {
    let (root, is_repository) = match git::find_top(&config.current_dir, GIT_DEADLINE) {
        Ok(root) => (root, true),
        Err(GitFailure::NoRepository { folder, .. }) => (folder, false),
        Err(error) => return Err(error.into()),
    };
    let findings = survey(&root);
    let text = manifest_for(&findings);
    let path = root.join(MANIFEST_NAME);
    Manifest::parse(&text).map_err(Failure::infrastructure)?;
    write_new(&path, &text)?;
    print_line(&format!("wrote {}", path.display()));
    for finding in &findings {
        print_line(&format!("  {}, from {}", finding.title, finding.evidence));
    }
    if findings.is_empty() {
        print_line("  nothing familiar was found here; say in it what is to be run");
    }
    if !is_repository {
        print_line("  this is no git repository yet; make it one with `git init`");
    }
    print_line("next: pikaci run pre-merge");
    Ok(DONE)
}

fn write_new(path: &PathBuf, text: &str) -> Result<(), Failure> {
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            Failure::usage_text(format!("{} is there already; it was left as it is", path.display()))
        }
        _ => {
            let context = format!("cannot write {}", path.display());
            Failure::infrastructure(anyhow::Error::new(error).context(context))
        }
    })
}
