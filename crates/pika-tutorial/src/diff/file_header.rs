//! What stands before a file's hunks: names, modes, renames.

use super::path::{read_file_line, read_git_line, unquote_all, without_prefix};
use super::{ChangeStatus, Hunk};

/// What was read of a file's header so far.
#[derive(Debug, Default)]
pub(super) struct FileHeader {
    form: Form,
    /// From the `diff` line.
    named_old: Option<Vec<u8>>,
    named_new: Option<Vec<u8>>,
    /// From `rename` and `copy` lines: never prefixed.
    moved_from: Option<Vec<u8>>,
    moved_to: Option<Vec<u8>>,
    /// From `---` and `+++`: `Some(None)` is `/dev/null`.
    line_old: Option<Option<Vec<u8>>>,
    line_new: Option<Option<Vec<u8>>>,
    has_prefix: Option<bool>,
    status: Option<ChangeStatus>,
    old_mode: Option<u32>,
    new_mode: Option<u32>,
    is_binary: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Form {
    /// Written by git.
    #[default]
    Git,
    /// Written by git for a merge.
    Merge,
    /// Written by diff.
    Plain,
}

/// What a header says.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) path: Vec<u8>,
    pub(super) old_path: Option<Vec<u8>>,
    pub(super) status: ChangeStatus,
    pub(super) old_mode: Option<u32>,
    pub(super) new_mode: Option<u32>,
    pub(super) is_binary: bool,
    pub(super) parents: usize,
}

impl Finished {
    pub(super) fn has_mode_change(&self) -> bool {
        self.old_mode.is_some() && self.new_mode.is_some() && self.old_mode != self.new_mode
    }
}

impl FileHeader {
    /// Begins a file of `diff --git`; `rest` is what follows that word.
    pub(super) fn git(rest: &[u8]) -> FileHeader {
        let Some(line) = read_git_line(rest) else { return FileHeader::default() };
        FileHeader {
            named_old: Some(line.old),
            named_new: Some(line.new),
            has_prefix: Some(line.has_prefix),
            ..FileHeader::default()
        }
    }

    /// Begins a file of `diff --cc`, which names one path without a prefix.
    pub(super) fn merge(rest: &[u8]) -> FileHeader {
        let path = unquote_all(rest);
        FileHeader {
            form: Form::Merge,
            named_old: Some(path.clone()),
            named_new: Some(path),
            ..FileHeader::default()
        }
    }

    /// Begins a file that has only `---` and `+++`.
    pub(super) fn plain() -> FileHeader {
        FileHeader { form: Form::Plain, ..FileHeader::default() }
    }

    /// Whether a line that could begin another file belongs to this one.
    pub(super) fn expects(&self, line: &[u8]) -> bool {
        self.is_binary_line(line) || self.line_old.is_none() && line.starts_with(b"--- ")
    }

    /// Reads a line that stands for a whole file: a submodule's log, two binary files of `diff -r`, a conflict.
    pub(super) fn single_line(line: &[u8]) -> Option<FileHeader> {
        if let Some(path) = line.strip_prefix(b"* Unmerged path ") {
            let path = unquote_all(path);
            return Some(FileHeader {
                named_new: Some(path),
                status: Some(ChangeStatus::Unmerged),
                ..FileHeader::default()
            });
        }
        if let Some(rest) = line.strip_prefix(b"Submodule ") {
            return submodule(rest);
        }
        let rest = line.strip_prefix(b"Binary files ")?.strip_suffix(b" differ")?;
        let position = find(rest, b" and ")?;
        let (old, new) = (read_file_line(&rest[..position]), read_file_line(&rest[position + 5..]));
        Some(FileHeader {
            form: Form::Plain,
            line_old: Some(old),
            line_new: Some(new),
            is_binary: true,
            ..FileHeader::default()
        })
    }

    /// Within a file of git's, the line that says that it is binary.
    fn is_binary_line(&self, line: &[u8]) -> bool {
        self.form != Form::Plain && line.starts_with(b"Binary files ") && line.ends_with(b" differ")
    }

    /// Whether a line belongs to what is noted about a change without lines.
    pub(super) fn is_note(line: &[u8]) -> bool {
        !line.starts_with(b"--- ") && !line.starts_with(b"+++ ")
    }

    /// Takes a line in. Returns whether it is one of a header.
    pub(super) fn read_line(&mut self, line: &[u8]) -> bool {
        let mode = |text: &[u8]| u32::from_str_radix(std::str::from_utf8(text).ok()?, 8).ok();
        let rest = |word: &[u8]| line.strip_prefix(word);
        if let Some(text) = rest(b"old mode ") {
            self.old_mode = mode(text);
        } else if let Some(text) = rest(b"new mode ") {
            self.new_mode = mode(text);
        } else if let Some(text) = rest(b"new file mode ") {
            self.status = Some(ChangeStatus::Added);
            self.new_mode = mode(text);
        } else if let Some(text) = rest(b"deleted file mode ") {
            self.status = Some(ChangeStatus::Deleted);
            // A merge lists the modes of all parents.
            self.old_mode = text.split(|byte| *byte == b',').next().and_then(mode);
        } else if let Some(text) = rest(b"mode ") {
            self.read_merge_mode(text);
        } else if let Some(text) = rest(b"rename from ") {
            self.status = Some(ChangeStatus::Renamed);
            self.moved_from = Some(unquote_all(text));
        } else if let Some(text) = rest(b"copy from ") {
            self.status = Some(ChangeStatus::Copied);
            self.moved_from = Some(unquote_all(text));
        } else if let Some(text) = rest(b"rename to ").or_else(|| rest(b"copy to ")) {
            self.moved_to = Some(unquote_all(text));
        } else if let Some(text) = rest(b"index ") {
            if let Some(found) = text.split(|byte| *byte == b' ').nth(1).and_then(mode) {
                self.old_mode = self.old_mode.or(Some(found));
                self.new_mode = self.new_mode.or(Some(found));
            }
        } else if let Some(text) = rest(b"--- ") {
            self.line_old = Some(read_file_line(text));
        } else if let Some(text) = rest(b"+++ ") {
            self.line_new = Some(read_file_line(text));
        } else if self.is_binary_line(line) || line == b"GIT binary patch" {
            self.is_binary = true;
        } else {
            return line.starts_with(b"similarity index ") || line.starts_with(b"dissimilarity index ");
        }
        true
    }

    /// `mode 100644,100644..100755` of a merge.
    fn read_merge_mode(&mut self, text: &[u8]) {
        let mode = |text: &[u8]| u32::from_str_radix(std::str::from_utf8(text).ok()?, 8).ok();
        let Some(dots) = find(text, b"..") else { return };
        self.old_mode = text[..dots].split(|byte| *byte == b',').next().and_then(mode);
        self.new_mode = mode(&text[dots + 2..]);
    }

    /// Draws the conclusion. `None` when nothing names the file.
    pub(super) fn finish(self, hunks: &[Hunk]) -> Option<Finished> {
        let (old, new) = self.names();
        let is_gone = self.line_new == Some(None) || self.status == Some(ChangeStatus::Deleted);
        let is_new = self.line_old == Some(None) || self.status == Some(ChangeStatus::Added);
        let path = if is_gone { old.clone().or(new) } else { new.or_else(|| old.clone()) }?;
        let status = match self.status {
            Some(status) => status,
            None if is_new => ChangeStatus::Added,
            None if is_gone => ChangeStatus::Deleted,
            None => ChangeStatus::Modified,
        };
        let old_path = match status {
            ChangeStatus::Renamed | ChangeStatus::Copied => old,
            _ => None,
        };
        let parents = hunks.first().map_or(1, |hunk| hunk.old.len());
        let (old_mode, new_mode) = match status {
            ChangeStatus::Added => (None, self.new_mode),
            ChangeStatus::Deleted => (self.old_mode, None),
            _ => (self.old_mode, self.new_mode),
        };
        let is_binary = self.is_binary;
        Some(Finished { path, old_path, status, old_mode, new_mode, is_binary, parents })
    }

    /// The names before and after, as far as the header has them. Renames are written most plainly, then `---` and `+++`.
    fn names(&self) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
        let (line_old, line_new) = (self.line_old.clone().flatten(), self.line_new.clone().flatten());
        let has_prefix = self.has_prefix.unwrap_or_else(|| self.looks_prefixed(&line_old, &line_new));
        let strip = |path: Vec<u8>| if has_prefix { without_prefix(&path).to_vec() } else { path };
        let old = self.moved_from.clone().or(line_old.map(strip)).or_else(|| self.named_old.clone());
        let new = self.moved_to.clone().or(line_new.map(strip)).or_else(|| self.named_new.clone());
        let is_named = |path: &Vec<u8>| !path.is_empty();
        (old.filter(is_named), new.filter(is_named))
    }

    /// Without a `diff --git` line, two folders or git's letters before one path are taken for a prefix.
    fn looks_prefixed(&self, old: &Option<Vec<u8>>, new: &Option<Vec<u8>>) -> bool {
        let has = |path: &Vec<u8>, prefixes: &[&[u8]]| prefixes.iter().any(|prefix| path.starts_with(prefix));
        match (old, new) {
            (Some(old), Some(new)) => {
                old != new && old.contains(&b'/') && without_prefix(old) == without_prefix(new)
            }
            (Some(old), None) => has(old, &[b"a/", b"i/", b"c/", b"o/"]),
            (None, Some(new)) => has(new, &[b"b/", b"w/", b"i/"]),
            (None, None) => false,
        }
    }
}

/// `Submodule PATH OLD..NEW:`, `Submodule PATH OLD...NEW (rewind):`, `Submodule PATH 0000000...NEW (new submodule)`.
fn submodule(rest: &[u8]) -> Option<FileHeader> {
    let is_range = |word: &[u8]| {
        let (old, new) = word.split_at(find(word, b"..").unwrap_or(word.len()));
        let is_hex = |text: &[u8]| text.len() >= 4 && text.iter().all(u8::is_ascii_hexdigit);
        let new = new.iter().skip_while(|byte| **byte == b'.').copied().collect::<Vec<_>>();
        is_hex(old) && is_hex(new.strip_suffix(b":").unwrap_or(&new))
    };
    let mut end = rest.len();
    // The range is the last word that is one; a path may hold spaces.
    while let Some(space) = rest[..end].iter().rposition(|byte| *byte == b' ') {
        let word = rest[space + 1..].split(|byte| *byte == b' ').next()?;
        if is_range(word) {
            let is_new = find(rest, b"(new submodule)").is_some();
            let is_gone = find(rest, b"(submodule deleted)").is_some();
            let status = match (is_new, is_gone) {
                (true, _) => ChangeStatus::Added,
                (_, true) => ChangeStatus::Deleted,
                _ => ChangeStatus::Modified,
            };
            let mode = Some(0o160_000);
            return Some(FileHeader {
                named_old: Some(rest[..space].to_vec()),
                named_new: Some(rest[..space].to_vec()),
                status: Some(status),
                old_mode: mode,
                new_mode: mode,
                ..FileHeader::default()
            });
        }
        end = space;
    }
    None
}

fn find(text: &[u8], word: &[u8]) -> Option<usize> {
    text.windows(word.len()).position(|window| window == word)
}
