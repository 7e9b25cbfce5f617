//! Groups changes into steps. A small change is told symbol by symbol; of a larger one, what is heavy is told finely, by symbol
//! or by file, and what is light together, by folder, so that a reader gets some dozen steps and none that hides the rest.

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
    [(Part::Code, 20), (Part::Tests, 6), (Part::Settings, 4), (Part::Documents, 4), (Part::NotWritten, 1)];

/// How many pieces are taken out of a group at once when they don't all have room, so that other groups have some.
const PIECES_MAX: usize = 6;
/// How many times as heavy as the average such a piece is.
const STANDS_OUT: usize = 2;

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
    let mut first_named = HashMap::new();
    for change in items.iter().map(|item| &changes[*item]).filter(|change| !change.name.is_empty()) {
        first_named.entry(change.file).or_insert(change.name.as_str());
    }
    let tree = Tree { diff, changes, first_named, part };
    if part == Part::Code {
        let symbols = by_key(items, |item| tree.symbol_key(item));
        if symbols.len() <= steps_max {
            return symbols.into_iter().map(|items| Group { part, grain: Grain::Symbol, items }).collect();
        }
    }
    let mut groups = vec![tree.group(items.to_vec())];
    let mut is_settled = vec![false];
    // The heaviest is split first, as long as there is room for its pieces.
    while let Some(heaviest) = (0..groups.len())
        .filter(|index| !is_settled[*index])
        .max_by_key(|index| (tree.weight(&groups[*index]), std::cmp::Reverse(*index)))
    {
        let room = steps_max + 1 - groups.len();
        match tree.split(&groups[heaviest], room) {
            Some(pieces) => {
                is_settled.splice(heaviest..=heaviest, pieces.iter().map(|_| false));
                groups.splice(heaviest..=heaviest, pieces);
            }
            None => is_settled[heaviest] = true,
        }
    }
    groups
}

/// The items of a part by the folders that they are in.
struct Tree<'a> {
    diff: &'a Diff,
    changes: &'a [Change],
    /// The first item with a name of each file.
    first_named: HashMap<usize, &'a str>,
    part: Part,
}

impl Tree<'_> {
    fn path(&self, item: usize) -> String {
        self.diff.files()[self.changes[item].file].display_path()
    }

    fn weight(&self, group: &Group) -> usize {
        group.items.iter().map(|item| self.changes[*item].added + self.changes[*item].removed).sum()
    }

    /// A group by the narrowest name that fits all its items.
    fn group(&self, items: Vec<usize>) -> Group {
        let file = self.changes[items[0]].file;
        let grain = if items.iter().all(|item| self.changes[*item].file == file) {
            Grain::File
        } else {
            Grain::Folder(self.common_folder(&items))
        };
        Group { part: self.part, grain, items }
    }

    fn common_folder(&self, items: &[usize]) -> String {
        let mut common = folder(&self.path(items[0]), usize::MAX);
        for item in &items[1..] {
            let path = self.path(*item);
            while !common.is_empty() && !path.strip_prefix(&common).is_some_and(|rest| rest.starts_with('/'))
            {
                common.truncate(common.rfind('/').unwrap_or(0));
            }
        }
        common
    }

    /// A symbol is what stands outermost around an item. What is in no item goes with the file's first symbol.
    fn symbol_key(&self, item: usize) -> (usize, String) {
        let change = &self.changes[item];
        let name = if change.name.is_empty() { self.first_named.get(&change.file) } else { None };
        let bare = name.copied().unwrap_or(&change.name).trim_start_matches('<');
        let end = bare.find("::").or_else(|| bare.find('.')).or_else(|| bare.find(" as "));
        let root = bare[..end.unwrap_or(bare.len())].split(" as ").next().unwrap_or_default();
        (change.file, root.to_owned())
    }

    /// The pieces of a group, if it has several and there is room: all of them, or the heavy ones and what is left together.
    fn split(&self, group: &Group, room: usize) -> Option<Vec<Group>> {
        let pieces = match &group.grain {
            Grain::File if self.part == Part::Code => by_key(&group.items, |item| self.symbol_key(item)),
            Grain::File | Grain::Symbol => return None,
            Grain::Folder(common) => {
                let depth = if common.is_empty() { 0 } else { common.matches('/').count() + 1 };
                by_key(&group.items, |item| {
                    let inner = folder(&self.path(item), depth + 1);
                    // Files that stand in the folder itself are pieces of their own.
                    let file = if inner == *common { self.changes[item].file + 1 } else { 0 };
                    (file, inner)
                })
            }
        };
        if pieces.len() < 2 || room < 2 {
            return None;
        }
        let of = |items: Vec<usize>| match group.grain {
            Grain::Folder(_) => self.group(items),
            Grain::File | Grain::Symbol => Group { part: self.part, grain: Grain::Symbol, items },
        };
        let mut pieces: Vec<Group> = pieces.into_iter().map(of).collect();
        if pieces.len() > room {
            // Not all have room: those that stand out do.
            let average = self.weight(group) / pieces.len();
            pieces.sort_by_key(|piece| std::cmp::Reverse(self.weight(piece)));
            let heavy = pieces.iter().take_while(|piece| self.weight(piece) > STANDS_OUT * average).count();
            let heavy = heavy.min(room - 1).min(PIECES_MAX);
            if heavy == 0 {
                return None;
            }
            let mut rest: Vec<usize> =
                pieces.split_off(heavy).into_iter().flat_map(|piece| piece.items).collect();
            rest.sort_unstable();
            pieces.push(of(rest));
            pieces.sort_by_key(|piece| piece.items[0]);
        }
        Some(pieces)
    }
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
