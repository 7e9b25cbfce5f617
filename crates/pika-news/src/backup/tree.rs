//! Copies the folders of runs, of which some are being written.
//!
//! Invariants: a record, which is replaced whole, is copied whole; a log that grows is copied as far as it was; links are
//! copied as links and never followed; what is no file, folder or link is left out.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::symlink;
use std::path::Path;

/// What of a state root is not copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skip {
    /// The locks, which belong to processes.
    Locks,
    /// Them, and what can be made again: frozen trees, prepared outputs, scratch folders.
    LocksAndSnapshots,
}

/// Below a state root.
const MADE_AGAIN: [&str; 2] = ["snapshots", "prepared"];

/// Copies a state root; one that is not there yet is an empty one.
pub(super) fn copy(from: &Path, to: &Path, skip: Skip) -> io::Result<()> {
    copy_folder(from, to, skip, &mut Vec::new())
}

/// Whether an entry is left out, by the names of the folders above it, below the state root. What jobs have left is never looked
/// at: their files have whatever names they like.
fn is_left_out(above: &[String], name: &str, skip: Skip) -> bool {
    match above {
        [] => skip == Skip::LocksAndSnapshots && MADE_AGAIN.contains(&name),
        [runs, _run] if runs == "runs" => matches!(name, "lock" | "scratch") || name.ends_with(".tmp"),
        _ => false,
    }
}

fn copy_folder(from: &Path, to: &Path, skip: Skip, above: &mut Vec<String>) -> io::Result<()> {
    fs::create_dir_all(to)?;
    let entries = match fs::read_dir(from) {
        Ok(entries) => entries,
        // Removed meanwhile, or never made.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let text = name.to_string_lossy().into_owned();
        if is_left_out(above, &text, skip) {
            continue;
        }
        let (source, target) = (entry.path(), to.join(&name));
        let kind = entry.file_type()?;
        let copied = if kind.is_dir() {
            above.push(text);
            let copied = copy_folder(&source, &target, skip, above);
            above.pop();
            copied
        } else if kind.is_symlink() {
            fs::read_link(&source).and_then(|link| symlink(link, &target))
        } else if kind.is_file() {
            fs::copy(&source, &target).map(drop)
        } else {
            Ok(())
        };
        match copied {
            // Removed meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            copied => copied?,
        }
    }
    Ok(())
}

/// How many entries a folder has; none when it is not there.
pub(super) fn count(folder: &Path) -> io::Result<usize> {
    match fs::read_dir(folder) {
        Ok(entries) => Ok(entries.count()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

/// Has the file system of a folder write everything down.
pub(super) fn flush(folder: &Path) -> io::Result<()> {
    Ok(rustix::fs::syncfs(File::open(folder)?)?)
}
