//! The run folder: whether a job was started in this guest, which runner has it, and why it has no result.
//!
//! Invariants: at most one job is ever started for a folder; nobody but the runner's own user can write to it; looking at
//! it never stands in the way of a runner that claims it.
//!
//! The file `runner` is empty until a job is claimed, and its POSIX lock is held by the runner for as long as that lives.
//! `flock` would not do: it cannot be looked at without being taken, and it does not name its holder (fcntl(2), F_GETLK).

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::io::Errno;
use rustix::process::{
    Flock, FlockType, Pid, PidfdFlags, Signal, fcntl_getlk, geteuid, pidfd_open, pidfd_send_signal,
};

const RUNNER_NAME: &str = "runner";
const REFUSAL_NAME: &str = "refusal";
const FOLDER_MODE: u32 = 0o700;

/// Why a run folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunFolderError {
    #[error("{} belongs to another user or is no folder; name another one with --run-dir", path.display())]
    NotOurs { path: PathBuf },
    #[error("{} is below {}, where the job can write; name another one with --run-dir", path.display(), writable.display())]
    Writable { path: PathBuf, writable: PathBuf },
    #[error("{} is held by a process that cannot be seen from here", path.display())]
    Unseen { path: PathBuf },
    #[error("cannot stop the runner")]
    Stop { source: io::Error },
    #[error("cannot {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
}

/// A run folder that is ours.
pub(crate) struct RunFolder {
    path: PathBuf,
}

/// What became of the folder's job.
pub(crate) enum State {
    /// None was started.
    Unclaimed,
    /// Its runner lives.
    Running(Runner),
    /// Its runner is gone.
    Over,
}

/// The process that runs the job. Its number may be used again; this handle is never another process's.
pub(crate) struct Runner {
    handle: OwnedFd,
}

/// The right to run the folder's job, for as long as this process lives.
pub(crate) struct Claim {
    folder: PathBuf,
    /// Closing any handle to the file in this process would give the lock back.
    _lock: File,
}

impl RunFolder {
    /// Makes the folder, unless it is there. `writable` are the folders that the job may write to.
    pub(crate) fn create(path: &Path, writable: &[&Path]) -> Result<RunFolder, RunFolderError> {
        DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(path).map_err(io_error("create", path))?;
        let Some(folder) = RunFolder::open(path)? else {
            return Err(io_error("open", path)(io::ErrorKind::NotFound.into()));
        };
        let real = fs::canonicalize(path).map_err(io_error("open", path))?;
        let identity = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino())).ok();
        for writable in writable {
            let is_below = identity(writable)
                .is_some_and(|found| real.ancestors().any(|ancestor| identity(ancestor) == Some(found)));
            if is_below {
                let (path, writable) = (path.to_owned(), (*writable).to_owned());
                return Err(RunFolderError::Writable { path, writable });
            }
        }
        Ok(folder)
    }

    /// Opens the folder; `None` when nobody has made it.
    pub(crate) fn open(path: &Path) -> Result<Option<RunFolder>, RunFolderError> {
        let found = match fs::symlink_metadata(path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error("open", path)(error)),
        };
        if !found.is_dir() || found.uid() != geteuid().as_raw() {
            return Err(RunFolderError::NotOurs { path: path.to_owned() });
        }
        if found.mode() & 0o777 != FOLDER_MODE {
            fs::set_permissions(path, Permissions::from_mode(FOLDER_MODE))
                .map_err(io_error("protect", path))?;
        }
        Ok(Some(RunFolder { path: path.to_owned() }))
    }

    /// Claims the folder's job for this process; `None` when it was claimed before, whatever became of it.
    ///
    /// Called at most once in a process.
    pub(crate) fn claim(&self) -> Result<Option<Claim>, RunFolderError> {
        let path = self.path.join(RUNNER_NAME);
        let claim = || {
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path)?;
            // Not locked to look: whoever has the lock is taken for the runner.
            if file.metadata()?.len() > 0 {
                return Ok(None);
            }
            match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::AGAIN | Errno::ACCESS) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
            if file.metadata()?.len() > 0 {
                return Ok(None);
            }
            // For people; programs ask the lock.
            writeln!(file, "{}", std::process::id())?;
            Ok(Some(Claim { folder: self.path.clone(), _lock: file }))
        };
        claim().map_err(io_error("claim", &path))
    }

    /// Looks at what became of the job.
    pub(crate) fn state(&self) -> Result<State, RunFolderError> {
        let path = self.path.join(RUNNER_NAME);
        let look = || {
            let file = match File::open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some(State::Unclaimed)),
                Err(error) => return Err(error),
            };
            loop {
                // Before the lock: whoever has claimed had the lock first.
                let is_claimed = file.metadata()?.len() > 0;
                let Some(lock) = fcntl_getlk(&file, &Flock::from(FlockType::ReadLock))? else {
                    return Ok(Some(if is_claimed { State::Over } else { State::Unclaimed }));
                };
                let Some(holder) = lock.pid else { return Ok(None) };
                match pidfd_open(holder, PidfdFlags::empty()) {
                    // It may have ended, and its number be another's, before we had the handle.
                    Ok(handle) if holds(&file, holder)? => {
                        return Ok(Some(State::Running(Runner { handle })));
                    }
                    Ok(_) | Err(Errno::SRCH) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        };
        let state = look().map_err(io_error("look at", &path))?;
        state.ok_or(RunFolderError::Unseen { path })
    }

    /// Why the job has no result, if its runner could still say so.
    pub(crate) fn refusal(&self) -> Option<String> {
        fs::read_to_string(self.path.join(REFUSAL_NAME)).ok()
    }
}

impl Runner {
    /// Asks the runner to stop its job. Not an error when it has ended meanwhile.
    pub(crate) fn stop(&self) -> Result<(), RunFolderError> {
        match pidfd_send_signal(&self.handle, Signal::TERM) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(RunFolderError::Stop { source: error.into() }),
        }
    }

    /// Waits for the runner's end, up to this long. Returns whether it has ended.
    pub(crate) fn wait(&self, limit: Duration) -> io::Result<bool> {
        let limit = Timespec { tv_sec: limit.as_secs().cast_signed(), tv_nsec: limit.subsec_nanos().into() };
        // Readable once the process has ended (pidfd_open(2)).
        let mut handles = [PollFd::new(&self.handle, PollFlags::IN)];
        match poll(&mut handles, Some(&limit)) {
            Ok(count) => Ok(count > 0),
            Err(Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

impl Claim {
    /// Leaves word why there is no result.
    pub(crate) fn refuse(&self, message: &str) -> io::Result<()> {
        // Nobody reads it before this process has ended.
        fs::write(self.folder.join(REFUSAL_NAME), message)
    }
}

fn holds(file: &File, holder: Pid) -> io::Result<bool> {
    let lock = fcntl_getlk(file, &Flock::from(FlockType::ReadLock))?;
    Ok(lock.is_some_and(|lock| lock.pid == Some(holder)))
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RunFolderError {
    move |source| RunFolderError::Io { action, path: path.to_owned(), source }
}
