//! Which connections are used again, and what happens when the server has closed one.

use incus_client::{Error, FileKind, NewFile, NewProject};
use serde_json::json;

use crate::fake::{Fake, Reply};

fn project() -> serde_json::Value {
    json!([{ "name": "one" }])
}

#[tokio::test(start_paused = true)]
async fn questions_in_a_row_use_one_connection() {
    let fake = Fake::start(|_| Reply::Sync(project()));
    let client = fake.client();
    for _ in 0..5 {
        assert_eq!(client.clone().projects().await.unwrap().len(), 1);
    }
    assert!(fake.seen().iter().all(|seen| seen.connection == 0), "{:?}", fake.seen());
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_that_the_server_closed_is_not_noticed_by_the_caller() {
    // Closed at once, so that the client can know; and closed only when the next request is there, so that it can't.
    for is_closed_late in [false, true] {
        let fake = Fake::start(move |seen| match (is_closed_late, seen.earlier) {
            (false, _) => Reply::Last(project()),
            (true, 0) => Reply::Sync(project()),
            (true, _) => Reply::Drop(""),
        });
        let client = fake.client();
        for _ in 0..5 {
            client.projects().await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_question_is_asked_twice_at_most() {
    let fake = Fake::start(|seen| {
        if seen.connection == 0 && seen.earlier == 0 { Reply::Sync(project()) } else { Reply::Drop("") }
    });
    let client = fake.client();
    client.projects().await.unwrap();
    let error = client.projects().await.unwrap_err();
    assert!(matches!(error, Error::Dropped { .. }), "{error}");
    assert_eq!(fake.seen().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_change_is_never_sent_twice() {
    let fake = Fake::start(|seen| match seen.method.as_str() {
        "GET" => Reply::Sync(project()),
        _ => Reply::Drop(""),
    });
    let client = fake.client();
    client.projects().await.unwrap();
    let error = client.create_project(&NewProject::default()).await.unwrap_err();
    assert!(matches!(error, Error::Dropped { .. }), "{error}");
    let changes = fake.seen().into_iter().filter(|seen| seen.method == "POST");
    assert_eq!(changes.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_change_never_uses_a_connection_that_the_server_may_be_closing() {
    let fake = Fake::start(|seen| if seen.earlier == 0 { Reply::Sync(project()) } else { Reply::Drop("") });
    let client = fake.client();
    for _ in 0..5 {
        client.projects().await.unwrap();
        client.create_project(&NewProject::default()).await.unwrap();
        client.push_file("one", "/x", &NewFile::new("x")).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_whose_answer_is_still_read_is_nobody_elses() {
    let fake = Fake::start(|seen| {
        if seen.is("GET", "/1.0/instances/one/files") {
            Reply::Drop("HTTP/1.1 200 OK\r\nX-Incus-Type: file\r\nContent-Length: 10\r\n\r\nhello")
        } else {
            Reply::Sync(project())
        }
    });
    let client = fake.client();
    let mut file = client.file("one", "/x").await.unwrap();
    client.projects().await.unwrap();
    assert_eq!(file.body.read().await.unwrap().unwrap(), "hello");
    let error = file.body.read().await.unwrap_err();
    assert!(matches!(error, Error::Dropped { .. }), "{error}");
    assert_eq!(fake.seen().last().unwrap().connection, 1);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_was_read_to_its_end_leaves_its_connection_to_the_next_question() {
    let head = "X-Incus-Type: file\r\nX-Incus-Mode: 0640\r\nX-Incus-Uid: 7\r\nX-Incus-Gid: 8";
    let fake = Fake::start(move |_| Reply::Foreign(200, head, b"content".to_vec()));
    let client = fake.client();
    for _ in 0..3 {
        let mut file = client.file("one", "/x").await.unwrap();
        assert_eq!((file.mode, file.user, file.group), (0o640, 7, 8));
        assert_eq!(file.body.read_all(7).await.unwrap().unwrap(), b"content");
    }
    assert!(fake.seen().iter().all(|seen| seen.connection == 0), "{:?}", fake.seen());
}

#[tokio::test(start_paused = true)]
async fn what_is_at_a_path_is_asked_on_the_connection_of_other_questions() {
    let fake = Fake::start(|seen| match seen.method.as_str() {
        "HEAD" => Reply::Stall(
            "HTTP/1.1 200 OK\r\nX-Incus-Type: file\r\nX-Incus-Mode: 0600\r\nContent-Length: 7\r\n\r\n",
        ),
        _ => Reply::Sync(project()),
    });
    let client = fake.client();
    client.projects().await.unwrap();
    let info = client.file_info("one", "/x").await.unwrap();
    assert_eq!((info.kind, info.mode, info.bytes), (FileKind::File, 0o600, 7));
    assert!(fake.seen().iter().all(|seen| seen.connection == 0), "{:?}", fake.seen());
    // An error has no body to tell it by.
    let fake = Fake::start(|_| Reply::Drop("HTTP/1.1 404 X\r\nContent-Length: 90\r\n\r\n"));
    let error = fake.client().file_info("one", "/x").await.unwrap_err();
    assert!(error.is_not_found(), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_file_with_more_bytes_than_wanted_is_given_up() {
    let head = "X-Incus-Type: file";
    let fake = Fake::start(move |_| Reply::Foreign(200, head, b"content".to_vec()));
    let mut file = fake.client().file("one", "/x").await.unwrap();
    assert_eq!(file.body.read_all(6).await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_thing_that_is_no_file_folder_or_link_is_of_another_shape() {
    for head in ["X-Other: file", "X-Incus-Type: socket"] {
        let fake = Fake::start(move |_| Reply::Foreign(200, head, Vec::new()));
        let error = fake.client().file("one", "/x").await.unwrap_err();
        assert!(matches!(error, Error::Shape { .. }), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn many_questions_at_once_have_a_connection_each_and_few_are_kept() {
    let fake = Fake::start(|_| Reply::Sync(project()));
    let client = fake.client();
    let asked = (0..40).map(|_| client.projects());
    for answer in futures_util::future::join_all(asked).await {
        answer.unwrap();
    }
    let opened = fake.seen().iter().map(|seen| seen.connection).max().unwrap() + 1;
    let asked = (0..40).map(|_| client.projects());
    for answer in futures_util::future::join_all(asked).await {
        answer.unwrap();
    }
    let reopened = fake.seen().iter().map(|seen| seen.connection).max().unwrap() + 1 - opened;
    assert!((20..=24).contains(&reopened), "{opened} and then {reopened}");
}
