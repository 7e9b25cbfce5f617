//! What every file of a backup was when it was copied, in the format of `sha256sum`, which can check it too.
//!
//! Invariant: names are bytes here; whatever a job has called its file, a line of the list is one line.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, BufWriter, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// The list, in the folder of a backup.
pub(super) const CHECKSUMS: &str = "files.sha256";

const READ_BYTES: usize = 64 * 1024;

/// Writes the list of all files below a folder.
pub(super) fn write(folder: &Path) -> io::Result<()> {
    let mut list = BufWriter::new(File::create_new(folder.join(CHECKSUMS))?);
    each_file(folder, &mut PathBuf::new(), &mut |name| {
        if name == Path::new(CHECKSUMS) {
            return Ok(());
        }
        let (prefix, written) = escaped(name.as_os_str().as_bytes());
        list.write_all(prefix)?;
        list.write_all(hash(&folder.join(name))?.as_bytes())?;
        list.write_all(b"  ")?;
        list.write_all(&written)?;
        list.write_all(b"\n")
    })?;
    list.flush()
}

/// Finds the first file that is not what the list says, or gone.
pub(super) fn find_damage(folder: &Path) -> io::Result<Option<PathBuf>> {
    let list = BufReader::new(File::open(folder.join(CHECKSUMS))?);
    for line in list.split(b'\n') {
        let line = line?;
        let unreadable = || Some(PathBuf::from(CHECKSUMS));
        let (is_escaped, line) = match line.strip_prefix(b"\\") {
            Some(rest) => (true, rest),
            None => (false, line.as_slice()),
        };
        let Some((expected, name)) = line.split_at_checked(64) else { return Ok(unreadable()) };
        let Some(name) = name.strip_prefix(b"  ") else { return Ok(unreadable()) };
        let name = if is_escaped { unescaped(name) } else { name.to_vec() };
        let name = PathBuf::from(std::ffi::OsString::from_vec(name));
        let found = match hash(&folder.join(&name)) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some(name)),
            Err(error) => return Err(error),
        };
        if found.as_bytes() != expected {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

fn hash(file: &Path) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut content = BufReader::with_capacity(READ_BYTES, File::open(file)?);
    loop {
        let piece = content.fill_buf()?;
        if piece.is_empty() {
            break;
        }
        hasher.update(piece);
        let length = piece.len();
        content.consume(length);
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Calls for each regular file below a folder, with its path from there. Links are not followed.
fn each_file(
    folder: &Path,
    below: &mut PathBuf,
    call: &mut impl FnMut(&Path) -> io::Result<()>,
) -> io::Result<()> {
    for entry in fs::read_dir(folder.join(&*below))? {
        let entry = entry?;
        let kind = entry.file_type()?;
        below.push(entry.file_name());
        if kind.is_dir() {
            each_file(folder, below, call)?;
        } else if kind.is_file() {
            call(below)?;
        }
        below.pop();
    }
    Ok(())
}

/// A name as `sha256sum` writes it: with a backslash before the line when there is something in it to be escaped.
fn escaped(name: &[u8]) -> (&'static [u8], Vec<u8>) {
    if !name.iter().any(|byte| matches!(byte, b'\\' | b'\n' | b'\r')) {
        return (b"", name.to_vec());
    }
    let mut written = Vec::with_capacity(name.len() + 8);
    for byte in name {
        match byte {
            b'\\' => written.extend(b"\\\\"),
            b'\n' => written.extend(b"\\n"),
            b'\r' => written.extend(b"\\r"),
            byte => written.push(*byte),
        }
    }
    (b"\\", written)
}

fn unescaped(written: &[u8]) -> Vec<u8> {
    let mut name = Vec::with_capacity(written.len());
    let mut bytes = written.iter();
    while let Some(byte) = bytes.next() {
        name.push(match (byte, *byte == b'\\') {
            (_, true) => match bytes.next() {
                Some(b'n') => b'\n',
                Some(b'r') => b'\r',
                other => other.copied().unwrap_or(b'\\'),
            },
            (byte, false) => *byte,
        });
    }
    name
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::process::Command;

    use super::*;

    #[test]
    fn every_change_of_a_file_is_found_and_sha256sum_agrees() {
        let folder = tempfile::tempdir().unwrap();
        let odd = folder.path().join("below").join(OsStr::from_bytes(b"a\\b\nc\xff"));
        fs::create_dir(folder.path().join("below")).unwrap();
        for name in [&odd, &folder.path().join("plain")] {
            fs::write(name, "text").unwrap();
        }
        write(folder.path()).unwrap();
        assert_eq!(find_damage(folder.path()).unwrap(), None);
        let check =
            || Command::new("sha256sum").args(["--check", CHECKSUMS]).current_dir(&folder).output().unwrap();
        assert!(check().status.success(), "{:?}", check());
        fs::write(&odd, "tExt").unwrap();
        assert_eq!(find_damage(folder.path()).unwrap().unwrap(), odd.strip_prefix(folder.path()).unwrap());
        assert!(!check().status.success());
        fs::write(&odd, "text").unwrap();
        fs::remove_file(folder.path().join("plain")).unwrap();
        assert_eq!(find_damage(folder.path()).unwrap().unwrap(), Path::new("plain"));
        fs::write(folder.path().join(CHECKSUMS), "nonsense").unwrap();
        assert_eq!(find_damage(folder.path()).unwrap().unwrap(), Path::new(CHECKSUMS));
    }
}
