//! The header line of a hunk: `@@ -1,3 +1,4 @@`, and with more `@` the hunk of a merge.

use super::LineRange;

/// Where a hunk's lines were in each parent, and where they are.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ranges {
    pub(super) old: Vec<LineRange>,
    pub(super) new: LineRange,
}

/// How many parents a merge's hunk may have. Git's own limit for an octopus is lower.
const PARENTS_MAX: usize = 64;

/// Reads a header line. `None` when the line is none.
pub(super) fn read(line: &[u8]) -> Option<Ranges> {
    let ats = line.iter().take_while(|byte| **byte == b'@').count();
    if !(2..=PARENTS_MAX + 1).contains(&ats) {
        return None;
    }
    let (marks, rest) = line.split_at(ats);
    let mut fields = rest.split(|byte| *byte == b' ').skip(1);
    if rest.first() != Some(&b' ') {
        return None;
    }
    let mut old = Vec::with_capacity(ats - 1);
    for _ in 0..ats - 1 {
        old.push(read_range(fields.next()?.strip_prefix(b"-")?)?);
    }
    let new = read_range(fields.next()?.strip_prefix(b"+")?)?;
    let end = fields.next()?;
    let is_ended = end == marks || end.strip_suffix(b"\r") == Some(marks);
    is_ended.then_some(Ranges { old, new })
}

/// Reads `start,count`, where `,count` may be missing and means one.
fn read_range(text: &[u8]) -> Option<LineRange> {
    let text = std::str::from_utf8(text).ok()?;
    let (start, count) = text.split_once(',').unwrap_or((text, "1"));
    // Sums of two of them must not overflow.
    let number = |text: &str| text.parse::<u32>().ok().map(u64::from);
    Some(LineRange { start: number(start)?, count: number(count)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u64, count: u64) -> LineRange {
        LineRange { start, count }
    }

    #[test]
    fn a_count_that_is_not_written_is_one() {
        let ranges = read(b"@@ -3 +4,0 @@ fn main() {").unwrap();
        assert_eq!(ranges, Ranges { old: vec![range(3, 1)], new: range(4, 0) });
        assert_eq!(read(b"@@ -1 +1 @@\r"), Some(Ranges { old: vec![range(1, 1)], new: range(1, 1) }));
    }

    #[test]
    fn a_merge_has_a_range_for_each_parent() {
        let ranges = read(b"@@@ -1,2 -3,4 +5,6 @@@").unwrap();
        assert_eq!(ranges, Ranges { old: vec![range(1, 2), range(3, 4)], new: range(5, 6) });
    }

    #[test]
    fn what_only_resembles_a_header_is_none() {
        for line in [
            &b"@@"[..],
            b"@@ nix/incus/pikaci-image.nix",
            b"@@ -1,2 +1,2",
            b"@@ -1,2 +1,2 @",
            b"@@ -1,99999999999999999999 +1 @@",
            b"@@@ -1,2 +1,2 @@@",
            b"@@-1 +1 @@",
            b"@ -1 @",
        ] {
            assert_eq!(read(line), None, "{}", String::from_utf8_lossy(line));
        }
    }
}
