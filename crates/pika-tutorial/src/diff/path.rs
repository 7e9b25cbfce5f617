//! Paths as diffs write them: prefixed, quoted, followed by a time.

/// Reads a path that may be quoted as C does. Returns it with what follows.
///
/// A path without quotes reaches to the end: whoever knows better cuts it first.
pub(super) fn read_quoted(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut rest = text.strip_prefix(b"\"")?;
    let mut path = Vec::new();
    loop {
        let (byte, after) = rest.split_first()?;
        rest = after;
        match byte {
            b'"' => return Some((path, rest)),
            b'\\' => {
                let (escape, after) = rest.split_first()?;
                rest = after;
                match escape {
                    b'a' => path.push(7),
                    b'b' => path.push(8),
                    b't' => path.push(b'\t'),
                    b'n' => path.push(b'\n'),
                    b'v' => path.push(11),
                    b'f' => path.push(12),
                    b'r' => path.push(b'\r'),
                    b'"' | b'\\' => path.push(*escape),
                    b'0'..=b'3' => {
                        let digits = rest.get(..2)?;
                        if !digits.iter().all(|digit| (b'0'..=b'7').contains(digit)) {
                            return None;
                        }
                        path.push((escape - b'0') * 64 + (digits[0] - b'0') * 8 + (digits[1] - b'0'));
                        rest = &rest[2..];
                    }
                    _ => return None,
                }
            }
            byte => path.push(*byte),
        }
    }
}

/// Reads a path that takes the whole text, quoted or not.
pub(super) fn unquote_all(text: &[u8]) -> Vec<u8> {
    match read_quoted(text) {
        Some((path, b"")) => path,
        _ => text.to_vec(),
    }
}

/// Reads the path of a `---` or `+++` line: quoted, or up to the tab before a time. `None` for `/dev/null`.
pub(super) fn read_file_line(text: &[u8]) -> Option<Vec<u8>> {
    let path = match read_quoted(text) {
        Some((path, _)) => path,
        None => text.split(|byte| *byte == b'\t').next().unwrap_or_default().to_vec(),
    };
    (path != b"/dev/null").then_some(path)
}

/// Drops the prefix that git puts before a path, such as `a/`.
pub(super) fn without_prefix(path: &[u8]) -> &[u8] {
    path.iter().position(|byte| *byte == b'/').map_or(path, |slash| &path[slash + 1..])
}

/// The two paths of a `diff --git` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GitLine {
    pub(super) old: Vec<u8>,
    pub(super) new: Vec<u8>,
    /// Whether the paths of this section have prefixes, which are then dropped here already.
    pub(super) has_prefix: bool,
}

/// Reads what follows `diff --git `. `None` when the two paths can't be told apart: the lines below then say.
pub(super) fn read_git_line(text: &[u8]) -> Option<GitLine> {
    let (old, new) = split_git_line(text)?;
    let has_prefix = old != new;
    let strip = |path: &[u8]| if has_prefix { without_prefix(path).to_vec() } else { path.to_vec() };
    Some(GitLine { old: strip(&old), new: strip(&new), has_prefix })
}

fn split_git_line(text: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    if let Some((old, rest)) = read_quoted(text) {
        return Some((old, unquote_all(rest.strip_prefix(b" ")?)));
    }
    if text.ends_with(b"\"") {
        let mut starts = text.windows(2).enumerate().filter(|(_, pair)| *pair == b" \"");
        return starts.find_map(|(space, _)| {
            let (new, rest) = read_quoted(&text[space + 1..])?;
            rest.is_empty().then(|| (text[..space].to_vec(), new))
        });
    }
    // Paths may have spaces. Without a rename both are the same but for the prefix.
    let spaces: Vec<usize> =
        text.iter().enumerate().filter(|(_, byte)| **byte == b' ').map(|(index, _)| index).collect();
    let halves = |space: usize| (&text[..space], &text[space + 1..]);
    if let [space] = spaces[..] {
        let (old, new) = halves(space);
        return Some((old.to_vec(), new.to_vec()));
    }
    let same = spaces.iter().map(|space| halves(*space)).find(|(old, new)| {
        old == new || !without_prefix(old).is_empty() && without_prefix(old) == without_prefix(new)
    });
    same.map(|(old, new)| (old.to_vec(), new.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Option<(String, String)> {
        let text_of = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        read_git_line(text.as_bytes()).map(|line| (text_of(line.old), text_of(line.new)))
    }

    #[test]
    fn a_path_with_spaces_is_told_from_two_paths() {
        let both = |path: &str| Some((path.to_owned(), path.to_owned()));
        assert_eq!(line("a/one b/one"), both("one"));
        assert_eq!(line("a/one two three b/one two three"), both("one two three"));
        assert_eq!(line("a/a b/a b/a b/a"), both("a b/a"));
        assert_eq!(line("i/x y w/x y"), both("x y"));
        assert_eq!(line("x y x y"), both("x y"));
        assert_eq!(line("src/one src/one"), both("src/one"));
    }

    #[test]
    fn a_quoted_path_is_read_to_its_quote() {
        assert_eq!(line(r#""a/t\303\274r" "b/t\303\274r""#), Some(("tür".into(), "tür".into())));
        assert_eq!(line(r#"a/plain "b/tab\there""#), Some(("plain".into(), "tab\there".into())));
        assert_eq!(line(r#""a/quote\"" b/plain"#), Some(("quote\"".into(), "plain".into())));
    }

    #[test]
    fn a_quote_that_never_ends_is_no_quoted_path() {
        assert_eq!(read_quoted(br#""abc"#), None);
        assert_eq!(read_quoted(br#""abc\"#), None);
        assert_eq!(read_quoted(br#""abc\3"#), None);
        assert_eq!(read_quoted(br#""abc\x41""#), None);
        assert_eq!(unquote_all(br#""abc"#), b"\"abc");
    }

    #[test]
    fn a_time_after_a_path_is_no_part_of_it() {
        assert_eq!(read_file_line(b"a/x y\t2024-01-01 00:00:00"), Some(b"a/x y".to_vec()));
        assert_eq!(read_file_line(b"/dev/null\t1970-01-01"), None);
        assert_eq!(read_file_line(b"\"a/\\ttab\""), Some(b"a/\ttab".to_vec()));
    }
}
