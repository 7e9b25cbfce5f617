//! The forge's own client against the forge, over a socket, and against servers that mean it no good.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use pikaci::{JobStatus, Outcome};
use tokio::net::TcpListener;

use super::fixture::{
    Fixture, MANIFEST, REPOSITORY, finish_run_fixture, run_id, write_pikaci_run_fixture,
    write_running_run_fixture,
};
use crate::auth::Secret;
use crate::client::log::{LogEvent, LogName};
use crate::client::model::HeadEnd;
use crate::client::wait::{WaitEnd, wait_for_head};
use crate::client::{Client, ClientError, Origin, summary};

/// Serves a router until the runtime ends; returns its origin.
async fn serve(router: Router) -> Origin {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = Origin::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    origin
}

async fn client(fixture: &Fixture) -> Client {
    let origin = serve(fixture.router_with_git()).await;
    Client::new(&origin, &Secret::presented(&fixture.token).unwrap()).unwrap()
}

fn log_name(attempt: Option<u32>) -> LogName {
    LogName { run_id: run_id().to_string(), job: None, kind: "guest".to_owned(), attempt }
}

/// A server that does what it is told to and notes each `Authorization` that it was sent.
async fn hostile(
    answer: impl Fn() -> Response + Clone + Send + Sync + 'static,
) -> (Origin, Arc<Mutex<Vec<String>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&seen);
    let handler = move |request: Request| {
        let sent = request.headers().get(header::AUTHORIZATION);
        noted.lock().unwrap().push(sent.map_or("", |value| value.to_str().unwrap()).to_owned());
        let answer = answer();
        async move { answer }
    };
    (serve(Router::new().fallback(handler)).await, seen)
}

#[tokio::test]
async fn a_token_follows_no_redirect_whoever_sends_it() {
    let (thief, stolen) = hostile(|| StatusCode::OK.into_response()).await;
    for status in [301, 302, 303, 307, 308] {
        let to = format!("{thief}/news/api/forge/whoami");
        let status = StatusCode::from_u16(status).unwrap();
        let (forge, asked) =
            hostile(move || (status, [(header::LOCATION, to.clone())]).into_response()).await;
        let client = Client::new(&forge, &Secret::presented("pika_token").unwrap()).unwrap();
        let error = client.who_am_i().await.unwrap_err();
        assert!(matches!(&error, ClientError::Redirected { origin, .. } if *origin == forge), "{error}");
        let error = client.merge(1, "0000000000000000000000000000000000000000").await.unwrap_err();
        assert!(matches!(error, ClientError::Redirected { .. }), "{error}");
        assert_eq!(*asked.lock().unwrap(), ["Bearer pika_token", "Bearer pika_token"]);
    }
    assert_eq!(*stolen.lock().unwrap(), [""; 0]);
}

#[tokio::test]
async fn only_what_does_no_harm_twice_is_sent_twice() {
    let unsure = || (StatusCode::BAD_GATEWAY, "proxy").into_response();
    let (forge, asked) = hostile(unsure).await;
    let client = Client::new(&forge, &Secret::presented("pika_token").unwrap()).unwrap();
    let error = client.merge(1, "0000000000000000000000000000000000000000").await.unwrap_err();
    assert!(matches!(error, ClientError::Refused { status: 502, .. }), "{error}");
    assert_eq!(asked.lock().unwrap().len(), 1);
    client.who_am_i().await.unwrap_err();
    assert_eq!(asked.lock().unwrap().len(), 6);
}

#[tokio::test]
async fn a_client_finds_a_branch_by_its_name_and_explains_it() {
    let fixture = Fixture::new().await;
    fixture.push("main", &[("pikaci.toml", MANIFEST)]).await;
    let id = fixture.push("fix/a&b", &[("a", "1")]).await;
    let client = client(&fixture).await;
    let who = client.who_am_i().await.unwrap();
    assert_eq!((who.user.as_str(), who.is_admin, who.scopes.len()), ("ada", true, 4));
    assert_eq!(client.find_branch_id(REPOSITORY, "fix/a&b").await.unwrap(), Some(id.0));
    assert_eq!(client.find_branch_id(REPOSITORY, "fix/a").await.unwrap(), None);
    let list = client.branches(REPOSITORY, Some("open"), 1).await.unwrap();
    assert_eq!((list.rows.len(), list.has_more), (1, true));

    let queue = client.queue(Some(REPOSITORY), 10).await.unwrap();
    let row = queue.items.iter().find(|row| row.branch == "fix/a&b").unwrap();
    assert_eq!((row.status.as_str(), row.lane.as_str()), ("queued", "check"));
    let first = client.queue(None, 1).await.unwrap();
    assert!(first.items.len() == 1 && first.next.is_some());
    let why = client.why(row.id).await.unwrap();
    assert!(why.text.contains("queued") && !why.more.contains_key("why"), "{}", why.text);

    fixture.claim(id, Some(Outcome::Failed)).await;
    write_pikaci_run_fixture(&fixture.state, b"checking\nerror: 2 is not 3\n", &JobStatus::Failed);
    let text = summary::failure(&client, &client.branch(id.0).await.unwrap()).await.unwrap();
    assert!(text.starts_with("branch fix/a&b at ") && text.contains("error: 2 is not 3"), "{text}");
    assert!(text.contains("pikaci run check/unit") || text.contains("pikaci rerun"), "{text}");
    assert!(client.queue(Some(REPOSITORY), 10).await.unwrap().items.iter().all(|row| row.branch == "main"));
}

#[tokio::test]
async fn a_wait_ends_when_the_head_does_and_not_for_another_one() {
    let fixture = Fixture::new().await;
    fixture.push("main", &[("pikaci.toml", MANIFEST)]).await;
    let id = fixture.push("topic", &[("a", "1")]).await;
    let client = client(&fixture).await;
    let branch = client.branch(id.0).await.unwrap();
    let end = wait_for_head(&client, &branch, None, Some(Duration::ZERO), |_| {}).await.unwrap();
    assert!(matches!(end, WaitEnd::TimedOut(_)), "{end:?}");

    let (sender, seen) = tokio::sync::oneshot::channel();
    let mut sender = Some(sender);
    let waits = wait_for_head(&client, &branch, None, Some(Duration::from_secs(60)), |_| {
        let _ = sender.take().map(|sender| sender.send(()));
    });
    let finishes = async {
        seen.await.unwrap();
        fixture.claim(id, Some(Outcome::Passed)).await;
    };
    let (end, ()) = tokio::join!(waits, finishes);
    assert!(matches!(end.unwrap(), WaitEnd::Ended(HeadEnd::Passed, _)));

    fixture.push("topic", &[("a", "2")]).await;
    let end = wait_for_head(&client, &branch, Some(&branch.head.oid), None, |_| {}).await.unwrap();
    assert!(matches!(end, WaitEnd::Superseded(_)), "{end:?}");
}

#[tokio::test]
async fn a_log_is_read_in_parts_copied_whole_and_followed_to_its_end() {
    let fixture = Fixture::new().await;
    fixture.push("main", &[("pikaci.toml", MANIFEST)]).await;
    let id = fixture.push("topic", &[("a", "1")]).await;
    let lane_run = fixture.claim(id, None).await;
    let mut writer = write_running_run_fixture(&fixture.state, b"one\ntwo \xff\n");
    let client = client(&fixture).await;
    assert_eq!(client.lane_run(lane_run.0).await.unwrap().run.run_id, Some(run_id().to_string()));

    let part = client.read_log(&log_name(None), Some(4), 3).await.unwrap();
    assert_eq!((part.offset, part.total_bytes, part.bytes.as_slice()), (4, 10, b"two".as_slice()));
    let end = client.read_log(&log_name(None), None, 6).await.unwrap();
    assert_eq!((end.offset, end.bytes.as_slice()), (4, b"two \xff\n".as_slice()));
    let past = client.read_log(&log_name(None), Some(99), 6).await.unwrap();
    assert_eq!((past.offset, past.total_bytes, past.bytes.len()), (10, 10, 0));
    let mut copied = Vec::new();
    let copy = |bytes: &[u8]| {
        copied.extend_from_slice(bytes);
        Ok(())
    };
    client.copy_log(&log_name(None), copy).await.unwrap();
    assert_eq!(copied, b"one\ntwo \xff\n");

    let mut text = String::new();
    let mut end = None;
    let name = log_name(None);
    let followed = client.follow_log(&name, |event| {
        match event {
            LogEvent::Text(more) if text.is_empty() => {
                text = more;
                finish_run_fixture(&mut writer, &JobStatus::Passed);
            }
            LogEvent::Text(more) => text.push_str(&more),
            LogEvent::Restarted => text.push_str("again"),
            LogEvent::End(status) => end = Some(status),
        }
        true
    });
    followed.await.unwrap();
    assert_eq!((text.as_str(), end.as_deref()), ("one\ntwo \u{fffd}\n", Some("passed")));
}
