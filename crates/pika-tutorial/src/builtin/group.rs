//! Groups changes into steps: what belongs to one symbol, else to one file, else to one folder, so that a reader gets a
//! handful of steps from a small change and not hundreds from a large one.

use std::collections::HashMap;

use crate::area::Area;
use crate::diff::Diff;

use super::changes::Change;

/// The changes of one step, as places in the list of changes.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) part: Part,
    pub(super) grain: Grain,
    pub(super) items: Vec<usize>,
}

/// Which part of a change, in the order of reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Code,
    Tests,
    Settings,
    Documents,
    NotWritten,
}

/// What the changes of a group have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Grain {
    Symbol,
    File,
    /// A folder, by its path; empty for the root.
    Folder(String),
}

/// How many steps each part may have.
const STEPS_MAX: [(Part, usize); 5] =
    [(Part::Code, 14), (Part::Tests, 4), (Part::Settings, 4), (Part::Documents, 4), (Part::NotWritten, 1)];

/// Groups all changes.
pub(super) fn partition(diff: &Diff, areas: &[Area], changes: &[Change]) -> Vec<Group> {
    let mut groups = Vec::new();
    for (part, steps_max) in STEPS_MAX {
        let items: Vec<usize> =
            (0..changes.len()).filter(|index| part_of(&changes[*index], areas) == part).collect();
        if !items.is_empty() {
            groups.extend(of_part(diff, changes, part, &items, steps_max));
        }
    }
    groups
}

fn part_of(change: &Change, areas: &[Area]) -> Part {
    match areas[change.file] {
        Area::Lock | Area::Generated | Area::Vendored => Part::NotWritten,
        Area::Settings => Part::Settings,
        Area::Documents => Part::Documents,
        Area::Tests => Part::Tests,
        Area::Code if change.is_test => Part::Tests,
        Area::Code => Part::Code,
    }
}

fn of_part(diff: &Diff, changes: &[Change], part: Part, items: &[usize], steps_max: usize) -> Vec<Group> {
    let path = |item: usize| diff.files()[changes[item].file].display_path();
    if part == Part::Code {
        let symbols = by_key(items, |item| symbol_key(changes, items, item));
        if symbols.len() <= steps_max {
            return grouped(part, symbols, |_| Grain::Symbol);
        }
    }
    let files = by_key(items, |item| (changes[item].file, String::new()));
    if files.len() <= steps_max {
        return grouped(part, files, |_| Grain::File);
    }
    let depth_max = items.iter().map(|item| path(*item).matches('/').count()).max().unwrap_or(0);
    for depth in (0..=depth_max).rev() {
        let folders = by_key(items, |item| (0, folder(&path(item), depth)));
        if folders.len() <= steps_max || depth == 0 {
            return grouped(part, folders, |item| Grain::Folder(folder(&path(item), depth)));
        }
    }
    Vec::new()
}

/// A symbol is what stands outermost around an item. What is in no item goes with the file's first symbol.
fn symbol_key(changes: &[Change], items: &[usize], item: usize) -> (usize, String) {
    let change = &changes[item];
    let root = |name: &str| {
        let bare = name.trim_start_matches('<');
        let end = bare.find("::").or_else(|| bare.find('.')).or_else(|| bare.find(" as "));
        bare[..end.unwrap_or(bare.len())].split(" as ").next().unwrap_or_default().to_owned()
    };
    let mut of_file = items.iter().map(|item| &changes[*item]).filter(|other| other.file == change.file);
    if change.name.is_empty()
        && let Some(first) = of_file.find(|other| !other.name.is_empty())
    {
        return (change.file, root(&first.name));
    }
    (change.file, root(&change.name))
}

/// The first `depth` folders of a path.
fn folder(path: &str, depth: usize) -> String {
    let folders = path.rsplit_once('/').map_or("", |(folders, _)| folders);
    folders.split('/').take(depth).collect::<Vec<_>>().join("/")
}

/// Gathers items with equal keys, in the order of the first of each.
fn by_key(items: &[usize], key: impl Fn(usize) -> (usize, String)) -> Vec<Vec<usize>> {
    let mut places: HashMap<(usize, String), usize> = HashMap::new();
    let mut gathered: Vec<Vec<usize>> = Vec::new();
    for item in items {
        let place = *places.entry(key(*item)).or_insert_with(|| {
            gathered.push(Vec::new());
            gathered.len() - 1
        });
        gathered[place].push(*item);
    }
    gathered
}

fn grouped(part: Part, gathered: Vec<Vec<usize>>, grain: impl Fn(usize) -> Grain) -> Vec<Group> {
    gathered.into_iter().map(|items| Group { part, grain: grain(items[0]), items }).collect()
}
