//! What changed between two versions of a change: "since you last looked". Both are compared with their own bases, so that
//! a rebase by itself is no change. Hunks are told by their ids; the lines that differ come from a diff between the two heads
//! themselves, of which only that is kept which is the change's own doing.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use crate::builtin::explain_by_program;
use crate::check::Checked;
use crate::diff::{Diff, HunkId, HunkRef, LineKind, LineRange};
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

    /// What its reader has not seen, line by line: of `between`, the diff from the old head to the new one, what the change
    /// itself brought about. The rest came with another base.
    pub fn unseen(&self, old: &Diff, new: &Diff, between: &Diff) -> Diff {
        let same: HashSet<&HunkId> = match_equal(old, new).into_iter().map(|(old, _)| old).collect();
        let unchanged: HashSet<&HunkId> = self.unchanged.iter().collect();
        let before = Doing::new(old.hunks().filter(|hunk| !same.contains(hunk.id())));
        let after = Doing::new(new.hunks().filter(|hunk| !unchanged.contains(hunk.id())));
        between.restricted(|hunk| is_own(hunk, &before, &after))
    }

    /// Writes a short tutorial of what is unseen, without a model.
    pub fn explain(&self, old: &Diff, unseen: &Diff, sources: &Sources) -> Checked {
        let mut checked = explain_by_program(unseen, sources);
        checked.executive_summary = self.summary(old, unseen);
        checked
    }

    /// Sums the difference up, in Markdown.
    pub fn summary(&self, old: &Diff, unseen: &Diff) -> String {
        let count = |count: usize, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
        if unseen.files().is_empty() {
            let around = if self.is_empty() { "" } else { " Only what stands around its lines is another." };
            return format!("Nothing of the change itself differs.{around}");
        }
        let (added, removed) = unseen.counts();
        let mut text = format!(
            "Since then {} in {} came and {} went.",
            count(added, "line"),
            count(unseen.files().len(), "file"),
            count(removed, "line")
        );
        let parts = [(&self.added, "new"), (&self.changed, "changed"), (&self.unchanged, "as before")];
        let parts: Vec<String> = parts
            .into_iter()
            .filter(|(hunks, _)| !hunks.is_empty())
            .map(|(hunks, what)| {
                format!(
                    "{} {} {what}",
                    count(hunks.len(), "hunk"),
                    if hunks.len() == 1 { "is" } else { "are" }
                )
            })
            .collect();
        if !parts.is_empty() {
            text += &format!(" Of the whole change, {}.", parts.join(", "));
        }
        if !self.taken_back.is_empty() {
            let mut files: Vec<String> = self
                .taken_back
                .iter()
                .filter_map(|id| old.find_hunk(id.as_str()))
                .map(|hunk| format!("`{}`", hunk.file().display_path().replace('`', "'")))
                .collect();
            files.dedup();
            text +=
                &format!(" Taken back: {}, in {}.", count(self.taken_back.len(), "hunk"), files.join(", "));
        }
        text
    }
}

/// The first and the last line before which something was taken away.
type Block = (u64, u64);

/// What some hunks do, by path, with lines as their head numbers them.
#[derive(Default)]
struct Doing<'a> {
    /// The lines that are added.
    added: HashSet<(&'a [u8], u64)>,
    /// Between which lines each is taken away, ascending: all those of the block that it stood in, for within one there is no
    /// telling before which of the new lines an old one stood.
    removed: HashMap<(&'a [u8], &'a [u8]), Vec<Block>>,
    /// Files of which something changed that has no lines.
    notes: HashSet<&'a [u8]>,
}

impl<'a> Doing<'a> {
    fn new(hunks: impl Iterator<Item = HunkRef<'a>>) -> Doing<'a> {
        let mut doing = Doing::default();
        for hunk in hunks {
            let path = hunk.file().path.as_slice();
            let mut next = hunk.hunk().new.map_or(0, start);
            let (mut first, mut gone) = (next, Vec::new());
            for line in hunk.numbered() {
                match line.line.kind {
                    LineKind::Context => {
                        doing.take_away(path, (first, next), &mut gone);
                        first = next + 1;
                    }
                    LineKind::Added => drop(doing.added.insert((path, next))),
                    LineKind::Removed => gone.push(hunk.content(line.line)),
                    LineKind::Note => drop(doing.notes.insert(path)),
                }
                next += u64::from(line.new.is_some());
            }
            doing.take_away(path, (first, next), &mut gone);
        }
        doing
    }

    fn take_away(&mut self, path: &'a [u8], block: Block, gone: &mut Vec<&'a [u8]>) {
        for content in gone.drain(..) {
            let blocks = self.removed.entry((path, content)).or_default();
            if blocks.last() != Some(&block) {
                blocks.push(block);
            }
        }
    }

    /// Whether a line with this content is taken away before that line.
    fn removes(&self, path: &[u8], before: u64, content: &[u8]) -> bool {
        let blocks = self.removed.get(&(path, content)).map_or(&[][..], Vec::as_slice);
        let place = blocks.partition_point(|(_, last)| *last < before);
        blocks.get(place).is_some_and(|(first, _)| *first <= before)
    }
}

/// The first line of a range, or the one that follows where there is none.
fn start(range: LineRange) -> u64 {
    range.start + u64::from(range.count == 0)
}

/// Whether a hunk between two heads is the doing of the change: it brings a line that the new version adds or the old one had
/// removed, or takes one that the old version had added or the new one removes.
fn is_own(hunk: HunkRef<'_>, before: &Doing<'_>, after: &Doing<'_>) -> bool {
    let new_path = hunk.file().path.as_slice();
    let old_path = hunk.file().old_path.as_deref().unwrap_or(new_path);
    let mut old = hunk.hunk().old.first().copied().map_or(0, start);
    let mut new = hunk.hunk().new.map_or(0, start);
    hunk.numbered().any(|line| {
        let content = hunk.content(line.line);
        let is_own = match line.line.kind {
            LineKind::Context => false,
            LineKind::Added => {
                after.added.contains(&(new_path, new)) || before.removes(old_path, old, content)
            }
            LineKind::Removed => {
                before.added.contains(&(old_path, old)) || after.removes(new_path, new, content)
            }
            LineKind::Note => after.notes.contains(new_path) || before.notes.contains(old_path),
        };
        old += u64::from(line.old.is_some());
        new += u64::from(line.new.is_some());
        is_own
    })
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

    /// The diff of one file between two texts, by line, with one line around each change.
    fn between(old: &str, new: &str) -> Diff {
        let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
        let common = |a: &[&str], b: &[&str]| a.iter().zip(b).take_while(|(a, b)| a == b).count();
        let first = common(&old, &new);
        let (mut a, mut b) = (old[first..].to_vec(), new[first..].to_vec());
        a.reverse();
        b.reverse();
        let last = common(&a, &b);
        let (a, b) = (&old[first..old.len() - last], &new[first..new.len() - last]);
        let start = |count: usize| first + usize::from(count > 0);
        let mut text = format!(
            "--- a/x.rs\n+++ b/x.rs\n@@ -{},{} +{},{} @@\n",
            start(a.len()),
            a.len(),
            start(b.len()),
            b.len()
        );
        a.iter().for_each(|line| text += &format!("-{line}\n"));
        b.iter().for_each(|line| text += &format!("+{line}\n"));
        Diff::parse(text.into_bytes())
    }

    fn unseen(bases: [&str; 2], heads: [&str; 2]) -> String {
        let (old, new) = (between(bases[0], heads[0]), between(bases[1], heads[1]));
        let found = Interdiff::compare(&old, &new);
        let unseen = found.unseen(&old, &new, &between(heads[0], heads[1]));
        let text = |hunk: HunkRef<'_>| hunk.text(0..hunk.hunk().lines.len());
        unseen.hunks().map(text).collect::<Vec<_>>().join("|")
    }

    #[test]
    fn of_a_hunk_that_changed_only_the_lines_that_differ_are_unseen() {
        let base = "a\nb\nc\n";
        assert_eq!(
            unseen([base, base], ["a\none\ntwo\nthree\nb\nc\n", "a\none\nzwei\nthree\nb\nc\n"]),
            "-two\n+zwei"
        );
        // A line that was taken away and is there again.
        assert_eq!(unseen([base, base], ["a\nx\n", "a\nx\nc\n"]), "+c");
        // A line of the base that is taken away only now.
        assert_eq!(unseen([base, base], ["a\nx\nb\nc\n", "a\nx\nc\n"]), "-b");
        // All of it is taken back.
        assert_eq!(unseen([base, base], ["a\nx\nb\nc\n", base]), "-x");
    }

    #[test]
    fn what_came_with_another_base_is_nobody_s_news() {
        let (old, new) = ("a\nb\nc\n", "upstream\na\nb\nc\n");
        assert_eq!(unseen([old, new], ["a\nb\nc\nmine\n", "upstream\na\nb\nc\nmine\n"]), "");
        // The base lost a line.
        assert_eq!(unseen([new, old], ["upstream\na\nmine\nb\nc\n", "a\nmine\nb\nc\n"]), "");
    }

    #[test]
    fn what_was_seen_is_not_explained_again() {
        let base = "a\nb\n";
        let heads = ["a\none\nb\n", "a\none\ntwo\nb\n"];
        let (old, new) = (between(base, heads[0]), between(base, heads[1]));
        let found = Interdiff::compare(&old, &new);
        let unseen = found.unseen(&old, &new, &between(heads[0], heads[1]));
        let checked = found.explain(&old, &unseen, &Sources::default());
        assert_eq!(
            checked.executive_summary,
            "Since then 1 line in 1 file came and 0 lines went. Of the whole change, 1 hunk is changed."
        );
        assert_eq!((checked.coverage.hunks, checked.coverage.explained), (1, 1));
        assert_eq!(checked.steps[0].evidence[0].text, "+two");
    }

    #[test]
    fn a_rebase_alone_is_no_change() {
        let old = diff(&[ONE]);
        let moved = "--- a/x.rs\n+++ b/x.rs\n@@ -70,2 +75,2 @@ fn elsewhere() {\n same\n-one()\n+uno()\n";
        let found = Interdiff::compare(&old, &Diff::parse(moved.as_bytes()));
        assert!(found.is_empty());
        assert_eq!(found.summary(&old, &Diff::parse(&b""[..])), "Nothing of the change itself differs.");
    }
}
