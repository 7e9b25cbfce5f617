//! Outputs that are built once for the same inputs, kept under their key, and mounted read-only into the jobs that name them.
//!
//! Below `prepared/` of the state root: `<key>/record.json` says what is kept, `<key>/out` is the output of a command,
//! `<key>/build.log` how it was built, `roots/<key>` the link that keeps Nix from collecting its own; `<key>.failed.json`
//! and `<key>.failed.log` are of a build that failed, `locks/<key>` is held by whoever builds or uses it and says who builds, and
//! `tombstones.jsonl` names what was evicted, when, and by which rule.
//!
//! Invariants: a folder with a key for its name is whole; it never changes; it is removed only when nobody holds its lock;
//! no link in an output is followed on the host.

mod claim;
mod evict;
mod key;
mod leftovers;
mod nix;
mod payload;
mod realise;
mod seal;
mod store;
mod unpack;

pub use evict::{Eviction, PreparedBudget, evict};
pub use nix::NixConfig;
pub use store::{Kept, Store, StorePath, Tombstone, UseError};

pub(crate) use realise::{Begun, Made, Site, realise};
pub(crate) use store::Realised;
pub(crate) use unpack::{UnpackError, unpack};

/// A folder with this manifest describes itself, relative to an output's root.
pub(crate) const PAYLOAD_MANIFEST: &str = "share/pikaci/payload-manifest.json";
/// The family of outputs that guests see under two names, one for each folder in it.
pub(crate) const LINUX_RUST: &str = "linux-rust";
/// Those names.
pub(crate) const LINUX_RUST_PARTS: [&str; 2] = ["workspace-deps", "workspace-build"];

#[cfg(test)]
pub(crate) mod tests;
