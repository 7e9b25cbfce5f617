//! The order among the jobs of one target.
//!
//! Invariant: after [`check`] found nothing, following `needs` comes to an end.

use std::collections::BTreeMap;
use std::ops::Range;

use super::nearest::{listed, nearest};
use super::problem::Problems;
use super::table::Located;
use crate::id::JobId;

/// One job and what it needs, as far as this matters here.
pub(super) struct Node<'a> {
    pub(super) id: &'a JobId,
    pub(super) needs: &'a [Located<JobId>],
}

/// Notes needs that name no job of the target, are listed twice, or lead back to their job.
pub(super) fn check(target: &str, nodes: &[Node<'_>], problems: &mut Problems<'_>) {
    let by_id: BTreeMap<&JobId, usize> = nodes.iter().enumerate().map(|(at, node)| (node.id, at)).collect();
    for node in nodes {
        for (position, need) in node.needs.iter().enumerate() {
            if problems.is_full() {
                return;
            }
            if !by_id.contains_key(&need.value) {
                let remedy = match nearest(need.value.as_str(), by_id.keys().map(|id| id.as_str())) {
                    Some(similar) => format!("did you mean `{similar}`?"),
                    None => format!("its jobs are {}", listed(by_id.keys().map(|id| id.as_str()))),
                };
                let message = format!("the target `{target}` has no job `{}`; {remedy}", need.value);
                problems.push(&need.span, message);
            } else if node.needs[..position].iter().any(|earlier| earlier.value == need.value) {
                problems.push(&need.span, format!("`{}` is listed twice; once is enough", need.value));
            }
        }
    }
    for (span, circle) in circles(nodes, &by_id) {
        let message = match circle.as_slice() {
            [alone] => format!("the job `{alone}` needs itself; take it out"),
            several => {
                let path: Vec<&str> = several.iter().chain(several.first()).map(|id| id.as_str()).collect();
                format!("these jobs wait for each other: {}; take one need out", path.join(" → "))
            }
        };
        problems.push(&span, message);
    }
}

/// Finds the needs that close a circle, each with the jobs of its circle.
fn circles<'a>(nodes: &[Node<'a>], by_id: &BTreeMap<&JobId, usize>) -> Vec<(Range<usize>, Vec<&'a JobId>)> {
    let mut found = Vec::new();
    let mut is_done = vec![false; nodes.len()];
    for start in 0..nodes.len() {
        // A path of (job, how many of its needs were followed), walked without recursion: 500 jobs in a row are fine.
        let mut path: Vec<(usize, usize)> = if is_done[start] { Vec::new() } else { vec![(start, 0)] };
        while let Some((at, followed)) = path.last_mut() {
            let Some(need) = nodes[*at].needs.get(*followed) else {
                is_done[*at] = true;
                path.pop();
                continue;
            };
            *followed += 1;
            let Some(&next) = by_id.get(&need.value) else { continue };
            match path.iter().position(|(on_path, _)| *on_path == next) {
                Some(from) => {
                    found.push((
                        need.span.clone(),
                        path[from..].iter().map(|(at, _)| nodes[*at].id).collect(),
                    ));
                }
                None if !is_done[next] => path.push((next, 0)),
                None => {}
            }
        }
    }
    found
}
