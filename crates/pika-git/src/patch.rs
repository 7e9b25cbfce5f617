//! A difference as git writes it, and the files that it is about, for a reader of their own.
//!
//! Invariant: what is too large is refused or left out as a whole, never cut.

use std::time::Duration;

use crate::command::Call;
use crate::error::GitError;
use crate::oid::Oid;
use crate::repository::Repository;

const DEADLINE: Duration = Duration::from_secs(60);
/// How many lines and hunks a patch may have.
const LINES_MAX: usize = 1_000_000;
const HUNKS_MAX: usize = 100_000;
/// How large a file is that is still read.
pub(crate) const FILE_BYTES_MAX: u64 = 2 << 20;
/// How much is read of all files together.
pub(crate) const FILES_BYTES_MAX: u64 = 64 << 20;

impl Repository {
    /// Writes the difference of two commits as git does. Without a base, everything is new.
    ///
    /// [`GitError::TooLarge`] when it has more than `bytes_max` bytes, [`GitError::TooManyLines`] when these are lines or hunks
    /// beyond number.
    pub async fn read_patch(
        &self,
        base: Option<&Oid>,
        head: &Oid,
        bytes_max: u64,
    ) -> Result<Vec<u8>, GitError> {
        let call = self.diff_call("compare two commits", base, head, &["--patch"]);
        match call.deadline(DEADLINE).output_bytes_max(bytes_max).output().await {
            Ok(patch) => within_limits(patch),
            Err(error) => Err(self.explain(error, &base.into_iter().chain([head]).collect::<Vec<_>>()).await),
        }
    }

    /// Reads files at a commit. Those that are not there, are no files, or are large, are left out.
    pub async fn read_files(
        &self,
        commit: &Oid,
        paths: &[Vec<u8>],
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>, GitError> {
        read_committed(|what| self.call(what), commit, paths).await
    }
}

fn within_limits(patch: Vec<u8>) -> Result<Vec<u8>, GitError> {
    let (mut lines, mut hunks) = (0, 0);
    for line in patch.split(|byte| *byte == b'\n') {
        lines += 1;
        hunks += usize::from(line.starts_with(b"@@ "));
    }
    if lines > LINES_MAX || hunks > HUNKS_MAX {
        return Err(GitError::TooManyLines { lines_max: LINES_MAX, hunks_max: HUNKS_MAX });
    }
    Ok(patch)
}

/// Reads files at a commit. Those that are not there, are no files, or are large, are left out.
pub(crate) async fn read_committed(
    call: impl Fn(&'static str) -> Call,
    commit: &Oid,
    paths: &[Vec<u8>],
) -> Result<Vec<(Vec<u8>, Vec<u8>)>, GitError> {
    let what = "read files";
    let askable = |path: &&Vec<u8>| !path.contains(&b'\n') && !path.contains(&0);
    let ask = |paths: &[&Vec<u8>]| -> Vec<u8> {
        let name = |path: &&Vec<u8>| [commit.as_str().as_bytes(), b":", path.as_slice(), b"\n"].concat();
        paths.iter().flat_map(name).collect()
    };
    let asked: Vec<&Vec<u8>> = paths.iter().filter(askable).collect();
    let sizes = call(what).arguments(["cat-file", "--batch-check=%(objecttype) %(objectsize)"]);
    let sizes = sizes.input(ask(&asked)).output().await?;
    let mut left = FILES_BYTES_MAX;
    let mut wanted = Vec::new();
    for (path, line) in asked.into_iter().zip(sizes.split(|byte| *byte == b'\n')) {
        let size = line.strip_prefix(b"blob ").and_then(|size| std::str::from_utf8(size).ok()?.parse().ok());
        if let Some(size) = size.filter(|size: &u64| *size <= FILE_BYTES_MAX && *size <= left) {
            left -= size;
            wanted.push((path, usize::try_from(size).unwrap_or(usize::MAX)));
        }
    }
    let names: Vec<&Vec<u8>> = wanted.iter().map(|(path, _)| *path).collect();
    let contents = call(what).arguments(["cat-file", "--batch=%(objecttype)"]).input(ask(&names));
    let contents = contents.output_bytes_max(FILES_BYTES_MAX * 2).output().await?;
    let mut rest = &contents[..];
    let mut files = Vec::with_capacity(wanted.len());
    for (path, size) in wanted {
        let malformed =
            || GitError::Answer { what, problem: "it is no file of the announced size".to_owned() };
        rest = rest.strip_prefix(b"blob\n").ok_or_else(malformed)?;
        let content = rest.get(..size).ok_or_else(malformed)?;
        rest = rest[size..].strip_prefix(b"\n").ok_or_else(malformed)?;
        files.push((path.clone(), content.to_vec()));
    }
    Ok(files)
}

#[cfg(test)]
mod tests;
