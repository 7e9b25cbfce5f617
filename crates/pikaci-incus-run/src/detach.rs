//! Starts the runner in a session of its own, so that the job outlives whoever asked for it.
//!
//! The foreground decides nothing: it starts this same program anew, and that one claims the run folder, or finds that the
//! job was started before and ends. So an order may be repeated, and a foreground be killed at any moment: either there is
//! no claim yet and no job, or there is a runner that is nobody's child but the system's.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::setsid;
use rustix::stdio::dup2_stdout;

use crate::command_line::DETACHED_VERB;
use crate::job::GuestPaths;
use crate::one_line;
use crate::orders::{Orders, Sources};
use crate::run::{self, RunOptions};
use crate::run_folder::{Claim, RunFolder, RunFolderError, State};

/// Why no runner could be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DetachError {
    #[error("cannot start the detached runner")]
    Start { source: io::Error },
    #[error("{message}")]
    Refused { message: String },
    #[error("the detached runner ended before it had started the job")]
    Ended,
    #[error(transparent)]
    RunFolder(#[from] RunFolderError),
}

/// Makes sure that the job was started. Returns when it can be followed.
///
/// `words_before` and `arguments` are what this program was called with.
pub(crate) fn start(
    words_before: &[&str],
    arguments: &[OsString],
    run_folder: &Path,
    paths: &GuestPaths,
    has_secrets: bool,
) -> Result<(), DetachError> {
    let folder = open_run_folder(run_folder, paths)?;
    if !matches!(folder.state()?, State::Unclaimed) {
        return Ok(());
    }
    let failed = |source| DetachError::Start { source };
    let mut command = Command::new("/proc/self/exe");
    command.arg0("pikaci-incus-run").args(words_before).arg(DETACHED_VERB);
    command.args(arguments.iter().skip_while(|word| *word == "run"));
    let stdin = if has_secrets { Stdio::inherit() } else { Stdio::null() };
    command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(failed)?;
    let mut message = String::new();
    if let Some(mut words) = child.stdout.take() {
        // Ends when the runner has turned its back to us, with the claim in its hands or another's.
        words.read_to_string(&mut message).map_err(failed)?;
    }
    match folder.state()? {
        State::Running(_) | State::Over => Ok(()),
        State::Unclaimed if message.is_empty() => Err(DetachError::Ended),
        State::Unclaimed => Err(DetachError::Refused { message }),
    }
}

/// Is the detached runner: leaves the session, claims the run folder, runs the job. What keeps it from a claim is printed,
/// for the foreground to say.
pub(crate) fn run_detached(
    environment: &dyn Fn(&str) -> Option<OsString>,
    run_folder: &Path,
    paths: &GuestPaths,
    options: &RunOptions,
) -> u8 {
    // Before the claim: whoever can find us may stop us.
    let claimed = Orders::listen(Sources { has_lifeline: false, heeds_hangup: false })
        .map_err(|error| format!("cannot listen for signals: {error}"))
        .and_then(|orders| leave_session().map(|null| (orders, null)).map_err(|error| one_line(&error)))
        .and_then(|(orders, null)| {
            let claim = claim(run_folder, paths).map_err(|error| one_line(&error))?;
            Ok((orders, null, claim))
        });
    let (orders, null, claim) = match claimed {
        Ok((orders, null, Some(claim))) => (orders, null, claim),
        Ok((_, _, None)) => return 0,
        Err(message) => {
            let _ = io::stdout().write_all(message.as_bytes()).and_then(|()| io::stdout().flush());
            return crate::EXIT_REFUSED;
        }
    };
    // What an earlier job left is gone before anybody follows. What cannot be removed refuses this one, below.
    let _ = run::clear_earlier(paths);
    // Only who has the job reads them.
    let secrets = crate::read_secrets(options);
    let _ = dup2_stdout(&null);
    let ended = run::run(&orders, environment, paths, options, secrets);
    if !ended.is_written {
        let _ = claim.refuse(ended.report.message.as_deref().unwrap_or("refused"));
    }
    ended.report.exit_code_of_runner()
}

/// Claims the job of the run folder, which is made when it is missing.
pub(crate) fn claim(run_folder: &Path, paths: &GuestPaths) -> Result<Option<Claim>, RunFolderError> {
    open_run_folder(run_folder, paths)?.claim()
}

fn open_run_folder(run_folder: &Path, paths: &GuestPaths) -> Result<RunFolder, RunFolderError> {
    RunFolder::create(run_folder, &[&paths.artifacts, &paths.cargo_home, &paths.cargo_target])
}

fn leave_session() -> Result<File, DetachError> {
    let failed = |source| DetachError::Start { source };
    setsid().map_err(|error| failed(error.into()))?;
    File::options().write(true).open("/dev/null").map_err(failed)
}
