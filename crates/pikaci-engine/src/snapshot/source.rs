//! Lists what a source holds, before any content is read.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use pikaci::guest::SENTINEL_NAME;

use super::git::{self, GitFailure, path_of};
use super::{SnapshotError, SnapshotRequest, Source};

/// What a source holds, and where it stands.
pub(super) struct Listing {
    /// By path below the root, sorted by its bytes.
    pub(super) entries: BTreeMap<Vec<u8>, Listed>,
    /// The commit at the source.
    pub(super) head: Option<String>,
    /// Whether the tree differs from that commit's.
    pub(super) is_dirty: bool,
    /// See [`super::Snapshot::changed_files`].
    pub(super) changed_files: Vec<String>,
}

/// One path of a source.
#[derive(Clone, Debug)]
pub(super) enum Listed {
    /// A file of a working tree.
    File { is_executable: bool, stat: Stat },
    /// A file of a commit.
    Blob { is_executable: bool, oid: String },
    /// A link, with its target.
    Symlink { target: Vec<u8> },
    /// A link of a commit, whose target is in a blob.
    SymlinkBlob { oid: String },
    /// A folder that is kept though nothing is in it, such as a submodule that is not checked out.
    Folder,
}

/// What tells a changed file from an unchanged one without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) size: u64,
    pub(super) modified_ns: i64,
    pub(super) changed_ns: i64,
    pub(super) inode: u64,
    pub(super) mode: u32,
}

impl Stat {
    pub(super) fn of(metadata: &fs::Metadata) -> Stat {
        let nanoseconds =
            |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
        Stat {
            size: metadata.size(),
            modified_ns: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            changed_ns: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
            inode: metadata.ino(),
            mode: metadata.mode(),
        }
    }
}

pub(super) fn list(request: &SnapshotRequest) -> Result<Listing, SnapshotError> {
    let mut listing = match &request.source {
        Source::WorkingTree { root } => working_tree(request, root)?,
        Source::Revision { repository, revision } => at_revision(request, repository, revision)?,
    };
    if listing.entries.contains_key(SENTINEL_NAME.as_bytes()) {
        return Err(SnapshotError::ReservedName { path: request.source.root().join(SENTINEL_NAME) });
    }
    listing.changed_files.sort_unstable();
    listing.changed_files.dedup();
    Ok(listing)
}

fn working_tree(request: &SnapshotRequest, root: &Path) -> Result<Listing, SnapshotError> {
    let limit = request.git_deadline;
    // Both look at the whole index; side by side they cost what the slower one does.
    let (status, paths) = thread::scope(|scope| {
        let status = scope.spawn(|| read_status(root, limit));
        let paths = tracked(root, limit);
        (status.join().unwrap_or(Err(GitFailure::Form { command: "status" })), paths)
    });
    let (status, mut paths) = (status?, paths?);
    let changed_files = match &request.base {
        None => Vec::new(),
        Some(base) => changed_in_working_tree(root, base, &status, limit)?,
    };
    paths.extend(status.untracked.iter().map(|path| (path.clone(), Kind::Any)));
    let excluded = excluded_prefix(root, &request.state_root);
    paths.retain(|(path, _)| !is_below(path, excluded.as_deref()));
    let is_dirty = status.is_dirty(excluded.as_deref());
    let entries = look_at_all(root, &paths, limit)?;
    Ok(Listing { entries, head: status.head, is_dirty, changed_files })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Any,
    Submodule,
}

/// Every tracked path, each once, with what the index says of its kind.
fn tracked(root: &Path, limit: Duration) -> Result<Vec<(Vec<u8>, Kind)>, GitFailure> {
    let output = git::ask(root, &["ls-files", "-z", "--stage"], limit)?;
    let mut paths: Vec<(Vec<u8>, Kind)> = Vec::new();
    for record in output.split(|byte| *byte == 0).filter(|record| !record.is_empty()) {
        let tab =
            record.iter().position(|byte| *byte == b'\t').ok_or(GitFailure::Form { command: "ls-files" })?;
        let (path, kind) =
            (&record[tab + 1..], if record.starts_with(b"160000 ") { Kind::Submodule } else { Kind::Any });
        // An unmerged path has an entry for each side.
        if paths.last().is_none_or(|(last, _)| last != path) {
            paths.push((path.to_vec(), kind));
        }
    }
    Ok(paths)
}

struct Status {
    head: Option<String>,
    changed: Vec<Vec<u8>>,
    untracked: Vec<Vec<u8>>,
}

impl Status {
    fn is_dirty(&self, excluded: Option<&[u8]>) -> bool {
        self.head.is_none()
            || self.changed.iter().chain(&self.untracked).any(|path| !is_below(path, excluded))
    }
}

/// `git status --porcelain=v2 --branch -z` (git-status(1), "Porcelain Format Version 2").
fn read_status(root: &Path, limit: Duration) -> Result<Status, GitFailure> {
    let arguments = ["status", "--porcelain=v2", "--branch", "-z", "--untracked-files=all", "--no-renames"];
    let output = match git::ask(root, &arguments, limit) {
        Err(GitFailure::Refused { status, message, .. })
            if status.code() == Some(128) && git::find_top(root, limit).is_err() =>
        {
            return Err(GitFailure::NoRepository { folder: root.to_owned(), message });
        }
        other => other?,
    };
    let mut status = Status { head: None, changed: Vec::new(), untracked: Vec::new() };
    for record in output.split(|byte| *byte == 0) {
        let field =
            |number: usize| record.splitn(number, |byte| *byte == b' ').last().unwrap_or_default().to_vec();
        match record.first() {
            Some(b'#') => {
                if let Some(oid) = record.strip_prefix(b"# branch.oid ")
                    && oid != b"(initial)"
                {
                    status.head = Some(String::from_utf8_lossy(oid).into_owned());
                }
            }
            Some(b'1') => status.changed.push(field(9)),
            Some(b'u') => status.changed.push(field(11)),
            Some(b'?') => status.untracked.push(field(2)),
            _ => {}
        }
    }
    Ok(status)
}

fn changed_in_working_tree(
    root: &Path,
    base: &str,
    status: &Status,
    limit: Duration,
) -> Result<Vec<String>, GitFailure> {
    let base = git::resolve(root, base, limit)?;
    let from = match &status.head {
        Some(head) => git::merge_base(root, &base, head, limit)?.unwrap_or(base),
        None => base,
    };
    let mut changed = names(&git::ask(
        root,
        &["diff", "--name-only", "-z", "--no-renames", "--no-ext-diff", &from],
        limit,
    )?);
    changed.extend(status.untracked.iter().map(|path| String::from_utf8_lossy(path).into_owned()));
    Ok(changed)
}

fn names(output: &[u8]) -> Vec<String> {
    let records = output.split(|byte| *byte == 0).filter(|record| !record.is_empty());
    records.map(|record| String::from_utf8_lossy(record).into_owned()).collect()
}

/// The state root relative to the source, when it lies within.
fn excluded_prefix(root: &Path, state_root: &Path) -> Option<Vec<u8>> {
    let (root, state_root) = (fs::canonicalize(root).ok()?, fs::canonicalize(state_root).ok()?);
    Some(state_root.strip_prefix(root).ok()?.as_os_str().as_bytes().to_vec())
}

fn is_below(path: &[u8], prefix: Option<&[u8]>) -> bool {
    prefix.is_some_and(|prefix| {
        path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
    })
}

/// Looks at every path of a working tree, without following a link on the way.
fn look_at_all(
    root: &Path,
    paths: &[(Vec<u8>, Kind)],
    limit: Duration,
) -> Result<BTreeMap<Vec<u8>, Listed>, SnapshotError> {
    let threads = super::build::threads();
    let share = paths.len().div_ceil(threads).max(1);
    let looked: Vec<Result<Vec<_>, SnapshotError>> = thread::scope(|scope| {
        let parts: Vec<_> =
            paths.chunks(share).map(|part| scope.spawn(move || look_at_part(root, part, limit))).collect();
        let lost = || SnapshotError::io("look at", root)(io::Error::other("a thread was lost"));
        parts.into_iter().map(|part| part.join().unwrap_or_else(|_| Err(lost()))).collect()
    });
    let mut entries = BTreeMap::new();
    for part in looked {
        entries.extend(part?);
    }
    Ok(entries)
}

fn look_at_part(
    root: &Path,
    paths: &[(Vec<u8>, Kind)],
    limit: Duration,
) -> Result<Vec<(Vec<u8>, Listed)>, SnapshotError> {
    let mut folders = HashSet::new();
    let mut entries = Vec::with_capacity(paths.len());
    for (path, kind) in paths {
        // Git lists a repository within the tree as one path that ends in a slash.
        let path = path.strip_suffix(b"/").unwrap_or(path);
        let relative = path_of(path);
        if !is_reached_without_link(root, &relative, &mut folders) {
            continue;
        }
        let full = root.join(&relative);
        let metadata = match fs::symlink_metadata(&full) {
            Ok(metadata) => metadata,
            // Tracked, and removed from the working tree.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                continue;
            }
            Err(source) => return Err(SnapshotError::Io { action: "look at", path: full, source }),
        };
        let file_type = metadata.file_type();
        if file_type.is_dir() {
            entries.push((path.to_vec(), Listed::Folder));
            if *kind == Kind::Submodule && full.join(".git").exists() {
                entries.extend(submodule(&full, path, limit)?);
            }
        } else if file_type.is_symlink() {
            let target = fs::read_link(&full).map_err(SnapshotError::io("read the link", &full))?;
            entries.push((path.to_vec(), Listed::Symlink { target: target.as_os_str().as_bytes().to_vec() }));
        } else if file_type.is_file() {
            let is_executable = metadata.mode() & 0o100 != 0;
            entries.push((path.to_vec(), Listed::File { is_executable, stat: Stat::of(&metadata) }));
        } else {
            return Err(SnapshotError::SpecialFile { path: full });
        }
    }
    Ok(entries)
}

/// The files of a submodule that is checked out, by its own git's view.
fn submodule(root: &Path, prefix: &[u8], limit: Duration) -> Result<Vec<(Vec<u8>, Listed)>, SnapshotError> {
    let mut paths = tracked(root, limit)?;
    paths.extend(read_status(root, limit)?.untracked.into_iter().map(|path| (path, Kind::Any)));
    let below = look_at_part(root, &paths, limit)?;
    Ok(below.into_iter().map(|(path, listed)| ([prefix, b"/", &path].concat(), listed)).collect())
}

/// Whether every folder on the way is a folder. Where one is a link now, git's paths below it are gone.
fn is_reached_without_link(root: &Path, relative: &Path, known: &mut HashSet<PathBuf>) -> bool {
    let Some(parent) = relative.parent().filter(|parent| !parent.as_os_str().is_empty()) else { return true };
    if known.contains(parent) {
        return true;
    }
    let is_folder = is_reached_without_link(root, parent, known)
        && fs::symlink_metadata(root.join(parent)).is_ok_and(|metadata| metadata.is_dir());
    if is_folder {
        known.insert(parent.to_owned());
    }
    is_folder
}

fn at_revision(
    request: &SnapshotRequest,
    repository: &Path,
    revision: &str,
) -> Result<Listing, SnapshotError> {
    let limit = request.git_deadline;
    let commit = git::resolve(repository, revision, limit)?;
    let output = git::ask(repository, &["ls-tree", "-r", "-z", "--full-tree", &commit], limit)?;
    let mut entries = BTreeMap::new();
    for record in output.split(|byte| *byte == 0).filter(|record| !record.is_empty()) {
        let (path, listed) = tree_record(record).ok_or(GitFailure::Form { command: "ls-tree" })?;
        entries.insert(path, listed);
    }
    let changed_files = match &request.base {
        None => Vec::new(),
        Some(base) => {
            let base = git::resolve(repository, base, limit)?;
            let from = git::merge_base(repository, &base, &commit, limit)?.unwrap_or(base);
            let arguments = ["diff", "--name-only", "-z", "--no-renames", "--no-ext-diff", &from, &commit];
            names(&git::ask(repository, &arguments, limit)?)
        }
    };
    Ok(Listing { entries, head: Some(commit), is_dirty: false, changed_files })
}

/// `<mode> <type> <oid>\t<path>` (git-ls-tree(1)).
fn tree_record(record: &[u8]) -> Option<(Vec<u8>, Listed)> {
    let tab = record.iter().position(|byte| *byte == b'\t')?;
    let mut words = std::str::from_utf8(&record[..tab]).ok()?.split(' ');
    let (mode, _, oid) = (words.next()?, words.next()?, words.next()?.to_owned());
    let listed = match mode {
        "120000" => Listed::SymlinkBlob { oid },
        "160000" => Listed::Folder,
        "100755" => Listed::Blob { is_executable: true, oid },
        _ => Listed::Blob { is_executable: false, oid },
    };
    Some((record[tab + 1..].to_vec(), listed))
}
