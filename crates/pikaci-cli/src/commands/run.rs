//! `pikaci run`

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use pikaci::manifest::MANIFEST_BYTES_MAX;
use pikaci::{MANIFEST_NAME, Manifest};
use pikaci_engine::snapshot::{GitFailure, git};
use pikaci_engine::{RunRequest, Source};

use super::session;
use crate::arguments::RunArguments;
use crate::config::Config;
use crate::failure::Failure;

const GIT_DEADLINE: Duration = Duration::from_secs(60);

/// Runs a target of the manifest. Returns the run's exit code.
pub(crate) fn run(arguments: RunArguments, config: &Config) -> Result<u8, Failure> {
    let (source, manifest) = match &arguments.rev {
        Some(revision) => committed(&config.current_dir, revision)?,
        None => checked_out(&config.current_dir)?,
    };
    let selection = manifest.select(&arguments.target).map_err(Failure::usage)?;
    if let Some(base) = &arguments.base {
        // A mistake of the caller's, and better said before there is a run.
        git::resolve(source.root(), base, GIT_DEADLINE)?;
    }
    let run_id = session::new_run_id(&arguments.execution);
    let mut request = RunRequest::new(config.state.clone(), run_id, source, &selection);
    request.base = arguments.base;
    session::perform(request, &arguments.execution, config)
}

/// The working tree that a folder is in, and its manifest.
fn checked_out(folder: &Path) -> Result<(Source, Manifest), Failure> {
    let root = find_top(folder)?;
    let path = root.join(MANIFEST_NAME);
    let mut content = Vec::new();
    // One byte more than is allowed: the parser says what is wrong with it.
    let limit = MANIFEST_BYTES_MAX as u64 + 1;
    let read = open_regular(&path).and_then(|file| file.take(limit).read_to_end(&mut content));
    match read {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Failure::usage_text(format!(
                "there is no {}; `pikaci init` writes one that fits the repository",
                path.display()
            )));
        }
        Err(error) => {
            let context = format!("cannot read {}", path.display());
            return Err(Failure::infrastructure(anyhow::Error::new(error).context(context)));
        }
    }
    let manifest = Manifest::parse_bytes(&content).map_err(Failure::usage)?;
    Ok((Source::WorkingTree { root }, manifest))
}

/// Opens a file, but no pipe: to open one waits for its other end, which may never come.
fn open_regular(path: &Path) -> io::Result<fs::File> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    fs::File::open(path)
}

fn find_top(folder: &Path) -> Result<PathBuf, Failure> {
    match git::find_top(folder, GIT_DEADLINE) {
        Err(GitFailure::NoRepository { .. }) if git::resolve(folder, "HEAD", GIT_DEADLINE).is_ok() => {
            Err(Failure::usage_text(format!(
                "{} has no working tree; name the commit to test with --rev",
                folder.display()
            )))
        }
        found => Ok(found?),
    }
}

/// A commit of the repository that a folder is in, bare or not, and the manifest at it.
fn committed(folder: &Path, revision: &str) -> Result<(Source, Manifest), Failure> {
    let commit = git::resolve(folder, revision, GIT_DEADLINE)?;
    let Some(content) = git::show_file(folder, &commit, MANIFEST_NAME, GIT_DEADLINE)? else {
        return Err(Failure::usage_text(format!(
            "commit {commit} has no {MANIFEST_NAME}; `pikaci init` writes one that fits the repository"
        )));
    };
    let manifest = Manifest::parse_bytes(&content).map_err(Failure::usage)?;
    let repository = git::find_top(folder, GIT_DEADLINE).unwrap_or_else(|_| folder.to_owned());
    Ok((Source::Revision { repository, revision: commit }, manifest))
}
