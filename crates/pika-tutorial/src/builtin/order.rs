//! Orders steps so that what is defined comes before what uses it.

use std::collections::{BTreeSet, HashMap};

use super::changes::Change;
use super::group::Group;

/// The shortest name that links two steps: shorter ones are everywhere.
const NAME_CHARS_MIN: usize = 4;

/// Puts the groups of each part in the order of their dependencies. Of a circle, what comes first in the diff is first.
pub(super) fn sort(groups: Vec<Group>, changes: &[Change]) -> Vec<Group> {
    let uses = list_uses(&groups, changes);
    let mut left: Vec<usize> = (0..groups.len()).collect();
    let mut order = Vec::with_capacity(groups.len());
    while !left.is_empty() {
        let part = left.iter().map(|group| groups[*group].part).min();
        let candidates: Vec<usize> =
            left.iter().copied().filter(|group| Some(groups[*group].part) == part).collect();
        let waits_for = |group: usize| candidates.iter().filter(|other| uses[group].contains(other)).count();
        let next = candidates.iter().copied().min_by_key(|group| (waits_for(*group), *group));
        let Some(next) = next else { break };
        left.retain(|group| *group != next);
        order.push(next);
    }
    let mut groups: Vec<Option<Group>> = groups.into_iter().map(Some).collect();
    order.into_iter().filter_map(|index| groups[index].take()).collect()
}

/// For each group, the other groups that define a name which its lines use.
pub(super) fn list_uses(groups: &[Group], changes: &[Change]) -> Vec<BTreeSet<usize>> {
    let mut defined: HashMap<&str, Option<usize>> = HashMap::new();
    for (index, group) in groups.iter().enumerate() {
        for name in group.items.iter().filter_map(|item| own_name(&changes[*item])) {
            // A name that two steps define links nothing.
            defined.entry(name).and_modify(|of| *of = of.filter(|of| *of == index)).or_insert(Some(index));
        }
    }
    groups
        .iter()
        .enumerate()
        .map(|(index, group)| {
            let words = group.items.iter().flat_map(|item| &changes[*item].words);
            let definers = words.filter_map(|word| *defined.get(word.as_str())?);
            definers.filter(|definer| *definer != index).collect()
        })
        .collect()
}

/// The last part of an item's name, when it is long enough to be looked for.
pub(super) fn own_name(change: &Change) -> Option<&str> {
    let name = change.name.rsplit("::").next()?.rsplit('.').next()?.trim_end_matches('>');
    (name.chars().count() >= NAME_CHARS_MIN && !name.contains(' ')).then_some(name)
}
