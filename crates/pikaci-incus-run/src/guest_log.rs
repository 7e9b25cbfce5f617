//! `guest.log`: what the command printed.
//!
//! Invariant: bytes are only appended, and at the end the file of this name is the one that they were appended to.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// For the runner's own word that the log is full, beyond its limit.
pub(crate) const LOG_MARGIN_BYTES: u64 = 4096;

/// The open log of one command.
pub(crate) struct GuestLog {
    path: PathBuf,
    file: File,
}

impl GuestLog {
    /// Makes an empty log. What is in its place, be it a link, is removed and never written through.
    pub(crate) fn create(path: &Path) -> io::Result<GuestLog> {
        clear(path)?;
        let file = OpenOptions::new().read(true).append(true).create_new(true).mode(0o644).open(path)?;
        Ok(GuestLog { path: path.to_owned(), file })
    }

    /// A handle to append with.
    pub(crate) fn writer(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// A handle to read with, at any offset.
    pub(crate) fn reader(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Gives the log to the command's user, who may open it once more as `/dev/stdout`.
    pub(crate) fn give_to(&self, user: u32, group: u32) -> io::Result<()> {
        fchown(&self.file, Some(user), Some(group))
    }

    /// Puts the log back under its name if the command took it away, and says so when it had to.
    ///
    /// Nothing is flushed to the disk: that takes longer than writing it, and a guest that loses its power has no result.
    pub(crate) fn finish(&self, bytes_max: u64) -> io::Result<Option<String>> {
        let ours = self.file.metadata()?;
        let is_there = fs::symlink_metadata(&self.path)
            .is_ok_and(|found| (found.dev(), found.ino()) == (ours.dev(), ours.ino()));
        if is_there {
            return Ok(None);
        }
        let temporary = self.path.with_extension("log.new");
        let _ = fs::remove_file(&temporary);
        let mut copy = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&temporary)?;
        // The command owns the file, and may have made it longer than any disk.
        copy_first(&self.file, &mut copy, bytes_max.saturating_add(LOG_MARGIN_BYTES))?;
        clear(&self.path)?;
        fs::rename(&temporary, &self.path)?;
        Ok(Some("the command removed or replaced guest.log; it was restored".to_owned()))
    }
}

/// Takes away whatever has this name: a file, a link, a folder.
pub(crate) fn clear(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Opens a file that a command may have put something else in the place of; `None` when there is no plain file.
///
/// No link is followed, and nothing is waited for.
pub(crate) fn open_plain(path: &Path) -> io::Result<Option<File>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(opened) => {
            let file = File::from(opened);
            Ok(if file.metadata()?.is_file() { Some(file) } else { None })
        }
        // Nothing; below something that is no folder; a link; a socket (open(2)).
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn copy_first(from: &File, to: &mut File, bytes_max: u64) -> io::Result<()> {
    use io::Write as _;
    let mut offset = 0;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let room = usize::try_from(bytes_max - offset).unwrap_or(usize::MAX).min(buffer.len());
        match from.read_at(&mut buffer[..room], offset)? {
            0 => return Ok(()),
            count => {
                to.write_all(&buffer[..count])?;
                offset += count as u64;
            }
        }
    }
}
