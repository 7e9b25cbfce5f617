//! Identities on a real database, with a clock that the test moves.

use std::sync::atomic::{AtomicI64, Ordering};

use tempfile::TempDir;

use super::*;

const DAY_MS: i64 = 24 * 3600 * 1000;

struct Fixture {
    auth: Authenticator,
    now_ms: Arc<AtomicI64>,
    folder: TempDir,
}

fn fixture() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("forge.sqlite")).unwrap();
    let now_ms = Arc::new(AtomicI64::new(1_800_000_000_000));
    let reading = now_ms.clone();
    let clock: Clock = Arc::new(move || Timestamp::from_millisecond(reading.load(Ordering::SeqCst)).unwrap());
    Fixture { auth: Authenticator::with_clock(store, clock), now_ms, folder }
}

impl Fixture {
    fn pass(&self, millis: i64) {
        self.now_ms.fetch_add(millis, Ordering::SeqCst);
    }

    async fn sign_in(&self, name: &str) -> (User, Presented) {
        let user = self.auth.ensure_user(name, false).await.unwrap();
        let path = self.auth.create_sign_in_link(&user).await.unwrap();
        let session = self.auth.sign_in(path.rsplit('/').next().unwrap()).await.unwrap().unwrap();
        (user, Presented::Session(session))
    }
}

#[tokio::test]
async fn a_sign_in_link_works_once() {
    let fixture = fixture();
    let user = fixture.auth.ensure_user("ada", true).await.unwrap();
    let path = fixture.auth.create_sign_in_link(&user).await.unwrap();
    let secret = path.strip_prefix("/news/sign-in/").unwrap();
    assert_eq!(fixture.auth.find_sign_in_link(secret).await.unwrap(), Some(user.clone()));
    let session = fixture.auth.sign_in(secret).await.unwrap().unwrap();
    assert_eq!(
        fixture.auth.identify(&Presented::Session(session)).await.unwrap().unwrap().user(),
        Some(&user)
    );
    assert_eq!(fixture.auth.sign_in(secret).await.unwrap(), None);
    assert_eq!(fixture.auth.find_sign_in_link(secret).await.unwrap(), None);
}

#[tokio::test]
async fn a_sign_in_link_expires() {
    let fixture = fixture();
    let user = fixture.auth.ensure_user("ada", true).await.unwrap();
    let path = fixture.auth.create_sign_in_link(&user).await.unwrap();
    fixture.pass(DAY_MS + 1);
    assert_eq!(fixture.auth.sign_in(path.rsplit('/').next().unwrap()).await.unwrap(), None);
}

#[tokio::test]
async fn a_session_slides_while_it_is_used_and_ends_30_days_after_its_last_use() {
    let fixture = fixture();
    let (user, session) = fixture.sign_in("ada").await;
    for _ in 0..3 {
        fixture.pass(20 * DAY_MS);
        assert_eq!(fixture.auth.identify(&session).await.unwrap().unwrap().user(), Some(&user));
    }
    fixture.pass(30 * DAY_MS + 1);
    assert_eq!(fixture.auth.identify(&session).await.unwrap(), None);
}

#[tokio::test]
async fn signing_out_ends_that_session_alone() {
    let fixture = fixture();
    let (_, one) = fixture.sign_in("ada").await;
    let (_, other) = fixture.sign_in("ada").await;
    let Presented::Session(secret) = &one else { panic!("not a session") };
    fixture.auth.sign_out(secret).await.unwrap();
    assert_eq!(fixture.auth.identify(&one).await.unwrap(), None);
    assert!(fixture.auth.identify(&other).await.unwrap().is_some());
}

#[tokio::test]
async fn a_token_works_until_it_is_revoked_by_its_owner() {
    let fixture = fixture();
    let ada = fixture.auth.ensure_user("ada", false).await.unwrap();
    let eve = fixture.auth.ensure_user("eve", false).await.unwrap();
    let secret = fixture.auth.create_token(&ada, " laptop ", &Scopes::all(), None).await.unwrap();
    assert_eq!(fixture.auth.token(secret.reveal()).await.unwrap().unwrap().user(), Some(&ada));
    let listed = fixture.auth.list_tokens(&ada).await.unwrap();
    assert_eq!(listed.iter().map(|token| token.title.as_str()).collect::<Vec<_>>(), ["laptop"]);
    assert!(!fixture.auth.revoke_token(&eve, listed[0].id).await.unwrap());
    assert!(fixture.auth.revoke_token(&ada, listed[0].id).await.unwrap());
    assert_eq!(fixture.auth.token(secret.reveal()).await.unwrap(), None);
}

#[tokio::test]
async fn a_session_is_no_token_and_a_token_no_session() {
    let fixture = fixture();
    let (user, session) = fixture.sign_in("ada").await;
    let Presented::Session(secret) = session else { panic!("not a session") };
    let token = fixture.auth.create_token(&user, "laptop", &Scopes::all(), None).await.unwrap();
    assert_eq!(fixture.auth.identify(&Presented::Token(secret)).await.unwrap(), None);
    assert_eq!(fixture.auth.identify(&Presented::Session(token)).await.unwrap(), None);
}

#[tokio::test]
async fn disabling_a_user_ends_every_right_at_once_and_for_good() {
    let fixture = fixture();
    let (user, session) = fixture.sign_in("ada").await;
    let token = fixture.auth.create_token(&user, "laptop", &Scopes::all(), None).await.unwrap();
    let link = fixture.auth.create_sign_in_link(&user).await.unwrap();
    let link = link.rsplit('/').next().unwrap();
    fixture.auth.disable_user("ada").await.unwrap();
    let refused = fixture.auth.create_token(&user, "another", &Scopes::all(), None).await;
    assert!(matches!(refused, Err(AuthError::UserDisabled { .. })), "{refused:?}");
    for _ in 0..2 {
        assert_eq!(fixture.auth.identify(&session).await.unwrap(), None);
        assert_eq!(fixture.auth.token(token.reveal()).await.unwrap(), None);
        assert_eq!(fixture.auth.sign_in(link).await.unwrap(), None);
        fixture.auth.enable_user("ada").await.unwrap();
    }
}

#[tokio::test]
async fn enabling_who_is_enabled_takes_nothing_from_them() {
    let fixture = fixture();
    let (user, session) = fixture.sign_in("ada").await;
    let token = fixture.auth.create_token(&user, "laptop", &Scopes::all(), None).await.unwrap();
    fixture.auth.enable_user("ada").await.unwrap();
    assert!(fixture.auth.identify(&session).await.unwrap().is_some());
    assert!(fixture.auth.token(token.reveal()).await.unwrap().is_some());
}

#[tokio::test]
async fn no_secret_is_in_the_database_in_clear() {
    let fixture = fixture();
    let (user, session) = fixture.sign_in("ada").await;
    let token = fixture.auth.create_token(&user, "laptop", &Scopes::all(), None).await.unwrap();
    let Presented::Session(session) = session else { panic!("not a session") };
    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(fixture.folder.path()).unwrap() {
        bytes.extend(std::fs::read(entry.unwrap().path()).unwrap());
    }
    let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds("laptop"), "the files of the database were not found");
    assert!(!holds(token.reveal()) && !holds(session.reveal()));
}

#[tokio::test]
async fn a_name_that_is_none_is_refused_with_what_would_be_right() {
    let fixture = fixture();
    for name in ["", "-ada", "a b", "ada@example.org", &"a".repeat(65)] {
        let refused = fixture.auth.ensure_user(name, false).await;
        assert!(matches!(refused, Err(AuthError::UserName { .. })), "{name:?}");
    }
}

#[tokio::test]
async fn a_role_counts_in_its_repository_from_the_moment_it_is_given_until_it_is_taken() {
    let fixture = fixture();
    let store = &fixture.auth.store;
    let (sample, other) = (
        store.ensure_repository("sample", 1).await.unwrap(),
        store.ensure_repository("other", 1).await.unwrap(),
    );
    let (ada, session) = fixture.sign_in("ada").await;
    let rights = async || {
        let principal = fixture.auth.identify(&session).await.unwrap().unwrap();
        ["sample", "other"].map(|name| (principal.can_read(name), principal.can_write(name)))
    };
    assert_eq!(rights().await, [(false, false), (false, false)]);
    store.set_role(sample, ada.id, Some(Role::Read), "admin".to_owned(), 5).await.unwrap();
    store.set_role(other, ada.id, Some(Role::Write), "admin".to_owned(), 6).await.unwrap();
    assert_eq!(rights().await, [(true, false), (true, true)]);
    store.set_role(sample, ada.id, Some(Role::Admin), "bob".to_owned(), 7).await.unwrap();
    store.set_role(other, ada.id, None, "bob".to_owned(), 8).await.unwrap();
    assert_eq!(rights().await, [(true, true), (false, false)]);
    let members = store.list_members(sample).await.unwrap();
    let expected =
        Member { user: "ada".into(), role: "admin".into(), granted_at_ms: 7, granted_by: "bob".into() };
    assert_eq!(members, [expected]);
    fixture.auth.set_public(Arc::new(["other".to_owned()].into()));
    assert_eq!(rights().await, [(true, true), (true, false)]);
}

#[tokio::test]
async fn a_token_stops_to_work_when_its_time_is_over_and_is_worth_its_scopes() {
    let fixture = fixture();
    let ada = fixture.auth.ensure_user("ada", true).await.unwrap();
    let scopes = Scopes::from_iter([Scope::Read, Scope::Push]);
    let lifetime = Some(Duration::from_secs(3600));
    let token = fixture.auth.create_token(&ada, "laptop", &scopes, lifetime).await.unwrap();
    let principal = fixture.auth.token(token.reveal()).await.unwrap().unwrap();
    assert!(principal.can_read("sample") && !principal.can_write("sample"));
    let listed = fixture.auth.list_tokens(&ada).await.unwrap();
    assert_eq!((listed[0].scopes.as_str(), listed[0].expires_at_ms), ("read push", Some(1_800_003_600_000)));
    fixture.pass(3_600_001);
    assert_eq!(fixture.auth.token(token.reveal()).await.unwrap(), None);
}

#[tokio::test]
async fn the_audit_log_is_read_page_by_page_the_newest_first() {
    let fixture = fixture();
    let entry = |action| Audit {
        actor: "ada".to_owned(),
        action,
        subject: "user bob".to_owned(),
        repository: None,
        detail: serde_json::json!({"why": "left"}),
    };
    fixture.auth.audit(entry("user.disabled")).await.unwrap();
    fixture.auth.audit(entry("user.enabled")).await.unwrap();
    let listed = fixture.auth.store.list_audit(None, None, 10).await.unwrap();
    assert_eq!(
        listed.iter().map(|entry| entry.action.as_str()).collect::<Vec<_>>(),
        ["user.enabled", "user.disabled"]
    );
    assert_eq!(listed[1].detail["why"], "left");
    assert_eq!(fixture.auth.store.list_audit(None, Some(listed[0].id), 10).await.unwrap(), listed[1..]);
}
