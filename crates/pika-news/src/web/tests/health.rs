//! What those who watch the forge are told, and who else is told nothing.

use axum::http::StatusCode;

use super::fixture::{Fixture, MANIFEST};
use crate::auth::{Scope, Scopes};

#[tokio::test]
async fn anybody_learns_that_it_is_alive_and_ready_and_nothing_else() {
    let fixture = Fixture::new().await;
    fixture.forge.start().await;
    assert_eq!(fixture.get_as_stranger("/healthz").await.text(), "alive\n");
    let ready = fixture.get_as_stranger("/readyz").await;
    let said = ready.text();
    // The fixture's `pikaci` is not there, which is what this answer is for.
    let ready = ready.json(StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(ready["status"], "failing");
    let problems: Vec<&str> =
        ready["checks"].as_array().unwrap().iter().filter_map(|check| check["problem"].as_str()).collect();
    assert_eq!(problems, ["the program `pikaci` is gone; install it again"]);
    assert!(!said.contains("sample") && !said.contains("/tmp"), "{said}");
    assert_eq!(ready["actors"][0]["name"], "scheduler");
    fixture.forge.drain().await;
    let draining = fixture.get_as_stranger("/readyz").await.json(StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(draining["status"], "draining");
}

#[tokio::test]
async fn the_figures_are_for_administrators_and_name_no_repository() {
    crate::metrics::install();
    let fixture = Fixture::new().await;
    fixture.push("topic", &[("pikaci.toml", MANIFEST)]).await;
    fixture.get("/news/sample").await;
    assert_eq!(fixture.get_as_stranger("/metrics").await.status, StatusCode::UNAUTHORIZED);
    let reader = fixture.auth.ensure_user("bob", false).await.unwrap();
    let narrow = Scopes::from_iter([Scope::Read]);
    for (user, scopes) in [(&reader, Scopes::all()), (&fixture.user, narrow)] {
        let token = fixture.auth.create_token(user, "metrics", &scopes, None).await.unwrap();
        assert_eq!(fixture.get_with("/metrics", token.reveal()).await.status, StatusCode::FORBIDDEN);
    }
    let figures = fixture.get("/metrics").await.text();
    for line in ["pika_news_lanes_queued 1", "pika_news_pushes_total", "pika_news_lane_slots 2"] {
        assert!(figures.lines().any(|found| found.starts_with(line)), "{line}: {figures}");
    }
    assert!(
        figures.contains("# HELP pika_news_lanes_queued")
            && figures.contains("process_resident_memory_bytes")
    );
    assert!(!figures.contains("sample") && !figures.contains("topic"), "{figures}");
}

#[tokio::test]
async fn every_answer_has_a_name_that_its_sender_did_not_choose() {
    let fixture = Fixture::new().await;
    let request = fixture.request(axum::http::Method::GET, "/news/sign-in").header("x-request-id", "mine");
    let reply = fixture.send(request.body(axum::body::Body::empty()).unwrap()).await;
    let id = reply.header("x-request-id");
    assert!(id.len() == 8 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
}
