//! The life of a lane run in a real database.

use pikaci::{Fault, Outcome, RunId};

use super::*;
use crate::forge::id::{LaneRunId, RepositoryId};
use crate::forge::state::{BranchState, LaneKind, LaneRunStatus, Selection};
use crate::forge::view::BranchFilter;

struct Fixture {
    store: Store,
    repository: RepositoryId,
    _folder: tempfile::TempDir,
}

async fn fixture() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("forge.sqlite")).unwrap();
    let repository = store.ensure_repository("sample", 1).await.unwrap();
    Fixture { store, repository, _folder: folder }
}

impl Fixture {
    fn head(&self, branch: &str, oid: &str, now_ms: i64) -> NewHead {
        let lane = NewLane {
            target: "unit".to_owned(),
            title: "Unit tests".to_owned(),
            is_required: true,
            kind: LaneKind::Selected,
            reason: None,
            group: None,
        };
        NewHead {
            repository_id: self.repository,
            branch: branch.to_owned(),
            oid: oid.to_owned(),
            base_oid: None,
            is_orphan: false,
            subject: "Begin".to_owned(),
            author: "Ada".to_owned(),
            selection: Selection::Selected,
            lanes: vec![lane],
            pushed_by: Some("ada".to_owned()),
            has_tutorial: true,
            now_ms,
        }
    }

    async fn queued(&self) -> Vec<LaneRunId> {
        self.store
            .list_queued(vec![RepositoryId(1)], 10)
            .await
            .unwrap()
            .into_iter()
            .map(|lane| lane.id)
            .collect()
    }

    /// Claims the oldest lane run that waits.
    async fn claim(&self, token: &str, random: u32) -> LaneRunJob {
        let id = self.queued().await[0];
        let now = "2026-03-01T14:22:33Z".parse().unwrap();
        let claim =
            Claim { id, token: token.to_owned(), run_id: RunId::new(now, random), lease_until_ms: 100 };
        self.store.claim(vec![claim], Vec::new(), 10).await.unwrap().remove(0)
    }

    async fn finish(&self, job: &LaneRunJob, outcome: Outcome, fault: Option<Fault>) -> Option<Finished> {
        let finish = Finish {
            id: job.id,
            token: job.token.clone(),
            outcome,
            fault,
            message: None,
            retry_delays_ms: vec![1000, 4000],
            now_ms: 50,
        };
        self.store.finish(finish).await.unwrap()
    }

    /// `attempt cause status outcome` of the lane of a lane run, the latest first.
    async fn attempts(&self, id: LaneRunId) -> Vec<String> {
        let (_, attempts) = self.store.find_lane_of(id).await.unwrap().unwrap();
        let shown = |run: &LaneRunRecord| {
            let outcome = run.outcome.as_ref().map_or("-", Outcome::as_str);
            format!("{} {} {} {outcome}", run.attempt, run.cause, run.status)
        };
        attempts.iter().map(shown).collect()
    }
}

#[tokio::test]
async fn a_push_queues_its_lanes_once() {
    let fixture = fixture().await;
    let recorded = fixture.store.record_head(fixture.head("topic", "aa", 2)).await.unwrap();
    assert_eq!(recorded.queued, ["unit"]);
    let again = fixture.store.record_head(fixture.head("topic", "aa", 3)).await.unwrap();
    assert_eq!((again.head_id, again.queued), (recorded.head_id, Vec::new()));
    assert_eq!(fixture.queued().await.len(), 1);
}

#[tokio::test]
async fn a_lane_run_is_claimed_once_and_finished_by_its_holder_alone() {
    let fixture = fixture().await;
    fixture.store.record_head(fixture.head("topic", "aa", 2)).await.unwrap();
    let job = fixture.claim("mine", 1).await;
    let second = Claim {
        id: job.id,
        token: "other".to_owned(),
        run_id: RunId::new("2026-03-01T14:22:33Z".parse().unwrap(), 2),
        lease_until_ms: 100,
    };
    assert_eq!(fixture.store.claim(vec![second], Vec::new(), 11).await.unwrap(), []);
    assert_eq!(fixture.store.renew(job.id, "other", None, 200).await.unwrap(), None);
    let stranger = LaneRunJob { token: "other".to_owned(), ..job.clone() };
    assert_eq!(fixture.finish(&stranger, Outcome::Passed, None).await, None);
    assert_eq!(fixture.finish(&job, Outcome::Passed, None).await, Some(Finished { attempt: 1, next: None }));
    assert_eq!(fixture.finish(&job, Outcome::Failed, Some(Fault::Job)).await, None);
    assert_eq!(fixture.attempts(job.id).await, ["1 push finished passed"]);
}

#[tokio::test]
async fn a_claim_that_was_taken_over_is_lost_to_its_first_holder() {
    let fixture = fixture().await;
    fixture.store.record_head(fixture.head("topic", "aa", 2)).await.unwrap();
    let job = fixture.claim("first", 1).await;
    assert!(fixture.store.take_over(job.id, "first", "second", 300).await.unwrap());
    assert!(!fixture.store.take_over(job.id, "first", "third", 300).await.unwrap());
    assert_eq!(fixture.finish(&job, Outcome::Passed, None).await, None);
    assert_eq!(fixture.store.list_running().await.unwrap()[0].token, "second");
}

#[tokio::test]
async fn what_the_machinery_lost_is_tried_again_at_most_twice() {
    let fixture = fixture().await;
    fixture.store.record_head(fixture.head("topic", "aa", 2)).await.unwrap();
    let mut delays = Vec::new();
    for random in 1..=3 {
        let job = fixture.claim("mine", random).await;
        fixture.finish(&job, Outcome::Failed, Some(Fault::Infra)).await.unwrap();
        delays.extend(
            fixture
                .store
                .list_queued(vec![RepositoryId(1)], 10)
                .await
                .unwrap()
                .iter()
                .map(|lane| lane.not_before_ms),
        );
    }
    assert_eq!(delays, [1050, 4050]);
    assert_eq!(
        fixture.attempts(LaneRunId(1)).await,
        ["3 retry finished failed", "2 retry finished failed", "1 push finished failed"]
    );
}

#[tokio::test]
async fn a_failing_test_is_not_tried_again() {
    let fixture = fixture().await;
    fixture.store.record_head(fixture.head("topic", "aa", 2)).await.unwrap();
    let job = fixture.claim("mine", 1).await;
    fixture.finish(&job, Outcome::Failed, Some(Fault::Job)).await.unwrap();
    assert_eq!(fixture.queued().await, []);
}

#[tokio::test]
async fn a_newer_head_stops_the_lanes_of_the_older_one() {
    let fixture = fixture().await;
    fixture.store.record_head(fixture.head("topic", "aa", 2)).await.unwrap();
    let running = fixture.claim("mine", 1).await;
    let newer = fixture.store.record_head(fixture.head("topic", "bb", 3)).await.unwrap();
    assert_eq!(newer.superseded, [running.id]);
    let renewed = fixture.store.renew(running.id, "mine", None, 200).await.unwrap().unwrap();
    assert_eq!(renewed.cancel_message.as_deref(), Some("superseded by bb"));
    fixture.store.record_head(fixture.head("topic", "cc", 4)).await.unwrap();
    assert_eq!(fixture.attempts(LaneRunId(2)).await, ["1 push finished cancelled"]);
    assert_eq!(fixture.queued().await, [LaneRunId(3)]);
}

#[tokio::test]
async fn a_push_back_keeps_a_result_and_repeats_only_what_was_stopped() {
    let fixture = fixture().await;
    fixture.store.record_head(fixture.head("topic", "aa", 2)).await.unwrap();
    let job = fixture.claim("mine", 1).await;
    fixture.finish(&job, Outcome::Passed, None).await.unwrap();
    fixture.store.record_head(fixture.head("topic", "bb", 3)).await.unwrap();
    let back = fixture.store.record_head(fixture.head("topic", "aa", 4)).await.unwrap();
    assert_eq!(back.queued, Vec::<String>::new());
    assert_eq!(fixture.queued().await, [], "the lane of bb was stopped");
    let forth = fixture.store.record_head(fixture.head("topic", "bb", 5)).await.unwrap();
    assert_eq!(forth.queued, ["unit"]);
}

#[tokio::test]
async fn a_push_back_while_a_lane_is_being_stopped_repeats_it_when_it_has_stopped() {
    let fixture = fixture().await;
    fixture.store.record_head(fixture.head("topic", "aa", 2)).await.unwrap();
    let job = fixture.claim("mine", 1).await;
    fixture.store.record_head(fixture.head("topic", "bb", 3)).await.unwrap();
    fixture.store.record_head(fixture.head("topic", "aa", 4)).await.unwrap();
    let finished = fixture.finish(&job, Outcome::Cancelled, Some(Fault::User)).await.unwrap();
    assert!(finished.next.is_some());
    assert_eq!(fixture.attempts(job.id).await, ["2 push queued -", "1 push finished cancelled"]);
}

#[tokio::test]
async fn a_cancelled_lane_is_not_tried_again_even_if_it_was_lost() {
    let fixture = fixture().await;
    fixture.store.record_head(fixture.head("topic", "aa", 2)).await.unwrap();
    let job = fixture.claim("mine", 1).await;
    let effect = fixture.store.request_cancel(job.id, "cancelled by ada", 20).await.unwrap();
    assert_eq!(effect, CancelEffect::Running);
    fixture.finish(&job, Outcome::Failed, Some(Fault::Infra)).await.unwrap();
    assert_eq!(fixture.queued().await, []);
    let effect = fixture.store.request_cancel(job.id, "again", 21).await.unwrap();
    assert_eq!(effect, CancelEffect::AlreadyFinished);
}

#[tokio::test]
async fn a_branch_that_is_pushed_again_is_open_again_with_the_same_number() {
    let fixture = fixture().await;
    let first = fixture.store.record_head(fixture.head("topic", "aa", 2)).await.unwrap();
    fixture.store.end_branch(first.branch_id, BranchState::Closed, 3).await.unwrap();
    assert_eq!(fixture.queued().await, []);
    let second = fixture.store.record_head(fixture.head("topic", "bb", 4)).await.unwrap();
    assert_eq!(second.branch_id, first.branch_id);
    let branch = fixture.store.find_branch(first.branch_id).await.unwrap().unwrap();
    assert_eq!(branch.state, BranchState::Open);
}

#[tokio::test]
async fn everything_is_still_there_after_the_database_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("forge.sqlite");
    let fixture = Fixture {
        store: Store::open(&path).unwrap(),
        repository: RepositoryId(1),
        _folder: tempfile::tempdir().unwrap(),
    };
    fixture.store.ensure_repository("sample", 1).await.unwrap();
    fixture.store.record_head(fixture.head("topic", "aa", 2)).await.unwrap();
    let job = fixture.claim("mine", 1).await;
    drop(fixture);
    let store = Store::open(&path).unwrap();
    assert_eq!(store.list_running().await.unwrap(), [job]);
    let (_, attempts) = store.find_lane_of(LaneRunId(1)).await.unwrap().unwrap();
    assert_eq!(attempts[0].status, LaneRunStatus::Running);
}

#[tokio::test]
async fn a_mistake_in_one_transaction_ends_neither_the_others_nor_what_was_stored() {
    let Fixture { store, repository, _folder } = fixture().await;
    let broken: Result<(), StoreError> = store
        .write(|transaction| {
            transaction.execute("DELETE FROM repository", [])?;
            panic!("a mistake");
        })
        .await;
    assert!(matches!(broken, Err(StoreError::Panicked)), "{broken:?}");
    assert_eq!(store.ensure_repository("sample", 2).await.unwrap(), repository);
}

#[test]
fn what_can_be_tried_again_is_told_apart() {
    let failure = |code| {
        let error = rusqlite::ffi::Error { code, extended_code: 0 };
        StoreError::Sqlite(rusqlite::Error::SqliteFailure(error, None))
    };
    assert!(failure(rusqlite::ErrorCode::DatabaseBusy).is_passing());
    assert!(failure(rusqlite::ErrorCode::DiskFull).is_passing());
    assert!(!failure(rusqlite::ErrorCode::ConstraintViolation).is_passing());
    assert!(!StoreError::Closed.is_passing());
}

#[tokio::test]
async fn pages_of_branches_follow_each_other_without_gap_the_default_branch_first() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("forge.sqlite")).unwrap();
    let repository = store.ensure_repository("sample", 1).await.unwrap();
    let sample = SampleHistory {
        branches: 30,
        attempts_per_lane: 2,
        head_oid: "1".repeat(40),
        base_oid: "2".repeat(40),
    };
    store.add_sample_history(repository, sample).await.unwrap();
    let list = async |state, limit, offset| -> Vec<String> {
        let filter = BranchFilter { state, limit, offset };
        // As if the oldest were the default branch.
        let rows = store.list_branches(repository, "old-1", filter).await.unwrap();
        for (branch, (head, lanes)) in &rows {
            assert_eq!((head.branch_id, lanes.len(), lanes[0].1[0].attempt), (branch.id, 2, 2));
        }
        rows.into_iter().map(|(branch, _)| branch.name).collect()
    };
    let name = |number: usize| format!("old-{number}");
    let all: Vec<String> = [1].into_iter().chain((2..30).rev()).chain([0]).map(name).collect();
    assert_eq!(list(None, 50, 0).await, all);
    let mut paged = Vec::new();
    for offset in (0..30).step_by(7) {
        paged.extend(list(None, 7, offset).await);
    }
    assert_eq!(paged, all);
    assert_eq!(list(Some(BranchState::Merged), 50, 0).await, [20, 10, 0].map(name));
    assert_eq!(list(Some(BranchState::Open), 2, 0).await, [1, 29].map(name));
    assert_eq!(list(Some(BranchState::Open), 2, 1).await, [29, 28].map(name));
}

#[tokio::test]
async fn what_waits_or_runs_is_found_without_reading_what_is_finished() {
    use super::{lane_run, tutorial};
    let unfinished = format!(
        "SELECT lane_run.message FROM lane_run CROSS JOIN lane WHERE lane.id = lane_run.lane_id AND {} AND +lane_run.id > 7
         ORDER BY +lane_run.id LIMIT 9",
        lane_run::UNFINISHED
    );
    let questions = [
        format!("{} ORDER BY lane_run.id LIMIT 9", lane_run::QUEUED),
        lane_run::COUNT_QUEUED.to_owned(),
        format!("{} WHERE {} ORDER BY lane_run.id", lane_run::JOB, lane_run::RUNNING),
        unfinished,
        format!("SELECT MIN(not_before_ms) FROM tutorial WHERE {}", tutorial::QUEUED),
    ];
    let fixture = fixture().await;
    for question in questions {
        let plan = format!("EXPLAIN QUERY PLAN {question}");
        let steps = fixture.store.read(move |transaction| {
            let mut statement = transaction.prepare(&plan)?;
            let steps = statement.query_map([], |row| row.get::<_, String>(3))?;
            Ok(steps.collect::<Result<Vec<_>, _>>()?)
        });
        let steps = steps.await.unwrap();
        let is_indexed = steps.iter().any(|step| step.contains("_unfinished (status=?)"));
        assert!(is_indexed && !steps.iter().any(|step| step.starts_with("SCAN")), "{question}: {steps:?}");
    }
}
