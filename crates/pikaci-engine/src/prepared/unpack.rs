//! Unpacks what a guest sends, which may be anything.
//!
//! Invariants: every path stays below the folder, through folders that this very call has made; nothing but files, folders
//! and links is made; sizes, counts and what is held in memory are bounded; what can't be made of the guest's own doing is
//! refused, and is no fault of this machine.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use tar::{Archive, Entry, EntryType};

/// The most bytes of one output.
pub(super) const BYTES_MAX: u64 = 64 << 30;
/// The most files, folders and links of one output.
pub(super) const ENTRIES_MAX: u64 = 2_000_000;
/// The most bytes of what the archive says of one entry: its name may be as long as it likes, and is held in memory.
const HEADERS_BYTES_MAX: u64 = 1 << 20;
/// The most bytes of the names of all folders, which are held in memory too.
const FOLDERS_BYTES_MAX: usize = 128 << 20;
/// How much padding may follow the end of the archive.
const REST_BYTES_MAX: u64 = 1 << 20;
const CHUNK_BYTES: usize = 64 << 10;

/// What was unpacked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unpacked {
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
}

/// Why nothing was unpacked, or not all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnpackError {
    /// There was no folder `out`.
    #[error("nothing was sent")]
    Nothing,
    /// What was sent is no output.
    #[error("{reason}")]
    Refused { reason: String },
    /// The archive is broken off, or the system refused.
    #[error("cannot unpack the output")]
    Io(#[from] io::Error),
}

/// Unpacks the folder `out` of a tar archive into `folder`, which is made. Reads to the end of what is sent.
pub(crate) fn unpack(archive: impl Read, folder: &Path) -> Result<Unpacked, UnpackError> {
    let fence = Fence::default();
    let mut archive = Archive::new(Fenced { inner: archive, fence: fence.clone() });
    let mut unpacking =
        Unpacking { folder, made: BTreeSet::new(), made_bytes: 0, unpacked: Unpacked::default() };
    let mut entries = archive.entries().map_err(|error| fence.blamed(error))?;
    loop {
        fence.allow(HEADERS_BYTES_MAX);
        let Some(entry) = entries.next() else { break };
        let mut entry = entry.map_err(|error| fence.blamed(error))?;
        fence.allow(u64::MAX);
        unpacking.take(&mut entry, &fence)?;
    }
    fence.allow(REST_BYTES_MAX);
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(|error| fence.blamed(error))?;
    if unpacking.made.is_empty() {
        return Err(UnpackError::Nothing);
    }
    Ok(unpacking.unpacked)
}

/// How much may be read before it is too much, and whether there was more.
#[derive(Clone, Default)]
struct Fence {
    allowed: Rc<Cell<u64>>,
    is_at_end: Rc<Cell<bool>>,
}

struct Fenced<R> {
    inner: R,
    fence: Fence,
}

impl Fence {
    fn allow(&self, bytes: u64) {
        self.allowed.set(bytes);
    }

    /// Whose fault it is that there is no next entry: an archive that is broken off was cut off on its way, and any other is
    /// what the guest has sent.
    fn blamed(&self, error: io::Error) -> UnpackError {
        if self.is_at_end.get() {
            return UnpackError::Io(error);
        }
        let what = if self.allowed.get() == 0 {
            "more than a name may be long".to_owned()
        } else {
            error.to_string()
        };
        UnpackError::Refused { reason: format!("the output is no archive of files: {what}") }
    }
}

impl<R: Read> Read for Fenced<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let allowed = self.fence.allowed.get();
        if allowed == 0 && !buffer.is_empty() {
            return Err(io::Error::other("too much"));
        }
        let most = buffer.len().min(usize::try_from(allowed).unwrap_or(usize::MAX));
        let count = self.inner.read(&mut buffer[..most])?;
        self.fence.allowed.set(allowed - count as u64);
        self.fence.is_at_end.set(count == 0 && most > 0);
        Ok(count)
    }
}

struct Unpacking<'a> {
    folder: &'a Path,
    made: BTreeSet<PathBuf>,
    made_bytes: usize,
    unpacked: Unpacked,
}

impl Unpacking<'_> {
    fn take<R: Read>(&mut self, entry: &mut Entry<'_, R>, fence: &Fence) -> Result<(), UnpackError> {
        let full = entry.path().map_err(|error| fence.blamed(error))?.into_owned();
        let Some(relative) = below_out(&full) else { return Err(refused(&full, "outside of out")) };
        self.unpacked.entries += 1;
        self.unpacked.bytes = self.unpacked.bytes.saturating_add(entry.size());
        if self.unpacked.entries > ENTRIES_MAX || self.unpacked.bytes > BYTES_MAX {
            let reason = format!("the output has more than {ENTRIES_MAX} files or {BYTES_MAX} bytes");
            return Err(UnpackError::Refused { reason });
        }
        let target = self.folder.join(&relative);
        let is_top = relative.as_os_str().is_empty();
        let has_parent = is_top || relative.parent().is_some_and(|parent| self.made.contains(parent));
        if !has_parent {
            return Err(refused(&full, "in a folder that was not sent"));
        }
        let blamed = |error: io::Error| {
            if is_own_doing(&error) { refused(&full, &error.to_string()) } else { error.into() }
        };
        match entry.header().entry_type() {
            EntryType::Directory => {
                fs::create_dir(&target).map_err(blamed)?;
                self.made_bytes += relative.as_os_str().len();
                if self.made_bytes > FOLDERS_BYTES_MAX {
                    return Err(refused(&full, "one folder too many"));
                }
                self.made.insert(relative);
            }
            _ if is_top => return Err(refused(&full, "no folder")),
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let mode = entry.header().mode().map_err(|error| fence.blamed(error))?;
                let mut file = File::create_new(&target).map_err(blamed)?;
                fill(entry, &mut file)?;
                let mode = if mode & 0o111 != 0 { 0o755 } else { 0o644 };
                file.set_permissions(fs::Permissions::from_mode(mode))?;
                // What looks at times, such as cargo and make, would take all of it for changed. One that can't be had is today's.
                let modified = entry.header().mtime().ok().map(Duration::from_secs);
                if let Some(modified) = modified.and_then(|since| SystemTime::UNIX_EPOCH.checked_add(since)) {
                    let _ = file.set_modified(modified);
                }
            }
            EntryType::Symlink => {
                let to = entry.link_name().map_err(|error| fence.blamed(error))?;
                let Some(to) = to else { return Err(refused(&full, "a link to nowhere")) };
                symlink(to, &target).map_err(blamed)?;
            }
            EntryType::Link => {
                let to =
                    entry.link_name().map_err(|error| fence.blamed(error))?.and_then(|to| below_out(&to));
                // To a file that was sent before, in a folder that was: it can't lead elsewhere.
                let to = to.filter(|to| to.parent().is_some_and(|parent| self.made.contains(parent)));
                let Some(to) = to else { return Err(refused(&full, "a link out of the output")) };
                fs::hard_link(self.folder.join(to), &target).map_err(blamed)?;
            }
            EntryType::XGlobalHeader => {}
            _ => return Err(refused(&full, "no file, folder or link")),
        }
        // What follows a folder or a link and is none of it.
        io::copy(entry, &mut io::sink())?;
        Ok(())
    }
}

fn refused(path: &Path, what: &str) -> UnpackError {
    let reason = format!("the output's {:?} is refused: {what}", path.display().to_string());
    UnpackError::Refused { reason }
}

/// Whether something can't be made because of what it is called or leads to, and not because of the disk.
fn is_own_doing(error: &io::Error) -> bool {
    use ErrorKind::{
        AlreadyExists, FileTooLarge, InvalidFilename, InvalidInput, IsADirectory, NotADirectory, NotFound,
        TooManyLinks,
    };
    matches!(
        error.kind(),
        AlreadyExists
            | FileTooLarge
            | InvalidFilename
            | InvalidInput
            | IsADirectory
            | NotADirectory
            | NotFound
            | TooManyLinks
    )
}

/// Copies a file, and leaves holes where there is nothing in it: what costs a guest nothing must not cost the host a disk.
fn fill(from: &mut impl Read, file: &mut File) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut bytes: u64 = 0;
    loop {
        let count = match from.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        bytes += count as u64;
        if count == CHUNK_BYTES && chunk.iter().all(|byte| *byte == 0) {
            file.seek(SeekFrom::Current(CHUNK_BYTES as i64))?;
        } else {
            file.write_all(&chunk[..count])?;
        }
    }
    file.set_len(bytes)
}

/// The path relative to `out`; `None` for one that is not plainly below it.
fn below_out(path: &Path) -> Option<PathBuf> {
    let path = path.strip_prefix("./").unwrap_or(path);
    let relative = path.strip_prefix("out").ok()?;
    let is_plain = relative.components().all(|part| matches!(part, Component::Normal(_)));
    is_plain.then(|| relative.to_owned())
}
