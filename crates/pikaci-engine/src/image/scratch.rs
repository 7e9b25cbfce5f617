//! What a build needs on its way, where a later build removes what an earlier one could not: nobody cleans up after a kill.
//!
//! Invariant: what a living build uses is locked (flock(2)), and the kernel ends the lock with its process; only what is
//! unlocked, and this user's own, is removed.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::process::geteuid;
use tempfile::{NamedTempFile, TempDir};

const FOLDER_PREFIX: &str = "pikaci-image-";
const FILE_PREFIX: &str = ".pikaci-image-";
const FILE_SUFFIX: &str = ".building";
/// How often another build may be faster with the lock of what was just made.
const TRIES_MAX: u32 = 16;

/// A folder below the one for temporary files. Dropped, it is gone; after a kill, the next one made takes it away.
#[derive(Debug)]
pub struct ScratchFolder {
    folder: TempDir,
    _lock: File,
}

impl ScratchFolder {
    /// Makes one that everybody may enter, and removes those of builds that were killed.
    pub fn create() -> io::Result<ScratchFolder> {
        ScratchFolder::create_in(&tempfile::env::temp_dir())
    }

    fn create_in(parent: &Path) -> io::Result<ScratchFolder> {
        remove_abandoned(parent, |name| name.starts_with(FOLDER_PREFIX));
        let make = || {
            // For apt's own user.
            let mut builder = tempfile::Builder::new();
            builder.prefix(FOLDER_PREFIX).permissions(Permissions::from_mode(0o755)).tempdir_in(parent)
        };
        let (folder, lock) = locked(make, TempDir::path)?;
        Ok(ScratchFolder { folder, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// A file that grows beside its place. Its lock is its own handle's.
pub(super) fn building_file(folder: &Path) -> io::Result<NamedTempFile<File>> {
    remove_abandoned(folder, |name| name.starts_with(FILE_PREFIX) && name.ends_with(FILE_SUFFIX));
    let make = || -> io::Result<NamedTempFile<File>> {
        let mut builder = tempfile::Builder::new();
        let builder = builder.prefix(FILE_PREFIX).suffix(FILE_SUFFIX);
        let file = builder.permissions(Permissions::from_mode(0o644)).tempfile_in(folder)?;
        flock(file.as_file(), FlockOperation::NonBlockingLockExclusive)?;
        Ok(file)
    };
    for _ in 1..TRIES_MAX {
        match make() {
            // Taken for abandoned before it was locked.
            Ok(file) if !is_at(file.as_file(), file.path()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            made => return made,
        }
    }
    make()
}

fn locked<T>(make: impl Fn() -> io::Result<T>, path: impl Fn(&T) -> &Path) -> io::Result<(T, File)> {
    for _ in 0..TRIES_MAX {
        let made = make()?;
        // Taken for abandoned before it was locked: another build has it, or has removed it.
        if let Some(lock) = lock(path(&made))?
            && is_at(&lock, path(&made))
        {
            return Ok((made, lock));
        }
    }
    Err(io::ErrorKind::WouldBlock.into())
}

/// Opens and locks what is at a path, if it is this user's and nobody has locked it. No link is followed.
fn lock(path: &Path) -> io::Result<Option<File>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(opened) => File::from(opened),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::LOOP) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if file.metadata()?.uid() != geteuid().as_raw() {
        return Ok(None);
    }
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    let identity = |found: fs::Metadata| (found.dev(), found.ino());
    let found = fs::symlink_metadata(path).map(identity).ok();
    found.is_some() && found == file.metadata().map(identity).ok()
}

/// Best effort: what cannot be removed stands in nobody's way.
fn remove_abandoned(folder: &Path, is_ours: impl Fn(&str) -> bool) {
    for entry in fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok) {
        let path = entry.path();
        if !entry.file_name().to_str().is_some_and(&is_ours) {
            continue;
        }
        if let Ok(Some(lock)) = lock(&path) {
            let _ = match lock.metadata() {
                Ok(found) if found.is_dir() => crate::snapshot::remove_tree(&path),
                Ok(_) => fs::remove_file(&path),
                Err(error) => Err(error),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_build_has_left_is_gone_with_the_next_and_what_a_living_one_uses_stays() {
        let parent = tempfile::tempdir().unwrap();
        let killed = parent.path().join("pikaci-image-killed");
        fs::create_dir_all(killed.join("rootfs/etc")).unwrap();
        fs::write(killed.join("rootfs/etc/passwd"), "root").unwrap();
        fs::set_permissions(killed.join("rootfs/etc"), Permissions::from_mode(0o555)).unwrap();
        let elsewhere = parent.path().join("kept");
        fs::create_dir(&elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, parent.path().join("pikaci-image-link")).unwrap();
        let alive = ScratchFolder::create_in(parent.path()).unwrap();
        assert!(!killed.exists());
        let other = ScratchFolder::create_in(parent.path()).unwrap();
        assert!(alive.path().exists() && other.path().exists() && elsewhere.exists());
        let path = alive.path().to_owned();
        drop(alive);
        assert!(!path.exists());
    }

    #[test]
    fn an_image_that_was_never_finished_goes_the_same_way() {
        let folder = tempfile::tempdir().unwrap();
        let killed = folder.path().join(".pikaci-image-x.building");
        fs::write(&killed, "half").unwrap();
        fs::write(folder.path().join("image.tar"), "whole").unwrap();
        let alive = building_file(folder.path()).unwrap();
        let _other = building_file(folder.path()).unwrap();
        assert!(!killed.exists() && alive.path().exists() && folder.path().join("image.tar").exists());
    }
}
