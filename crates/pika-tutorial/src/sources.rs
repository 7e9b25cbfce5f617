//! Whole files before and after a change, as far as the caller has them. With them, a change is found in the item around
//! it; without them, in what the diff shows.

use std::collections::HashMap;
use std::sync::Arc;

/// Which state of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// Before the change.
    Base,
    /// After the change.
    Head,
}

/// Files by their paths. Cheap to clone.
#[derive(Clone, Default)]
pub struct Sources {
    files: HashMap<(Side, Vec<u8>), Arc<[u8]>>,
}

impl Sources {
    /// Adds a file.
    pub fn insert(&mut self, side: Side, path: &[u8], content: impl Into<Arc<[u8]>>) {
        self.files.insert((side, path.to_vec()), content.into());
    }

    /// Keeps the files whose path `keep` picks.
    pub fn retain(&mut self, keep: impl Fn(&[u8]) -> bool) {
        self.files.retain(|(_, path), _| keep(path));
    }

    /// Finds a file.
    pub fn find(&self, side: Side, path: &[u8]) -> Option<&[u8]> {
        self.files.get(&(side, path.to_vec())).map(AsRef::as_ref)
    }
}

impl std::fmt::Debug for Sources {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Sources").field("files", &self.files.len()).finish()
    }
}
