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

pub(super) fn written_by(script: &str) -> TutorialConfig {
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
    // What the writer said may hold what is no reader's.
    let bob = fixture.auth.ensure_user("bob", false).await.unwrap();
    let repository = fixture.forge.hosted(REPOSITORY).unwrap().id;
    let role = Some(crate::auth::Role::Read);
    fixture.forge.store().set_role(repository, bob.id, role, "ada".to_owned(), 1).await.unwrap();
    let token = fixture.auth.create_token(&bob, "test", &crate::auth::Scopes::all(), None).await.unwrap();
    for path in [
        format!("/news/{REPOSITORY}/branch/{branch}?wait=1"),
        format!("/news/api/forge/branch/{branch}/tutorial"),
    ] {
        let read = fixture.get_with(&path, token.reveal()).await.text();
        assert!(
            read.contains("who may write to the repository sees why") && !read.contains("no model today"),
            "{read}"
        );
    }
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
    assert!(html.contains("It adds <strong>two</strong>.") && html.contains("Quotes the diff"), "{html}");
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
async fn a_step_whose_lines_changed_is_marked_with_the_head_that_it_was_written_for() {
    let answer = r#"{"executive_summary":"Two things.","steps":[{"title":"Add two","intent":"i","affected_files":["lib.rs"],"evidence_snippets":["+fn two() -> u32 {"],"body_markdown":"b"},{"title":"Add a note","intent":"i","affected_files":["note.md"],"evidence_snippets":["+A note."],"body_markdown":"b"}]}"#;
    let script = format!("grep -q 'Another note' && exit 1; cat <<'E'\n{answer}\nE");
    let fixture = Fixture::with_tutorial(written_by(&script)).await;
    fixture.push("main", &[("lib.rs", OLD)]).await;
    let branch = fixture.push("topic", &[("lib.rs", NEW), ("note.md", "A note.\n")]).await;
    fixture.forge.start().await;
    let first = until(&fixture, branch, "written").await["head"].as_str().unwrap().to_owned();
    fixture.push("topic", &[("note.md", "Another note.\n")]).await;
    let failed = until(&fixture, branch, "failed").await;
    assert_eq!((failed["shown"]["kept"].clone(), failed["shown"]["stale"].clone()), (1.into(), 1.into()));
    let path = format!("/news/api/forge/branch/{branch}/tutorial/steps");
    let steps = fixture.get(&path).await.json(StatusCode::OK)["steps"].clone();
    assert!(steps[0]["stale_since"].is_null() && steps[0]["state"] == "verified", "{steps}");
    assert_eq!(
        (steps[1]["stale_since"].clone(), steps[1]["state"].clone()),
        (first.clone().into(), "unsupported".into())
    );
    let html = page(&fixture, branch).await;
    assert!(
        html.contains("1 of its steps hold, 1 are marked as stale") && html.contains(&first[..10]),
        "{html}"
    );
    let (before, earlier) = html.split_once("What it showed at").unwrap_or_else(|| panic!("{html}"));
    assert!(!before.contains("A note.</td>"), "what is gone is not shown as what is there: {html}");
    assert!(earlier.contains("<pre>+A note.</pre>") && !earlier.contains("A note.</td>"), "{html}");
    fixture.forge.drain().await;
}

#[tokio::test]
async fn a_diff_that_is_too_large_for_a_tutorial_says_so_and_lists_its_files() {
    let fixture =
        Fixture::with_tutorial(TutorialConfig { diff_bytes_max: 4000, ..TutorialConfig::default() }).await;
    fixture.push("main", &[("lib.rs", OLD)]).await;
    let many: String = (0..5000).map(|line| format!("line {line}\n")).collect();
    let branch = fixture.push("topic", &[("many.txt", &many), ("lib.rs", NEW)]).await;
    let html = page(&fixture, branch).await;
    assert!(
        html.contains("too large for a tutorial") && html.contains("many.txt") && html.contains("lib.rs"),
        "{html}"
    );
    assert!(html.contains("fn two() -&#62; u32 {"), "what is small is shown: {html}");
    for part in ["", "/steps", "/coverage", "/state"] {
        let answer = fixture.get(&format!("/news/api/forge/branch/{branch}/tutorial{part}")).await;
        let error = answer.json(StatusCode::UNPROCESSABLE_ENTITY)["error"].clone();
        assert!(error.as_str().unwrap().contains("larger than 4000 bytes"), "{part}: {error}");
    }
}

/// A model server that refuses its first request, and then answers in both protocols; it tells which keys it was sent.
async fn model_server() -> (String, std::sync::Arc<std::sync::Mutex<Vec<String>>>) {
    use axum::http::{HeaderMap, header};
    use axum::response::IntoResponse as _;
    let keys = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = keys.clone();
    let answer = move |headers: HeaderMap, uri: axum::http::Uri| {
        let mut seen = seen.lock().unwrap();
        let key = headers.get(header::AUTHORIZATION).or(headers.get("x-api-key")).unwrap();
        seen.push(key.to_str().unwrap().to_owned());
        let is_first = seen.len() == 1;
        async move {
            if is_first {
                return (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "0")], "later")
                    .into_response();
            }
            let events = if uri.path().ends_with("/chat/completions") {
                let piece =
                    serde_json::json!({"choices": [{"delta": {"content": ANSWER}, "finish_reason": "stop"}]});
                format!("data: {piece}\n\ndata: [DONE]\n\n")
            } else {
                let piece = serde_json::json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": ANSWER}});
                let end = serde_json::json!({"type": "message_stop"});
                format!("event: content_block_delta\ndata: {piece}\n\nevent: message_stop\ndata: {end}\n\n")
            };
            ([(header::CONTENT_TYPE, "text/event-stream")], events).into_response()
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = axum::Router::new().fallback(answer);
    tokio::spawn(async move { axum::serve(listener, router).await });
    (format!("http://{address}"), keys)
}

#[tokio::test]
async fn servers_of_models_write_tutorials_with_a_key_that_stays_in_its_file() {
    let scratch = tempfile::tempdir().unwrap();
    let key_file = scratch.path().join("key");
    std::fs::write(&key_file, "sk-very-secret\n").unwrap();
    for (provider, key) in
        [(ProviderKind::Openai, "Bearer sk-very-secret"), (ProviderKind::Anthropic, "sk-very-secret")]
    {
        let (url, keys) = model_server().await;
        let settings = ProviderSettings {
            provider,
            base_url: Some(url),
            model: Some("small".to_owned()),
            key_file: Some(key_file.clone()),
            ..ProviderSettings::default()
        };
        let config = TutorialConfig { settings, retries: 0, ..TutorialConfig::default() };
        let fixture = Fixture::with_tutorial(config).await;
        let branch = pushed(&fixture).await;
        fixture.forge.start().await;
        let written = until(&fixture, branch, "written").await;
        assert_eq!((written["model"].clone(), written["tries"].clone()), ("small".into(), 1.into()));
        assert!(!written.to_string().contains("very-secret"), "{written}");
        assert!(page(&fixture, branch).await.contains("It adds <strong>two</strong>."));
        assert_eq!(*keys.lock().unwrap(), [key, key]);
        fixture.forge.drain().await;
    }
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
