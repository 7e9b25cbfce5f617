//! `guest.log`: the command writes into it directly, so that its output is as fast as a redirect, and nobody who holds
//! the command's output open can delay its end.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// The open log of one command.
pub(crate) struct GuestLog {
    path: PathBuf,
    file: File,
}

impl GuestLog {
    /// Makes an empty log. What is in its place, be it a link, is removed and never written through.
    pub(crate) fn create(path: &Path) -> io::Result<GuestLog> {
        match fs::remove_file(path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let file = OpenOptions::new().read(true).append(true).create_new(true).mode(0o644).open(path)?;
        Ok(GuestLog { path: path.to_owned(), file })
    }

    /// A handle for the command to append with.
    pub(crate) fn writer(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// A handle to read with, at any offset.
    pub(crate) fn reader(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Makes the log safe, and puts it back under its name if the command took it away. Says so when it had to.
    pub(crate) fn finish(&self) -> io::Result<Option<String>> {
        self.file.sync_data()?;
        let ours = self.file.metadata()?;
        let is_there = fs::symlink_metadata(&self.path)
            .is_ok_and(|found| (found.dev(), found.ino()) == (ours.dev(), ours.ino()));
        if is_there {
            return Ok(None);
        }
        let temporary = self.path.with_extension("log.new");
        let _ = fs::remove_file(&temporary);
        let mut copy = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&temporary)?;
        copy_all(&self.file, &mut copy)?;
        copy.sync_data()?;
        if fs::symlink_metadata(&self.path).is_ok_and(|found| found.is_dir()) {
            fs::remove_dir_all(&self.path)?;
        }
        fs::rename(&temporary, &self.path)?;
        Ok(Some("the command removed or replaced guest.log; it was restored".to_owned()))
    }
}

fn copy_all(from: &File, to: &mut File) -> io::Result<()> {
    use io::Write as _;
    let mut offset = 0;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match from.read_at(&mut buffer, offset)? {
            0 => return Ok(()),
            count => {
                to.write_all(&buffer[..count])?;
                offset += count as u64;
            }
        }
    }
}
