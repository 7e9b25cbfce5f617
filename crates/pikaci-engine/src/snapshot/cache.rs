//! What is known of a source's files without reading them: one file a source, below `snapshots/.cache/`.
//!
//! Invariants: an entry is used only when size, times, inode and mode are what they were; a file that was written within
//! the clock's grain of its reading gets no entry, because a later write could leave no trace (git's "racy" entries). A
//! cache that is not whole is no cache: its last 32 bytes are the SHA-256 of the rest.

use std::collections::HashMap;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use pikaci::Digest;
use pikaci::store::{Durability, replace};
use sha2::{Digest as _, Sha256};

use super::source::Stat;
use super::tree::ContentDigest;

pub(crate) const FOLDER: &str = ".cache";
const HEADER: &[u8] = b"pikaci cache 1\n";
/// File systems stamp with the kernel's coarse clock, 1 to 10 ms.
const GRAIN_NS: i64 = 20_000_000;

/// What is known of one source.
pub(super) struct Cache {
    path: PathBuf,
    latest: Option<Digest>,
    known: HashMap<Vec<u8>, Entry>,
    next: HashMap<Vec<u8>, Entry>,
    opened_ns: i64,
    is_changed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Entry {
    stat: Stat,
    content: ContentDigest,
}

/// A blob never changes.
const BLOB: Stat = Stat { size: 0, modified_ns: 0, changed_ns: 0, inode: 0, mode: 0 };

impl Cache {
    /// Opens what is known of the source; nothing, when that can't be read.
    pub(super) fn open(snapshots_dir: &Path, source: &Path) -> Cache {
        let source = fs::canonicalize(source).unwrap_or_else(|_| source.to_owned());
        let name: [u8; 32] = Sha256::digest(source.as_os_str().as_bytes()).into();
        let path = snapshots_dir.join(FOLDER).join(&Digest::from_bytes(name).as_str()[..16]);
        let (latest, known) = fs::read(&path).ok().and_then(|content| parse(&content)).unwrap_or_default();
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let opened_ns = i64::try_from(since_epoch.as_nanos()).unwrap_or(i64::MAX);
        Cache { path, latest, known, next: HashMap::new(), opened_ns, is_changed: false }
    }

    /// The latest snapshot of this source.
    pub(super) fn latest(&self) -> Option<&Digest> {
        self.latest.as_ref()
    }

    /// What a file holds, if it is as it was.
    pub(super) fn find(&self, path: &[u8], stat: &Stat) -> Option<ContentDigest> {
        self.known.get(path).filter(|entry| entry.stat == *stat).map(|entry| entry.content)
    }

    /// What a blob holds.
    pub(super) fn find_blob(&self, oid: &str) -> Option<ContentDigest> {
        self.find(oid.as_bytes(), &BLOB)
    }

    /// Keeps what a file holds, unless it was written so lately that a later write could look the same.
    pub(super) fn keep(&mut self, path: &[u8], stat: Stat, content: ContentDigest) {
        if stat.modified_ns.max(stat.changed_ns) < self.opened_ns - GRAIN_NS {
            let entry = Entry { stat, content };
            self.is_changed |= self.known.get(path) != Some(&entry);
            self.next.insert(path.to_vec(), entry);
        }
    }

    /// Keeps what a blob holds.
    pub(super) fn keep_blob(&mut self, oid: &str, content: ContentDigest) {
        self.keep(oid.as_bytes(), BLOB, content);
    }

    /// Writes down what was kept. Best effort: without it, the next snapshot reads more.
    pub(super) fn store(&mut self, latest: &Digest) {
        let is_same =
            !self.is_changed && self.known.len() == self.next.len() && self.latest.as_ref() == Some(latest);
        if is_same {
            return;
        }
        let mut content = HEADER.to_vec();
        content.extend_from_slice(latest.as_str().as_bytes());
        for (path, Entry { stat, content: digest }) in &self.next {
            content.extend_from_slice(&(path.len() as u32).to_le_bytes());
            content.extend_from_slice(path);
            content.extend_from_slice(&stat.size.to_le_bytes());
            content.extend_from_slice(&stat.modified_ns.to_le_bytes());
            content.extend_from_slice(&stat.changed_ns.to_le_bytes());
            content.extend_from_slice(&stat.inode.to_le_bytes());
            content.extend_from_slice(&stat.mode.to_le_bytes());
            content.extend_from_slice(digest);
        }
        let sum = Sha256::digest(&content);
        content.extend_from_slice(&sum);
        if let Some(folder) = self.path.parent() {
            let _ = fs::create_dir_all(folder);
        }
        let _ = replace(&self.path, &content, Durability::Process);
    }
}

type Known = (Option<Digest>, HashMap<Vec<u8>, Entry>);

fn parse(content: &[u8]) -> Option<Known> {
    let (body, sum) = content.split_at_checked(content.len().checked_sub(32)?)?;
    let expected: [u8; 32] = Sha256::digest(body).into();
    if expected != sum {
        return None;
    }
    let mut rest = body.strip_prefix(HEADER)?;
    let latest = Digest::parse(std::str::from_utf8(take(&mut rest, 64)?).ok()?).ok()?;
    let mut known = HashMap::new();
    while !rest.is_empty() {
        let length = u32::from_le_bytes(take(&mut rest, 4)?.try_into().ok()?);
        let path = take(&mut rest, length as usize)?.to_vec();
        let stat = Stat {
            size: u64::from_le_bytes(take(&mut rest, 8)?.try_into().ok()?),
            modified_ns: i64::from_le_bytes(take(&mut rest, 8)?.try_into().ok()?),
            changed_ns: i64::from_le_bytes(take(&mut rest, 8)?.try_into().ok()?),
            inode: u64::from_le_bytes(take(&mut rest, 8)?.try_into().ok()?),
            mode: u32::from_le_bytes(take(&mut rest, 4)?.try_into().ok()?),
        };
        let digest = take(&mut rest, 32)?.try_into().ok()?;
        known.insert(path, Entry { stat, content: digest });
    }
    Some((Some(latest), known))
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(count)?;
    *rest = left;
    Some(taken)
}
