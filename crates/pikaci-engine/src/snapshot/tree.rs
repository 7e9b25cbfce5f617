//! The content address of a tree.

use std::collections::BTreeMap;

use pikaci::Digest;
use sha2::{Digest as _, Sha256};

/// The SHA-256 of a file's bytes.
pub(super) type ContentDigest = [u8; 32];

/// One path of a frozen tree, as its address knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    File { is_executable: bool, size: u64, content: ContentDigest },
    Symlink { target: Vec<u8> },
    Folder,
}

/// Addresses a tree. Every part is framed by its length, so that no two trees are written the same way.
pub(super) fn digest(nodes: &BTreeMap<Vec<u8>, Node>) -> Digest {
    let mut hash = Sha256::new();
    hash.update(b"pikaci tree 1\n");
    for (path, node) in nodes {
        frame(&mut hash, path);
        match node {
            Node::File { is_executable: false, content, .. } => {
                hash.update(b"f");
                frame(&mut hash, content);
            }
            Node::File { is_executable: true, content, .. } => {
                hash.update(b"x");
                frame(&mut hash, content);
            }
            Node::Symlink { target } => {
                hash.update(b"l");
                frame(&mut hash, target);
            }
            Node::Folder => hash.update(b"d"),
        }
    }
    Digest::from_bytes(hash.finalize().into())
}

fn frame(hash: &mut Sha256, part: &[u8]) {
    hash.update((part.len() as u64).to_le_bytes());
    hash.update(part);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn node() -> impl Strategy<Value = Node> {
        let content = any::<u8>().prop_map(|byte| [byte; 32]);
        prop_oneof![
            (any::<bool>(), content).prop_map(|(is_executable, content)| Node::File {
                is_executable,
                size: 0,
                content
            }),
            proptest::collection::vec(any::<u8>(), 0..4).prop_map(|target| Node::Symlink { target }),
            Just(Node::Folder),
        ]
    }

    fn nodes() -> impl Strategy<Value = BTreeMap<Vec<u8>, Node>> {
        let path = proptest::collection::vec(prop_oneof![Just(b'a'), Just(b'f'), Just(b'/')], 1..4);
        proptest::collection::btree_map(path, node(), 0..4)
    }

    proptest! {
        #[test]
        fn trees_that_differ_have_addresses_that_differ(one in nodes(), other in nodes()) {
            prop_assert_eq!(one == other, digest(&one) == digest(&other));
        }
    }
}
