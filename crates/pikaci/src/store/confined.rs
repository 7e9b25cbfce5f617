//! Opens files below a folder without ever leaving it.
//!
//! Invariant: no component of the path is a link, none is `..`, and what is opened is a regular file. A guest may have
//! planted links and pipes below its artifacts; they read as "not there".

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{FileType, Mode, OFlags};

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
// NONBLOCK: opening a pipe that a guest planted must not wait for its other end.
const FILE: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opens a regular file below `folder`; `None` when it is not there, or is something else.
pub(super) fn open(folder: &Path, relative: &Path) -> io::Result<Option<File>> {
    let opened = match rustix::fs::open(folder, FOLDER, Mode::empty()) {
        Ok(opened) => opened,
        Err(error) => return absent(error),
    };
    let mut components = relative.components().peekable();
    let mut current: OwnedFd = opened;
    while let Some(component) = components.next() {
        let Component::Normal(name) = component else { return Ok(None) };
        let flags = if components.peek().is_some() { FOLDER } else { FILE };
        current = match rustix::fs::openat(current.as_fd(), name, flags, Mode::empty()) {
            Ok(next) => next,
            Err(error) => return absent(error),
        };
    }
    let stat = rustix::fs::fstat(&current)?;
    let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    Ok(is_file.then(|| File::from(current)))
}

fn absent<T>(error: rustix::io::Errno) -> io::Result<Option<T>> {
    use rustix::io::Errno;
    match error {
        // LOOP and NOTDIR: a link where a file or folder was expected. NXIO: a socket.
        Errno::NOENT | Errno::LOOP | Errno::NOTDIR | Errno::NXIO => Ok(None),
        other => Err(other.into()),
    }
}
