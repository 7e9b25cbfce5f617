//! What a reader of a branch gets of its tutorial, whatever the writer does.

use std::time::Duration;

use axum::http::StatusCode;
use pika_tutorial::{ProviderKind, ProviderSettings};
use serde_json::Value;
use tokio::sync::broadcast::error::RecvError;

use super::fixture::{Fixture, REPOSITORY};
use crate::config::TutorialConfig;
use crate::forge::id::BranchId;

const OLD: &str = "fn one() {}\n";
const NEW: &str = "fn one() {}\n\nfn two() -> u32 {\n    2\n}\n";
const ANSWER: &str = r#"{"executive_summary":"It adds **two**.","steps":[{"title":"Add two","intent":"So that there are two.","affected_files":["lib.rs"],"evidence_snippets":["+fn two() -> u32 {"],"body_markdown":"See <script>alert(1)</script> it."}]}"#;

fn written_by(script: &str) -> TutorialConfig {
    let settings = ProviderSettings {
        provider: ProviderKind::Command,
        command: ["sh", "-c", script].map(str::to_owned).to_vec(),
        environment: vec![("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into())],
        ..ProviderSettings::default()
    };
    TutorialConfig { settings, retries: 0, deadline: Duration::from_secs(60), ..TutorialConfig::default() }
}

async fn pushed(fixture: &Fixture) -> BranchId {
    fixture.push("main", &[("lib.rs", OLD)]).await;
    fixture.push("topic", &[("lib.rs", NEW)]).await
}

async fn state(fixture: &Fixture, branch: BranchId) -> Value {
    let path = format!("/news/api/forge/branch/{branch}/tutorial/state");
    fixture.get(&path).await.json(StatusCode::OK)
}

/// Waits until the forge says so; it tells of every change.
async fn until(fixture: &Fixture, branch: BranchId, status: &str) -> Value {
    let mut changes = fixture.forge.subscribe();
    let wait = async {
        loop {
            let found = state(fixture, branch).await;
            if found["status"] == status {
                return found;
            }
            match changes.recv().await {
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => panic!("the forge is gone"),
            }
        }
    };
    match tokio::time::timeout(Duration::from_secs(60), wait).await {
        Ok(found) => found,
        Err(_) => panic!("it never was {status}: {}", state(fixture, branch).await),
    }
}

async fn page(fixture: &Fixture, branch: BranchId) -> String {
    let reply = fixture.get(&format!("/news/{REPOSITORY}/branch/{branch}?wait=1")).await;
    assert_eq!(reply.status, StatusCode::OK);
    reply.text()
}

#[tokio::test]
async fn a_branch_shows_its_diff_and_a_tutorial_without_any_writer() {
    let fixture = Fixture::new().await;
    let branch = pushed(&fixture).await;
    let html = page(&fixture, branch).await;
    assert!(html.contains("No model wrote this page"), "{html}");
    assert!(html.contains("id=\"step-1\"") && html.contains("fn two() -&#62; u32 {"), "{html}");
    assert!(!html.contains("Try again"), "{html}");
    assert!(state(&fixture, branch).await["status"].is_null());
    let path = format!("/news/api/forge/branch/{branch}/tutorial/coverage");
    let coverage = fixture.get(&path).await.json(StatusCode::OK);
    assert_eq!(
        (coverage["hunks"].clone(), coverage["unexplained"].clone()),
        (1.into(), Value::Array(vec![]))
    );
    let retry = format!("/news/api/forge/branch/{branch}/tutorial/retry");
    let head = state(&fixture, branch).await["head"].clone();
    let body = format!("{{\"expected_head\":{head}}}");
    fixture.post(&retry, "application/json", &body).await.json(StatusCode::CONFLICT);
}

#[tokio::test]
async fn a_writer_that_fails_leaves_the_builtin_tutorial_a_reason_and_a_button() {
    let fixture = Fixture::with_tutorial(written_by("echo no model today >&2; exit 3")).await;
    let branch = pushed(&fixture).await;
    let html = page(&fixture, branch).await;
    assert!(html.contains("waits to be written") && html.contains("id=\"step-1\""), "{html}");
    fixture.forge.start().await;
    let failed = until(&fixture, branch, "failed").await;
    assert!(failed["failure"].as_str().unwrap().contains("no model today"), "{failed}");
    assert_eq!(
        (failed["can_retry"].clone(), failed["shown"]["kind"].clone()),
        (true.into(), "builtin".into())
    );
    assert_eq!(failed["cost"]["attempts"], 1);
    let html = page(&fixture, branch).await;
    assert!(html.contains("could not be written") && html.contains("no model today"), "{html}");
    assert!(
        html.contains("Try again") && html.contains("id=\"step-1\"") && html.contains("fn two()"),
        "{html}"
    );
    let path = format!("/news/{REPOSITORY}/branch/{branch}/tutorial/retry");
    let body = format!("expected_head={}", failed["head"].as_str().unwrap());
    let reply = fixture.post(&path, "application/x-www-form-urlencoded", &body).await;
    assert_eq!(reply.status, StatusCode::SEE_OTHER, "{}", reply.text());
    let again = async {
        while state(&fixture, branch).await["cost"]["attempts"] != 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), again).await.expect("another try");
    until(&fixture, branch, "failed").await;
    fixture.forge.drain().await;
}

#[tokio::test]
async fn what_a_writer_wrote_is_shown_checked_escaped_and_ticked_off_by_each_reader() {
    let fixture =
        Fixture::with_tutorial(written_by(&format!("cat > /dev/null; cat <<'E'\n{ANSWER}\nE"))).await;
    let branch = pushed(&fixture).await;
    fixture.forge.start().await;
    until(&fixture, branch, "written").await;
    let html = page(&fixture, branch).await;
    assert!(html.contains("It adds <strong>two</strong>.") && html.contains("Evidence checked"), "{html}");
    assert!(!html.contains("<script>alert"), "{html}");
    assert!(html.contains("class=\"add shown\""), "the evidence is marked where it stands: {html}");
    let steps = format!("/news/api/forge/branch/{branch}/tutorial/steps");
    let found = fixture.get(&steps).await.json(StatusCode::OK);
    assert_eq!(
        (found["steps"][0]["state"].clone(), found["steps"][0]["is_ticked"].clone()),
        ("verified".into(), false.into())
    );
    let body = format!("step={}&is_ticked=true", found["steps"][0]["key"].as_str().unwrap());
    let path = format!("/news/{REPOSITORY}/branch/{branch}/tick");
    let reply = fixture.post(&path, "application/x-www-form-urlencoded", &body).await;
    assert_eq!(reply.status, StatusCode::SEE_OTHER);
    let found = fixture.get(&steps).await.json(StatusCode::OK);
    assert_eq!(found["steps"][0]["is_ticked"], true);
    assert!(page(&fixture, branch).await.contains("step verified ticked"));

    // The same lines elsewhere in the file: it holds as it is, and no writer is asked.
    fixture.push("topic", &[("other.rs", "// more\n"), ("lib.rs", NEW)]).await;
    let moved = until(&fixture, branch, "written").await;
    assert_eq!(moved["shown"]["kind"], "own");
    let found = fixture.get(&steps).await.json(StatusCode::OK);
    assert_eq!(found["steps"][0]["is_ticked"], true, "a tick holds as long as the step says the same");
    fixture.forge.drain().await;
}

#[tokio::test]
async fn a_new_head_shows_what_still_holds_of_the_old_tutorial_and_what_changed_since_the_reader_looked() {
    let script = format!("grep -q three.rs && exit 1; cat <<'E'\n{ANSWER}\nE");
    let fixture = Fixture::with_tutorial(written_by(&script)).await;
    let branch = pushed(&fixture).await;
    fixture.forge.start().await;
    let first = until(&fixture, branch, "written").await["head"].as_str().unwrap().to_owned();
    assert!(!page(&fixture, branch).await.contains("You last looked at"));
    fixture.push("topic", &[("three.rs", "fn three() {}\n")]).await;
    let failed = until(&fixture, branch, "failed").await;
    assert_eq!(
        (failed["shown"]["kind"].clone(), failed["shown"]["head"].clone()),
        ("earlier".into(), first.clone().into())
    );
    assert_eq!((failed["shown"]["kept"].clone(), failed["shown"]["stale"].clone()), (1.into(), 0.into()));
    let html = page(&fixture, branch).await;
    assert!(html.contains("You last looked at") && html.contains("Add two"), "{html}");
    let since = fixture.get(&format!("/news/{REPOSITORY}/branch/{branch}/since?from={first}")).await;
    assert_eq!(since.status, StatusCode::OK);
    assert!(since.text().contains("fn three()") && !since.text().contains("fn two()"), "{}", since.text());
    let path = format!("/news/api/forge/branch/{branch}/interdiff?from={first}");
    let answer = fixture.get(&path).await.json(StatusCode::OK);
    assert_eq!(
        (answer["added"].as_array().unwrap().len(), answer["unchanged"].as_array().unwrap().len()),
        (1, 1)
    );
    let seen = format!("head={}", failed["head"].as_str().unwrap());
    let path = format!("/news/{REPOSITORY}/branch/{branch}/seen");
    fixture.post(&path, "application/x-www-form-urlencoded", &seen).await;
    assert!(!page(&fixture, branch).await.contains("You last looked at"));
    fixture.forge.drain().await;
}

#[tokio::test]
async fn a_newer_head_ends_a_writer_that_never_ends() {
    let script = "grep -q three.rs && exit 1; sleep 600";
    let fixture = Fixture::with_tutorial(written_by(script)).await;
    let branch = pushed(&fixture).await;
    fixture.forge.start().await;
    let old = until(&fixture, branch, "running").await["head"].as_str().unwrap().to_owned();
    assert!(page(&fixture, branch).await.contains("is being written"));
    fixture.push("topic", &[("three.rs", "fn three() {}\n")]).await;
    until(&fixture, branch, "failed").await;
    let path = format!("/news/api/forge/branch/{branch}/tutorial/state?head={old}");
    let stopped = fixture.get(&path).await.json(StatusCode::OK);
    assert_eq!(stopped["status"], "cancelled");
    assert!(stopped["failure"].as_str().unwrap().starts_with("superseded by"), "{stopped}");
    fixture.forge.drain().await;
}

#[tokio::test]
async fn a_large_diff_has_a_page_that_opens_its_files_one_by_one() {
    let fixture = Fixture::new().await;
    fixture.push("main", &[("lib.rs", OLD)]).await;
    let many: String = (0..5000).map(|line| format!("line {line}\n")).collect();
    let branch = fixture.push("topic", &[("many.txt", &many)]).await;
    let html = page(&fixture, branch).await;
    assert!(html.len() < 200_000 && !html.contains("line 4321"), "{} bytes", html.len());
    let start = html.find("data-src=\"").unwrap() + "data-src=\"".len();
    let address = html[start..].split('"').next().unwrap().replace("&#38;", "&").replace("&amp;", "&");
    let file = fixture.get(&format!("{address}&fragment=1")).await;
    assert!(file.text().starts_with("<details") && file.text().contains("line 4321"));
    assert!(fixture.get(&address).await.text().contains("<!doctype html>"), "without a script it is a page");
    let missing = fixture.get(&address.replace("file=1", "file=2")).await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn tutorials_are_for_those_who_are_signed_in() {
    let fixture = Fixture::new().await;
    let branch = pushed(&fixture).await;
    for path in ["tutorial", "tutorial/steps", "tutorial/coverage", "tutorial/state", "interdiff?from=aa"] {
        let reply = fixture.get_as_stranger(&format!("/news/api/forge/branch/{branch}/{path}")).await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{path}");
        let reply = fixture.get(&format!("/news/api/forge/branch/999/{path}")).await;
        assert_eq!(reply.status, StatusCode::NOT_FOUND, "{path}");
    }
    let tick = format!("/news/api/forge/branch/{branch}/tutorial/tick");
    let reply = fixture.post(&tick, "application/json", "{\"step\":\"<b>\",\"is_ticked\":true}").await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
}
