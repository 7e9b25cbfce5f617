//! Carries a tutorial over to a new head: what it shows that is unchanged stays, the rest is marked as stale.
//!
//! Invariant: afterwards all evidence is in the diff of the new head. A step of which anything is gone says which head it
//! was written for, and counts for no hunk.

use std::collections::{HashMap, HashSet};

use crate::coverage;
use crate::diff::{Diff, HunkRef};
use crate::tutorial::{About, Evidence, FileEntry, StepState, Tutorial};

/// A tutorial on a new head.
#[derive(Clone, Debug, PartialEq)]
pub struct Reanchored {
    /// The tutorial.
    pub tutorial: Tutorial,
    /// How many of its steps hold as they were.
    pub kept: usize,
    /// How many are marked as stale.
    pub stale: usize,
}

/// Carries a tutorial over. Hunks are found by their digests, at best in the same file.
pub fn reanchor(tutorial: &Tutorial, about: &About, diff: &Diff) -> Reanchored {
    let mut by_digest: HashMap<&str, Same<'_>> = HashMap::new();
    for hunk in diff.hunks() {
        let same = by_digest.entry(&hunk.hunk().digest).or_default();
        same.by_path.entry(hunk.file().display_path()).or_default().push(hunk);
    }
    let paths: HashSet<String> = diff.files().iter().map(crate::diff::FileChange::display_path).collect();
    let mut moved = Tutorial { about: about.clone(), files: FileEntry::list(diff), ..tutorial.clone() };
    let mut stale = 0;
    for step in &mut moved.steps {
        let count = step.evidence.len();
        let (mut found, mut gone) = (Vec::new(), std::mem::take(&mut step.earlier_snippets));
        for evidence in &step.evidence {
            match find(evidence, &by_digest) {
                Some(evidence) => found.push(evidence),
                None => gone.push(evidence.text.clone()),
            }
        }
        (step.evidence, step.earlier_snippets) = (found, gone);
        step.evidence_snippets = step.evidence.iter().map(|evidence| evidence.text.clone()).collect();
        let is_whole = step.evidence.len() == count;
        if !is_whole && step.stale_since.is_none() {
            step.stale_since = Some(tutorial.about.head.clone());
        }
        if step.evidence.is_empty() {
            step.state = StepState::Unsupported;
        }
        step.affected_files.retain(|path| paths.contains(path));
        let mut known: HashSet<String> = step.affected_files.iter().cloned().collect();
        for evidence in &step.evidence {
            if known.insert(evidence.path.clone()) {
                step.affected_files.push(evidence.path.clone());
            }
        }
        stale += usize::from(step.stale_since.is_some());
    }
    moved.coverage = coverage::measure(diff, &moved.steps);
    Reanchored { kept: moved.steps.len() - stale, stale, tutorial: moved }
}

/// The hunks with the same lines.
#[derive(Default)]
struct Same<'a> {
    by_path: HashMap<String, Vec<HunkRef<'a>>>,
}

/// The same place in the new diff. Of several hunks with the same lines, the one in the same file, if it is one alone.
fn find(evidence: &Evidence, by_digest: &HashMap<&str, Same<'_>>) -> Option<Evidence> {
    let same = by_digest.get(evidence.digest.as_str())?;
    let here = same.by_path.get(&evidence.path).map_or(&[][..], Vec::as_slice);
    let of_id = here.iter().find(|hunk| *hunk.id() == evidence.hunk);
    let mut files = same.by_path.values();
    let hunk = match (of_id, here, files.next().map(Vec::as_slice), files.next()) {
        (Some(hunk), ..) => hunk,
        (None, [only], ..) => only,
        (None, [], Some([only]), None) => only,
        _ => return None,
    };
    Some(Evidence { path: hunk.file().display_path(), hunk: hunk.id().clone(), ..evidence.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::{Answer, ClaimedEvidence, ClaimedStep};
    use crate::check::check;

    fn file(path: &str, hunks: &str) -> String {
        format!("--- a/{path}\n+++ b/{path}\n{hunks}")
    }

    const ONE: &str = "@@ -1 +1 @@\n-one\n+1\n";
    const TWO: &str = "@@ -50 +50 @@\n-two\n+2\n";

    fn tutorial(diff: &Diff) -> Tutorial {
        let ids: Vec<String> = diff.hunks().map(|hunk| hunk.id().to_string()).collect();
        let evidence =
            |hunk: &String| ClaimedEvidence::Reference { hunk: hunk.clone(), lines: None, path: None };
        let step = |title: &str, hunks: &[String]| ClaimedStep {
            title: title.to_owned(),
            evidence: hunks.iter().map(evidence).collect(),
            ..ClaimedStep::default()
        };
        let steps = vec![step("one", &ids[..1]), step("two", &ids[1..]), step("both", &ids)];
        let checked = check(diff, &Answer { executive_summary: "x".to_owned(), steps });
        Tutorial {
            about: About { head: "old".to_owned(), ..About::default() },
            steps: checked.steps,
            coverage: checked.coverage,
            ..Tutorial::default()
        }
    }

    fn play(old: &str, new: &str) -> (Reanchored, Diff) {
        let diff = Diff::parse(new.as_bytes());
        let about = About { head: "new".to_owned(), ..About::default() };
        (reanchor(&tutorial(&Diff::parse(old.as_bytes())), &about, &diff), diff)
    }

    #[test]
    fn a_hunk_that_only_moved_keeps_its_step() {
        let moved = ONE.replace("@@ -1 +1 @@", "@@ -7 +9 @@ fn main() {");
        let (reanchored, diff) =
            play(&file("x", &format!("{ONE}{TWO}")), &file("x", &format!("{moved}{TWO}")));
        assert_eq!((reanchored.kept, reanchored.stale), (3, 0));
        assert_eq!(reanchored.tutorial.about.head, "new");
        assert_eq!(reanchored.tutorial.coverage.unexplained, []);
        for evidence in reanchored.tutorial.steps.iter().flat_map(|step| &step.evidence) {
            let hunk = diff.find_hunk(evidence.hunk.as_str()).unwrap();
            assert_eq!(hunk.text(evidence.lines.0 - 1..evidence.lines.1), evidence.text);
        }
    }

    #[test]
    fn a_step_whose_hunk_changed_is_stale_and_counts_for_nothing() {
        let changed = TWO.replace("+2", "+zwei");
        let (reanchored, _) =
            play(&file("x", &format!("{ONE}{TWO}")), &file("x", &format!("{ONE}{changed}")));
        assert_eq!((reanchored.kept, reanchored.stale), (1, 2));
        let steps = &reanchored.tutorial.steps;
        assert_eq!(steps[0].stale_since, None);
        assert_eq!((steps[1].stale_since.as_deref(), steps[1].state), (Some("old"), StepState::Unsupported));
        assert_eq!((steps[2].stale_since.as_deref(), steps[2].evidence.len()), (Some("old"), 1));
        assert_eq!(steps[1].earlier_snippets, ["-two\n+2"]);
        assert_eq!(steps[2].earlier_snippets, ["-two\n+2"]);
        assert_eq!(reanchored.tutorial.coverage.explained, 1);
        // A second move keeps the head that the step was really written for.
        let about = About { head: "newer".to_owned(), ..About::default() };
        let again = reanchor(&reanchored.tutorial, &about, &Diff::parse(&b""[..]));
        assert_eq!(again.tutorial.steps[1].stale_since.as_deref(), Some("old"));
        assert_eq!(again.tutorial.steps[0].stale_since.as_deref(), Some("new"));
    }

    #[test]
    fn a_hunk_follows_its_file_to_a_new_name_when_it_is_the_only_one() {
        let (reanchored, _) = play(&file("x", &format!("{ONE}{TWO}")), &file("y", &format!("{ONE}{TWO}")));
        assert_eq!(reanchored.kept, 3);
        assert_eq!(reanchored.tutorial.steps[0].affected_files, ["y"]);
        let twice = format!("{}{}", file("y", ONE), file("z", ONE));
        let (reanchored, _) = play(&file("x", &format!("{ONE}{TWO}")), &twice);
        assert_eq!(reanchored.kept, 0);
    }
}
