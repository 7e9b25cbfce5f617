//! Replaces a file so that a reader sees the old content or the new one, and a crash leaves one of the two.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

/// What a replacement survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The end of the process, and the loss of power.
    Power,
    /// The end of the process. For what can be made again from something that survives more.
    Process,
}

/// Replaces the content of `path`: temporary file in the same folder, fsync, rename, fsync of the folder.
pub fn replace(path: &Path, content: &[u8], durability: Durability) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    // One writer a folder holds the run's lock, so a fixed name is free, and a crash leaves one stray file at most.
    let temporary = folder.join(format!(".{name}.new"));
    let mut file = File::create(&temporary)?;
    file.write_all(content)?;
    if durability == Durability::Power {
        file.sync_data()?;
    }
    drop(file);
    fs::rename(&temporary, path)?;
    if durability == Durability::Power {
        sync_folder(folder)?;
    }
    Ok(())
}

/// Makes the names in a folder survive the loss of power.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
