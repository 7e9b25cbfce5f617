//! Divides a change into requests: in one when it fits, else in parts and one more that joins them.

use crate::area::Area;
use crate::check::{Checked, excerpt};
use crate::diff::{Diff, HunkRef};
use crate::tutorial::{About, NotShown, StepState};

use super::instructions;
use super::{PartAnswer, PartEvidence, PartNumber, PartStep, Request, RequestFile, RequestHunk};

/// How much is shown to a writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanLimits {
    /// Bytes of hunks' text in one request. Four of them are about a token.
    pub text_bytes_max: usize,
    /// How many parts a change may be divided into.
    pub parts_max: usize,
}

impl Default for PlanLimits {
    fn default() -> PlanLimits {
        PlanLimits { text_bytes_max: 240_000, parts_max: 8 }
    }
}

/// How long a hunk's header is in a request: git puts up to 80 bytes of context there.
const HEADER_CHARS_MAX: usize = 120;
/// One hunk takes at most this share of a request.
const HUNK_SHARE: usize = 4;

/// How a change is shown to a writer.
#[derive(Clone, Debug)]
pub struct Plan<'a> {
    about: &'a About,
    diff: &'a Diff,
    areas: &'a [Area],
    /// For each file, the part that shows it; `None` when its text is left out.
    parts: Vec<Option<usize>>,
    part_count: usize,
    /// For each file and hunk, how many lines of its text are shown.
    shown: Vec<Vec<usize>>,
    not_shown: Vec<NotShown>,
}

impl<'a> Plan<'a> {
    /// Decides what is shown. What people wrote comes before what tools wrote; each file gets its share before one gets
    /// more.
    pub fn new(about: &'a About, diff: &'a Diff, areas: &'a [Area], limits: PlanLimits) -> Plan<'a> {
        let files = diff.files().len();
        let mut plan = Plan {
            about,
            diff,
            areas,
            parts: vec![None; files],
            part_count: 1,
            shown: diff.files().iter().map(|file| vec![0; file.hunks.len()]).collect(),
            not_shown: Vec::new(),
        };
        let is_all_made = !areas.iter().any(|area| area.is_written_here());
        let is_shown = |file: usize| areas[file].is_written_here() || is_all_made;
        let wanted: usize = (0..files).filter(|file| is_shown(*file)).map(|file| plan.bytes_of(file)).sum();
        let parts = wanted.div_ceil(limits.text_bytes_max.max(1)).clamp(1, limits.parts_max.max(1));
        let room = limits.text_bytes_max.max(1) * parts;
        let shares = plan.share(&is_shown, room, limits.text_bytes_max.max(1));
        plan.assign(&is_shown, &shares, parts, limits.text_bytes_max.max(1));
        plan.record();
        plan
    }

    /// What is not shown in full, in any request.
    pub fn not_shown(&self) -> &[NotShown] {
        &self.not_shown
    }

    /// The requests, one for each part.
    pub fn requests(&self) -> Vec<Request> {
        (0..self.part_count).map(|part| self.request(part)).collect()
    }

    fn bytes_of(&self, file: usize) -> usize {
        self.diff.hunks_of(file).map(HunkRef::bytes).sum()
    }

    /// How many bytes each file may show: everyone the same, and what some do not need goes to the others.
    fn share(&self, is_shown: &dyn Fn(usize) -> bool, room: usize, request_max: usize) -> Vec<usize> {
        let mut needs: Vec<(usize, usize)> = (0..self.diff.files().len())
            .filter(|file| is_shown(*file))
            .map(|file| (self.bytes_of(file).min(request_max), file))
            .collect();
        needs.sort_unstable();
        let mut shares = vec![0; self.diff.files().len()];
        let mut left = room;
        let count = needs.len();
        for (position, (need, file)) in needs.into_iter().enumerate() {
            let share = need.min(left / (count - position));
            shares[file] = share;
            left -= share;
        }
        shares
    }

    /// Gives each file to a part, in the order of the diff, and cuts what is beyond its share.
    fn assign(
        &mut self,
        is_shown: &dyn Fn(usize) -> bool,
        shares: &[usize],
        parts: usize,
        request_max: usize,
    ) {
        let mut part = 0;
        let mut filled = 0;
        for file in (0..shares.len()).filter(|file| is_shown(*file)) {
            if filled > 0 && filled + shares[file] > request_max && part + 1 < parts {
                part += 1;
                filled = 0;
            }
            self.parts[file] = Some(part);
            filled += shares[file];
            let is_whole = shares[file] >= self.bytes_of(file);
            let hunk_max = if is_whole { usize::MAX } else { (request_max / HUNK_SHARE).max(1) };
            let mut left = if is_whole { usize::MAX } else { shares[file] };
            for hunk in self.diff.hunks_of(file) {
                let mut room = left.min(hunk_max);
                let lines = hunk.hunk().lines.iter();
                let fitting = lines.take_while(|line| {
                    let bytes = hunk.marked(line).len() + 1;
                    let fits = bytes <= room;
                    room = room.saturating_sub(bytes);
                    fits
                });
                let count = fitting.count();
                let used: usize =
                    hunk.hunk().lines[..count].iter().map(|line| hunk.marked(line).len() + 1).sum();
                left = left.saturating_sub(used);
                self.shown[file][hunk.hunk_index()] = count;
            }
        }
        self.part_count = part + 1;
    }

    fn record(&mut self) {
        for (file, entry) in self.diff.files().iter().enumerate() {
            let cut = entry.hunks.iter().zip(&self.shown[file]);
            let hunks = cut.filter(|(hunk, shown)| **shown < hunk.lines.len()).count();
            if hunks > 0 {
                let reason = match self.parts[file] {
                    None => format!("one of the {}: listed without text", self.areas[file].as_str()),
                    Some(_) => "the change is larger than what fits".to_owned(),
                };
                self.not_shown.push(NotShown { path: entry.display_path(), hunks, reason });
            }
        }
    }

    fn request(&self, part: usize) -> Request {
        let is_divided = self.part_count > 1;
        let lists_hunks = |file: usize| !is_divided || self.parts[file] == Some(part);
        let files =
            (0..self.diff.files().len()).map(|file| self.file(file, lists_hunks(file), true)).collect();
        let instructions = if is_divided {
            format!("{}\n\n{}", instructions::BASE, instructions::PART)
        } else {
            instructions::BASE.to_owned()
        };
        let mut request = Request::new(self.about, files, self.not_shown.clone(), instructions);
        request.part = is_divided.then_some(PartNumber { number: part + 1, of: self.part_count });
        request
    }

    /// The request that joins what was written about the parts.
    pub fn join_request(&self, parts: &[Checked]) -> Request {
        let files = (0..self.diff.files().len()).map(|file| self.file(file, true, false)).collect();
        let instructions = format!("{}\n\n{}", instructions::BASE, instructions::JOIN);
        let mut request = Request::new(self.about, files, self.not_shown.clone(), instructions);
        request.parts = Some(parts.iter().map(part_answer).collect());
        request
    }

    fn file(&self, file: usize, lists_hunks: bool, with_text: bool) -> RequestFile {
        let entry = &self.diff.files()[file];
        let hunks = self.diff.hunks_of(file).filter(|_| lists_hunks).map(|hunk| {
            let lines = hunk.hunk().lines.len();
            let shown = if with_text { self.shown[file][hunk.hunk_index()] } else { 0 };
            RequestHunk {
                id: hunk.id().to_string(),
                header: excerpt(&hunk.hunk().header, HEADER_CHARS_MAX),
                lines,
                text: (shown > 0).then(|| hunk.text(0..shown)),
                lines_left_out: if shown > 0 { lines - shown } else { 0 },
            }
        });
        RequestFile {
            path: entry.display_path(),
            old_path: entry.display_old_path(),
            status: entry.status,
            kind: self.areas[file].as_str(),
            added: entry.added,
            removed: entry.removed,
            hunk_count: entry.hunks.len(),
            hunks: hunks.collect(),
        }
    }
}

/// What of a part's answer is handed on: what held.
fn part_answer(checked: &Checked) -> PartAnswer {
    let steps = checked.steps.iter().filter(|step| step.state != StepState::Unsupported);
    PartAnswer {
        executive_summary: checked.executive_summary.clone(),
        steps: steps
            .map(|step| PartStep {
                title: step.title.clone(),
                intent: step.intent.clone(),
                affected_files: step.affected_files.clone(),
                evidence: step
                    .evidence
                    .iter()
                    .map(|evidence| PartEvidence { hunk: evidence.hunk.to_string(), lines: evidence.lines })
                    .collect(),
                body_markdown: step.body_markdown.clone(),
            })
            .collect(),
    }
}
