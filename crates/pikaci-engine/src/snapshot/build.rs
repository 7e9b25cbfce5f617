//! Builds a snapshot's folder: links to what earlier snapshots hold, copies of what is new.
//!
//! Content that nobody knows is copied while it is hashed, so that a first snapshot reads its source once. Everything is
//! built in a folder of its own, which is renamed when it is whole; who loses a race throws its own away.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use pikaci::Digest;
use pikaci::guest::SENTINEL_NAME;
use rustix::fs::OFlags;
use sha2::{Digest as _, Sha256};

use super::cache::Cache;
use super::git::{Blobs, path_of};
use super::source::{Listed, Listing, Stat};
use super::tree::{ContentDigest, Node};
use super::{SnapshotError, SnapshotRequest, Source, list, tree};

pub(crate) const BUILDING_PREFIX: &str = ".building-";
const READ_TRIES: usize = 4;
const BUFFER_BYTES: usize = 256 * 1024;
const THREADS_MAX: usize = 8;

/// How many threads look, read and copy.
pub(super) fn threads() -> usize {
    thread::available_parallelism().map_or(2, usize::from).clamp(1, THREADS_MAX)
}

pub(super) struct Built {
    pub(super) digest: Digest,
    pub(super) files: u64,
    pub(super) files_copied: u64,
    pub(super) bytes_copied: u64,
}

pub(super) fn build(
    request: &SnapshotRequest,
    listing: &Listing,
    cache: &mut Cache,
) -> Result<Built, SnapshotError> {
    let mut builder = Builder::new(request);
    let mut nodes = builder.known(listing, cache);
    builder.copy_unknown(listing, cache, &mut nodes)?;
    let digest = tree::digest(&nodes);
    let files = nodes.values().filter(|node| matches!(node, Node::File { .. })).count() as u64;
    if !list::is_whole(&request.snapshots_dir, &digest) {
        builder.complete(listing, cache, &nodes, &digest)?;
    }
    builder.discard();
    let copied = builder.copied.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
    Ok(Built { digest, files, files_copied: copied.len() as u64, bytes_copied: copied.values().sum() })
}

struct Builder<'r> {
    request: &'r SnapshotRequest,
    /// Made when the first file is copied.
    folder: PathBuf,
    /// The files that are in `folder` already, with their sizes.
    copied: Mutex<HashMap<Vec<u8>, u64>>,
    /// Until the file system refuses: whether source and snapshots can share a file's blocks.
    can_share: AtomicBool,
}

impl<'r> Builder<'r> {
    fn new(request: &'r SnapshotRequest) -> Builder<'r> {
        let random = std::process::id() as u64 ^ (std::ptr::from_ref(request) as u64) << 20;
        let folder = request.snapshots_dir.join(format!("{BUILDING_PREFIX}{random:016x}-{}", next_number()));
        let can_share = AtomicBool::new(true);
        Builder { request, folder, copied: Mutex::new(HashMap::new()), can_share }
    }

    /// What is known without reading any content.
    fn known(&self, listing: &Listing, cache: &mut Cache) -> BTreeMap<Vec<u8>, Node> {
        let mut nodes = BTreeMap::new();
        for (path, listed) in &listing.entries {
            let node = match listed {
                Listed::Folder => Some(Node::Folder),
                Listed::Symlink { target } => Some(Node::Symlink { target: target.clone() }),
                Listed::File { is_executable, stat } => cache.find(path, stat).map(|content| {
                    cache.keep(path, *stat, content);
                    Node::File { is_executable: *is_executable, size: stat.size, content }
                }),
                Listed::Blob { .. } | Listed::SymlinkBlob { .. } => None,
            };
            if let Some(node) = node {
                nodes.insert(path.clone(), node);
            }
        }
        self.known_blobs(listing, cache, &mut nodes);
        nodes
    }

    /// Blobs are known by the latest snapshot of the same repository: their content by the cache, their size by its list.
    fn known_blobs(&self, listing: &Listing, cache: &mut Cache, nodes: &mut BTreeMap<Vec<u8>, Node>) {
        if !matches!(self.request.source, Source::Revision { .. }) {
            return;
        }
        let Some(latest) = cache.latest().cloned() else { return };
        let Some(earlier) = list::read(&self.request.snapshots_dir, &latest) else { return };
        let sizes: HashMap<ContentDigest, u64> = earlier
            .values()
            .filter_map(|node| match node {
                Node::File { size, content, .. } => Some((*content, *size)),
                Node::Symlink { .. } | Node::Folder => None,
            })
            .collect();
        for (path, listed) in &listing.entries {
            if let Listed::Blob { is_executable, oid } = listed
                && let Some(content) = cache.find_blob(oid)
                && let Some(size) = sizes.get(&content)
            {
                cache.keep_blob(oid, content);
                nodes
                    .insert(path.clone(), Node::File { is_executable: *is_executable, size: *size, content });
            }
        }
    }

    /// Copies what is not known into the folder, and so learns what it holds.
    fn copy_unknown(
        &self,
        listing: &Listing,
        cache: &mut Cache,
        nodes: &mut BTreeMap<Vec<u8>, Node>,
    ) -> Result<(), SnapshotError> {
        let unknown: Vec<&Vec<u8>> =
            listing.entries.keys().filter(|path| !nodes.contains_key(*path)).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        self.make_folders(listing)?;
        match &self.request.source {
            Source::WorkingTree { root } => {
                for (path, stat, node) in self.copy_files(root, listing, &unknown)? {
                    if let Node::File { content, .. } = &node {
                        cache.keep(&path, stat, *content);
                    }
                    nodes.insert(path, node);
                }
                Ok(())
            }
            Source::Revision { repository, .. } => {
                self.copy_blobs(repository, listing, &unknown, cache, nodes)
            }
        }
    }

    fn copy_files(
        &self,
        root: &Path,
        listing: &Listing,
        paths: &[&Vec<u8>],
    ) -> Result<Vec<(Vec<u8>, Stat, Node)>, SnapshotError> {
        let next = AtomicUsize::new(0);
        let work = || -> Result<Vec<(Vec<u8>, Stat, Node)>, SnapshotError> {
            let mut done = Vec::new();
            let mut buffer = vec![0; BUFFER_BYTES];
            while let Some(path) = paths.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Some(Listed::File { is_executable, .. }) = listing.entries.get(*path) {
                    let (stat, node) = self.copy_steady(root, path, *is_executable, &mut buffer)?;
                    done.push(((*path).clone(), stat, node));
                }
            }
            Ok(done)
        };
        let parts: Vec<_> = thread::scope(|scope| {
            let parts: Vec<_> = (0..threads()).map(|_| scope.spawn(work)).collect();
            let lost = || SnapshotError::io("copy", root)(io::Error::other("a thread was lost"));
            parts.into_iter().map(|part| part.join().unwrap_or_else(|_| Err(lost()))).collect()
        });
        let mut all = Vec::with_capacity(paths.len());
        for part in parts {
            all.extend(part?);
        }
        Ok(all)
    }

    /// Copies one file that nobody writes meanwhile.
    fn copy_steady(
        &self,
        root: &Path,
        path: &[u8],
        is_executable: bool,
        buffer: &mut [u8],
    ) -> Result<(Stat, Node), SnapshotError> {
        let from = root.join(path_of(path));
        let to = self.folder.join(path_of(path));
        for _ in 0..READ_TRIES {
            // NONBLOCK: what was a file a moment ago may be a pipe now.
            let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
            let opened = OpenOptions::new().read(true).custom_flags(flags).open(&from);
            let mut source = opened.map_err(SnapshotError::io("open", &from))?;
            let metadata = source.metadata().map_err(SnapshotError::io("look at", &from))?;
            if !metadata.is_file() {
                return Err(SnapshotError::SpecialFile { path: from });
            }
            let before = Stat::of(&metadata);
            let shared = self.share_hashed(&source, &to, is_executable, buffer);
            let copied = match shared.map_err(SnapshotError::io("copy", &from))? {
                Some(copied) => Ok(copied),
                None => copy_hashed(&mut source, &to, is_executable, buffer),
            };
            let (content, size) = copied.map_err(SnapshotError::io("copy", &from))?;
            let after = Stat::of(&source.metadata().map_err(SnapshotError::io("look at", &from))?);
            if before == after && size == after.size {
                self.note_copied(path, size);
                return Ok((after, Node::File { is_executable, size, content }));
            }
            fs::remove_file(&to).map_err(SnapshotError::io("remove", &to))?;
        }
        Err(SnapshotError::Unsteady { path: from })
    }

    /// Copies a file by sharing its blocks, copy on write (ioctl_ficlone(2)); `None` where the file system can't.
    fn share_hashed(
        &self,
        source: &File,
        to: &Path,
        is_executable: bool,
        buffer: &mut [u8],
    ) -> io::Result<Option<(ContentDigest, u64)>> {
        if !self.can_share.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let mut file = create_read_only(to, is_executable)?;
        if rustix::fs::ioctl_ficlone(&file, source).is_err() {
            self.can_share.store(false, Ordering::Relaxed);
            fs::remove_file(to)?;
            return Ok(None);
        }
        // The clone can't change any more, so its content is what is hashed.
        hash_to(&mut file, &mut io::sink(), buffer).map(Some)
    }

    fn copy_blobs(
        &self,
        repository: &Path,
        listing: &Listing,
        paths: &[&Vec<u8>],
        cache: &mut Cache,
        nodes: &mut BTreeMap<Vec<u8>, Node>,
    ) -> Result<(), SnapshotError> {
        let wanted: Vec<(&Vec<u8>, &Listed, String)> = paths
            .iter()
            .filter_map(|path| match listing.entries.get(*path) {
                Some(listed @ (Listed::Blob { oid, .. } | Listed::SymlinkBlob { oid })) => {
                    Some((*path, listed, oid.clone()))
                }
                _ => None,
            })
            .collect();
        let oids = wanted.iter().map(|(_, _, oid)| oid.clone()).collect();
        let mut blobs = Blobs::open(repository, oids, self.request.git_deadline)?;
        let mut buffer = vec![0; BUFFER_BYTES];
        for (path, listed, oid) in wanted {
            let to = self.folder.join(path_of(path));
            let node = blobs.next(|content, _| -> Result<Node, SnapshotError> {
                if let Listed::Blob { is_executable, .. } = listed {
                    let copied = copy_hashed(content, &to, *is_executable, &mut buffer);
                    let (content, size) = copied.map_err(SnapshotError::io("write", &to))?;
                    return Ok(Node::File { is_executable: *is_executable, size, content });
                }
                let mut target = Vec::new();
                content.read_to_end(&mut target).map_err(SnapshotError::io("read the link", &to))?;
                Ok(Node::Symlink { target })
            })??;
            if let Node::File { content, size, .. } = &node {
                cache.keep_blob(&oid, *content);
                self.note_copied(path, *size);
            }
            nodes.insert(path.clone(), node);
        }
        Ok(())
    }

    /// Puts in what is known already, writes the list, and gives the folder its name.
    fn complete(
        &self,
        listing: &Listing,
        cache: &Cache,
        nodes: &BTreeMap<Vec<u8>, Node>,
        digest: &Digest,
    ) -> Result<(), SnapshotError> {
        self.make_folders(listing)?;
        let earlier = self.earlier_files(cache);
        for (path, node) in nodes {
            let to = self.folder.join(path_of(path));
            match node {
                Node::Folder => {}
                Node::Symlink { target } => {
                    symlink(path_of(target), &to).map_err(SnapshotError::io("link", &to))?;
                }
                Node::File { is_executable, content, .. } => {
                    if self.is_copied(path) {
                        continue;
                    }
                    let from = earlier.get(&(*content, *is_executable));
                    let is_linked = from.is_some_and(|from| fs::hard_link(from, &to).is_ok());
                    if !is_linked {
                        self.copy_again(path, *is_executable, content, listing)?;
                    }
                }
            }
        }
        let sentinel = self.folder.join(SENTINEL_NAME);
        fs::write(&sentinel, format!("{digest}\n")).map_err(SnapshotError::io("write", &sentinel))?;
        self.protect(listing)?;
        list::write(&self.request.snapshots_dir, digest, nodes)
            .map_err(SnapshotError::io("list", &self.request.snapshots_dir))?;
        self.give_name(digest)
    }

    /// Copies a file whose content is known, but which no earlier snapshot can give: it has gone, or has too many links.
    fn copy_again(
        &self,
        path: &[u8],
        is_executable: bool,
        content: &ContentDigest,
        listing: &Listing,
    ) -> Result<(), SnapshotError> {
        let mut buffer = vec![0; BUFFER_BYTES];
        let node = match (&self.request.source, listing.entries.get(path)) {
            (Source::WorkingTree { root }, _) => self.copy_steady(root, path, is_executable, &mut buffer)?.1,
            (Source::Revision { repository, .. }, Some(Listed::Blob { oid, .. })) => {
                let to = self.folder.join(path_of(path));
                let mut blobs = Blobs::open(repository, vec![oid.clone()], self.request.git_deadline)?;
                let (content, size) = blobs
                    .next(|content, _| copy_hashed(content, &to, is_executable, &mut buffer))?
                    .map_err(SnapshotError::io("write", &to))?;
                self.note_copied(path, size);
                Node::File { is_executable, size, content }
            }
            (Source::Revision { .. }, _) => Node::Folder,
        };
        match node {
            Node::File { content: found, .. } if found == *content => Ok(()),
            // It was looked at and changed since: the address would be wrong.
            _ => Err(SnapshotError::Unsteady { path: self.request.source.root().join(path_of(path)) }),
        }
    }

    /// The files of this source's latest snapshot, by what they hold.
    fn earlier_files(&self, cache: &Cache) -> HashMap<(ContentDigest, bool), PathBuf> {
        let Some(latest) = cache.latest() else { return HashMap::new() };
        let folder = self.request.snapshots_dir.join(latest);
        let nodes = list::read(&self.request.snapshots_dir, latest).unwrap_or_default();
        let files = nodes.into_iter().filter_map(|(path, node)| match node {
            Node::File { is_executable, content, .. } => {
                Some(((content, is_executable), folder.join(path_of(&path))))
            }
            Node::Symlink { .. } | Node::Folder => None,
        });
        files.collect()
    }

    fn make_folders(&self, listing: &Listing) -> Result<(), SnapshotError> {
        if self.folder.exists() {
            return Ok(());
        }
        for folder in self.folders(listing) {
            fs::create_dir_all(&folder).map_err(SnapshotError::io("create", &folder))?;
        }
        Ok(())
    }

    /// The snapshot's folders, each after its parent.
    fn folders(&self, listing: &Listing) -> BTreeSet<PathBuf> {
        let mut folders = BTreeSet::from([self.folder.clone()]);
        for (path, listed) in &listing.entries {
            let path = path_of(path);
            let innermost =
                if matches!(listed, Listed::Folder) { Some(path.as_path()) } else { path.parent() };
            let mut next = innermost.filter(|folder| !folder.as_os_str().is_empty());
            while let Some(folder) = next {
                if !folders.insert(self.folder.join(folder)) {
                    break;
                }
                next = folder.parent().filter(|folder| !folder.as_os_str().is_empty());
            }
        }
        folders
    }

    fn protect(&self, listing: &Listing) -> Result<(), SnapshotError> {
        let sentinel = self.folder.join(SENTINEL_NAME);
        fs::set_permissions(&sentinel, Permissions::from_mode(0o444))
            .map_err(SnapshotError::io("protect", &sentinel))?;
        for folder in self.folders(listing).into_iter().rev().filter(|folder| *folder != self.folder) {
            fs::set_permissions(&folder, Permissions::from_mode(0o555))
                .map_err(SnapshotError::io("protect", folder))?;
        }
        Ok(())
    }

    fn give_name(&self, digest: &Digest) -> Result<(), SnapshotError> {
        let name = self.request.snapshots_dir.join(digest);
        // A torn folder of that name, from before a loss of power, is put aside for the collector.
        if name.is_dir() && !list::is_whole(&self.request.snapshots_dir, digest) {
            let aside = self.folder.with_extension("torn");
            fs::rename(&name, &aside).map_err(SnapshotError::io("put aside", &name))?;
        }
        match fs::rename(&self.folder, &name) {
            Ok(()) => {
                // Last: a folder that can't be written can't be renamed by everybody.
                fs::set_permissions(&name, Permissions::from_mode(0o555))
                    .map_err(SnapshotError::io("protect", name))
            }
            // Another process was faster, with the same tree.
            Err(_) if list::is_whole(&self.request.snapshots_dir, digest) => Ok(()),
            Err(source) => Err(SnapshotError::Io { action: "name", path: name, source }),
        }
    }

    fn note_copied(&self, path: &[u8], bytes: u64) {
        self.copied.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(path.to_vec(), bytes);
    }

    fn is_copied(&self, path: &[u8]) -> bool {
        self.copied.lock().unwrap_or_else(std::sync::PoisonError::into_inner).contains_key(path)
    }

    /// Removes what was built when it was not needed. Best effort: the collector removes the rest.
    fn discard(&self) {
        let _ = crate::snapshot::remove_tree(&self.folder);
    }
}

fn next_number() -> usize {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    NUMBER.fetch_add(1, Ordering::Relaxed)
}

/// Writes all of `content` into a new read-only file, and says what it holds.
fn copy_hashed(
    content: &mut dyn Read,
    to: &Path,
    is_executable: bool,
    buffer: &mut [u8],
) -> io::Result<(ContentDigest, u64)> {
    let mut file = create_read_only(to, is_executable)?;
    hash_to(content, &mut file, buffer)
}

fn create_read_only(path: &Path, is_executable: bool) -> io::Result<File> {
    let mode = if is_executable { 0o555 } else { 0o444 };
    let file = File::options().read(true).write(true).create_new(true).mode(mode).open(path)?;
    // The process's umask may have taken a bit away.
    if file.metadata()?.permissions().mode() & 0o777 != mode {
        file.set_permissions(Permissions::from_mode(mode))?;
    }
    Ok(file)
}

fn hash_to(
    content: &mut dyn Read,
    to: &mut dyn io::Write,
    buffer: &mut [u8],
) -> io::Result<(ContentDigest, u64)> {
    let (mut hash, mut bytes) = (Sha256::new(), 0);
    loop {
        match content.read(buffer) {
            Ok(0) => return Ok((hash.finalize().into(), bytes)),
            Ok(count) => {
                hash.update(&buffer[..count]);
                to.write_all(&buffer[..count])?;
                bytes += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
