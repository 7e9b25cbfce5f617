//! What becomes of answers that are late, broken, or nonsense.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use incus_client::{Client, Error, ImageImport, InstancePatch};
use serde_json::json;
use tokio::time::Instant;

use crate::fake::{Fake, Reply, envelope};

const SECOND: Duration = Duration::from_secs(1);

/// Asks a server that answers everything alike.
async fn error_of(reply: impl Fn() -> Reply + Send + Sync + 'static) -> Error {
    let fake = Fake::start(move |_| reply());
    fake.client().with_deadline(SECOND).projects().await.unwrap_err()
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_never_comes_times_out_at_the_deadline() {
    let (fake, start) = (Fake::start(|_| Reply::Stall("")), Instant::now());
    let error = fake.client().with_deadline(SECOND).server().await.unwrap_err();
    assert!(matches!(error, Error::TimedOut { after: SECOND, .. }), "{error}");
    assert!(start.elapsed() < SECOND + Duration::from_millis(100), "{:?}", start.elapsed());
    // The connection is closed, so that the server knows.
    fake.until_left().await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_stalls_in_its_head_or_body_times_out_at_the_deadline() {
    for text in ["HTTP/1.1 200 OK\r\nContent-", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"type\""] {
        let fake = Fake::start(move |_| Reply::Stall(text));
        let error = fake.client().with_deadline(SECOND).server().await.unwrap_err();
        assert!(matches!(error, Error::TimedOut { after: SECOND, .. }), "{error}");
        fake.until_left().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_without_a_deadline_of_its_own_has_the_default_one() {
    let (fake, start) = (Fake::start(|_| Reply::Stall("")), Instant::now());
    let error = fake.client().server().await.unwrap_err();
    assert!(matches!(error, Error::TimedOut { after: incus_client::DEADLINE_DEFAULT, .. }), "{error}");
    assert!(start.elapsed() >= incus_client::DEADLINE_DEFAULT);
}

#[tokio::test(start_paused = true)]
async fn the_longest_deadline_is_no_deadline() {
    let fake = Fake::start(|seen| match seen.method.as_str() {
        "POST" => Reply::Async("one"),
        _ => Reply::Sync(crate::fake::operation("one", 200, "", &json!({}))),
    });
    let client = fake.client().with_deadline(Duration::MAX);
    client.create_instance(&incus_client::NewInstance::container("one", "0")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_ends_before_or_within_the_answer_is_dropped() {
    for text in [
        "",
        "HTTP/1.1 200 OK\r\nContent-Le",
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"type\"",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"typ",
        "no HTTP at all\r\n\r\n",
    ] {
        let error = error_of(move || Reply::Drop(text)).await;
        assert!(matches!(error, Error::Dropped { .. }), "{text:?}: {error}");
        assert!(error.is_transport());
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_another_shape_says_what_is_wrong() {
    for (status, content) in [
        (200, "<html>welcome</html>"),
        (200, ""),
        (200, "{"),
        (200, "[]"),
        (200, "{}"),
        (200, r#"{"type": 7}"#),
        (200, r#"{"type": "sync", "metadata": "no list"}"#),
        (200, r#"{"type": "sync", "metadata": [{"config": {}}]}"#),
        (200, r#"{"type": "sync", "metadata": [{"name": 7}]}"#),
        (200, r#"{"type": "other", "metadata": []}"#),
        (302, ""),
        (500, r#"{"type": "sync", "metadata": []}"#),
    ] {
        let error = error_of(move || {
            Reply::Foreign(status, "Content-Type: application/json", content.as_bytes().to_vec())
        })
        .await;
        assert!(matches!(error, Error::Shape { .. }), "{status} {content}: {error}");
        assert!(!error.is_transport());
    }
}

#[tokio::test(start_paused = true)]
async fn a_proxy_that_answers_with_a_page_is_a_refusal_that_shows_it() {
    let error =
        error_of(|| Reply::Foreign(502, "Content-Type: text/html", b"<h1>502\n Bad Gateway</h1>".to_vec()))
            .await;
    let Error::Refused { status, message, what } = error else { panic!("{error}") };
    assert_eq!((status, message.as_str()), (502, "<h1>502 Bad Gateway</h1>"));
    assert_eq!(what, "GET /1.0/projects");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_too_large_is_not_read() {
    let announced = error_of(|| Reply::Stall("HTTP/1.1 200 OK\r\nContent-Length: 2147483648\r\n\r\n{")).await;
    assert!(matches!(announced, Error::Shape { .. }), "{announced}");
    let unannounced =
        Fake::start(|_| Reply::Foreign(200, "Content-Type: application/json", [b' '; 1 << 20].repeat(65)));
    let error = unannounced.client().projects().await.unwrap_err();
    assert!(matches!(error, Error::Shape { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn the_errors_of_the_api_have_variants_that_callers_act_on() {
    assert!(error_of(|| Reply::Error(404, "no")).await.is_not_found());
    let error = error_of(|| Reply::Error(409, "busy")).await;
    assert!(matches!(&error, Error::Conflict { message, .. } if message == "busy"), "{error}");
    let error = error_of(|| Reply::Error(412, "changed")).await;
    assert!(matches!(error, Error::Stale { .. }), "{error}");
    let error = error_of(|| Reply::Error(403, "you may not")).await;
    assert!(matches!(&error, Error::Refused { status: 403, message, .. } if message == "you may not"));
    // An answer whose head was sent before the error was known.
    let error = error_of(|| Reply::LateError(404, "no")).await;
    assert!(error.is_not_found(), "{error}");
    let error = error_of(|| Reply::LateError(0, "no")).await;
    assert!(matches!(error, Error::Refused { status: 500, .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_list_that_is_null_is_empty() {
    let fake = Fake::start(|_| Reply::Sync(json!(null)));
    assert!(fake.client().projects().await.unwrap().is_empty());
    assert!(fake.client().operations().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_object_without_its_version_is_not_taken_for_one_that_can_be_changed_conditionally() {
    let replies: [fn(serde_json::Value) -> Reply; 2] = [Reply::Sync, |value| Reply::Tagged(value, "")];
    for reply in replies {
        let fake = Fake::start(move |_| reply(json!({ "name": "one", "type": "container" })));
        let error = fake.client().instance("one").await.unwrap_err();
        assert!(matches!(error, Error::Shape { .. }), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_conditional_change_carries_the_version_that_was_read() {
    let fake = Fake::start(|seen| match seen.method.as_str() {
        "GET" => Reply::Tagged(json!({ "name": "one", "type": "container" }), "\"v1\""),
        _ => Reply::Sync(json!({})),
    });
    let one = fake.client().instance("one").await.unwrap();
    fake.client().patch_instance("one", &InstancePatch::default(), Some(&one.tag)).await.unwrap();
    let change = fake.until_asked("PATCH", "/1.0/instances/one").await;
    assert_eq!(change.header("if-match"), Some("\"v1\""));
    assert_eq!(change.body, b"{}");
}

#[tokio::test(start_paused = true)]
async fn keys_of_a_project_that_somebody_else_changes_meanwhile_are_set_all_the_same() {
    let tries = AtomicUsize::new(0);
    let fake = Fake::start(move |seen| match (seen.method.as_str(), tries.fetch_add(1, Ordering::SeqCst)) {
        ("GET", 0) => Reply::Tagged(json!({ "name": "p", "config": { "a": "1" } }), "\"v1\""),
        ("GET", _) => Reply::Tagged(json!({ "name": "p", "config": { "a": "2", "b": "2" } }), "\"v2\""),
        (_, 1) => Reply::Error(412, "changed"),
        _ => Reply::Sync(json!({})),
    });
    let keys = [("b", ""), ("c", "3")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    fake.client().patch_project("p", &keys.into()).await.unwrap();
    let last = fake.seen().pop().unwrap();
    assert!(last.is("PUT", "/1.0/projects/p") && last.header("if-match") == Some("\"v2\""));
    let sent: serde_json::Value = serde_json::from_slice(&last.body).unwrap();
    assert_eq!(sent["config"], json!({ "a": "2", "c": "3" }));
}

#[tokio::test(start_paused = true)]
async fn a_change_that_the_server_makes_an_operation_of_is_waited_for() {
    let fake = Fake::start(|seen| match seen.method.as_str() {
        "DELETE" => Reply::Async("one"),
        _ => Reply::Sync(crate::fake::operation("one", 400, "no way", &json!({}))),
    });
    let error = fake.client().delete_project("one").await.unwrap_err();
    assert!(matches!(&error, Error::OperationFailed { message, .. } if message == "no way"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn nobody_at_the_socket_is_unreachable() {
    let error = Client::unix("/nonexistent/unix.socket").server().await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    assert!(error.is_transport());
}

#[tokio::test]
async fn an_upload_that_is_refused_midway_is_a_refusal() {
    let refusal = json!({ "type": "error", "error_code": 403, "error": "too large" });
    let fake = Fake::start(move |_| Reply::Interrupt(envelope(403, &refusal)));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("image.tar");
    std::fs::write(&file, vec![7; 8 << 20]).unwrap();
    let error = fake.client().import_image(&file, &ImageImport::default()).await.unwrap_err();
    assert!(
        matches!(&error, Error::Refused { status: 403, message, .. } if message == "too large"),
        "{error}"
    );
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_not_the_servers_fault() {
    let fake = Fake::start(|_| Reply::Async("one"));
    let folder = tempfile::tempdir().unwrap();
    for file in [folder.path().join("missing"), folder.path().to_owned()] {
        let error = fake.client().import_image(&file, &ImageImport::default()).await.unwrap_err();
        assert!(matches!(&error, Error::Unreadable { path, .. } if *path == file), "{error}");
    }
}
