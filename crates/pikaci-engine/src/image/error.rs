//! Why an image could not be built.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use super::{OUTPUT_ENDINGS, ProgramProblem, RUNNER_BUILD_COMMAND};

/// Why an image could not be built.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// Another tool builds these.
    #[error(
        "images of virtual machines are built with Nix (nix/incus/pikaci-image.nix); this builds images of containers"
    )]
    VirtualMachine,
    /// Incus would not know what it is.
    #[error("{} is no name for an image; end it in one of {}", path.display(), OUTPUT_ENDINGS.join(", "))]
    Name {
        /// The name.
        path: PathBuf,
    },
    /// The guest runner can't be used.
    #[error("the guest runner {} {problem}; build one with `{RUNNER_BUILD_COMMAND}`", path.display())]
    Runner {
        /// Where it should be.
        path: PathBuf,
        /// What is wrong with it.
        problem: ProgramProblem,
    },
    /// The program that every image starts with can't be used.
    #[error("busybox {} {problem}; a static one is needed (on Debian: apt-get install busybox-static)", path.display())]
    Busybox {
        /// Where it should be.
        path: PathBuf,
        /// What is wrong with it.
        problem: ProgramProblem,
    },
    /// A program could not be started.
    #[error("cannot start {}; install it (on Debian: apt-get install {package})", path.display())]
    Start {
        /// Where it should be.
        path: PathBuf,
        /// What brings it.
        package: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// A program failed.
    #[error("{program} ended with {status}: {message}")]
    Failed {
        /// Its name.
        program: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// Its last words.
        message: String,
    },
    /// It took too long.
    #[error("{program} was not done within {} s; give it more time, or name a nearer mirror", limit.as_secs())]
    Late {
        /// What was running.
        program: &'static str,
        /// The deadline.
        limit: Duration,
    },
    /// The caller wanted it to end.
    #[error("the build of the image was cancelled")]
    Cancelled,
    /// A word that would be taken for something else.
    #[error("{text:?} is no {what}")]
    Word {
        /// What it should be.
        what: &'static str,
        /// What it is.
        text: String,
    },
    /// A system that can't become a guest.
    #[error("the system that {program} made can't become a guest: {problem}")]
    System {
        /// Who made it.
        program: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The file system, or a pipe.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl ImageError {
    pub(super) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> ImageError {
        let path = path.into();
        move |source| ImageError::Io { action, path, source }
    }
}
