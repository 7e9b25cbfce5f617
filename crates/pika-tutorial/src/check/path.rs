//! Finds the file of the diff that a writer means.

use std::collections::HashMap;

use crate::diff::Diff;

/// Beyond this many files, texts are not searched for paths.
const NAMED_FILES_MAX: usize = 2_000;

/// The paths of a diff.
pub(super) struct Paths<'a> {
    diff: &'a Diff,
    exact: HashMap<String, usize>,
}

impl<'a> Paths<'a> {
    pub(super) fn new(diff: &'a Diff) -> Paths<'a> {
        let mut exact = HashMap::new();
        // New names win over old ones, and the first of two equal ones over the second.
        for (index, file) in diff.files().iter().enumerate() {
            exact.entry(file.display_path()).or_insert(index);
        }
        for (index, file) in diff.files().iter().enumerate() {
            if let Some(old) = file.display_old_path() {
                exact.entry(old).or_insert(index);
            }
        }
        Paths { diff, exact }
    }

    /// Finds a file by its path: as it is, without the decoration that models put around paths, or by the end of it
    /// when only one file ends so.
    pub(super) fn find(&self, path: &str) -> Option<usize> {
        let bare = path.trim().trim_matches(['`', '"', '\'', '*']);
        let bare = bare.strip_prefix("./").unwrap_or(bare);
        let without_mark = bare.strip_prefix("a/").or_else(|| bare.strip_prefix("b/"));
        let candidates = [Some(path), Some(bare), without_mark];
        if let Some(index) = candidates.into_iter().flatten().find_map(|path| self.exact.get(path)) {
            return Some(*index);
        }
        if bare.is_empty() {
            return None;
        }
        let suffix = format!("/{bare}");
        let mut ending = (0..self.diff.files().len())
            .filter(|index| self.diff.files()[*index].path.ends_with(suffix.as_bytes()));
        match (ending.next(), ending.next()) {
            (Some(only), None) => Some(only),
            _ => None,
        }
    }

    /// The files whose whole path stands in one of the texts.
    pub(super) fn named_in(&self, texts: &[&str]) -> Vec<usize> {
        if self.diff.files().len() > NAMED_FILES_MAX {
            return Vec::new();
        }
        let is_named = |path: &str| path.len() > 4 && texts.iter().any(|text| has_word(text, path));
        let files = self.diff.files().iter().enumerate();
        files.filter(|(_, file)| is_named(&file.display_path())).map(|(index, _)| index).collect()
    }
}

/// Whether a path stands in a text by itself, not as a part of a longer one.
fn has_word(text: &str, path: &str) -> bool {
    text.match_indices(path).any(|(start, _)| {
        let is_part = |letter: char| letter.is_alphanumeric() || "/_-".contains(letter);
        let before = text[..start].chars().next_back();
        let after = text[start + path.len()..].chars().next();
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}
