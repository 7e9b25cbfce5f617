//! What changed between two versions of a change: "since you last looked". Both are compared with their own bases, so that
//! a rebase by itself is no change.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use crate::builtin::explain_by_program;
use crate::check::Checked;
use crate::diff::{Diff, HunkId, HunkRef};
use crate::sources::Sources;

/// How much of an old hunk's changed lines a new one must have to be the same one, changed: one in this many.
const SHARE: usize = 3;
/// A line that more new hunks of a file have than this tells none of them from another, and is not looked at: so the time
/// grows with the lines, whatever they hold.
const HUNKS_WITH_LINE_MAX: usize = 32;

/// The difference between two diffs, by hunks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interdiff {
    /// Hunks of the new diff that the old one has too.
    pub unchanged: Vec<HunkId>,
    /// Hunks of the new diff that the old one has in another form.
    pub changed: Vec<HunkId>,
    /// Hunks of the new diff that the old one has nothing of.
    pub added: Vec<HunkId>,
    /// Hunks of the old diff of which the new one has nothing.
    pub taken_back: Vec<HunkId>,
}

impl Interdiff {
    /// Compares two versions of a change.
    pub fn compare(old: &Diff, new: &Diff) -> Interdiff {
        let matched = match_equal(old, new);
        let is_old_matched: HashSet<&HunkId> = matched.iter().map(|(old, _)| *old).collect();
        let is_new_matched: HashSet<&HunkId> = matched.iter().map(|(_, new)| *new).collect();
        let left = Changed::new(new.hunks().filter(|hunk| !is_new_matched.contains(hunk.id())));
        let mut changed: HashSet<&HunkId> = HashSet::new();
        let mut interdiff = Interdiff::default();
        for hunk in old.hunks().filter(|hunk| !is_old_matched.contains(hunk.id())) {
            // Two hunks may have grown into one, so a new one may stand for several.
            let alike = left.list_alike(hunk);
            if alike.is_empty() {
                interdiff.taken_back.push(hunk.id().clone());
            }
            changed.extend(alike);
        }
        for hunk in new.hunks() {
            let list = if is_new_matched.contains(hunk.id()) {
                &mut interdiff.unchanged
            } else if changed.contains(hunk.id()) {
                &mut interdiff.changed
            } else {
                &mut interdiff.added
            };
            list.push(hunk.id().clone());
        }
        interdiff
    }

    /// Whether the two change the same.
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.added.is_empty() && self.taken_back.is_empty()
    }

    /// What of the new diff its reader has not seen.
    pub fn unseen(&self, new: &Diff) -> Diff {
        let unseen: HashSet<&HunkId> = self.changed.iter().chain(&self.added).collect();
        new.restricted(|hunk| unseen.contains(hunk.id()))
    }

    /// Writes a short tutorial of what is unseen, without a model.
    pub fn explain(&self, old: &Diff, new: &Diff, sources: &Sources) -> Checked {
        let mut checked = explain_by_program(&self.unseen(new), sources);
        checked.executive_summary = self.summary(old);
        checked
    }

    /// Sums the difference up, in Markdown.
    pub fn summary(&self, old: &Diff) -> String {
        if self.is_empty() {
            return format!(
                "Nothing has changed since: all {} hunks are as they were.",
                self.unchanged.len()
            );
        }
        let part = |count: usize, what: &str| {
            let noun = if count == 1 { "hunk is" } else { "hunks are" };
            format!("{count} {noun} {what}")
        };
        let mut text = format!(
            "Since then {}, {}, and {}.",
            part(self.added.len(), "new"),
            part(self.changed.len(), "changed"),
            part(self.unchanged.len(), "as before")
        );
        if !self.taken_back.is_empty() {
            let mut files: Vec<String> = self
                .taken_back
                .iter()
                .filter_map(|id| old.find_hunk(id.as_str()))
                .map(|hunk| format!("`{}`", hunk.file().display_path().replace('`', "'")))
                .collect();
            files.dedup();
            text += &format!(" {}, in {}.", part(self.taken_back.len(), "taken back"), files.join(", "));
        }
        text
    }
}

/// Pairs hunks with equal lines: first those at the same path, then, where only one is left of each, those of moved files.
fn match_equal<'a>(old: &'a Diff, new: &'a Diff) -> Vec<(&'a HunkId, &'a HunkId)> {
    let mut matched = Vec::new();
    let mut waiting: HashMap<(&[u8], &str), VecDeque<HunkRef<'a>>> = HashMap::new();
    for hunk in old.hunks() {
        waiting.entry((&hunk.file().path, &hunk.hunk().digest)).or_default().push_back(hunk);
    }
    let mut left: HashMap<&str, Vec<HunkRef<'a>>> = HashMap::new();
    for hunk in new.hunks() {
        let digest = hunk.hunk().digest.as_str();
        match waiting.get_mut(&(hunk.file().path.as_slice(), digest)).and_then(VecDeque::pop_front) {
            Some(old) => matched.push((old.id(), hunk.id())),
            None => left.entry(digest).or_default().push(hunk),
        }
    }
    let mut moved: HashMap<&str, Vec<HunkRef<'a>>> = HashMap::new();
    for hunk in waiting.into_values().flatten() {
        moved.entry(&hunk.hunk().digest).or_default().push(hunk);
    }
    for (digest, new) in left {
        if let ([new], Some([old])) = (&new[..], moved.get(digest).map(Vec::as_slice)) {
            matched.push((old.id(), new.id()));
        }
    }
    matched
}

/// The hunks of a new diff by the lines that they change.
struct Changed<'a> {
    hunks: Vec<HunkRef<'a>>,
    /// By the path that an old hunk may be known by, and the line.
    by_line: HashMap<(&'a [u8], &'a [u8]), Vec<usize>>,
}

impl<'a> Changed<'a> {
    fn new(hunks: impl Iterator<Item = HunkRef<'a>>) -> Changed<'a> {
        let hunks: Vec<HunkRef<'a>> = hunks.collect();
        let mut by_line: HashMap<(&[u8], &[u8]), Vec<usize>> = HashMap::new();
        for (index, hunk) in hunks.iter().enumerate() {
            let file = hunk.file();
            let renamed = file.old_path.as_ref().filter(|old| **old != file.path);
            let lines: HashSet<&[u8]> = changed_lines(*hunk).collect();
            for path in std::iter::once(&file.path).chain(renamed) {
                for line in &lines {
                    by_line.entry((path, line)).or_default().push(index);
                }
            }
        }
        Changed { hunks, by_line }
    }

    /// The hunks that have a good part of what an old one of the same file changed.
    fn list_alike(&self, old: HunkRef<'_>) -> Vec<&'a HunkId> {
        let (mut all, mut common) = (0, BTreeMap::<usize, usize>::new());
        for line in changed_lines(old) {
            let found = self.by_line.get(&(old.file().path.as_slice(), line)).map_or(&[][..], Vec::as_slice);
            if found.len() > HUNKS_WITH_LINE_MAX {
                continue;
            }
            all += 1;
            for index in found {
                *common.entry(*index).or_default() += 1;
            }
        }
        let alike = common.into_iter().filter(|(_, common)| common * SHARE >= all);
        alike.map(|(index, _)| self.hunks[index].id()).collect()
    }
}

/// The lines that a hunk adds and removes, with their marks; empty ones are everywhere.
fn changed_lines<'a>(hunk: HunkRef<'a>) -> impl Iterator<Item = &'a [u8]> {
    let changed = hunk.hunk().lines.iter().filter(|line| line.kind.is_change());
    changed.map(move |line| hunk.marked(line)).filter(|line| line.len() > 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diff(hunks: &[&str]) -> Diff {
        let mut text = "--- a/x.rs\n+++ b/x.rs\n".to_owned();
        for (index, lines) in hunks.iter().enumerate() {
            let count = |mark: char| lines.lines().filter(|line| !line.starts_with(mark)).count();
            let start = 1 + index * 100;
            text += &format!("@@ -{start},{} +{start},{} @@\n{lines}", count('+'), count('-'));
        }
        Diff::parse(text.into_bytes())
    }

    const ONE: &str = " same\n-one()\n+uno()\n";
    const TWO: &str = "-two()\n+dos()\n";
    const THREE: &str = "+tres()\n+cuatro()\n+cinco()\n";

    fn counts(old: &[&str], new: &[&str]) -> (usize, usize, usize, usize) {
        let found = Interdiff::compare(&diff(old), &diff(new));
        (found.unchanged.len(), found.changed.len(), found.added.len(), found.taken_back.len())
    }

    #[test]
    fn each_hunk_is_unchanged_changed_new_or_taken_back() {
        assert_eq!(counts(&[ONE, TWO], &[ONE, TWO]), (2, 0, 0, 0));
        assert_eq!(counts(&[ONE, TWO], &[TWO, THREE]), (1, 0, 1, 1));
        let changed = THREE.replace("cinco", "seis");
        assert_eq!(counts(&[ONE, THREE], &[ONE, &changed]), (1, 1, 0, 0));
        // Two hunks grew into one.
        assert_eq!(counts(&[ONE, TWO], &[&format!("{ONE} between\n{TWO}")]), (0, 1, 0, 0));
        // The same lines twice, and then once.
        assert_eq!(counts(&[TWO, TWO], &[TWO]), (1, 0, 0, 1));
    }

    #[test]
    fn a_line_that_every_hunk_has_pairs_none_and_costs_no_time() {
        let hunks = |last: &str| -> Vec<String> {
            (0..20_000).map(|number| format!("+same line everywhere\n+own {number} {last}\n")).collect()
        };
        let (old, new) = (hunks("before"), hunks("after"));
        let (old, new): (Vec<&str>, Vec<&str>) =
            (old.iter().map(String::as_str).collect(), new.iter().map(String::as_str).collect());
        // Compared pair by pair these are 400 million comparisons.
        assert_eq!(counts(&old, &new), (0, 0, 20_000, 20_000));
    }

    #[test]
    fn what_was_seen_is_not_explained_again() {
        let (old, new) = (diff(&[ONE, TWO]), diff(&[TWO, THREE]));
        let found = Interdiff::compare(&old, &new);
        let checked = found.explain(&old, &new, &Sources::default());
        assert_eq!(
            checked.executive_summary,
            "Since then 1 hunk is new, 0 hunks are changed, and 1 hunk is as before. 1 hunk is taken back, in `x.rs`."
        );
        assert_eq!((checked.coverage.hunks, checked.coverage.explained), (1, 1));
        assert_eq!(checked.steps[0].evidence[0].hunk, found.added[0]);
        assert!(new.find_hunk(found.added[0].as_str()).is_some());
    }

    #[test]
    fn a_rebase_alone_is_no_change() {
        let old = diff(&[ONE]);
        let moved = "--- a/x.rs\n+++ b/x.rs\n@@ -70,2 +75,2 @@ fn elsewhere() {\n same\n-one()\n+uno()\n";
        let found = Interdiff::compare(&old, &Diff::parse(moved.as_bytes()));
        assert!(found.is_empty());
        assert_eq!(found.summary(&old), "Nothing has changed since: all 1 hunks are as they were.");
    }
}
