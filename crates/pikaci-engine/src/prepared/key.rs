//! What an output is kept under.

use std::path::Path;

use pikaci::manifest::PathFilter;
use pikaci::{Digest, JobSpec, OutputSpec};
use sha2::{Digest as _, Sha256};

use crate::snapshot;

/// A key, and whether the output's patterns met any file.
pub(super) struct Key {
    pub(super) digest: Digest,
    pub(super) has_inputs: bool,
}

/// Digests what an output is made from: the files that its patterns meet, its provider's definition, its image, and what it
/// needs prepared itself. How long it may take, and with how much memory, makes no other output.
///
/// `None`: the snapshot is not whole, or a pattern is not understood.
pub(super) fn key(
    snapshots_dir: &Path,
    snapshot: &Digest,
    job: &JobSpec,
    output: &OutputSpec,
    image: &str,
    needed: &[(String, Digest)],
) -> Option<Key> {
    let filter = PathFilter::new(&output.inputs).ok()?;
    let inputs = snapshot::described(snapshots_dir, snapshot, &filter)?;
    let mut hash = Sha256::new();
    hash.update(b"pikaci prepared 1\n");
    let mut frame = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    frame(output.provider.as_str().as_bytes());
    frame(output.name.as_bytes());
    let definition = match &output.nix {
        Some(nix) => serde_json::to_vec(nix),
        None => serde_json::to_vec(&(job.guest_command(), job.run_as_root, job.network, job.instance)),
    };
    frame(&definition.unwrap_or_default());
    frame(image.as_bytes());
    for (name, key) in needed {
        frame(name.as_bytes());
        frame(key.as_str().as_bytes());
    }
    frame(&inputs);
    Some(Key { digest: Digest::from_bytes(hash.finalize().into()), has_inputs: !inputs.is_empty() })
}
