//! Freezes a source tree into `snapshots/<digest>/`.
//!
//! Invariants: what is frozen is git's own view of the tree; a snapshot's folder appears whole, under its digest, after
//! the list of its files; nothing in it is ever written again, and no file of it is a hard link to the working tree.

mod build;
mod cache;
pub mod git;
mod list;
mod source;
mod tree;

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pikaci::Digest;
use pikaci::guest::SENTINEL_NAME;
use pikaci::manifest::PathFilter;

pub(crate) use cache::FOLDER as CACHE_FOLDER;
pub use git::GitFailure;
pub(crate) use list::path as list_path;

/// What is frozen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The working tree of a repository, as it is: tracked files and untracked ones that are not ignored.
    WorkingTree {
        /// The top folder of the working tree.
        root: PathBuf,
    },
    /// A commit, straight from the object database of a repository, bare or not. No filter is applied: a file kept by
    /// Git LFS stays its pointer. A submodule stays an empty folder: its files are in another repository.
    Revision {
        /// The repository.
        repository: PathBuf,
        /// What git resolves to a commit.
        revision: String,
    },
}

impl Source {
    /// The folder of the repository.
    pub fn root(&self) -> &Path {
        match self {
            Source::WorkingTree { root } => root,
            Source::Revision { repository, .. } => repository,
        }
    }
}

/// What to freeze, and where to.
#[derive(Clone, Debug)]
pub struct SnapshotRequest {
    /// What is frozen.
    pub source: Source,
    /// The folder of all snapshots.
    pub snapshots_dir: PathBuf,
    /// Left out when it lies within the source.
    pub state_root: PathBuf,
    /// Against whose merge base the changed files are listed.
    pub base: Option<String>,
    /// For each call of git.
    pub git_deadline: Duration,
}

/// A frozen tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Its folder.
    pub dir: PathBuf,
    /// Its content address.
    pub digest: Digest,
    /// The commit at the source; `None` before the first one.
    pub git_head: Option<String>,
    /// Whether the tree differs from that commit's.
    pub git_dirty: bool,
    /// What changed against the merge base with [`SnapshotRequest::base`].
    pub changed_files: Vec<String>,
    /// How many files it has.
    pub files: u64,
    /// How many of them were copied.
    pub files_copied: u64,
    /// How many bytes were copied.
    pub bytes_copied: u64,
    /// How long it took.
    pub took: Duration,
}

/// Why a tree could not be frozen.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Git could not be asked, or refused.
    #[error(transparent)]
    Git(#[from] GitFailure),
    /// Neither file, folder nor link.
    #[error("{} is a socket, a pipe or a device; remove it, or list it in .gitignore", path.display())]
    SpecialFile {
        /// Its path in the source.
        path: PathBuf,
    },
    /// The name of the sentinel is taken.
    #[error("{} is a name that pikaci keeps for itself; rename the file", path.display())]
    ReservedName {
        /// Its path in the source.
        path: PathBuf,
    },
    /// Somebody writes a file while it is frozen.
    #[error("{} keeps changing while it is read; stop what writes it, or list it in .gitignore", path.display())]
    Unsteady {
        /// Its path in the source.
        path: PathBuf,
    },
    /// The file system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

impl SnapshotError {
    fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> SnapshotError {
        let path = path.into();
        move |source| SnapshotError::Io { action, path, source }
    }
}

/// Freezes a tree. Blocks: call it where blocking is fine.
///
/// An unchanged tree costs no reading and no copy; a changed one, what changed.
pub fn take(request: &SnapshotRequest) -> Result<Snapshot, SnapshotError> {
    let start = Instant::now();
    std::fs::create_dir_all(&request.snapshots_dir)
        .map_err(SnapshotError::io("create", &request.snapshots_dir))?;
    let listing = source::list(request)?;
    let mut cache = cache::Cache::open(&request.snapshots_dir, request.source.root());
    let built = build::build(request, &listing, &mut cache)?;
    cache.store(&built.digest);
    Ok(Snapshot {
        dir: request.snapshots_dir.join(&built.digest),
        digest: built.digest,
        git_head: listing.head,
        git_dirty: listing.is_dirty,
        changed_files: listing.changed_files,
        files: built.files,
        files_copied: built.files_copied,
        bytes_copied: built.bytes_copied,
        took: start.elapsed(),
    })
}

/// Finds a whole snapshot; `None` when it was collected, or never finished.
pub fn find(snapshots_dir: &Path, digest: &Digest) -> Option<PathBuf> {
    list::is_whole(snapshots_dir, digest).then(|| snapshots_dir.join(digest))
}

/// Describes the files and links of a snapshot that a filter meets, by path and content, so that the same bytes mean the
/// same inputs. Empty when it meets none; `None` when the snapshot is not whole.
pub(crate) fn described(snapshots_dir: &Path, digest: &Digest, filter: &PathFilter) -> Option<Vec<u8>> {
    let mut nodes = list::read(snapshots_dir, digest)?;
    nodes.retain(|path, node| *node != tree::Node::Folder && filter.matches(&[git::path_of(path)]));
    Some(if nodes.is_empty() { Vec::new() } else { tree::digest(&nodes).as_str().as_bytes().to_vec() })
}

/// Makes a folder of the files and links of a snapshot that a filter meets, and of its sentinel. Files are links to the
/// snapshot's own. `None`: it meets all of them, or the snapshot is not whole, and nothing was made.
pub(crate) fn pick(
    snapshots_dir: &Path,
    digest: &Digest,
    filter: &PathFilter,
    folder: &Path,
) -> io::Result<Option<()>> {
    let Some(mut nodes) = list::read(snapshots_dir, digest) else { return Ok(None) };
    let is_left_out = |path: &[u8], node: &tree::Node| {
        *node != tree::Node::Folder && !filter.matches(&[git::path_of(path)])
    };
    if !nodes.iter().any(|(path, node)| is_left_out(path, node)) {
        return Ok(None);
    }
    nodes.retain(|path, node| *node != tree::Node::Folder && !is_left_out(path, node));
    let snapshot = snapshots_dir.join(digest);
    std::fs::create_dir_all(folder)?;
    share(&snapshot.join(SENTINEL_NAME), &folder.join(SENTINEL_NAME))?;
    for (path, node) in &nodes {
        let path = git::path_of(path);
        let to = folder.join(&path);
        if let Some(parent) = to.parent() {
            std::fs::create_dir_all(parent)?;
        }
        match node {
            tree::Node::Symlink { target } => std::os::unix::fs::symlink(git::path_of(target), to)?,
            tree::Node::File { .. } | tree::Node::Folder => share(&snapshot.join(path), &to)?,
        }
    }
    Ok(Some(()))
}

fn share(from: &Path, to: &Path) -> io::Result<()> {
    match std::fs::hard_link(from, to) {
        Err(error) if matches!(error.kind(), io::ErrorKind::CrossesDevices | io::ErrorKind::TooManyLinks) => {
            std::fs::copy(from, to).map(|_| ())
        }
        linked => linked,
    }
}

/// Lets a folder of a snapshot be changed again, so that it can be moved or emptied.
pub(crate) fn make_writable(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755))
}

/// Takes back what [`make_writable`] allowed.
pub(crate) fn make_read_only(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o555))
}

/// Removes a folder and everything below it, also where folders are read-only.
///
/// Folders below it are lifted to its top before they are emptied: a tested command can nest deeper than a path may be
/// long, or a stack reach.
pub(crate) fn remove_tree(folder: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(folder) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => return std::fs::remove_file(folder),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    let mut lifted: u64 = 0;
    let mut waiting = empty_folder(folder)?;
    while let Some(current) = waiting.pop() {
        for inner in empty_folder(&current)? {
            // To move a folder changes its `..`, which needs a right to it.
            make_writable(&inner)?;
            waiting.push(lift(&inner, folder, &mut lifted)?);
        }
        std::fs::remove_dir(&current)?;
    }
    std::fs::remove_dir(folder)
}

/// Removes what is no folder in a folder, and returns the folders in it.
fn empty_folder(folder: &Path) -> io::Result<Vec<PathBuf>> {
    make_writable(folder)?;
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            folders.push(entry.path());
        } else {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(folders)
}

/// Moves a folder to a free name directly below `top`.
fn lift(folder: &Path, top: &Path, lifted: &mut u64) -> io::Result<PathBuf> {
    loop {
        let place = top.join(format!(".lifted-{lifted}"));
        *lifted += 1;
        // A rename would replace an empty folder that still waits for its turn.
        match std::fs::symlink_metadata(&place) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return std::fs::rename(folder, &place).map(|()| place);
            }
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests;
