//! Secrets of a job: read from standard input, put into files of the guest's memory, and masked in the log.
//!
//! They come through standard input because arguments and environment can be read by others. In order: the line
//! `pikaci-secrets 1`; for each secret the line `file NAME BYTES` and its bytes; for each text to be masked the line
//! `mask BYTES` and its bytes; the line `end`. Each run of bytes is followed by a line end.
//!
//! Invariant: a secret is on no disk. The folder is on a file system in memory, or there is no job.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use crate::job::JobError;
use crate::user::CommandUser;

const GREETING: &str = "pikaci-secrets 1";
/// All secrets of a job together, and as much again for what is masked.
const BYTES_MAX: usize = 1 << 20;
const LINE_BYTES_MAX: usize = 256;
/// What statfs(2) calls a tmpfs, and a ramfs.
const IN_MEMORY: [i64; 2] = [0x0102_1994, 0x8584_58f6];

/// What was handed over.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Secrets {
    files: Vec<(String, Vec<u8>)>,
    masks: Vec<Vec<u8>>,
}

impl Secrets {
    /// Reads them. Nothing after their end is touched.
    pub(crate) fn read(mut input: impl Read) -> Result<Secrets, JobError> {
        let unreadable = |why: String| JobError::Secrets { why };
        let mut secrets = Secrets::default();
        let mut room = BYTES_MAX;
        if line(&mut input)? != GREETING {
            return Err(unreadable("they do not begin as secrets do".to_owned()));
        }
        loop {
            let line = line(&mut input)?;
            let words: Vec<&str> = line.split(' ').collect();
            let (name, bytes) = match words[..] {
                ["end"] => return Ok(secrets),
                ["file", name, bytes] if is_name(name) => (Some(name.to_owned()), bytes),
                ["mask", bytes] => (None, bytes),
                _ => return Err(unreadable(format!("{:?} is no line of theirs", words[0]))),
            };
            let bytes: usize = bytes.parse().ok().filter(|bytes| *bytes <= room).ok_or_else(|| {
                unreadable(format!("{bytes:?} is no size, or they have more than {BYTES_MAX} bytes"))
            })?;
            room -= bytes;
            let mut content = vec![0; bytes + 1];
            input.read_exact(&mut content).map_err(|error| unreadable(error.to_string()))?;
            if content.pop() != Some(b'\n') {
                return Err(unreadable("a size is wrong".to_owned()));
            }
            match name {
                Some(name) => secrets.files.push((name, content)),
                None => secrets.masks.push(content),
            }
        }
    }

    /// What must not be in the log.
    pub(crate) fn masks(&self) -> Vec<Vec<u8>> {
        self.masks.clone()
    }

    /// Writes each into a file of its own, which only the command's user can read.
    pub(crate) fn write(&self, folder: &Path, user: &CommandUser) -> Result<(), JobError> {
        if self.files.is_empty() {
            return Ok(());
        }
        let failed = |source| JobError::io("make the folder of secrets", folder)(source);
        match DirBuilder::new().mode(0o700).create(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
            Ok(()) | Err(_) => {}
        }
        hold_in_memory(folder)?;
        for (name, content) in &self.files {
            let path = folder.join(name);
            crate::guest_log::clear(&path).map_err(JobError::io("remove an earlier", &path))?;
            let write = || {
                let mut file = OpenOptions::new().write(true).create_new(true).mode(0o400).open(&path)?;
                file.write_all(content)
            };
            write().map_err(JobError::io("write the secret", &path))?;
            user.own(&path)?;
        }
        user.own(folder)?;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o500)).map_err(failed)
    }
}

/// Makes sure that nothing in a folder gets onto a disk.
fn hold_in_memory(folder: &Path) -> Result<(), JobError> {
    let failed = |error: rustix::io::Errno| JobError::io("hold secrets in memory, in", folder)(error.into());
    let found = rustix::fs::statfs(folder).map_err(failed)?;
    if IN_MEMORY.contains(&(found.f_type as i64)) {
        return Ok(());
    }
    let flags = rustix::mount::MountFlags::NOSUID
        | rustix::mount::MountFlags::NODEV
        | rustix::mount::MountFlags::NOEXEC;
    rustix::mount::mount("pikaci-secrets", folder, "tmpfs", flags, Some(c"mode=0700,size=2m")).map_err(failed)
}

fn line(input: &mut impl Read) -> Result<String, JobError> {
    let unreadable = |why: String| JobError::Secrets { why };
    let mut line = Vec::new();
    let mut byte = [0];
    // Byte by byte: what follows the secrets is not ours.
    loop {
        match input.read(&mut byte) {
            Ok(0) => return Err(unreadable("standard input ended before them".to_owned())),
            Ok(_) if byte[0] == b'\n' => break,
            Ok(_) if line.len() == LINE_BYTES_MAX => return Err(unreadable("a line is too long".to_owned())),
            Ok(_) => line.push(byte[0]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(unreadable(error.to_string())),
        }
    }
    String::from_utf8(line).map_err(|_| unreadable("a line is no text".to_owned()))
}

/// Whether this is one safe component of a path.
fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 100
        && !name.starts_with('.')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Secrets, JobError> {
        Secrets::read(text.as_bytes())
    }

    #[test]
    fn files_and_masks_are_read_and_what_follows_is_left() {
        let mut input = "pikaci-secrets 1\nfile TOKEN 5\nab\ncd\nmask 2\nab\nend\nrest".as_bytes();
        let secrets = Secrets::read(&mut input).unwrap();
        assert_eq!(secrets.files, [("TOKEN".to_owned(), b"ab\ncd".to_vec())]);
        assert_eq!(secrets.masks(), [b"ab".to_vec()]);
        assert_eq!(input, b"rest");
    }

    #[test]
    fn what_is_not_whole_is_refused() {
        for text in [
            "",
            "hello\n",
            "pikaci-secrets 1\n",
            "pikaci-secrets 1\nfile TOKEN 5\nabc",
            "pikaci-secrets 1\nfile TOKEN 2\nabc\nend\n",
            "pikaci-secrets 1\nfile ../TOKEN 2\nab\nend\n",
            "pikaci-secrets 1\nfile TOKEN 99999999\nab\nend\n",
            "pikaci-secrets 1\nfile TOKEN -1\nab\nend\n",
        ] {
            assert!(matches!(read(text), Err(JobError::Secrets { .. })), "{text:?}");
        }
    }

    #[test]
    fn secrets_become_files_that_only_their_user_reads() {
        let scratch = tempfile::tempdir_in("/dev/shm").unwrap();
        let folder = scratch.path().join("secrets");
        let secrets = read("pikaci-secrets 1\nfile TOKEN 2\nab\nend\n").unwrap();
        let user = CommandUser { name: "pikaci".to_owned(), home: "/".into(), switch: None };
        secrets.write(&folder, &user).unwrap();
        assert_eq!(fs::read(folder.join("TOKEN")).unwrap(), b"ab");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder), mode(&folder.join("TOKEN"))), (0o500, 0o400));
    }
}
