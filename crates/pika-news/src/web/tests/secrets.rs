//! Secrets: set by administrators, read by lanes of trusted authors, and by nobody else.

use axum::body::Body;
use axum::http::{Method, StatusCode, header};
use pikaci::RunId;
use serde_json::json;

use super::fixture::{Fixture, REPOSITORY, Reply};
use crate::auth::{Role, Scopes};
use crate::forge::id::BranchId;
use crate::secrets::SecretKey;
use crate::store::{Claim, LaneRunJob};

const POLICY: &str = "version = 1
[secrets.DEPLOY]
branches = [\"main\", \"release/*\"]
[targets.check]
jobs = [{ id = \"unit\", command = \"true\", secrets = [\"DEPLOY\"] }]
";

async fn fixture() -> Fixture {
    let scratch = tempfile::tempdir().unwrap();
    let key_file = scratch.path().join("key");
    SecretKey::generate(&key_file).unwrap();
    Fixture::with_config(|config| config.secrets.key_file = Some(key_file)).await
}

async fn send(fixture: &Fixture, method: Method, path: &str, token: &str, body: &str) -> Reply {
    let request = fixture.request(method, path).header(header::AUTHORIZATION, format!("Bearer {token}"));
    let request = request.header(header::CONTENT_TYPE, "application/json");
    fixture.send(request.body(Body::from(body.to_owned())).unwrap()).await
}

/// Claims the newest lane run that waits.
async fn claim(fixture: &Fixture, random: u32) -> LaneRunJob {
    let store = fixture.forge.store();
    let id =
        store.list_queued(vec![crate::forge::id::RepositoryId(1)], 100).await.unwrap().last().unwrap().id;
    let run_id = RunId::new("2026-03-01T14:22:33Z".parse().unwrap(), random);
    let claim = Claim { id, token: "claim".to_owned(), run_id, lease_until_ms: i64::MAX };
    store.claim(vec![claim], Vec::new(), 0).await.unwrap().remove(0)
}

async fn given(fixture: &Fixture, branch: &str, random: u32) -> Vec<String> {
    let file = format!("file-{random}");
    let _: BranchId = fixture.push(branch, &[(file.as_str(), "x")]).await;
    let job = claim(fixture, random).await;
    let hosted = fixture.forge.hosted(REPOSITORY).unwrap();
    let given = fixture.forge.secrets_for(&hosted, &job).await.unwrap();
    given
        .into_iter()
        .map(|(name, content)| format!("{name}={}", String::from_utf8(content).unwrap()))
        .collect()
}

#[tokio::test]
async fn administrators_set_secrets_and_nobody_reads_them() {
    let fixture = fixture().await;
    let list = format!("/news/api/forge/repository/{REPOSITORY}/secrets");
    let path = format!("{list}/DEPLOY");
    let bob = fixture.auth.ensure_user("bob", false).await.unwrap();
    let repository = fixture.forge.hosted(REPOSITORY).unwrap().id;
    let grant = async |role| {
        fixture.forge.store().set_role(repository, bob.id, role, "ada".to_owned(), 1).await.unwrap();
    };
    let token = fixture.auth.create_token(&bob, "test", &Scopes::all(), None).await.unwrap();
    let body = json!({"value": "hunter22"}).to_string();
    for (role, status) in [
        (None, StatusCode::NOT_FOUND),
        (Some(Role::Write), StatusCode::FORBIDDEN),
        (Some(Role::Admin), StatusCode::NO_CONTENT),
    ] {
        grant(role).await;
        assert_eq!(
            send(&fixture, Method::PUT, &path, token.reveal(), &body).await.status,
            status,
            "{role:?}"
        );
        let status = if status == StatusCode::NO_CONTENT { StatusCode::OK } else { status };
        assert_eq!(fixture.get_with(&list, token.reveal()).await.status, status, "{role:?}");
    }
    let listed = fixture.get(&list).await.json(StatusCode::OK);
    assert_eq!((listed[0]["name"].clone(), listed[0]["updated_by"].clone()), ("DEPLOY".into(), "bob".into()));
    assert!(!listed.to_string().contains("hunter"));
    for (path, body) in [
        (format!("{list}/..%2Fx"), body.as_str()),
        (path.clone(), "{}"),
        (path.clone(), "{\"value\":\"\"}"),
        (path.clone(), "{\"value_base64\":\"!\"}"),
    ] {
        let refused = send(&fixture, Method::PUT, &path, &fixture.token, body).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{path} {body}: {}", refused.text());
    }
    assert_eq!(
        send(&fixture, Method::DELETE, &path, &fixture.token, "").await.status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(send(&fixture, Method::DELETE, &path, &fixture.token, "").await.status, StatusCode::NOT_FOUND);
    let audit = fixture.forge.store().list_audit(Some(repository), None, 10).await.unwrap();
    let words: Vec<_> = audit.iter().map(|entry| (entry.actor.as_str(), entry.action.as_str())).collect();
    assert_eq!(words, [("ada", "secret.removed"), ("bob", "secret.set")]);
}

#[tokio::test]
async fn a_lane_gets_what_the_default_branch_gives_its_branch_when_its_author_may_push() {
    let fixture = fixture().await;
    fixture.push("main", &[("pikaci.toml", POLICY)]).await;
    fixture.forge.set_secret(REPOSITORY, "DEPLOY", b"hunter22", "ada").await.unwrap();
    fixture.forge.set_secret(REPOSITORY, "UNNAMED", b"letmein!", "ada").await.unwrap();
    assert_eq!(given(&fixture, "release/1", 1).await, ["DEPLOY=hunter22"]);
    assert_eq!(given(&fixture, "topic", 2).await, [""; 0]);
    // Nothing leaves the forge that no job of the lane would see.
    let modest = POLICY.replace(", secrets = [\"DEPLOY\"]", "");
    fixture.push("release/0", &[("pikaci.toml", &modest)]).await;
    assert_eq!(given(&fixture, "release/0", 9).await, [""; 0]);
    // The branch's own word does not count.
    let greedy = POLICY.replace("\"main\", \"release/*\"", "\"**\"");
    fixture.push("topic", &[("pikaci.toml", &greedy)]).await;
    assert_eq!(given(&fixture, "topic", 3).await, [""; 0]);
    // Ada is the administrator who pushed all of these, and is gone now.
    fixture.auth.disable_user("ada").await.unwrap();
    assert_eq!(given(&fixture, "release/2", 4).await, [""; 0]);
    let audit = fixture.forge.store().list_audit(None, None, 10).await.unwrap();
    let read: Vec<_> = audit.iter().filter(|entry| entry.action == "secret.read").collect();
    assert_eq!(read.len(), 1);
    assert_eq!(
        (read[0].detail["branch"].clone(), read[0].detail["author"].clone()),
        ("release/1".into(), "ada".into())
    );
    assert_eq!(read[0].detail["secrets"], json!(["DEPLOY"]));
    assert!(!format!("{audit:?}").contains("hunter22"));
}
