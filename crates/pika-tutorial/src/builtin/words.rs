//! Words a step and a summary by templates.
//!
//! Invariant: names and comments of the diff are quoted, never woven into a sentence as if they were ours.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::area::Area;
use crate::diff::{ChangeStatus, Diff, FileChange};

use super::changes::{Change, Deed};
use super::group::{Grain, Group, Part};
use super::order::own_name;

/// How many items a step's text lists.
const LISTED_MAX: usize = 24;
/// How many names a title has.
const NAMED_MAX: usize = 3;

/// The texts of a step.
pub(super) struct Words {
    pub(super) title: String,
    pub(super) intent: String,
    pub(super) body: String,
}

/// Words a group. `groups` are all, in their order, and `uses` are the places of those that this one uses.
pub(super) fn of_group(
    diff: &Diff,
    changes: &[Change],
    group: &Group,
    groups: &[Group],
    uses: &BTreeSet<usize>,
) -> Words {
    let items: Vec<&Change> = group.items.iter().map(|item| &changes[*item]).collect();
    let added: usize = items.iter().map(|change| change.added).sum();
    let removed: usize = items.iter().map(|change| change.removed).sum();
    let places: usize = items.iter().map(|change| change.spans.len()).sum();
    let mut intent = String::new();
    if let [only] = items[..]
        && let Some(comment) = &only.comment
    {
        let _ = write!(intent, "Its comment says: “{}” ", quoted(comment));
    }
    let _ = write!(intent, "{}, in {}.", counts(added, removed), number(places, "place"));
    let mut body = String::new();
    let lines: Vec<String> = if items.len() > LISTED_MAX && several_files(&items) {
        lines_by_file(diff, &items)
    } else {
        items.iter().map(|change| line(diff, change, several_files(&items))).collect()
    };
    for line in lines.iter().take(LISTED_MAX) {
        let _ = writeln!(body, "- {line}");
    }
    if lines.len() > LISTED_MAX {
        let _ = writeln!(body, "- and {} more", lines.len() - LISTED_MAX);
    }
    if let Some(links) = links(changes, group, groups, uses) {
        let _ = write!(body, "\n{links}");
    }
    Words { title: title(diff, group, &items), intent, body }
}

/// One line for each file of a long list, with the names of what changed in it.
fn lines_by_file(diff: &Diff, items: &[&Change]) -> Vec<String> {
    let mut files: BTreeMap<usize, Vec<&Change>> = BTreeMap::new();
    for change in items {
        files.entry(change.file).or_default().push(change);
    }
    files
        .into_iter()
        .map(|(file, changes)| {
            let named: Vec<&str> =
                changes.iter().filter(|change| !change.name.is_empty()).map(|change| &*change.name).collect();
            let [only] = changes[..] else {
                let path = quoted(&diff.files()[file].display_path());
                let added: usize = changes.iter().map(|change| change.added).sum();
                let removed: usize = changes.iter().map(|change| change.removed).sum();
                return format!("`{path}` (+{added} −{removed}): {}", names(&named));
            };
            line(diff, only, true)
        })
        .collect()
}

fn several_files(items: &[&Change]) -> bool {
    items.iter().any(|change| change.file != items[0].file)
}

fn title(diff: &Diff, group: &Group, items: &[&Change]) -> String {
    let path = |change: &Change| quoted(&diff.files()[change.file].display_path());
    let first = items[0];
    let named: Vec<&&Change> = items.iter().filter(|change| !change.name.is_empty()).collect();
    let what = match group.part {
        Part::Code | Part::Settings | Part::Documents => "",
        Part::Tests => "Tests: ",
        Part::NotWritten => {
            let files = items.len();
            return if files == 1 {
                format!("Update `{}`", path(first))
            } else {
                format!("Update {files} generated, locked or vendored files")
            };
        }
    };
    match &group.grain {
        Grain::Symbol if !named.is_empty() => {
            let names = names(&named.iter().map(|change| change.name.as_str()).collect::<Vec<_>>());
            match named[..] {
                [only] => format!("{} the {} `{}`", verb(only.deed), only.kind, quoted(&only.name)),
                _ if named.iter().all(|change| change.deed == named[0].deed) => {
                    format!("{} {names}", verb(named[0].deed))
                }
                _ => format!("Change {names}"),
            }
        }
        Grain::Symbol | Grain::File => {
            let entry = &diff.files()[first.file];
            let old = entry.display_old_path().map(|old| quoted(&old));
            let action = match (entry.status, old) {
                (ChangeStatus::Renamed, Some(old)) => format!("Move `{old}` to `{}`", path(first)),
                (ChangeStatus::Copied, Some(old)) => format!("Copy `{old}` to `{}`", path(first)),
                (ChangeStatus::Added, _) => format!("Add `{}`", path(first)),
                (ChangeStatus::Deleted, _) => format!("Remove `{}`", path(first)),
                _ => format!("Change `{}`", path(first)),
            };
            let is_partial = entry.status == ChangeStatus::Modified && !named.is_empty();
            let names = names(&named.iter().map(|change| change.name.as_str()).collect::<Vec<_>>());
            let inside = if is_partial { format!(": {names}") } else { String::new() };
            with_part(what, &format!("{action}{inside}"))
        }
        Grain::Folder(folder) => {
            let mut files: Vec<usize> = items.iter().map(|change| change.file).collect();
            files.sort_unstable();
            files.dedup();
            let place =
                if folder.is_empty() { "the repository".to_owned() } else { format!("`{}`", quoted(folder)) };
            let are_all = |status| files.iter().all(|file| diff.files()[*file].status == status);
            let verb = if are_all(ChangeStatus::Added) {
                "Add"
            } else if are_all(ChangeStatus::Deleted) {
                "Remove"
            } else {
                "Change"
            };
            let below = |file: &usize| {
                let path = diff.files()[*file].display_path();
                let inner = path.strip_prefix(folder.as_str()).unwrap_or(&path);
                inner.trim_start_matches('/').to_owned()
            };
            let which = if files.len() <= NAMED_MAX {
                let paths: Vec<String> = files.iter().map(below).collect();
                names(&paths.iter().map(String::as_str).collect::<Vec<_>>())
            } else {
                number(files.len(), "file")
            };
            with_part(what, &format!("{verb} {which} in {place}"))
        }
    }
}

fn with_part(part: &str, action: &str) -> String {
    if part.is_empty() { action.to_owned() } else { format!("{part}{}", lower(action)) }
}

fn names(names: &[&str]) -> String {
    let mut text = String::new();
    for (index, name) in names.iter().take(NAMED_MAX).enumerate() {
        let joint = if index == 0 {
            ""
        } else if index + 1 == names.len() {
            " and "
        } else {
            ", "
        };
        let _ = write!(text, "{joint}`{}`", quoted(name));
    }
    if names.len() > NAMED_MAX {
        let _ = write!(text, " and {} more", names.len() - NAMED_MAX);
    }
    text
}

/// One change in a list.
fn line(diff: &Diff, change: &Change, with_path: bool) -> String {
    let entry = &diff.files()[change.file];
    let path = quoted(&entry.display_path());
    let what = match (change.name.is_empty(), change.deed) {
        (true, _) if change.kind.is_empty() && with_path => format!("`{path}`"),
        (true, Deed::Changed) => "lines outside of any item".to_owned(),
        (true, _) => format!("`{path}`"),
        (false, _) => {
            let place = if with_path { format!(" in `{path}`") } else { String::new() };
            format!("{} `{}`{place}", change.kind, quoted(&change.name))
        }
    };
    let deed = match change.deed {
        Deed::Added => "new",
        Deed::Removed => "removed",
        Deed::Changed => "changed",
    };
    let mut line = format!("{what} is {deed} (+{} −{})", change.added, change.removed);
    if what.starts_with("lines") {
        line = format!("{what} are {deed} (+{} −{})", change.added, change.removed);
    }
    if entry.is_binary {
        line = format!("`{path}` is {deed} (binary)");
    }
    if let Some(without_lines) = without_lines(entry) {
        line = format!("`{path}` {without_lines}");
    }
    if let Some(comment) = &change.comment {
        let _ = write!(line, ": “{}”", quoted(comment));
    }
    line
}

/// What became of a file whose content is no text that changed: its kind, its name, the commit of a submodule.
fn without_lines(entry: &FileChange) -> Option<String> {
    const SUBMODULE: u32 = 0o160_000;
    const LINK: u32 = 0o120_000;
    const EXECUTABLE: u32 = 0o100_755;
    let (old, new) = (entry.old_mode, entry.new_mode);
    match entry.status {
        ChangeStatus::Modified if old.or(new) == Some(SUBMODULE) => {
            return Some("is a submodule, which is at another commit now".to_owned());
        }
        ChangeStatus::Added if new == Some(SUBMODULE) => return Some("is a new submodule".to_owned()),
        ChangeStatus::Added if new == Some(LINK) => return Some("is a new link".to_owned()),
        _ => {}
    }
    if entry.is_binary || entry.added + entry.removed > 0 {
        return None;
    }
    match (entry.status, old, new) {
        (_, Some(old), Some(EXECUTABLE)) if old != EXECUTABLE => Some("is executable now".to_owned()),
        (_, Some(EXECUTABLE), Some(_)) => Some("is no longer executable".to_owned()),
        (_, Some(old), Some(new)) if old != new => Some(format!("has the mode {new:o} now, and had {old:o}")),
        (ChangeStatus::Renamed, ..) => Some("is moved, with the content that it had".to_owned()),
        (ChangeStatus::Copied, ..) => Some("is a copy, with the same content".to_owned()),
        _ => None,
    }
}

/// Says which other steps define what this one uses.
fn links(changes: &[Change], group: &Group, groups: &[Group], uses: &BTreeSet<usize>) -> Option<String> {
    // What comes later is no use that the order shows, and a common word proves none.
    let own = groups.iter().position(|other| std::ptr::eq(other, group)).unwrap_or(groups.len());
    let words: Vec<String> = uses
        .iter()
        .filter(|other| **other < own)
        .filter_map(|other| {
            let defined = groups[*other].items.iter().filter_map(|item| own_name(&changes[*item]));
            let used = |name: &&str| group.items.iter().any(|item| changes[*item].words.contains(*name));
            let mut names: Vec<&str> = defined.filter(used).filter(|name| is_telling(name)).collect();
            names.sort_unstable();
            names.dedup();
            names.truncate(NAMED_MAX);
            (!names.is_empty()).then(|| format!("{} of step {}", self::names(&names), other + 1))
        })
        .take(NAMED_MAX)
        .collect();
    (!words.is_empty()).then(|| format!("Its lines name {}.\n", words.join(", and ")))
}

/// Whether a name is likely to mean what was defined, and not what every program has.
fn is_telling(name: &str) -> bool {
    const COMMON: [&str; 12] = [
        "clone", "default", "error", "from", "index", "into", "iter", "list", "name", "next", "path", "value",
    ];
    name.len() >= 4 && !COMMON.contains(&name)
}

/// Sums up the whole change.
pub(super) fn summary(diff: &Diff, changes: &[Change], areas: &[Area]) -> String {
    let (added, removed) = diff.counts();
    let mut text = format!(
        "This change touches {}: {}.",
        number(diff.files().len(), "file"),
        lower(&counts(added, removed))
    );
    let mut kinds = Vec::new();
    for (deed, verb) in [(Deed::Added, "adds"), (Deed::Changed, "changes"), (Deed::Removed, "removes")] {
        let named: Vec<&str> = changes
            .iter()
            .filter(|change| change.deed == deed && !change.name.is_empty() && !change.is_test)
            .map(|change| change.name.as_str())
            .collect();
        if !named.is_empty() {
            kinds.push(format!("{verb} {}", names(&named)));
        }
    }
    if !kinds.is_empty() {
        let _ = write!(text, " It {}.", kinds.join("; "));
    }
    let mut parts = Vec::new();
    for area in [Area::Tests, Area::Settings, Area::Documents, Area::Lock, Area::Generated, Area::Vendored] {
        let files = areas.iter().filter(|other| **other == area).count();
        if files > 0 {
            parts.push(format!("{} ({})", area.as_str(), number(files, "file")));
        }
    }
    if !parts.is_empty() {
        let _ = write!(text, " It also touches {}.", parts.join(", "));
    }
    text.push_str(
        "\n\nA program found the changed items in the diff, grouped them, and put those first that others use. What the \
         change is *for* is not in a diff: that its authors say in their commits.",
    );
    text
}

fn verb(deed: Deed) -> &'static str {
    match deed {
        Deed::Added => "Add",
        Deed::Removed => "Remove",
        Deed::Changed => "Change",
    }
}

fn counts(added: usize, removed: usize) -> String {
    match (added, removed) {
        (0, 0) => "No lines added or removed".to_owned(),
        (added, 0) => format!("{} added", capital(&number(added, "line"))),
        (0, removed) => format!("{} removed", capital(&number(removed, "line"))),
        (added, removed) => format!("{} added, {removed} removed", number(added, "line")),
    }
}

fn number(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().collect::<String>() + letters.as_str())
}

fn lower(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_lowercase().collect::<String>() + letters.as_str())
}

/// A text of the diff for use between marks of ours.
fn quoted(text: &str) -> String {
    let plain = |letter: char| match letter {
        '`' => '\'',
        letter if letter.is_control() => ' ',
        letter => letter,
    };
    text.chars().map(plain).collect()
}
