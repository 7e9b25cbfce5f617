//! Decides which of the waiting lane runs start now, and why the others wait. Pure: state in, claims out.
//!
//! Invariants: repositories take turns, and the oldest of each comes first, unless its group or its delay holds it back, which
//! holds back nobody else; capacity is counted from lanes that are alive, never from rows.

use std::collections::HashMap;

use crate::forge::id::{LaneRunId, RepositoryId};
use crate::store::{Group, QueuedLaneRun};

/// A lane that is alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LiveLane {
    pub(crate) repository_id: RepositoryId,
    pub(crate) group: Option<Group>,
    /// What a person calls it: target and branch.
    pub(crate) label: String,
}

/// What is to be done now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// To be claimed, the oldest first.
    pub(crate) claims: Vec<LaneRunId>,
    /// The others, each with the reason why it waits.
    pub(crate) waits: Vec<(LaneRunId, String)>,
    /// When to look again, though nothing may have happened.
    pub(crate) look_again_ms: Option<i64>,
}

/// Makes the plan.
pub(crate) fn plan(slots: usize, now_ms: i64, live: &[LiveLane], queued: &[QueuedLaneRun]) -> Plan {
    let mut plan = Plan::default();
    let mut claimed: Vec<&QueuedLaneRun> = Vec::new();
    for lane in in_turns(now_ms, live, queued) {
        let delay_ms = lane.not_before_ms - now_ms;
        if delay_ms > 0 {
            let again = plan.look_again_ms.map_or(lane.not_before_ms, |at| at.min(lane.not_before_ms));
            plan.look_again_ms = Some(again);
            plan.waits.push((
                lane.id,
                "a pause before the next attempt, after a fault of the machinery".to_owned(),
            ));
        } else if live.len() + claimed.len() >= slots {
            plan.waits.push((lane.id, format!("no slot is free: {slots} of {slots} lanes run")));
        } else if let Some(reason) = held_group(lane, live, &claimed) {
            plan.waits.push((lane.id, reason));
        } else {
            claimed.push(lane);
        }
    }
    plan.claims = claimed.iter().map(|lane| lane.id).collect();
    plan
}

/// The oldest first, but each repository in its turn: who pushes a thousand branches waits for themselves.
fn in_turns<'q>(now_ms: i64, live: &[LiveLane], queued: &'q [QueuedLaneRun]) -> Vec<&'q QueuedLaneRun> {
    let mut taken: HashMap<RepositoryId, usize> = HashMap::new();
    for lane in live {
        *taken.entry(lane.repository_id).or_default() += 1;
    }
    let with_turn = queued.iter().map(|lane| {
        let turn = taken.entry(lane.repository_id).or_default();
        // What can't start yet takes no turn.
        let own = *turn;
        *turn += usize::from(lane.not_before_ms <= now_ms);
        (own, lane)
    });
    let mut turns: Vec<(usize, &QueuedLaneRun)> = with_turn.collect();
    turns.sort_by_key(|(turn, lane)| (*turn, lane.id));
    turns.into_iter().map(|(_, lane)| lane).collect()
}

/// Says who holds the lane's group, when it is full.
fn held_group(lane: &QueuedLaneRun, live: &[LiveLane], claimed: &[&QueuedLaneRun]) -> Option<String> {
    let group = lane.group.as_ref()?;
    let is_member = |repository: RepositoryId, other: Option<&Group>| {
        repository == lane.repository_id && other.is_some_and(|other| other.name == group.name)
    };
    let holders: Vec<&str> = live
        .iter()
        .filter(|live| is_member(live.repository_id, live.group.as_ref()))
        .map(|live| live.label.as_str())
        .chain(
            claimed
                .iter()
                .filter(|other| is_member(other.repository_id, other.group.as_ref()))
                .map(|_| "a lane that starts now"),
        )
        .collect();
    if holders.len() < group.size as usize {
        return None;
    }
    Some(format!("the group {} is held by {}", group.name, holders.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forge::id::BranchId;

    fn queued(id: i64, group: Option<(&str, u32)>) -> QueuedLaneRun {
        QueuedLaneRun {
            id: LaneRunId(id),
            repository_id: RepositoryId(1),
            branch_id: BranchId(1),
            group: group.map(|(name, size)| Group { name: name.to_owned(), size }),
            not_before_ms: 0,
            waits: None,
            queued_at_ms: 0,
        }
    }

    fn live(repository: i64, group: Option<&str>) -> LiveLane {
        LiveLane {
            repository_id: RepositoryId(repository),
            group: group.map(|name| Group { name: name.to_owned(), size: 1 }),
            label: "unit of main".to_owned(),
        }
    }

    fn claims(plan: &Plan) -> Vec<i64> {
        plan.claims.iter().map(|id| id.0).collect()
    }

    #[test]
    fn the_oldest_start_first_and_the_rest_say_why_they_wait() {
        let plan = plan(2, 0, &[live(1, None)], &[queued(1, None), queued(2, None)]);
        assert_eq!(claims(&plan), [1]);
        assert_eq!(plan.waits, [(LaneRunId(2), "no slot is free: 2 of 2 lanes run".to_owned())]);
    }

    #[test]
    fn repositories_take_turns_however_many_branches_one_of_them_pushes() {
        let of =
            |id, repository| QueuedLaneRun { repository_id: RepositoryId(repository), ..queued(id, None) };
        let all = [of(1, 1), of(2, 1), of(3, 1), of(4, 2), of(5, 2)];
        assert_eq!(claims(&plan(4, 0, &[], &all)), [1, 4, 2, 5]);
        // Whose lanes run already has had their turns.
        assert_eq!(claims(&plan(3, 0, &[live(1, None), live(1, None)], &all)), [4]);
    }

    #[test]
    fn a_held_group_holds_back_nobody_else() {
        let waiting = [queued(1, Some(("heavy", 1))), queued(2, None)];
        let plan = plan(4, 0, &[live(1, Some("heavy"))], &waiting);
        assert_eq!(claims(&plan), [2]);
        assert_eq!(plan.waits, [(LaneRunId(1), "the group heavy is held by unit of main".to_owned())]);
    }

    #[test]
    fn two_of_one_group_do_not_start_together() {
        let waiting = [queued(1, Some(("heavy", 1))), queued(2, Some(("heavy", 1)))];
        assert_eq!(claims(&plan(4, 0, &[], &waiting)), [1]);
        let waiting = [queued(1, Some(("heavy", 2))), queued(2, Some(("heavy", 2)))];
        assert_eq!(claims(&plan(4, 0, &[], &waiting)), [1, 2]);
    }

    #[test]
    fn a_group_is_a_repositorys_own() {
        let plan = plan(4, 0, &[live(2, Some("heavy"))], &[queued(1, Some(("heavy", 1)))]);
        assert_eq!(claims(&plan), [1]);
    }

    #[test]
    fn a_paused_attempt_is_looked_at_when_its_pause_ends() {
        let paused = QueuedLaneRun { not_before_ms: 5000, ..queued(1, None) };
        let before = plan(1, 4999, &[], &[paused.clone(), queued(2, None)]);
        assert_eq!((claims(&before), before.look_again_ms), (vec![2], Some(5000)));
        assert_eq!(claims(&plan(1, 5000, &[], &[paused])), [1]);
    }
}
