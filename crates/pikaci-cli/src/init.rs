//! Looks at a repository and proposes a manifest.
//!
//! Invariants: nothing of the repository is run; every proposed command works on a read-only tree, because that is what
//! jobs get, and installs what it needs itself, because every job starts with nothing.

mod survey;

pub(crate) use survey::{Finding, survey};

const HEAD: &str = "\
# What pikaci runs for this repository. Try it with: pikaci run pre-merge
version = 1

[defaults]
# Every job starts in a fresh place with the tree read-only, and is stopped after this time.
timeout = \"30m\"
# Dependencies come from the network. Jobs that need none of it are better off without: network = false
network = true

[targets.pre-merge]
title = \"Checks before a merge\"
# Only for changes of these paths; without the key, for all.
# paths = [\"src/**\"]
";

const NOTHING: &str = "
[[targets.pre-merge.jobs]]
id = \"check\"
network = false
# Text for a shell, or an array of arguments. Replace it by what tells good from bad here.
command = \"test -e pikaci.toml\"
# Files below $PIKACI_ARTIFACTS that are kept, and test reports among them:
# artifacts = [\"report/**\"]
# junit = [\"report/*.xml\"]
";

/// A Cargo workspace. Its dependencies are compiled without its sources, so that only Cargo.lock and the manifests decide; its
/// tests start from what that left. `cargo nextest archive` puts all test binaries into one file, and `cargo nextest run` needs
/// neither compiler nor dependencies to run a part of them (nexte.st, "Archiving and reusing builds").
const CARGO_WORKSPACE: &str = include_str!("init/workspace.toml");

/// What a command begins with that writes beside its sources.
const COPY: &str = "\
# The tree is read-only; this works on a copy.
work=$(mktemp -d)
cp -R . \"$work\"
chmod -R u+w \"$work\"
cd \"$work\"
";

/// The text of a manifest that runs what was found.
pub(crate) fn manifest_for(findings: &[Finding]) -> String {
    let mut text = HEAD.to_owned();
    for finding in findings {
        if finding.is_workspace {
            text.push_str(CARGO_WORKSPACE);
            continue;
        }
        let copy = if finding.writes_into_tree { COPY } else { "" };
        text.push_str(&format!(
            "\n# From {}\n[[targets.pre-merge.jobs]]\nid = \"{}\"\ncommand = '''\n{copy}{}\n'''\n",
            finding.evidence, finding.id, finding.script
        ));
    }
    if findings.is_empty() {
        text.push_str(NOTHING);
    }
    text
}

#[cfg(test)]
mod tests;
