//! Finds a quotation in the diff: byte for byte, white space at line ends aside.
//!
//! Invariant: every line of a quotation that is found stands in one hunk, in the quotation's order; between them only such
//! lines are passed over as the form of the quotation leaves out: context between marked lines, or the other side.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::HashMap;
use std::ops::Range;

use crate::diff::{Diff, HunkRef, Line, LineKind};

/// How many places of a quotation's rarest line are tried.
const PLACES_MAX: usize = 300;
/// How many letters and digits a quotation has at least: a brace is in every diff.
const SUBSTANCE_MIN: usize = 3;

/// A run of quoted lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Segment<'t> {
    pub(super) header: Option<&'t str>,
    /// The file that lines before it name.
    pub(super) path: Option<String>,
    pub(super) lines: Vec<&'t str>,
}

impl Segment<'_> {
    pub(super) fn has_substance(&self) -> bool {
        let letters =
            self.lines.iter().flat_map(|line| line.chars()).filter(|letter| letter.is_alphanumeric());
        letters.take(SUBSTANCE_MIN).count() == SUBSTANCE_MIN || self.lines.is_empty() && self.header.is_some()
    }

    fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.header.is_none()
    }

    fn trim(&mut self) {
        while self.lines.last().is_some_and(|line| line.trim().is_empty()) {
            self.lines.pop();
        }
        let blank = self.lines.iter().take_while(|line| line.trim().is_empty()).count();
        self.lines.drain(..blank);
    }
}

/// Splits a quotation where it leaves something out, and drops what stands around a hunk in a diff.
pub(super) fn split(text: &str) -> Vec<Segment<'_>> {
    let mut segments = Vec::new();
    let mut current = Segment::default();
    let mut path: Option<String> = None;
    let lines: Vec<&str> = text.lines().collect();
    let mut index = 0;
    while let Some(line) = lines.get(index) {
        let next = lines.get(index + 1).copied().unwrap_or_default();
        let trimmed = line.trim();
        index += 1;
        if line.starts_with("@@") {
            segments.push(end(&mut current, path.as_ref()));
            current.header = Some(line.trim_end());
        } else if line.starts_with("diff --git ")
            || trimmed.starts_with("```")
            || line.starts_with("index ") && line.contains("..")
        {
            segments.push(end(&mut current, path.as_ref()));
        } else if line.starts_with("--- ") && next.starts_with("+++ ") {
            segments.push(end(&mut current, path.as_ref()));
            let named = if next.ends_with("/dev/null") { *line } else { next };
            path = Some(named[4..].trim().to_owned());
            index += 1;
        } else if matches!(
            trimmed.trim_start_matches(['+', '-', ' ']),
            "..." | "…" | "[...]" | "[…]" | "// ..." | "# ..."
        ) {
            segments.push(end(&mut current, path.as_ref()));
        } else if !line.starts_with("\\ No newline") {
            current.lines.push(line);
        }
    }
    segments.push(end(&mut current, path.as_ref()));
    segments.retain(|segment| !segment.is_empty());
    segments
}

fn end<'t>(segment: &mut Segment<'t>, path: Option<&String>) -> Segment<'t> {
    let mut ended = std::mem::take(segment);
    ended.trim();
    ended.path = path.cloned();
    ended
}

/// What a quotation leaves out of a hunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Lines have their marks; context may be missing between them.
    Marked,
    /// The lines after the change.
    New,
    /// The lines before the change.
    Old,
    /// All lines without their marks.
    Bare,
}

const FORMS: [Form; 4] = [Form::Marked, Form::New, Form::Old, Form::Bare];

/// A line of a hunk as a form of quotation sees it.
enum Seen<'a> {
    /// It must be the next quoted line.
    Must(Cow<'a, str>),
    /// It may be the next quoted line.
    May(Cow<'a, str>),
    Hidden,
}

/// A hunk, and a line of it.
type Place = (usize, usize);

/// Lines of a hunk that a quotation was found in.
type Found<'a> = (HunkRef<'a>, Range<usize>);

/// Orders the places that fit: the smallest is taken.
type Rank = (usize, bool, usize, usize);

/// Finds quotations in one diff.
pub(super) struct Quotes<'a> {
    /// The places of each line's content. Built when the first quotation comes: most writers name hunks.
    places: OnceCell<HashMap<Vec<u8>, Vec<Place>>>,
    hunks: Vec<HunkRef<'a>>,
}

impl<'a> Quotes<'a> {
    pub(super) fn new(diff: &'a Diff) -> Quotes<'a> {
        Quotes { places: OnceCell::new(), hunks: diff.hunks().collect() }
    }

    /// Finds a segment, at best in the named file, else in one of the step's, else anywhere.
    pub(super) fn find(
        &self,
        segment: &Segment<'_>,
        named: Option<usize>,
        files: &[usize],
    ) -> Option<Found<'a>> {
        if segment.lines.is_empty() {
            let hunk = self.find_header(segment.header?, named, files)?;
            return Some((hunk, 0..hunk.hunk().lines.len()));
        }
        let mut best: Option<(Rank, Found<'a>)> = None;
        for (form_rank, form) in FORMS.into_iter().enumerate() {
            for (hunk_index, anchor, line) in self.anchors(segment, form) {
                let hunk = self.hunks[hunk_index];
                let Some(range) = align(hunk, line, &segment.lines, anchor, form) else { continue };
                let has_change = hunk.hunk().lines[range.clone()].iter().any(|line| line.kind.is_change());
                let of_header = segment.header.is_some_and(|header| is_header_of(header, hunk));
                let distance = place_rank(hunk, named, files) * 2 + usize::from(!of_header);
                let rank = (distance, !has_change, form_rank, hunk_index);
                if best.as_ref().is_none_or(|(other, _)| rank < *other) {
                    best = Some((rank, (hunk, range)));
                }
            }
        }
        best.map(|(_, found)| found)
    }

    /// Finds a hunk by its header.
    pub(super) fn find_header(
        &self,
        header: &str,
        named: Option<usize>,
        files: &[usize],
    ) -> Option<HunkRef<'a>> {
        let header = header.trim();
        if !header.starts_with("@@") {
            return None;
        }
        let fitting = self.hunks.iter().copied().filter(|hunk| is_header_of(header, *hunk));
        let mut ranked: Vec<(usize, HunkRef<'a>)> =
            fitting.map(|hunk| (place_rank(hunk, named, files), hunk)).collect();
        ranked.sort_by_key(|(rank, _)| *rank);
        match ranked[..] {
            [] => None,
            // Line numbers alone fit many files: without a file to go by, nothing is guessed.
            [(first, _), (second, _), ..] if first == second => None,
            [(_, hunk), ..] => Some(hunk),
        }
    }

    /// The places of the quotation's rarest line: hunk, place in the quotation, place in the hunk.
    fn anchors(&self, segment: &Segment<'_>, form: Form) -> Vec<(usize, usize, usize)> {
        let places = self.places.get_or_init(|| self.index());
        let key = |line: &str| {
            let bare = if form == Form::Marked { line.get(1..).unwrap_or_default() } else { line };
            bare.trim_end().as_bytes().to_vec()
        };
        let found = |line: &str| {
            let bare = places.get(&key(line));
            // A note has no mark, and a line of a merge has two.
            let unmarked = || places.get(line.trim_end().as_bytes());
            let twice = || places.get(line.get(2..)?.trim_end().as_bytes());
            if form == Form::Marked { bare.or_else(twice).or_else(unmarked) } else { bare }
        };
        let mut rarest: Option<(usize, &Vec<Place>)> = None;
        for (index, line) in segment.lines.iter().enumerate() {
            if line.trim().is_empty() {
                continue;
            }
            let Some(places) = found(line) else { return Vec::new() };
            if rarest.is_none_or(|(_, other)| places.len() < other.len()) {
                rarest = Some((index, places));
            }
        }
        let Some((anchor, places)) = rarest else { return Vec::new() };
        places.iter().take(PLACES_MAX).map(|(hunk, line)| (*hunk, anchor, *line)).collect()
    }

    fn index(&self) -> HashMap<Vec<u8>, Vec<Place>> {
        let mut places: HashMap<Vec<u8>, Vec<Place>> = HashMap::new();
        for (hunk_index, hunk) in self.hunks.iter().enumerate() {
            for (line_index, line) in hunk.hunk().lines.iter().enumerate() {
                let content = String::from_utf8_lossy(hunk.content(line));
                let key = content.trim_end().as_bytes();
                match places.get_mut(key) {
                    Some(known) => known.push((hunk_index, line_index)),
                    None => {
                        places.insert(key.to_vec(), vec![(hunk_index, line_index)]);
                    }
                }
            }
        }
        places
    }
}

fn place_rank(hunk: HunkRef<'_>, named: Option<usize>, files: &[usize]) -> usize {
    if named == Some(hunk.file_index()) {
        0
    } else if files.contains(&hunk.file_index()) {
        1
    } else {
        2
    }
}

/// Whether a quoted header has the line numbers of a hunk's.
fn is_header_of(header: &str, hunk: HunkRef<'_>) -> bool {
    let numbers = |text: &str| -> Option<String> {
        let marks = text.chars().take_while(|letter| *letter == '@').count();
        let rest = &text[marks..];
        rest.find("@@").map(|end| rest[..end].trim().to_owned())
    };
    let quoted = numbers(header);
    quoted.is_some() && quoted == numbers(&hunk.hunk().header)
}

/// Lays the quotation over the hunk so that its line `anchor` is the hunk's line `at`.
fn align(hunk: HunkRef<'_>, at: usize, quoted: &[&str], anchor: usize, form: Form) -> Option<Range<usize>> {
    let lines = &hunk.hunk().lines;
    if !matches!(see(hunk, &lines[at], form), Seen::Must(text) | Seen::May(text) if is_same(&text, quoted[anchor]))
    {
        return None;
    }
    let walk = |mut wanted: &mut dyn Iterator<Item = &&str>, places: &mut dyn Iterator<Item = usize>| {
        let mut reached = at;
        let mut next = wanted.next();
        for index in places {
            let Some(expected) = next else { break };
            match see(hunk, &lines[index], form) {
                Seen::Must(text) | Seen::May(text) if is_same(&text, expected) => {
                    reached = index;
                    next = (&mut wanted).next();
                }
                Seen::May(_) | Seen::Hidden => {}
                Seen::Must(_) => return None,
            }
        }
        next.is_none().then_some(reached)
    };
    let first = walk(&mut quoted[..anchor].iter().rev(), &mut (0..at).rev())?;
    let last = walk(&mut quoted[anchor + 1..].iter(), &mut (at + 1..lines.len()))?;
    Some(first..last + 1)
}

fn see<'a>(hunk: HunkRef<'a>, line: &'a Line, form: Form) -> Seen<'a> {
    let content = || String::from_utf8_lossy(hunk.content(line));
    match (form, line.kind) {
        (Form::Marked, LineKind::Context) => Seen::May(String::from_utf8_lossy(hunk.marked(line))),
        (Form::Marked, _) => Seen::Must(String::from_utf8_lossy(hunk.marked(line))),
        (Form::New, LineKind::Removed) | (Form::Old, LineKind::Added) => Seen::Hidden,
        (Form::New | Form::Old | Form::Bare, _) => Seen::Must(content()),
    }
}

fn is_same(line: &str, quoted: &str) -> bool {
    line.trim_end() == quoted.trim_end()
}
