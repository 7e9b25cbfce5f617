//! Unpacks what a guest sends, which may be anything.
//!
//! Invariants: every path stays below the folder, through folders that this very call has made; nothing but files, folders
//! and links is made; sizes and counts are bounded.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Component, Path, PathBuf};

use tar::{Archive, EntryType};

/// The most bytes of one output.
const BYTES_MAX: u64 = 64 << 30;
/// The most files, folders and links of one output.
const ENTRIES_MAX: u64 = 2_000_000;

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

/// Unpacks the folder `out` of a tar archive into `folder`, which is made.
pub(crate) fn unpack(archive: impl Read, folder: &Path) -> Result<Unpacked, UnpackError> {
    let refused = |path: &Path, what: &str| UnpackError::Refused {
        reason: format!("the output's {:?} is {what}", path.display().to_string()),
    };
    let mut made = BTreeSet::new();
    let mut unpacked = Unpacked::default();
    let mut archive = Archive::new(archive);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let full = entry.path()?.into_owned();
        let Some(relative) = below_out(&full) else { return Err(refused(&full, "outside of out")) };
        unpacked.entries += 1;
        unpacked.bytes = unpacked.bytes.saturating_add(entry.size());
        if unpacked.entries > ENTRIES_MAX || unpacked.bytes > BYTES_MAX {
            let reason = format!("the output has more than {ENTRIES_MAX} files or {BYTES_MAX} bytes");
            return Err(UnpackError::Refused { reason });
        }
        let target = folder.join(&relative);
        let is_top = relative.as_os_str().is_empty();
        let has_parent = is_top || target.parent().is_some_and(|parent| made.contains(parent));
        if !has_parent {
            return Err(refused(&full, "in a folder that was not sent"));
        }
        match entry.header().entry_type() {
            EntryType::Directory => {
                fs::create_dir(&target)?;
                made.insert(target);
            }
            _ if is_top => return Err(refused(&full, "no folder")),
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let is_executable = entry.header().mode()? & 0o111 != 0;
                let mut file = File::create_new(&target)?;
                io::copy(&mut entry, &mut file)?;
                let mode = if is_executable { 0o755 } else { 0o644 };
                file.set_permissions(fs::Permissions::from_mode(mode))?;
            }
            EntryType::Symlink => {
                let Some(to) = entry.link_name()? else { return Err(refused(&full, "a link to nowhere")) };
                symlink(to, &target)?;
            }
            EntryType::Link => {
                let to = entry.link_name()?.and_then(|to| below_out(&to)).map(|to| folder.join(to));
                // To a file that was sent before, in a folder that was: it can't lead elsewhere.
                let to = to.filter(|to| to.parent().is_some_and(|parent| made.contains(parent)));
                let Some(to) = to else { return Err(refused(&full, "a link out of the output")) };
                fs::hard_link(to, &target)?;
            }
            EntryType::XGlobalHeader => {}
            _ => return Err(refused(&full, "no file, folder or link")),
        }
    }
    if made.is_empty() {
        return Err(UnpackError::Nothing);
    }
    Ok(unpacked)
}

/// The path relative to `out`; `None` for one that is not plainly below it.
fn below_out(path: &Path) -> Option<PathBuf> {
    let path = path.strip_prefix("./").unwrap_or(path);
    let relative = path.strip_prefix("out").ok()?;
    let is_plain = relative.components().all(|part| matches!(part, Component::Normal(_)));
    is_plain.then(|| relative.to_owned())
}
