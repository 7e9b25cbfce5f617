//! Makes an output of what a build left: nothing but files, folders and links, read-only, with its sentinel.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use pikaci::Digest;
use pikaci::guest::SENTINEL_NAME;

use super::unpack::{BYTES_MAX, ENTRIES_MAX};
use super::{LINUX_RUST, LINUX_RUST_PARTS};

/// Why what was left is no output. The build's fault, but for the system's own errors.
#[derive(Debug, thiserror::Error)]
pub(super) enum SealError {
    #[error("the build left nothing in /artifacts/out")]
    Nothing,
    #[error("the output {path:?} is a {kind}; only files, folders and links are kept", path = path.display())]
    Special { path: PathBuf, kind: &'static str },
    #[error("the output holds a {SENTINEL_NAME}, which is pikaci's own name")]
    Reserved,
    #[error("the output {LINUX_RUST} has no folder {part}; it must have workspace-deps and workspace-build")]
    NoPart { part: &'static str },
    #[error("the output has more than {ENTRIES_MAX} files or {BYTES_MAX} bytes")]
    TooMuch,
    #[error("the output's folders are nested deeper than a path may be long")]
    TooDeep,
    #[error("cannot seal {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl SealError {
    /// Whether it was the machinery's fault.
    pub(super) fn is_infra(&self) -> bool {
        matches!(self, SealError::Io { .. })
    }
}

/// Seals a folder. Returns the bytes that its files have on the disk: holes weigh nothing.
pub(super) fn seal(folder: &Path, name: &str, key: &Digest) -> Result<u64, SealError> {
    let cannot = |path: &Path| {
        let path = path.to_owned();
        move |source: io::Error| match source.kind() {
            io::ErrorKind::InvalidFilename => SealError::TooDeep,
            _ => SealError::Io { path, source },
        }
    };
    match fs::symlink_metadata(folder) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => return Err(SealError::Special { path: "out".into(), kind: "file or link" }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(SealError::Nothing),
        Err(error) => return Err(cannot(folder)(error)),
    }
    let parts = parts(folder, name);
    for part in parts_of(name) {
        if !fs::symlink_metadata(folder.join(part)).is_ok_and(|metadata| metadata.is_dir()) {
            return Err(SealError::NoPart { part });
        }
    }
    for part in &parts {
        let sentinel = part.join(SENTINEL_NAME);
        if fs::symlink_metadata(&sentinel).is_ok() {
            return Err(SealError::Reserved);
        }
        fs::write(&sentinel, format!("{key}\n")).map_err(cannot(&sentinel))?;
    }
    let (mut bytes, mut entries, mut disk_bytes): (u64, u64, u64) = (0, 0, 0);
    let mut open = vec![folder.to_owned()];
    let mut folders = Vec::new();
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).map_err(cannot(&next))? {
            let path = entry.map_err(cannot(&next))?.path();
            let metadata = fs::symlink_metadata(&path).map_err(cannot(&path))?;
            let kind = metadata.file_type();
            entries += 1;
            if entries > ENTRIES_MAX || bytes > BYTES_MAX {
                return Err(SealError::TooMuch);
            }
            if kind.is_dir() {
                open.push(path);
            } else if kind.is_file() {
                bytes = bytes.saturating_add(metadata.len());
                disk_bytes = disk_bytes.saturating_add(metadata.len().min(metadata.blocks() * 512));
                // No set-user-id bit of a guest may live on the host.
                let mode = if metadata.mode() & 0o111 == 0 { 0o444 } else { 0o555 };
                fs::set_permissions(&path, fs::Permissions::from_mode(mode)).map_err(cannot(&path))?;
            } else if !kind.is_symlink() {
                let path = path.strip_prefix(folder).unwrap_or(&path).to_owned();
                let kind = match () {
                    () if kind.is_fifo() => "pipe",
                    () if kind.is_socket() => "socket",
                    () => "device",
                };
                return Err(SealError::Special { path, kind });
            }
        }
        folders.push(next);
    }
    for folder in folders {
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o555)).map_err(cannot(&folder))?;
    }
    Ok(disk_bytes)
}

fn parts_of(name: &str) -> &'static [&'static str] {
    if name == LINUX_RUST { &LINUX_RUST_PARTS } else { &[] }
}

/// The folders of an output that are mounted.
pub(super) fn parts(folder: &Path, name: &str) -> Vec<PathBuf> {
    match parts_of(name) {
        [] => vec![folder.to_owned()],
        parts => parts.iter().map(|part| folder.join(part)).collect(),
    }
}
