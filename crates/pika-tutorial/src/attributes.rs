//! The attributes that say of a file that it was generated or comes from elsewhere: `linguist-generated` and its like in
//! `.gitattributes` (gitattributes(5); GitHub Linguist, "Overrides").

use globset::{GlobBuilder, GlobMatcher};

use crate::diff::Diff;
use crate::sources::{Side, Sources};

/// How many rules are read.
const RULES_MAX: usize = 2_000;

/// The rules of a tree. Later and deeper ones win.
#[derive(Clone, Debug, Default)]
pub struct Attributes {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    /// The folder of the file that it stands in, empty or with a slash at its end.
    folder: String,
    pattern: GlobMatcher,
    /// A pattern without a slash is for names at any depth.
    is_for_names: bool,
    marks: Marks,
}

/// What the rules say of one path; `None` where they say nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// A tool wrote it.
    pub is_generated: Option<bool>,
    /// Others wrote it.
    pub is_vendored: Option<bool>,
    /// It is about the program and no part of it.
    pub is_documentation: Option<bool>,
}

impl Attributes {
    /// Reads the rules of these files, each with its folder (without a slash at its end), the root first.
    pub fn parse<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Attributes {
        let mut rules = Vec::new();
        for (folder, text) in files {
            rules.extend(text.lines().filter_map(|line| parse_rule(folder, line)));
            rules.truncate(RULES_MAX);
        }
        Attributes { rules }
    }

    /// Reads the rules that hold for the files of a diff, as the head has them.
    pub fn read(diff: &Diff, sources: &Sources) -> Attributes {
        let mut folders: Vec<String> =
            diff.files().iter().flat_map(|file| folders_above(&file.path)).collect();
        folders.sort_by_key(|folder| (folder.matches('/').count(), folder.clone()));
        folders.dedup();
        let texts: Vec<(String, String)> = folders
            .into_iter()
            .filter_map(|folder| {
                let bytes = sources.find(Side::Head, path_in(&folder).as_bytes())?;
                Some((folder, String::from_utf8_lossy(bytes).into_owned()))
            })
            .collect();
        Attributes::parse(texts.iter().map(|(folder, text)| (folder.as_str(), text.as_str())))
    }

    /// Lists the files that [`Attributes::read`] looks for.
    pub fn list_files(diff: &Diff) -> Vec<Vec<u8>> {
        let mut files: Vec<Vec<u8>> = diff
            .files()
            .iter()
            .flat_map(|file| folders_above(&file.path))
            .map(|folder| path_in(&folder).into_bytes())
            .collect();
        files.sort();
        files.dedup();
        files
    }

    /// What the rules say of a path.
    pub fn of(&self, path: &str) -> Marks {
        let mut marks = Marks::default();
        for rule in &self.rules {
            let Some(inner) = path.strip_prefix(&rule.folder) else { continue };
            let name = inner.rsplit('/').next().unwrap_or(inner);
            if rule.pattern.is_match(if rule.is_for_names { name } else { inner }) {
                marks.is_generated = rule.marks.is_generated.or(marks.is_generated);
                marks.is_vendored = rule.marks.is_vendored.or(marks.is_vendored);
                marks.is_documentation = rule.marks.is_documentation.or(marks.is_documentation);
            }
        }
        marks
    }
}

/// The folders of a path, the root (an empty name) first.
fn folders_above(path: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(path);
    let slashes = text.match_indices('/').map(|(index, _)| text[..index].to_owned());
    std::iter::once(String::new()).chain(slashes).collect()
}

fn path_in(folder: &str) -> String {
    if folder.is_empty() { ".gitattributes".to_owned() } else { format!("{folder}/.gitattributes") }
}

fn parse_rule(folder: &str, line: &str) -> Option<Rule> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') || line.starts_with('!') {
        return None;
    }
    let (pattern, settings) = line.split_once(char::is_whitespace)?;
    let mut marks = Marks::default();
    for word in settings.split_whitespace() {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, value == "true" || value == "set" || value == "1"),
            None => (word.strip_prefix('-').unwrap_or(word), !word.starts_with('-')),
        };
        match name {
            "linguist-generated" => marks.is_generated = Some(value),
            "linguist-vendored" => marks.is_vendored = Some(value),
            "linguist-documentation" => marks.is_documentation = Some(value),
            _ => {}
        }
    }
    if marks == Marks::default() {
        return None;
    }
    let is_for_names = !pattern.contains('/');
    let anchored = pattern.strip_prefix('/').unwrap_or(pattern);
    let glob = GlobBuilder::new(anchored).literal_separator(true).build().ok()?;
    let folder = if folder.is_empty() { String::new() } else { format!("{folder}/") };
    Some(Rule { folder, pattern: glob.compile_matcher(), is_for_names, marks })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_hold_where_their_patterns_say() {
        let attributes = Attributes::parse([
            (
                "",
                "# made\n*.tbl linguist-generated=true text\n/gen/** linguist-generated\nlib/*.c linguist-vendored\n",
            ),
            ("gen/kept", "*.rs -linguist-generated"),
        ]);
        let is_generated = |path| attributes.of(path).is_generated;
        assert_eq!(is_generated("deep/down/x.tbl"), Some(true));
        assert_eq!(is_generated("gen/deep/x.rs"), Some(true));
        assert_eq!(is_generated("gen/kept/x.rs"), Some(false));
        assert_eq!(is_generated("other/gen/x.rs"), None);
        assert_eq!(attributes.of("lib/x.c").is_vendored, Some(true));
        assert_eq!(attributes.of("lib/deep/x.c").is_vendored, None);
    }

    #[test]
    fn rules_are_looked_for_in_every_folder_above_a_changed_file() {
        let diff = Diff::parse(&b"--- a/a/b/x\n+++ b/a/b/x\n@@ -1 +1 @@\n-a\n+b\n"[..]);
        let expected = [".gitattributes", "a/.gitattributes", "a/b/.gitattributes"];
        assert_eq!(Attributes::list_files(&diff), expected.map(|path| path.as_bytes().to_vec()));
        let mut sources = Sources::default();
        sources.insert(Side::Head, b"a/.gitattributes", &b"x linguist-generated"[..]);
        assert_eq!(Attributes::read(&diff, &sources).of("a/b/x").is_generated, Some(true));
    }
}
