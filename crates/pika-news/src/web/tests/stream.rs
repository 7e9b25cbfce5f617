//! The live log, over the real router and real files that grow.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::StatusCode;
use futures_util::StreamExt as _;
use pikaci::{Event, JobStatus, StateRoot};

use super::fixture::{
    Fixture, MANIFEST, finish_run_fixture, job, job_id, run_id, write_pikaci_run_fixture,
    write_running_run_fixture,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// One event as a browser would see it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Seen {
    pub(super) event: String,
    pub(super) id: Option<u64>,
    pub(super) data: serde_json::Value,
}

/// Whoever reads a stream.
pub(super) struct Watcher {
    body: axum::body::BodyDataStream,
    held: String,
}

impl Watcher {
    async fn open(fixture: &Fixture, query: &str, last_event_id: Option<&str>) -> Watcher {
        let path = format!("/news/api/forge/pikaci/logs/{}/stream?{query}", run_id());
        Watcher::of(fixture.open(&path, last_event_id).await)
    }

    pub(super) fn of(response: axum::response::Response) -> Watcher {
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Watcher { body: Body::into_data_stream(response.into_body()), held: String::new() }
    }

    /// The next event; `None` when the stream ended.
    pub(super) async fn next(&mut self) -> Option<Seen> {
        loop {
            if let Some((block, rest)) = self.held.split_once("\n\n") {
                let seen = parse(block);
                self.held = rest.to_owned();
                match seen {
                    Some(seen) => return Some(seen),
                    None => continue,
                }
            }
            let piece = tokio::time::timeout(PATIENCE, self.body.next()).await.expect("an event in time")?;
            self.held.push_str(std::str::from_utf8(&piece.unwrap()).unwrap());
        }
    }

    async fn read_to_end(mut self) -> Vec<Seen> {
        let mut seen = Vec::new();
        while let Some(event) = self.next().await {
            seen.push(event);
        }
        seen
    }
}

fn parse(block: &str) -> Option<Seen> {
    let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    Some(Seen {
        event: field("event:")?.to_owned(),
        id: field("id:").map(|id| id.parse().unwrap()),
        data: serde_json::from_str(field("data:")?).unwrap(),
    })
}

fn text(seen: &[Seen]) -> String {
    seen.iter().filter(|seen| seen.event == "log").map(|seen| seen.data["text"].as_str().unwrap()).collect()
}

fn append(state: &StateRoot, bytes: &[u8]) {
    let path = state.guest_log(&run_id(), &job_id("unit"));
    OpenOptions::new().append(true).open(path).unwrap().write_all(bytes).unwrap();
}

#[tokio::test]
async fn what_is_written_is_seen_within_a_second_and_the_end_is_told() {
    let fixture = Fixture::new().await;
    let mut writer = write_running_run_fixture(&fixture.state, b"one\n");
    let mut watcher = Watcher::open(&fixture, "job=unit&kind=guest", None).await;
    let first = watcher.next().await.unwrap();
    assert_eq!(
        (first.event.as_str(), first.id, first.data["text"].as_str()),
        ("log", Some(4), Some("one\n"))
    );
    let written = Instant::now();
    append(&fixture.state, b"two\n");
    let second = watcher.next().await.unwrap();
    assert!(written.elapsed() < Duration::from_secs(1), "{:?}", written.elapsed());
    assert_eq!(
        (second.id, second.data["offset"].as_u64(), second.data["text"].as_str()),
        (Some(8), Some(4), Some("two\n"))
    );
    finish_run_fixture(&mut writer, &JobStatus::Passed);
    let end = watcher.next().await.unwrap();
    assert_eq!((end.event.as_str(), end.data["status"].as_str()), ("end", Some("passed")));
    assert_eq!(watcher.next().await, None);
}

#[tokio::test]
async fn a_client_that_comes_back_gets_each_byte_once() {
    let fixture = Fixture::new().await;
    let log =
        ["aé😀\u{2028}".as_bytes(), b"\xff\xe2\x82", &b"line\n".repeat(40_000), "é".as_bytes(), b"\xf0\x9f"]
            .concat();
    write_pikaci_run_fixture(&fixture.state, &log, &JobStatus::Passed);
    let whole = Watcher::open(&fixture, "job=unit&kind=guest", None).await.read_to_end().await;
    let expected = String::from_utf8_lossy(&log).into_owned();
    assert_eq!(text(&whole), expected);
    assert!(whole.len() > 3, "the log came in one piece");
    assert_eq!(whole.iter().rev().nth(1).unwrap().id, Some(log.len() as u64));
    for cut in 0..whole.len() - 1 {
        let id = whole[cut].id.unwrap().to_string();
        let rest = Watcher::open(&fixture, "job=unit&kind=guest&from=0", Some(&id)).await.read_to_end().await;
        assert_eq!(text(&whole[..=cut]) + &text(&rest), expected, "after event {cut}");
    }
}

#[tokio::test]
async fn a_character_that_is_written_in_two_pieces_is_one_character() {
    let fixture = Fixture::new().await;
    let mut writer = write_running_run_fixture(&fixture.state, b"a\xf0\x9f");
    let mut watcher = Watcher::open(&fixture, "job=unit&kind=guest", None).await;
    let first = watcher.next().await.unwrap();
    assert_eq!((first.id, first.data["text"].as_str()), (Some(1), Some("a")));
    append(&fixture.state, b"\x98\x80b\xc3");
    let second = watcher.next().await.unwrap();
    assert_eq!((second.id, second.data["text"].as_str()), (Some(6), Some("😀b")));
    finish_run_fixture(&mut writer, &JobStatus::Passed);
    let rest = watcher.read_to_end().await;
    assert_eq!((text(&rest).as_str(), rest[0].id), ("\u{fffd}", Some(7)));
}

#[tokio::test]
async fn a_job_that_has_not_begun_is_waited_for() {
    let fixture = Fixture::new().await;
    let mut writer = write_running_run_fixture(&fixture.state, b"");
    let mut watcher = Watcher::open(&fixture, "job=later&kind=guest", None).await;
    let artifacts = fixture.state.artifacts_dir(&run_id(), &job_id("later"));
    writer.append(&Event::JobStarted { run_id: run_id(), job: job("later", JobStatus::Running) }).unwrap();
    std::fs::create_dir_all(&artifacts).unwrap();
    std::fs::write(artifacts.join("guest.log"), "at last\n").unwrap();
    assert_eq!(watcher.next().await.unwrap().data["text"], "at last\n");
}

#[tokio::test]
async fn a_run_that_has_a_name_and_no_folder_yet_is_waited_for() {
    let fixture = Fixture::new().await;
    let branch = fixture.push("topic", &[("pikaci.toml", MANIFEST)]).await;
    fixture.claim(branch, None).await;
    // The request waits, so the run begins after it was made.
    let (mut watcher, _writer) = tokio::join!(Watcher::open(&fixture, "kind=guest", None), async {
        tokio::task::yield_now().await;
        write_running_run_fixture(&fixture.state, b"begun\n")
    });
    assert_eq!(watcher.next().await.unwrap().data["text"], "begun\n");
}

#[tokio::test]
async fn another_attempt_starts_the_log_again_after_the_old_one_was_sent() {
    let fixture = Fixture::new().await;
    let writer = write_running_run_fixture(&fixture.state, b"first try\n");
    let mut watcher = Watcher::open(&fixture, "job=unit&kind=guest", None).await;
    assert_eq!(watcher.next().await.unwrap().data["text"], "first try\n");
    append(&fixture.state, b"its last words\n");
    writer.archive_attempt(&job_id("unit"), 1).unwrap();
    let artifacts = fixture.state.artifacts_dir(&run_id(), &job_id("unit"));
    std::fs::create_dir_all(&artifacts).unwrap();
    std::fs::write(artifacts.join("guest.log"), "second try\n").unwrap();
    assert_eq!(watcher.next().await.unwrap().data["text"], "its last words\n");
    let restart = watcher.next().await.unwrap();
    assert_eq!((restart.event.as_str(), restart.id), ("restart", Some(0)));
    let again = watcher.next().await.unwrap();
    assert_eq!((again.data["offset"].as_u64(), again.data["text"].as_str()), (Some(0), Some("second try\n")));
}

#[tokio::test]
async fn an_offset_of_an_earlier_attempt_starts_again() {
    let fixture = Fixture::new().await;
    write_pikaci_run_fixture(&fixture.state, b"short\n", &JobStatus::Passed);
    for (query, id) in [("job=unit&from=9999", None), ("job=unit&attempt=7", Some("3"))] {
        let seen = Watcher::open(&fixture, query, id).await.read_to_end().await;
        assert_eq!((seen[0].event.as_str(), text(&seen).as_str()), ("restart", "short\n"), "{query}");
    }
}

#[tokio::test]
async fn streams_end_when_the_forge_shuts_down_or_the_user_is_disabled() {
    let fixture = Fixture::new().await;
    let _writer = write_running_run_fixture(&fixture.state, b"x");
    let mut watched = Watcher::open(&fixture, "job=unit", None).await;
    assert!(watched.next().await.is_some());
    fixture.auth.disable_user("ada").await.unwrap();
    assert_eq!(watched.next().await, None);
    fixture.auth.enable_user("ada").await.unwrap();

    let fixture = Fixture::new().await;
    let _writer = write_running_run_fixture(&fixture.state, b"x");
    let mut watched = Watcher::open(&fixture, "job=unit", None).await;
    assert!(watched.next().await.is_some());
    fixture.shutdown.cancel();
    assert_eq!(watched.next().await, None);
}

#[tokio::test]
async fn an_offset_that_is_none_is_refused() {
    let fixture = Fixture::new().await;
    write_pikaci_run_fixture(&fixture.state, b"x", &JobStatus::Passed);
    let path = format!("/news/api/forge/pikaci/logs/{}/stream?job=unit", run_id());
    assert_eq!(fixture.open(&path, Some("not a number")).await.status(), StatusCode::BAD_REQUEST);
    assert_eq!(fixture.get(&format!("{path}&kind=both")).await.status, StatusCode::BAD_REQUEST);
}
