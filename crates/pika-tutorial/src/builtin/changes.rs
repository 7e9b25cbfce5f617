//! Finds which items of which files changed, and where in the diff.
//!
//! Invariant: every changed line of every hunk, and every hunk without lines, is within the span of some change.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::area::Area;
use crate::diff::{ChangeStatus, Diff, HunkRef, LineKind};
use crate::sources::{Side, Sources};

use super::items::{self, Item};
use super::language::Language;

/// How many bytes are parsed in all: what is beyond is told by file.
const PARSED_BYTES_MAX: usize = 24 << 20;
/// As how many bytes a hunk counts that is parsed by itself, however small: to begin takes time too.
const FRAGMENT_BYTES_MIN: usize = 1 << 10;
/// How long a doc comment's first sentence may be.
const COMMENT_CHARS_MAX: usize = 200;

/// The shortest word that is looked at as a name.
const WORD_CHARS_MIN: usize = 4;
/// How many names of one change are kept.
const WORDS_MAX: usize = 2_000;

/// An item that changed, or what of a file is in no item.
#[derive(Clone, Debug, Default)]
pub(super) struct Change {
    pub(super) file: usize,
    /// `function`, …; empty for what is in no item.
    pub(super) kind: &'static str,
    /// The item's name with those around it; empty for what is in no item.
    pub(super) name: String,
    pub(super) deed: Deed,
    pub(super) is_test: bool,
    pub(super) spans: Vec<Span>,
    pub(super) added: usize,
    pub(super) removed: usize,
    /// The first sentence of the comment above a new item.
    pub(super) comment: Option<String>,
    /// The names that its changed lines have.
    pub(super) words: HashSet<String>,
}

/// What happened to an item.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Deed {
    Added,
    Removed,
    #[default]
    Changed,
}

/// Lines of a hunk, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) file: usize,
    pub(super) hunk: usize,
    pub(super) first: usize,
    pub(super) last: usize,
}

/// Lists the changes of all files, in the order of the diff.
pub(super) fn find(diff: &Diff, sources: &Sources, areas: &[Area]) -> Vec<Change> {
    let mut left = PARSED_BYTES_MAX;
    let mut changes = Vec::new();
    for (file, (entry, area)) in diff.files().iter().zip(areas).enumerate() {
        let language = Language::of_path(&entry.display_path());
        match language.filter(|_| area.is_written_here() && left > 0 && !entry.is_binary) {
            Some(language) => changes.extend(of_file(diff, sources, file, language, *area, &mut left)),
            None => changes.push(whole_file(diff, file, *area)),
        }
    }
    changes
}

fn whole_file(diff: &Diff, file: usize, area: Area) -> Change {
    let entry = &diff.files()[file];
    Change {
        file,
        deed: deed_of_file(entry.status),
        is_test: area == Area::Tests,
        spans: diff.hunks_of(file).map(span).collect(),
        added: entry.added,
        removed: entry.removed,
        ..Change::default()
    }
}

fn deed_of_file(status: ChangeStatus) -> Deed {
    match status {
        ChangeStatus::Added | ChangeStatus::Copied => Deed::Added,
        ChangeStatus::Deleted => Deed::Removed,
        ChangeStatus::Modified | ChangeStatus::Renamed | ChangeStatus::Unmerged => Deed::Changed,
    }
}

/// From the first to the last changed line; of a hunk without changed lines, all of it.
fn span(hunk: HunkRef<'_>) -> Span {
    let lines = &hunk.hunk().lines;
    let first = lines.iter().position(|line| line.kind.is_change());
    let last = lines.iter().rposition(|line| line.kind.is_change());
    let (first, last) =
        first.zip(last).map_or((1, lines.len().max(1)), |(first, last)| (first + 1, last + 1));
    Span { file: hunk.file_index(), hunk: hunk.hunk_index(), first, last }
}

/// The items of one side of a file, and which of them owns each row.
#[derive(Default)]
struct SideItems {
    items: Vec<Item>,
    /// For each item, the one directly around it.
    parents: Vec<Option<usize>>,
    owners: BTreeMap<usize, usize>,
    names: HashSet<String>,
}

impl SideItems {
    /// The outermost item around a row that `is_whole`, else the innermost one.
    fn owner(&self, row: usize, is_whole: impl Fn(&Item) -> bool) -> Option<&Item> {
        let innermost = *self.owners.get(&row)?;
        let mut found = innermost;
        let mut around = self.parents[innermost];
        while let Some(outer) = around {
            if is_whole(&self.items[outer]) {
                found = outer;
            }
            around = self.parents[outer];
        }
        Some(&self.items[found])
    }
}

fn of_file(
    diff: &Diff,
    sources: &Sources,
    file: usize,
    language: Language,
    area: Area,
    left: &mut usize,
) -> Vec<Change> {
    let head = side_items(diff, sources, file, language, Side::Head, left);
    let base = side_items(diff, sources, file, language, Side::Base, left);
    let changed_rows = |wanted: LineKind| -> HashSet<usize> {
        let lines = diff.hunks_of(file).flat_map(HunkRef::numbered);
        let number =
            |line: crate::diff::NumberedLine<'_>| if wanted == LineKind::Added { line.new } else { line.old };
        lines.filter(|line| line.line.kind == wanted).filter_map(|line| row(number(line)?)).collect()
    };
    let (added_rows, removed_rows) = (changed_rows(LineKind::Added), changed_rows(LineKind::Removed));
    let is_new = |item: &Item| added_rows.contains(&item.begin) && !base.names.contains(&item.name);
    let is_gone = |item: &Item| removed_rows.contains(&item.begin) && !head.names.contains(&item.name);

    let mut changes = Changes { file, area, list: Vec::new(), by_name: HashMap::new() };
    for hunk in diff.hunks_of(file) {
        // From which line to which the hunk belongs to each change, in the order of their first lines.
        let mut spans: Vec<(usize, Span)> = Vec::new();
        let mut places: HashMap<usize, usize> = HashMap::new();
        let owned = |line: &crate::diff::NumberedLine<'_>| match line.line.kind {
            LineKind::Added => {
                let owner = line.new.and_then(row).and_then(|row| head.owner(row, is_new));
                Some((owner, owner.is_some_and(is_new).then_some(Deed::Added)))
            }
            LineKind::Removed => {
                let owner = line.old.and_then(row).and_then(|row| base.owner(row, is_gone));
                Some((owner, owner.is_some_and(is_gone).then_some(Deed::Removed)))
            }
            LineKind::Context | LineKind::Note => None,
        };
        let is_blank = |line: &crate::diff::NumberedLine<'_>, owner: Option<&Item>| {
            owner.is_none() && hunk.content(line.line).trim_ascii().is_empty()
        };
        // An empty line between two items belongs to the first, and one before all of them to the one that follows.
        let first =
            hunk.numbered().find_map(|line| owned(&line).filter(|(owner, _)| !is_blank(&line, *owner)));
        let mut last: Option<usize> = first.map(|(owner, deed)| changes.find(owner, deed));
        for line in hunk.numbered() {
            let Some((owner, deed)) = owned(&line) else { continue };
            let is_blank = is_blank(&line, owner);
            let index = match last.filter(|_| is_blank) {
                Some(last) => last,
                None => changes.find(owner, deed),
            };
            last = Some(index);
            match line.line.kind {
                LineKind::Added => changes.list[index].added += 1,
                LineKind::Removed | LineKind::Context | LineKind::Note => changes.list[index].removed += 1,
            }
            let number = line.index + 1;
            let place = *places.entry(index).or_insert_with(|| {
                spans.push((index, Span { file, hunk: hunk.hunk_index(), first: number, last: number }));
                spans.len() - 1
            });
            spans[place].1.last = number;
        }
        if spans.is_empty() {
            spans.push((changes.find(None, None), span(hunk)));
        }
        for (index, span) in spans {
            changes.list[index].spans.push(span);
        }
    }
    let status = diff.files()[file].status;
    for change in &mut changes.list {
        change.words = words_of(diff, change);
        if change.kind.is_empty() {
            change.deed = deed_of_file(status);
        } else if change.deed == Deed::Added {
            change.comment = comment_of(diff, change);
        }
    }
    changes.list
}

/// The changes of one file.
struct Changes {
    file: usize,
    area: Area,
    list: Vec<Change>,
    by_name: HashMap<String, usize>,
}

impl Changes {
    /// Finds the change of an item, or begins it.
    fn find(&mut self, owner: Option<&Item>, deed: Option<Deed>) -> usize {
        let name = owner.map_or("", |item| &item.name);
        if let Some(index) = self.by_name.get(name).copied() {
            // A type and what is implemented for it are one change; it is new only when both are.
            if self.list[index].deed != deed.unwrap_or_default() {
                self.list[index].deed = Deed::Changed;
            }
            return index;
        }
        self.by_name.insert(name.to_owned(), self.list.len());
        self.list.push(Change {
            file: self.file,
            kind: owner.map_or("", |item| item.kind),
            name: name.to_owned(),
            deed: deed.unwrap_or_default(),
            is_test: self.area == Area::Tests || owner.is_some_and(|item| item.is_test),
            ..Change::default()
        });
        self.list.len() - 1
    }
}

fn row(number: u64) -> Option<usize> {
    usize::try_from(number.checked_sub(1)?).ok()
}

/// Parses one side of a file: the whole of it when it is there, else each hunk by itself.
fn side_items(
    diff: &Diff,
    sources: &Sources,
    file: usize,
    language: Language,
    side: Side,
    left: &mut usize,
) -> SideItems {
    let entry = &diff.files()[file];
    let path = match side {
        Side::Head => &entry.path,
        Side::Base => entry.old_path.as_ref().unwrap_or(&entry.path),
    };
    let mut found = SideItems::default();
    if let Some(text) = sources.find(side, path) {
        *left = left.saturating_sub(text.len());
        found.items = items::list(text, language);
    } else {
        for hunk in diff.hunks_of(file) {
            if *left == 0 {
                break;
            }
            let mut text = Vec::new();
            let mut offset = None;
            for line in hunk.numbered() {
                let number = if side == Side::Head { line.new } else { line.old };
                let Some(row) = number.and_then(row) else { continue };
                offset.get_or_insert(row);
                text.extend_from_slice(hunk.content(line.line));
                text.push(b'\n');
            }
            *left = left.saturating_sub(text.len().max(FRAGMENT_BYTES_MIN));
            let offset = offset.unwrap_or(0);
            let moved = |item: Item| Item {
                first: item.first + offset,
                begin: item.begin + offset,
                last: item.last + offset,
                ..item
            };
            found.items.extend(items::list(&text, language).into_iter().map(moved));
        }
    }
    let mut open: Vec<usize> = Vec::new();
    for (index, item) in found.items.iter().enumerate() {
        while open.last().is_some_and(|outer| {
            let outer = &found.items[*outer];
            outer.depth >= item.depth || outer.last < item.first
        }) {
            open.pop();
        }
        found.parents.push(open.last().copied());
        open.push(index);
    }
    found.names = found.items.iter().map(|item| item.name.clone()).collect();
    let changed = |line: &crate::diff::NumberedLine<'_>| line.line.kind.is_change();
    let rows = diff.hunks_of(file).flat_map(HunkRef::numbered).filter(changed);
    let rows: BTreeMap<usize, ()> = rows
        .filter_map(|line| row(if side == Side::Head { line.new } else { line.old }?))
        .map(|row| (row, ()))
        .collect();
    // Inner items come later and paint over the outer ones.
    for (index, item) in found.items.iter().enumerate() {
        for (row, ()) in rows.range(item.first..=item.last) {
            found.owners.insert(*row, index);
        }
    }
    found
}

/// The words that could be names in the added lines of a change.
fn words_of(diff: &Diff, change: &Change) -> HashSet<String> {
    let mut words = HashSet::new();
    for span in &change.spans {
        let hunk = diff.hunk_at(span.file, span.hunk);
        let lines = hunk.hunk().lines.get(span.first - 1..span.last).unwrap_or_default();
        for line in lines.iter().filter(|line| line.kind == LineKind::Added) {
            let text = String::from_utf8_lossy(hunk.content(line));
            let is_part = |letter: char| letter.is_alphanumeric() || letter == '_';
            for word in text.split(|letter: char| !is_part(letter)) {
                if word.len() >= WORD_CHARS_MIN && words.len() < WORDS_MAX && !words.contains(word) {
                    words.insert(word.to_owned());
                }
            }
        }
    }
    words
}

/// The first sentence of a doc comment above a new item, as far as it is new itself.
fn comment_of(diff: &Diff, change: &Change) -> Option<String> {
    let span = change.spans.first()?;
    let hunk = diff.hunk_at(span.file, span.hunk);
    let lines = hunk.hunk().lines.get(span.first - 1..span.last)?;
    let mut words = String::new();
    for line in lines.iter().filter(|line| line.kind == LineKind::Added) {
        let text = String::from_utf8_lossy(hunk.content(line));
        let text = text.trim();
        let mark =
            ["///", "/**", "//", "*/", "*", "#", "\"\"\""].into_iter().find(|mark| text.starts_with(mark));
        let is_attribute = text.starts_with("#[")
            || text.starts_with("#!")
            || text.starts_with("#include")
            || text.starts_with("#define");
        let Some(mark) = mark.filter(|_| !is_attribute) else { break };
        let said = text.trim_start_matches(mark).trim_end_matches("*/").trim_end_matches("\"\"\"").trim();
        if said.is_empty() && !words.is_empty() {
            break;
        }
        if !words.is_empty() {
            words.push(' ');
        }
        words.push_str(said);
        if words.contains(". ") || words.ends_with('.') {
            break;
        }
    }
    let end = words.find(". ").map_or(words.len(), |end| end + 1);
    let sentence = words[..end].trim();
    let is_sentence = sentence.split_whitespace().count() >= 3;
    is_sentence.then(|| crate::check::excerpt(sentence, COMMENT_CHARS_MAX))
}
