//! Puts what came of a push into words for the pusher's terminal.

use crate::forge::view::{PushReceipt, PushedBranch};
use crate::hook::PushAnswer;

/// Writes a few lines for each branch: its page, what was queued, what to know.
pub(super) fn answer(receipt: &PushReceipt, public_url: &str) -> PushAnswer {
    PushAnswer { lines: receipt.branches.iter().flat_map(|branch| lines(branch, public_url)).collect() }
}

fn lines(branch: &PushedBranch, public_url: &str) -> Vec<String> {
    let mut lines = match &branch.path {
        Some(path) => vec![format!("{}: {public_url}{path}", branch.name)],
        None => vec![branch.name.clone()],
    };
    if !branch.queued.is_empty() {
        lines.push(format!("  queued: {}", branch.queued.join(", ")));
    }
    // A note of several lines, such as a manifest's errors, stays below its branch.
    lines.extend(branch.notes.iter().flat_map(|note| note.lines()).map(|line| format!("  {line}")));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_branch_says_its_page_its_lanes_and_its_notes() {
        let pushed = |name: &str, path: Option<&str>, queued: &[&str], notes: &[&str]| PushedBranch {
            name: name.to_owned(),
            id: None,
            path: path.map(str::to_owned),
            queued: queued.iter().map(|target| (*target).to_owned()).collect(),
            notes: notes.iter().map(|note| (*note).to_owned()).collect(),
        };
        let receipt = PushReceipt {
            branches: vec![
                pushed("topic/login", Some("/news/sample/branch/7"), &["pre-merge", "docs"], &[]),
                pushed("broken", Some("/news/sample/branch/8"), &[], &["pikaci.toml:3:1: unknown key\nuse `jobs`"]),
                pushed("gone", None, &[], &["deleted"]),
            ],
        };
        let expected = [
            "topic/login: http://forge/news/sample/branch/7",
            "  queued: pre-merge, docs",
            "broken: http://forge/news/sample/branch/8",
            "  pikaci.toml:3:1: unknown key",
            "  use `jobs`",
            "gone",
            "  deleted",
        ];
        assert_eq!(answer(&receipt, "http://forge").lines, expected);
    }
}
