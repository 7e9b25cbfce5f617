//! The events, listed and streamed: each once and in order, also after a restart, and to those alone who may read them.

use axum::http::StatusCode;
use pikaci::Outcome;

use super::fixture::{Fixture, MANIFEST, REPOSITORY};
use super::stream::{Seen, Watcher};
use super::tutorial::written_by;
use crate::auth::{Role, Scopes};
use crate::config::RepositoryConfig;

const STREAM: &str = "/news/api/forge/events/stream";

/// What a list answers, as `kind branch`.
async fn listed(fixture: &Fixture, query: &str) -> Vec<String> {
    let body = fixture.get(&format!("/news/api/forge/events?{query}")).await.json(StatusCode::OK);
    let line = |item: &serde_json::Value| {
        format!("{} {}", item["kind"].as_str().unwrap(), item["branch"].as_str().unwrap())
    };
    body["items"].as_array().unwrap().iter().map(line).collect()
}

/// Reads a stream up to an event of this kind.
async fn read_to(watcher: &mut Watcher, kind: &str) -> Vec<Seen> {
    let mut seen = Vec::new();
    loop {
        let event = watcher.next().await.expect("the stream goes on");
        let is_last = event.event == kind;
        seen.push(event);
        if is_last {
            return seen;
        }
    }
}

fn ids(seen: &[Seen]) -> Vec<u64> {
    seen.iter().filter(|event| event.event != "ready").map(|event| event.id.unwrap()).collect()
}

#[tokio::test]
async fn a_push_a_lane_and_a_merge_are_told_in_the_order_in_which_they_happened() {
    let fixture = Fixture::with_tutorial(written_by("exit 3")).await;
    fixture.push("main", &[("pikaci.toml", MANIFEST)]).await;
    let after = fixture.forge.event_bounds().await.unwrap().1;
    let topic = fixture.push("topic", &[("a", "1")]).await;
    fixture.claim(topic, Some(Outcome::Passed)).await;
    let head = fixture.forge.branch(REPOSITORY, topic).await.unwrap().head.oid;
    fixture.forge.merge(REPOSITORY, topic, &head, "ada").await.unwrap();
    let told: Vec<String> = listed(&fixture, &format!("after={after}&limit=200")).await;
    let of_topic: Vec<&str> = told.iter().filter_map(|line| line.strip_suffix(" topic")).collect();
    assert_eq!(
        of_topic,
        [
            "branch.created",
            "head.pushed",
            "lane.queued",
            "tutorial.queued",
            "lane.started",
            "lane.finished",
            "head.verdict",
            "merge.started",
            "merge.finished",
            "branch.merged",
        ]
    );
    let events = fixture.get(&format!("/news/api/forge/events?after={after}")).await.json(StatusCode::OK);
    let verdict = events["items"].as_array().unwrap().iter().find(|event| event["kind"] == "head.verdict");
    assert_eq!(verdict.unwrap()["verdict"], "passed");
    assert_eq!(verdict.unwrap()["head_oid"], head);
}

#[tokio::test]
async fn a_list_is_read_in_parts_and_each_event_comes_once() {
    let fixture = Fixture::new().await;
    fixture.push("topic", &[("pikaci.toml", MANIFEST)]).await;
    fixture.push("other", &[("a", "1")]).await;
    let whole = listed(&fixture, "limit=200").await;
    assert!(whole.len() >= 6, "{whole:?}");
    let (mut parts, mut after) = (Vec::new(), String::new());
    loop {
        let query = format!("limit=2{after}");
        parts.extend(listed(&fixture, &query).await);
        let body = fixture.get(&format!("/news/api/forge/events?{query}")).await.json(StatusCode::OK);
        match body["next"].as_i64() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(parts, whole);
}

#[tokio::test]
async fn two_readers_who_come_back_after_a_restart_have_each_event_once() {
    let fixture = Fixture::new().await;
    let mut first = Watcher::of(fixture.open(STREAM, None).await);
    let mut second = Watcher::of(fixture.open(STREAM, None).await);
    let topic = fixture.push("topic", &[("pikaci.toml", MANIFEST)]).await;
    let begun = read_to(&mut first, "lane.queued").await;
    assert_eq!(begun[0].event, "ready");
    assert_eq!(read_to(&mut second, "lane.queued").await, begun);
    let left = begun.last().unwrap().id.unwrap();
    drop((first, second));
    fixture.claim(topic, Some(Outcome::Failed)).await;
    let fixture = fixture.restarted().await;
    fixture.push("later", &[("b", "1")]).await;
    let all: Vec<u64> = {
        let mut watcher = Watcher::of(fixture.open(&format!("{STREAM}?after=0"), None).await);
        ids(&read_to(&mut watcher, "head.pushed").await)
            .into_iter()
            .chain(ids(&read_to(&mut watcher, "head.pushed").await))
            .collect()
    };
    for _ in 0..2 {
        let mut watcher = Watcher::of(fixture.open(STREAM, Some(&left.to_string())).await);
        let rest = read_to(&mut watcher, "head.pushed").await;
        assert!(rest.iter().any(|event| event.event == "head.verdict" && event.data["verdict"] == "failed"));
        assert_eq!([ids(&begun), ids(&rest)].concat(), all);
        assert!(all.is_sorted_by(|one, next| one < next), "{all:?}");
    }
}

#[tokio::test]
async fn what_happens_in_a_repository_is_told_to_its_readers_alone() {
    let fixture = Fixture::with_config(|config| {
        let sample = config.repositories[0].clone();
        let path = sample.path.with_file_name("open.git");
        config.repositories.push(RepositoryConfig { name: "open".to_owned(), path, ..sample });
    })
    .await;
    let user = fixture.auth.ensure_user("grace", false).await.unwrap();
    let open = fixture.forge.store().ensure_repository("open", 1).await.unwrap();
    fixture.forge.store().set_role(open, user.id, Some(Role::Read), "test".to_owned(), 1).await.unwrap();
    let token = fixture.auth.create_token(&user, "test", &Scopes::all(), None).await.unwrap();
    let mut watcher = Watcher::of(fixture.open_with(STREAM, token.reveal(), None).await);
    assert_eq!(watcher.next().await.unwrap().event, "ready");
    fixture.push("private", &[("pikaci.toml", MANIFEST)]).await;
    fixture.push_to("open", "shown").await;
    let seen = read_to(&mut watcher, "head.pushed").await;
    assert!(seen.iter().all(|event| event.data["repository"] == "open"), "{seen:?}");
    let list = fixture.get_with("/news/api/forge/events", token.reveal()).await.json(StatusCode::OK);
    let items = list["items"].as_array().unwrap();
    assert!(!items.is_empty() && items.iter().all(|item| item["repository"] == "open"), "{list}");
    for path in
        ["/news/api/forge/events?repository=sample", "/news/api/forge/events/stream?repository=sample"]
    {
        let hidden = fixture.get_with(path, token.reveal()).await;
        assert_eq!(hidden.json(StatusCode::NOT_FOUND)["code"], "not_found");
    }
}

#[tokio::test]
async fn who_comes_back_too_late_or_from_another_time_is_told_so() {
    let fixture = Fixture::new().await;
    fixture.push("topic", &[("pikaci.toml", MANIFEST)]).await;
    let latest = fixture.forge.event_bounds().await.unwrap().1;
    let removed = fixture.forge.store().remove_events(2, 0).await.unwrap();
    assert_eq!(removed as i64, latest - 2);
    for after in [latest - 3, 0, latest + 1] {
        for path in ["/news/api/forge/events", STREAM] {
            let reply = fixture.get(&format!("{path}?after={after}")).await;
            assert_eq!(reply.json(StatusCode::GONE)["code"], "gone", "{after}");
        }
    }
    assert_eq!(listed(&fixture, &format!("after={}", latest - 2)).await.len(), 2);
    // Nobody is told to begin again who was there when it was all removed, and no number is given twice.
    fixture.forge.store().remove_events(0, i64::MAX).await.unwrap();
    let fixture = fixture.restarted().await;
    fixture.push("topic", &[("b", "1")]).await;
    let list = fixture.get(&format!("/news/api/forge/events?after={latest}")).await.json(StatusCode::OK);
    assert_eq!(list["items"][0]["id"].as_i64(), Some(latest + 1));
    let bad = fixture.open(STREAM, Some("soon")).await;
    assert_eq!(bad.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_reader_who_reads_nothing_holds_up_nobody_and_misses_nothing() {
    let fixture = Fixture::new().await;
    let mut slow = Watcher::of(fixture.open(STREAM, None).await);
    for number in 0..12 {
        fixture.push("topic", &[("a", &number.to_string())]).await;
    }
    let latest = fixture.forge.event_bounds().await.unwrap().1;
    let mut seen = Vec::new();
    while seen.last() != Some(&latest.unsigned_abs()) {
        let event = slow.next().await.unwrap();
        if event.event != "ready" {
            seen.push(event.id.unwrap());
        }
    }
    let expected: Vec<u64> = (1..=latest.unsigned_abs()).collect();
    assert_eq!(seen, expected);
}
