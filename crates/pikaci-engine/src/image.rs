//! Images of guests, as files: built here, imported by whoever talks to a server.
//!
//! An image is one tarball as Incus reads it: `metadata.yaml` and `rootfs/`. It keeps the contract with the guest
//! (`pikaci::guest`) and starts nothing that a job does not need: its init is busybox's, which boots in a blink.
//!
//! Invariants: an image appears whole or not at all; what a killed build leaves, the next one removes; the same inputs give the same bytes, as far as they are ours.

mod archive;
mod busybox;
mod debian;
mod error;
mod guest;
mod metadata;
mod program;
mod scratch;
mod tool;
mod tree;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use pikaci::InstanceType;
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

pub use archive::OUTPUT_ENDINGS;
pub use error::ImageError;
pub use program::ProgramProblem;
pub use scratch::ScratchFolder;

use archive::Archive;
use metadata::Metadata;
use program::Program;
use tool::Limits;

/// Builds the one program that every image must be given. Named by the errors about it.
pub const RUNNER_BUILD_COMMAND: &str = "RUSTFLAGS='-C target-feature=+crt-static' cargo build --package pikaci-incus-run \
                                        --profile guest --target $(uname -m)-unknown-linux-gnu";

/// Debian over a slow line.
const DEADLINE_DEFAULT: Duration = Duration::from_secs(15 * 60);

/// What an image is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipe {
    /// One static program with all the usual commands; two megabytes, for jobs that bring everything else.
    Busybox,
    /// Debian's smallest system, and packages.
    Debian {
        /// Such as `bookworm`.
        suite: String,
        /// What is installed beside the smallest system.
        packages: Vec<String>,
        /// Where packages come from; `None`: what mmdebstrap takes for this suite, with its updates.
        mirror: Option<String>,
    },
}

/// The programs of this machine that images are built with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Programs {
    /// A static busybox. It goes into every image, as its init.
    pub busybox: PathBuf,
    /// Builds Debian's smallest system.
    pub mmdebstrap: PathBuf,
}

impl Programs {
    /// Finds them in the folders of a `PATH`, then where Debian has them. What is not there is said when it is needed.
    pub fn find(path: &OsStr) -> Programs {
        let place = |name: &str| {
            let folders = path.to_string_lossy().into_owned();
            let folders = folders.split(':').filter(|folder| folder.starts_with('/'));
            let places = folders.chain(["/usr/bin", "/bin"]).map(|folder| Path::new(folder).join(name));
            places
                .into_iter()
                .find(|place| place.is_file())
                .unwrap_or_else(|| Path::new("/usr/bin").join(name))
        };
        Programs { busybox: place("busybox"), mmdebstrap: place("mmdebstrap") }
    }
}

/// Which image is built, and where to.
#[derive(Clone, Debug)]
pub struct BuildRequest {
    /// What it is made of.
    pub recipe: Recipe,
    /// A static `pikaci-incus-run`, for the machines that the image is for.
    pub runner: PathBuf,
    /// The tarball; its name ends in one of [`OUTPUT_ENDINGS`]. A file that is there is replaced.
    pub output: PathBuf,
    /// What kind of instance the image is for.
    pub instance: InstanceType,
    /// When the image says that it was made. Its files are not younger.
    pub created_at: Timestamp,
    /// How long all of it may take.
    pub deadline: Duration,
    /// What it is built with.
    pub programs: Programs,
    /// Ends the build early, with nothing left of it.
    pub cancel: CancellationToken,
}

impl BuildRequest {
    /// A container's image, dated at the epoch, with a quarter of an hour and Debian's places of programs.
    pub fn new(recipe: Recipe, runner: impl Into<PathBuf>, output: &Path) -> BuildRequest {
        BuildRequest {
            recipe,
            runner: runner.into(),
            output: output.to_owned(),
            instance: InstanceType::Container,
            created_at: Timestamp::UNIX_EPOCH,
            deadline: DEADLINE_DEFAULT,
            programs: Programs::find(OsStr::new("")),
            cancel: CancellationToken::new(),
        }
    }
}

/// An image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuiltImage {
    /// The tarball.
    pub path: PathBuf,
    /// Its SHA-256, in hex; also the fingerprint that Incus gives to the image.
    pub sha256: String,
    /// Its size.
    pub bytes: u64,
}

/// Builds an image. Blocks: call it where blocking is fine.
///
/// What mmdebstrap says goes to the log at level `debug`, and its last words into the error.
pub fn build(request: &BuildRequest) -> Result<BuiltImage, ImageError> {
    let deadline = Instant::now() + request.deadline;
    let limits = Limits { deadline, limit: request.deadline, cancel: &request.cancel };
    match request.instance {
        InstanceType::Container => {}
        InstanceType::VirtualMachine => return Err(ImageError::VirtualMachine),
    }
    archive::check_name(&request.output)?;
    let runner = Program::read(&request.runner)
        .map_err(|problem| ImageError::Runner { path: request.runner.clone(), problem })?;
    let busybox = Program::read(&request.programs.busybox)
        .map_err(|problem| ImageError::Busybox { path: request.programs.busybox.clone(), problem })?;
    if runner.architecture != busybox.architecture {
        let problem = ProgramProblem::Other { machine: runner.architecture.name() };
        return Err(ImageError::Busybox { path: request.programs.busybox.clone(), problem });
    }
    let metadata = |os: &str, release: &str, description: String| Metadata {
        architecture: runner.architecture.name(),
        created_at: request.created_at,
        description,
        os: os.to_owned(),
        release: release.to_owned(),
        runner_digest: hex(&Sha256::digest(&runner.content)),
    };
    match &request.recipe {
        Recipe::Busybox => {
            let facts = busybox::ask(&request.programs.busybox, &limits)?;
            let description = format!("pikaci guest: busybox {}", facts.version);
            let metadata = metadata("busybox", &facts.version, description);
            let tree = busybox::tree(&facts, &runner, &busybox);
            let mut archive = Archive::create(&request.output, request.created_at)?;
            archive.metadata(&metadata)?;
            archive.tree(&tree, |_| true)?;
            archive.finish()
        }
        Recipe::Debian { suite, packages, mirror } => {
            let source = debian::Source::parse(suite, packages, mirror.as_deref())?;
            let with =
                if packages.is_empty() { String::new() } else { format!(" with {}", packages.join(", ")) };
            let metadata = metadata("debian", suite, format!("pikaci guest: debian {suite}{with}"));
            let mut archive = Archive::create(&request.output, request.created_at)?;
            archive.metadata(&metadata)?;
            debian::fill(&mut archive, &source, request, &runner, &busybox, &limits)?;
            archive.finish()
        }
    }
}

/// The SHA-256 of a file, in hex: the fingerprint that Incus gives to an image of one file.
pub fn digest_of_file(path: &Path) -> io::Result<String> {
    let (mut file, mut digest, mut buffer) = (File::open(path)?, Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(&digest.finalize())),
            read => digest.update(&buffer[..read]),
        }
    }
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
