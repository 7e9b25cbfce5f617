//! Gives hunks their digests and ids.
//!
//! Invariant: a digest depends on the marked lines alone. An id depends on the path, the digest, and, among hunks of one
//! diff that share both, on their order.

use std::collections::HashMap;
use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use super::{Diff, FileChange, HunkId, Line};

/// 128 bits: enough that no two hunks share a digest by chance or by effort worth it.
const DIGEST_BYTES: usize = 16;
/// Short, because a model has to copy it; what collides is numbered.
const ID_BYTES: usize = 4;

/// Digests the lines of a hunk.
pub(super) fn digest(source: &[u8], lines: &[Line]) -> String {
    let mut hash = Sha256::new();
    for line in lines {
        let bytes = &source[line.place.clone()];
        hash.update(bytes.len().to_le_bytes());
        hash.update([line.marks.min(255) as u8, u8::from(line.has_no_newline)]);
        hash.update(bytes);
    }
    hex(&hash.finalize()[..DIGEST_BYTES])
}

/// Names every hunk.
pub(super) fn name_all(files: &mut [FileChange]) {
    let mut taken: HashMap<String, usize> = HashMap::new();
    for file in files {
        for hunk in &mut file.hunks {
            let mut hash = Sha256::new();
            hash.update(&file.path);
            hash.update([0]);
            hash.update(&hunk.digest);
            let id = format!("h{}", hex(&hash.finalize()[..ID_BYTES]));
            let count = taken.entry(id.clone()).or_default();
            *count += 1;
            hunk.id = HunkId::new(if *count == 1 { id } else { format!("{id}-{count}") });
        }
    }
}

pub(super) fn digest_of_all(diff: &Diff) -> String {
    let mut hash = Sha256::new();
    for hunk in diff.hunks() {
        let path = &hunk.file().path;
        hash.update(path.len().to_le_bytes());
        hash.update(path);
        hash.update(&hunk.hunk().digest);
    }
    hex(&hash.finalize()[..DIGEST_BYTES])
}

/// Bytes as text.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
