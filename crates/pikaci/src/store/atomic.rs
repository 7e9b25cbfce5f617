//! Replaces a file so that a reader sees the old content or the new one, and a crash leaves one of the two.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

static NEXT: AtomicU64 = AtomicU64::new(0);

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
    // A name of its own: snapshots' lists and caches have several writers. A crash leaves a stray file at most.
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let temporary = folder.join(format!(".{name}.{}-{number}.new", std::process::id()));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writers_at_once_leave_one_whole_content_and_no_other_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record");
        std::thread::scope(|scope| {
            for writer in 0..8_u8 {
                let path = &path;
                scope.spawn(move || {
                    for _ in 0..50 {
                        replace(path, &[writer; 4096], Durability::Process).unwrap();
                    }
                });
            }
        });
        let content = fs::read(&path).unwrap();
        assert_eq!(content, [content[0]; 4096]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
