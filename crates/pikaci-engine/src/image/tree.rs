//! Files of a guest, before they are in an archive.
//!
//! Invariant: a folder comes before what is in it, and the order does not depend on how the tree was made.

use std::collections::BTreeMap;

use pikaci::guest::USER_ID;

/// What of a guest is ours: paths relative to its root, without a slash at the begin.
#[derive(Default)]
pub(super) struct Tree {
    nodes: BTreeMap<String, Node>,
}

/// A file, a folder or a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) mode: u32,
    /// User and group alike.
    pub(super) owner: u32,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Folder,
    File(Vec<u8>),
    Link(String),
}

impl Tree {
    /// Adds a folder of root's, and those that it is in.
    pub(super) fn folder(&mut self, path: &str, mode: u32) {
        self.add(path, mode, Kind::Folder);
    }

    /// Adds a folder of the unprivileged user's.
    pub(super) fn home(&mut self, path: &str) {
        self.folder(path, 0o755);
        self.nodes.insert(path.to_owned(), Node { mode: 0o755, owner: USER_ID, kind: Kind::Folder });
    }

    /// Adds a file of root's.
    pub(super) fn file(&mut self, path: &str, mode: u32, content: impl Into<Vec<u8>>) {
        self.add(path, mode, Kind::File(content.into()));
    }

    /// Adds a symbolic link.
    pub(super) fn link(&mut self, path: &str, target: &str) {
        self.add(path, 0o777, Kind::Link(target.to_owned()));
    }

    /// What is at a path.
    pub(super) fn get(&self, path: &str) -> Option<&Node> {
        self.nodes.get(path)
    }

    /// All of it, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.nodes.iter().map(|(path, node)| (path.as_str(), node))
    }

    fn add(&mut self, path: &str, mode: u32, kind: Kind) {
        for (index, _) in path.match_indices('/') {
            let parent = Node { mode: 0o755, owner: 0, kind: Kind::Folder };
            self.nodes.entry(path[..index].to_owned()).or_insert(parent);
        }
        self.nodes.insert(path.to_owned(), Node { mode, owner: 0, kind });
    }
}
