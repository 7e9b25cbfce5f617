//! `snapshots/<digest>.files`: what a snapshot holds, so that later ones can link to its files.
//!
//! The list is there before the snapshot's folder is, and the folder appears whole, so a snapshot is whole when both are
//! there, unless the machine lost power in between: no file is flushed one by one. The list therefore names the boot
//! that it was made in, and after another boot the sizes of all files are compared once.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use pikaci::Digest;
use pikaci::store::{Durability, replace};

use super::git::path_of;
use super::tree::Node;

const HEADER: &str = "pikaci files 1";

/// Where the list of a snapshot is.
pub(crate) fn path(snapshots_dir: &Path, digest: &Digest) -> PathBuf {
    snapshots_dir.join(format!("{digest}.files"))
}

/// Whether a snapshot may be used.
pub(super) fn is_whole(snapshots_dir: &Path, digest: &Digest) -> bool {
    let folder = snapshots_dir.join(digest);
    if !folder.is_dir() {
        return false;
    }
    let Ok(content) = fs::read(path(snapshots_dir, digest)) else { return false };
    let Some((boot, records)) = split(&content) else { return false };
    if boot == boot_id() {
        return true;
    }
    let Some(nodes) = parse(records) else { return false };
    let is_intact = nodes.iter().all(|(path, node)| {
        let path = folder.join(path_of(path));
        match node {
            Node::File { size, .. } => {
                fs::symlink_metadata(path).is_ok_and(|found| found.is_file() && found.len() == *size)
            }
            Node::Symlink { target } => fs::read_link(path).is_ok_and(|found| found == path_of(target)),
            Node::Folder => path.is_dir(),
        }
    });
    // Best effort: a list that could not be written again is compared again.
    let _ = is_intact.then(|| write(snapshots_dir, digest, &nodes));
    is_intact
}

/// What a snapshot holds; `None` when it must not be used.
pub(super) fn read(snapshots_dir: &Path, digest: &Digest) -> Option<BTreeMap<Vec<u8>, Node>> {
    if !is_whole(snapshots_dir, digest) {
        return None;
    }
    let content = fs::read(path(snapshots_dir, digest)).ok()?;
    parse(split(&content)?.1)
}

/// Writes the list of a snapshot whose folder is about to appear.
pub(super) fn write(
    snapshots_dir: &Path,
    digest: &Digest,
    nodes: &BTreeMap<Vec<u8>, Node>,
) -> io::Result<()> {
    let mut content = format!("{HEADER}\0{}\0", boot_id()).into_bytes();
    for (path, node) in nodes {
        match node {
            Node::File { is_executable, size, content: digest } => {
                let kind = if *is_executable { 'x' } else { 'f' };
                content
                    .extend_from_slice(format!("{kind}{size} {} ", Digest::from_bytes(*digest)).as_bytes());
            }
            Node::Symlink { target } => {
                content.extend_from_slice(format!("l{} ", target.len()).as_bytes());
                content.extend_from_slice(target);
                content.push(b' ');
            }
            Node::Folder => content.push(b'd'),
        }
        content.extend_from_slice(path);
        content.push(0);
    }
    replace(&path_for(snapshots_dir, digest), &content, Durability::Process)
}

fn path_for(snapshots_dir: &Path, digest: &Digest) -> PathBuf {
    path(snapshots_dir, digest)
}

fn split(content: &[u8]) -> Option<(&str, &[u8])> {
    let rest = content.strip_prefix(HEADER.as_bytes())?.strip_prefix(b"\0")?;
    let end = rest.iter().position(|byte| *byte == 0)?;
    Some((std::str::from_utf8(&rest[..end]).ok()?, &rest[end + 1..]))
}

fn parse(records: &[u8]) -> Option<BTreeMap<Vec<u8>, Node>> {
    let mut nodes = BTreeMap::new();
    let records = match records {
        [] => return Some(nodes),
        records => records.strip_suffix(b"\0")?,
    };
    for record in records.split(|byte| *byte == 0) {
        let (kind, rest) = record.split_first()?;
        let (path, node) = match kind {
            b'd' => (rest, Node::Folder),
            b'l' => {
                let (length, rest) = word(rest)?;
                let length: usize = length.parse().ok()?;
                let target = rest.get(..length)?.to_vec();
                (rest.get(length + 1..)?, Node::Symlink { target })
            }
            b'f' | b'x' => {
                let (size, rest) = word(rest)?;
                let (digest, path) = word(rest)?;
                let content = bytes_of(digest)?;
                (path, Node::File { is_executable: *kind == b'x', size: size.parse().ok()?, content })
            }
            _ => return None,
        };
        nodes.insert(path.to_vec(), node);
    }
    Some(nodes)
}

fn word(record: &[u8]) -> Option<(&str, &[u8])> {
    let end = record.iter().position(|byte| *byte == b' ')?;
    Some((std::str::from_utf8(&record[..end]).ok()?, &record[end + 1..]))
}

fn bytes_of(hex: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    for (position, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[position * 2..position * 2 + 2], 16).ok()?;
    }
    Some(bytes)
}

/// Names this boot of the machine (random(4)); empty where the kernel does not say.
fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_as_it_was_written_whatever_the_paths_hold() {
        let folder = tempfile::tempdir().unwrap();
        let digest = Digest::from_bytes([7; 32]);
        let file = Node::File { is_executable: true, size: 0, content: [9; 32] };
        let nodes = BTreeMap::from([
            (b"a b\xff\n".to_vec(), file),
            (b"link".to_vec(), Node::Symlink { target: b"to a b".to_vec() }),
            (b"sub".to_vec(), Node::Folder),
        ]);
        fs::create_dir(folder.path().join(&digest)).unwrap();
        assert_eq!(read(folder.path(), &digest), None);
        write(folder.path(), &digest, &nodes).unwrap();
        assert_eq!(read(folder.path(), &digest), Some(nodes));
    }

    #[test]
    fn after_another_boot_a_torn_snapshot_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let digest = Digest::from_bytes([7; 32]);
        let file = Node::File { is_executable: false, size: 3, content: [9; 32] };
        let link = Node::Symlink { target: b"f".to_vec() };
        let nodes = BTreeMap::from([(b"f".to_vec(), file), (b"link".to_vec(), link)]);
        fs::create_dir(folder.path().join(&digest)).unwrap();
        fs::write(folder.path().join(&digest).join("f"), "").unwrap();
        write(folder.path(), &digest, &nodes).unwrap();
        assert!(is_whole(folder.path(), &digest));
        let list = path(folder.path(), &digest);
        let text = String::from_utf8(fs::read(&list).unwrap()).unwrap();
        fs::write(&list, text.replace(&boot_id(), "another-boot")).unwrap();
        assert!(!is_whole(folder.path(), &digest));
        fs::write(folder.path().join(&digest).join("f"), "abc").unwrap();
        assert!(!is_whole(folder.path(), &digest));
        std::os::unix::fs::symlink("f", folder.path().join(&digest).join("link")).unwrap();
        assert!(is_whole(folder.path(), &digest));
    }
}
