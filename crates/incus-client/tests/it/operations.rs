//! Operations: their ends, and how they are cancelled.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use incus_client::{Error, ExecRequest, NewInstance, StateChange};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::fake::{Fake, Reply, Seen, operation};

const SECOND: Duration = Duration::from_secs(1);
const RUNNING: u16 = 103;
const WAIT: &str = "/1.0/operations/one/wait";
const RECORD: &str = "/1.0/operations/one";

/// A server whose changes are all operation `one`.
fn serving(script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Fake {
    Fake::start(move |seen| match seen.method.as_str() {
        "POST" | "PUT" => Reply::Async("one"),
        _ => script(seen),
    })
}

fn record(status: u16, err: &str) -> Reply {
    Reply::Sync(operation("one", status, err, &Value::Null))
}

async fn create(fake: &Fake, deadline: Duration) -> Result<(), Error> {
    fake.client().with_deadline(deadline).create_instance(&NewInstance::container("c", "0")).await
}

#[tokio::test(start_paused = true)]
async fn an_operation_that_ends_well_is_not_cancelled() {
    let fake = serving(|_| record(200, ""));
    create(&fake, SECOND).await.unwrap();
    fake.until_quiet().await;
    assert!(!fake.seen().iter().any(|seen| seen.method == "DELETE"));
}

#[tokio::test(start_paused = true)]
async fn an_operation_that_failed_says_why() {
    let fake = serving(|_| record(400, "no space"));
    let error = create(&fake, SECOND).await.unwrap_err();
    let Error::OperationFailed { what, status, message } = error else { panic!("{error}") };
    assert_eq!((what.as_str(), status, message.as_str()), ("POST /1.0/instances", 400, "no space"));
    fake.until_quiet().await;
    assert!(!fake.seen().iter().any(|seen| seen.method == "DELETE"));
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_answered_with_the_operations_own_error_is_read_from_its_record() {
    // 404, 409 and 412 are what an operation failed with, and not what became of the request.
    for status in [400, 403, 404, 409, 412, 500] {
        let fake = serving(move |seen| match seen.target.split('?').next() {
            Some(WAIT) => Reply::LateError(status, "no space"),
            _ => record(400, "no space"),
        });
        let error = create(&fake, SECOND).await.unwrap_err();
        assert!(
            matches!(&error, Error::OperationFailed { status: 400, message, .. } if message == "no space"),
            "{status}: {error}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_operation_that_failed_and_was_forgotten_at_once_still_says_why() {
    let fake = serving(|seen| match seen.target.split('?').next() {
        Some(WAIT) => Reply::LateError(500, "no space"),
        _ => Reply::Error(404, "no such operation"),
    });
    let error = create(&fake, SECOND).await.unwrap_err();
    assert!(
        matches!(&error, Error::OperationFailed { status: 500, message, .. } if message == "no space"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_operation_is_neither_failed_nor_cancelled() {
    let fake = serving(|_| Reply::Error(404, "no such operation"));
    let error = create(&fake, SECOND).await.unwrap_err();
    assert!(matches!(error, Error::OperationForgotten { .. }), "{error}");
    assert!(!error.is_not_found());
    fake.until_quiet().await;
    assert!(!fake.seen().iter().any(|seen| seen.method == "DELETE"));
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_comes_back_early_is_asked_again_without_haste() {
    let count = AtomicUsize::new(0);
    let fake = serving(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0..20 => record(RUNNING, ""),
        _ => record(200, ""),
    });
    let start = Instant::now();
    create(&fake, 60 * SECOND).await.unwrap();
    assert!(start.elapsed() > 10 * SECOND, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_wait_whose_time_is_over_on_the_server_goes_on() {
    // Incus 6.0 answers so.
    let count = AtomicUsize::new(0);
    let fake =
        serving(move |seen| match (seen.target.split('?').next(), count.fetch_add(1, Ordering::SeqCst)) {
            (Some(WAIT), 0..10) => Reply::LateError(500, "context deadline exceeded"),
            (_, 0..10) => record(RUNNING, ""),
            _ => record(200, ""),
        });
    create(&fake, 60 * SECOND).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_wait_asks_the_server_for_no_more_than_a_proxy_lets_pass_in_silence() {
    let fake = serving(|_| record(200, ""));
    create(&fake, 3600 * SECOND).await.unwrap();
    let wait = fake.until_asked("GET", WAIT).await;
    assert_eq!(wait.target, format!("{WAIT}?timeout=31"));
}

#[tokio::test(start_paused = true)]
async fn a_proxy_that_gives_up_the_wait_does_not_end_it() {
    let count = AtomicUsize::new(0);
    let fake =
        serving(move |seen| match (seen.target.split('?').next(), count.fetch_add(1, Ordering::SeqCst)) {
            (Some(WAIT), 0..10) => {
                Reply::Foreign(504, "Content-Type: text/html", b"<h1>timed out</h1>".to_vec())
            }
            (_, 0..10) => record(RUNNING, ""),
            _ => record(200, ""),
        });
    create(&fake, 60 * SECOND).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_wait_survives_one_lost_connection_but_not_two() {
    // The first loss takes two connections: the one of the request before, and a fresh one.
    for (losses, is_survived) in [(2, true), (3, false)] {
        let count = AtomicUsize::new(0);
        let fake = serving(move |_| {
            if count.fetch_add(1, Ordering::SeqCst) < losses { Reply::Drop("") } else { record(200, "") }
        });
        match create(&fake, 60 * SECOND).await {
            Ok(()) => assert!(is_survived),
            Err(error) => assert!(!is_survived && matches!(error, Error::Dropped { .. }), "{error}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_goes_away_during_a_wait_is_not_one_to_which_nothing_was_sent() {
    let fake = serving(|_| record(RUNNING, ""));
    let client = fake.client();
    let operation = client.begin_create_instance(&NewInstance::container("c", "0")).await.unwrap();
    drop(fake.until_asked("POST", "/1.0/instances").await);
    std::fs::remove_file(fake.socket()).unwrap();
    let fresh = incus_client::Client::unix(fake.socket());
    assert!(matches!(fresh.server().await, Err(Error::Unreachable { .. })));
    // The one connection that is still known is used up by another question, which keeps it.
    let _held = client.file("c", "/x").await;
    let error = operation.wait(60 * SECOND).await.unwrap_err();
    assert!(matches!(error, Error::Dropped { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_the_deadline_ends_cancels_the_operation() {
    let fake = serving(|seen| match seen.method.as_str() {
        "DELETE" => Reply::Sync(json!({})),
        _ => Reply::Stall(""),
    });
    let start = Instant::now();
    let error = create(&fake, 5 * SECOND).await.unwrap_err();
    assert!(matches!(&error, Error::TimedOut { after, .. } if *after == 5 * SECOND), "{error}");
    assert!(start.elapsed() < 5 * SECOND + Duration::from_millis(100), "{:?}", start.elapsed());
    fake.until_asked("DELETE", RECORD).await;
}

#[tokio::test(start_paused = true)]
async fn the_deadline_is_for_the_request_and_the_wait_together() {
    for deadline in [3 * SECOND, 5 * SECOND] {
        let fake = Fake::start(|seen| match seen.method.as_str() {
            "PUT" => Reply::After(4 * SECOND, Box::new(Reply::Async("one"))),
            _ => Reply::Stall(""),
        });
        let start = Instant::now();
        let client = fake.client().with_deadline(deadline);
        let error = client.change_state("c", StateChange::Kill).await.unwrap_err();
        assert!(matches!(&error, Error::TimedOut { after, .. } if *after == deadline), "{error}");
        assert!(start.elapsed() < deadline + Duration::from_millis(100), "{:?}", start.elapsed());
        // Also when the operation became known only after the deadline.
        fake.until_asked("DELETE", RECORD).await;
    }
}

#[tokio::test(start_paused = true)]
async fn dropping_a_wait_cancels_the_operation() {
    let fake = serving(|seen| match seen.method.as_str() {
        "DELETE" => Reply::Sync(json!({})),
        _ => Reply::Stall(""),
    });
    {
        let client = fake.client();
        let instance = NewInstance::container("c", "0");
        tokio::select! {
            done = client.create_instance(&instance) => panic!("{done:?}"),
            _ = fake.until_asked("GET", WAIT) => {}
        }
    }
    fake.until_asked("DELETE", RECORD).await;
}

#[tokio::test(start_paused = true)]
async fn dropping_a_call_before_its_answer_cancels_the_operation_that_it_began() {
    let (answer, is_answered) = std::sync::mpsc::channel::<()>();
    let is_answered = std::sync::Mutex::new(is_answered);
    let fake = Fake::start(move |seen| match seen.method.as_str() {
        "POST" => {
            // The client's call is dropped by now, because the test holds its poll back until then.
            is_answered.lock().unwrap().recv().unwrap();
            Reply::Async("one")
        }
        _ => Reply::Sync(json!({})),
    });
    let client = fake.client();
    let instance = NewInstance::container("c", "0");
    // The request is begun, and nobody waits for it.
    assert!(client.create_instance(&instance).now_or_never().is_none());
    answer.send(()).unwrap();
    fake.until_asked("DELETE", RECORD).await;
}

#[tokio::test(start_paused = true)]
async fn a_detached_operation_goes_on() {
    let fake = serving(|_| record(RUNNING, ""));
    let operation = fake.client().begin_create_instance(&NewInstance::container("c", "0")).await.unwrap();
    assert_eq!(operation.detach().id, "one");
    fake.until_quiet().await;
    assert!(!fake.seen().iter().any(|seen| seen.method == "DELETE"));
}

#[tokio::test(start_paused = true)]
async fn operations_are_listed_whatever_their_status() {
    let fake = Fake::start(|_| {
        Reply::Sync(json!({
            "running": [operation("one", 103, "", &Value::Null)],
            "success": [operation("two", 200, "", &Value::Null)],
            "failure": null,
        }))
    });
    let listed = fake.client().operations().await.unwrap();
    let ids: Vec<&str> = listed.iter().map(|record| record.id.as_str()).collect();
    assert_eq!(ids, ["one", "two"]);
    assert!(!listed[0].is_over() && listed[1].is_over());
}

#[tokio::test(start_paused = true)]
async fn a_program_that_could_not_be_started_has_an_exit_code_and_a_failed_exec_has_none() {
    for (code, is_code) in [(126, true), (127, true), (-1, false)] {
        let fake = serving(move |seen| match seen.target.split('?').next() {
            Some(WAIT) => Reply::LateError(400, "Command not found"),
            _ => Reply::Sync(operation("one", 400, "Command not found", &json!({ "return": code }))),
        });
        match fake.client().exec_unattended("c", &ExecRequest::new(["/nope"])).await {
            Ok(found) => assert!(is_code && found == code),
            Err(error) => assert!(!is_code && matches!(error, Error::OperationFailed { .. }), "{error}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_exec_without_an_exit_code_is_of_another_shape() {
    let fake = serving(|_| record(200, ""));
    let error = fake.client().exec_unattended("c", &ExecRequest::new(["/x"])).await.unwrap_err();
    assert!(matches!(error, Error::Shape { .. }), "{error}");
}

/// An instance in this state, whose changes are operations that end as the script says.
fn with_instance(status: u16, ends: impl Fn() -> Reply + Send + Sync + 'static) -> Fake {
    Fake::start(move |seen| match (seen.method.as_str(), seen.target.as_str()) {
        ("GET", "/1.0/instances/c") => {
            Reply::Tagged(json!({ "name": "c", "type": "container", "status_code": status }), "\"v\"")
        }
        ("GET", _) => ends(),
        _ => Reply::Async("one"),
    })
}

#[tokio::test(start_paused = true)]
async fn destroying_what_does_not_go_ends_at_the_deadline_with_the_last_failure() {
    let fake = with_instance(RUNNING, || record(400, "busy"));
    let start = Instant::now();
    let error = fake.client().with_deadline(20 * SECOND).destroy_instance("c").await.unwrap_err();
    assert!(matches!(&error, Error::OperationFailed { message, .. } if message == "busy"), "{error}");
    assert!((20 * SECOND..21 * SECOND).contains(&start.elapsed()), "{:?}", start.elapsed());
    let tries = fake.seen().iter().filter(|seen| seen.method == "PUT").count();
    assert!((5..20).contains(&tries), "{tries}");
}

#[tokio::test(start_paused = true)]
async fn destroying_an_instance_whose_end_stalls_times_out_at_the_deadline() {
    // The first try fails late, and the second has only what is left of the deadline.
    for waits_before in [0, 1] {
        let waits = AtomicUsize::new(0);
        let fake = with_instance(102, move || match waits.fetch_add(1, Ordering::SeqCst) {
            number if number < waits_before => Reply::After(15 * SECOND, Box::new(record(400, "busy"))),
            _ => Reply::Stall(""),
        });
        let start = Instant::now();
        let error = fake.client().with_deadline(20 * SECOND).destroy_instance("c").await.unwrap_err();
        assert!(matches!(&error, Error::TimedOut { after, .. } if *after == 20 * SECOND), "{error}");
        assert!(start.elapsed() < 21 * SECOND, "{:?}", start.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn destroying_without_the_right_to_is_refused_at_once() {
    let fake = Fake::start(|_| Reply::Error(403, "no"));
    let start = Instant::now();
    let error = fake.client().destroy_instance("c").await.unwrap_err();
    assert!(matches!(error, Error::Refused { status: 403, .. }), "{error}");
    assert!(start.elapsed() < SECOND);
}

#[tokio::test(start_paused = true)]
async fn destroying_waits_for_a_server_that_restarts() {
    let count = AtomicUsize::new(0);
    let fake = Fake::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0..3 => Reply::Drop(""),
        3..5 => Reply::Error(500, "database is starting"),
        _ => Reply::Error(404, "no such instance"),
    });
    fake.client().destroy_instance("c").await.unwrap();
}
