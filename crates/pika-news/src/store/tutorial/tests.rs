//! Who may write a tutorial, and what becomes of one.

use super::*;
use crate::forge::state::Selection;
use crate::store::NewHead;

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
    async fn push(&self, oid: &str, now_ms: i64) -> HeadId {
        let new = NewHead {
            repository_id: self.repository,
            branch: "topic".to_owned(),
            oid: oid.to_owned(),
            base_oid: None,
            is_orphan: false,
            subject: String::new(),
            author: String::new(),
            selection: Selection::NoManifest,
            lanes: Vec::new(),
            has_tutorial: true,
            pushed_by: None,
            now_ms,
        };
        self.store.record_head(new).await.unwrap().head_id
    }

    async fn claim(&self, token: &str, now_ms: i64) -> Option<TutorialJob> {
        self.store.claim_tutorial(token, now_ms + 100, now_ms).await.unwrap()
    }

    async fn status(&self, head: HeadId) -> TutorialStatus {
        self.store.find_tutorial(head).await.unwrap().unwrap().status
    }

    async fn finish(&self, job: &TutorialJob, status: TutorialStatus, not_before_ms: i64) -> bool {
        let finish = FinishTutorial {
            head_id: job.head_id,
            token: job.token.clone(),
            status,
            failure: (status != TutorialStatus::Written).then(|| "no answer".to_owned()),
            content: (status == TutorialStatus::Written).then(|| "{}".to_owned()),
            not_before_ms,
            duration_ms: 5,
            input_tokens: 7,
            output_tokens: 2,
            cost_usd: Some(0.25),
            now_ms: 50,
        };
        self.store.finish_tutorial(finish).await.unwrap()
    }
}

#[tokio::test]
async fn a_tutorial_is_claimed_once_and_finished_by_its_holder_alone() {
    let fixture = fixture().await;
    let head = fixture.push("aa", 2).await;
    let job = fixture.claim("mine", 10).await.unwrap();
    assert_eq!(fixture.claim("other", 11).await, None);
    assert!(!fixture.store.renew_tutorial(head, "other", 500).await.unwrap());
    assert!(fixture.store.renew_tutorial(head, "mine", 500).await.unwrap());
    let stranger = TutorialJob { token: "other".to_owned(), ..job.clone() };
    assert!(!fixture.finish(&stranger, TutorialStatus::Written, 0).await);
    assert!(fixture.finish(&job, TutorialStatus::Written, 0).await);
    assert!(!fixture.finish(&job, TutorialStatus::Failed, 0).await);
    assert_eq!(fixture.status(head).await, TutorialStatus::Written);
}

#[tokio::test]
async fn a_newer_head_ends_the_tutorial_of_the_older_one_and_its_writer_s_claim() {
    let fixture = fixture().await;
    let old = fixture.push("aa", 2).await;
    let job = fixture.claim("mine", 10).await.unwrap();
    let new = fixture.push("bb", 3).await;
    assert_eq!(fixture.status(old).await, TutorialStatus::Cancelled);
    assert!(!fixture.store.renew_tutorial(old, "mine", 500).await.unwrap());
    assert!(!fixture.finish(&job, TutorialStatus::Written, 0).await);
    assert_eq!(fixture.claim("next", 11).await.map(|job| job.head_id), Some(new));
    // A push back takes up what was stopped.
    assert_eq!(fixture.push("aa", 4).await, old);
    assert_eq!(fixture.status(old).await, TutorialStatus::Queued);
    assert_eq!(fixture.status(new).await, TutorialStatus::Cancelled);
}

#[tokio::test]
async fn a_failure_waits_for_its_next_try_and_all_tries_are_paid_for() {
    let fixture = fixture().await;
    let head = fixture.push("aa", 2).await;
    let first = fixture.claim("one", 10).await.unwrap();
    assert!(fixture.finish(&first, TutorialStatus::Queued, 60).await);
    assert_eq!(fixture.claim("early", 59).await, None);
    assert_eq!(fixture.store.next_tutorial_ms().await.unwrap(), Some(60));
    let second = fixture.claim("two", 60).await.unwrap();
    assert_eq!(second.tries, 2);
    assert!(fixture.finish(&second, TutorialStatus::Failed, 0).await);
    assert!(fixture.store.retry_tutorial(head, "ada", 70).await.unwrap());
    assert!(!fixture.store.retry_tutorial(head, "ada", 71).await.unwrap());
    assert_eq!(fixture.claim("three", 72).await.unwrap().tries, 1);
    let record = fixture.store.find_tutorial(head).await.unwrap().unwrap();
    assert_eq!((record.attempts, record.duration_ms, record.cost_usd), (3, 10, Some(0.5)));
    assert_eq!(record.failure.as_deref(), Some("no answer"));
}

#[tokio::test]
async fn what_a_lost_writer_has_left_is_queued_again_when_its_lease_is_over() {
    let fixture = fixture().await;
    let head = fixture.push("aa", 2).await;
    fixture.claim("mine", 10).await.unwrap();
    assert_eq!(fixture.store.requeue_tutorials(false, 50).await.unwrap(), 0);
    assert_eq!(fixture.store.requeue_tutorials(false, 500).await.unwrap(), 1);
    assert_eq!(fixture.status(head).await, TutorialStatus::Queued);
    fixture.claim("mine", 510).await.unwrap();
    assert_eq!(fixture.store.requeue_tutorials(true, 511).await.unwrap(), 1);
}

#[tokio::test]
async fn ticks_and_looks_are_a_reader_s_own() {
    let fixture = fixture().await;
    let store = &fixture.store;
    let head = fixture.push("aa", 2).await;
    let branch = store.find_place(head).await.unwrap().unwrap().0;
    let auth = crate::auth::Authenticator::new(store.clone());
    let ada = auth.ensure_user("ada", true).await.unwrap().id;
    let bob = auth.ensure_user("bob", false).await.unwrap().id;
    store.set_tick(ada, branch, "k", true, 3).await.unwrap();
    store.set_tick(ada, branch, "k", true, 4).await.unwrap();
    assert!(store.list_ticks(ada, branch).await.unwrap().contains("k"));
    assert!(store.list_ticks(bob, branch).await.unwrap().is_empty());
    store.set_tick(ada, branch, "k", false, 5).await.unwrap();
    assert!(store.list_ticks(ada, branch).await.unwrap().is_empty());

    assert_eq!(store.find_look(ada, branch).await.unwrap(), None);
    store.note_look(ada, branch, head, 6).await.unwrap();
    let newer = fixture.push("bb", 7).await;
    store.note_look(ada, branch, newer, 8).await.unwrap();
    store.note_look(ada, branch, newer, 9).await.unwrap();
    assert_eq!(store.find_look(ada, branch).await.unwrap(), Some((newer, Some(head))));
    assert_eq!(store.find_look(bob, branch).await.unwrap(), None);
    store.note_seen(ada, branch, newer, 10).await.unwrap();
    assert_eq!(store.find_look(ada, branch).await.unwrap(), Some((newer, None)));
}
