//! Says in a bounded text what a branch has come to, and why its head is red.

use super::model::{Branch, Lane};
use super::wait::short;
use super::{Client, ClientError};

/// So many lanes that did not pass are named beside the one that is explained.
const LANES_MAX: usize = 20;

/// The lane whose failure is explained: required ones first, then what the tested code did before what the machinery did.
pub fn lane_to_explain(branch: &Branch) -> Option<&Lane> {
    let urgency = |lane: &&Lane| {
        let kind = match lane.state.as_str() {
            "failed" => 0,
            "timed_out" => 1,
            "infra" => 2,
            "cancelled" => 3,
            "skipped" => 4,
            _ => return None,
        };
        Some((!lane.is_required, kind))
    };
    let failed = branch.head.lanes.iter().filter(|lane| !lane.attempts.is_empty());
    failed.filter(|lane| urgency(lane).is_some()).min_by_key(urgency)
}

/// Why the head of a branch is not green: the first failing lane's explanation, and the others by name.
pub async fn failure(client: &Client, branch: &Branch) -> Result<String, ClientError> {
    let mut text = headline(branch);
    if let Some(message) = &branch.head.selection.message {
        text.push_str(&format!("\n\npikaci.toml is wrong:\n{message}"));
        return Ok(text);
    }
    let explained = lane_to_explain(branch);
    if let Some(run) = explained.and_then(|lane| lane.attempts.first()) {
        text.push_str(&format!("\n\n{}", client.why(run.id).await?.text));
    }
    let others = branch.head.lanes.iter().filter(|lane| {
        let is_red =
            matches!(lane.state.as_str(), "failed" | "timed_out" | "infra" | "cancelled" | "missing");
        is_red && explained.is_none_or(|explained| explained.target != lane.target)
    });
    let lines: Vec<String> = others.map(lane_line).collect();
    if !lines.is_empty() {
        let shown = lines.len().min(LANES_MAX);
        text.push_str(&format!("\n\nother lanes that did not pass:\n{}", lines[..shown].join("\n")));
        if lines.len() > shown {
            text.push_str(&format!("\n  and {} more", lines.len() - shown));
        }
    }
    Ok(text)
}

/// Branch, head and state in a line.
pub fn headline(branch: &Branch) -> String {
    format!(
        "branch {} at {}: {}{}",
        branch.row.name,
        short(&branch.head.oid),
        branch.head.state.replace('_', " "),
        if branch.row.state == "open" { String::new() } else { format!(" ({})", branch.row.state) },
    )
}

/// A lane in a line.
pub fn lane_line(lane: &Lane) -> String {
    let required = if lane.is_required { "" } else { ", not required" };
    let reason = lane.reason.as_deref().map_or_else(String::new, |reason| format!(": {}", one_line(reason)));
    let run = lane.attempts.first().map_or_else(String::new, |run| format!(" (lane run {})", run.id));
    format!("  {} {}{required}{run}{reason}", lane.target, lane.state.replace('_', " "))
}

fn one_line(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(300).collect()
}
