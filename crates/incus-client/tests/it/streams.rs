//! Attached commands and events, on streams that misbehave.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use incus_client::{Error, Exec, ExecOutput, ExecRequest};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::Message;

use crate::fake::{Fake, Reply, Socket, operation};

const SECOND: Duration = Duration::from_secs(1);
const STREAMS: [&str; 4] = ["control", "0", "1", "2"];

/// The server's ends of a command's streams, in the order of [`STREAMS`], and its exit code.
struct Guest {
    fake: Fake,
    streams: Vec<Option<oneshot::Receiver<Socket>>>,
}

impl Guest {
    /// A server whose command ends with this code.
    fn start(code: i32) -> Guest {
        let (senders, streams): (Vec<_>, Vec<_>) = STREAMS.iter().map(|_| oneshot::channel()).unzip();
        let senders = Mutex::new(senders.into_iter().map(Some).collect::<Vec<_>>());
        let fake = Fake::start(move |seen| match seen.method.as_str() {
            "POST" => {
                let fds: Value =
                    STREAMS.iter().map(|name| ((*name).to_owned(), json!(format!("s{name}")))).collect();
                let record = operation("one", 103, "", &json!({ "fds": fds }));
                Reply::Sync(record)
            }
            "DELETE" => Reply::Error(400, "This operation can't be cancelled"),
            _ => match STREAMS.iter().position(|name| seen.target.ends_with(&format!("?secret=s{name}"))) {
                Some(index) => {
                    let sender = senders.lock().unwrap()[index].take().unwrap();
                    Reply::upgrade(|socket| async move {
                        let _ = sender.send(socket);
                    })
                }
                None => Reply::Sync(operation("one", 200, "", &json!({ "return": code }))),
            },
        });
        Guest { fake, streams: streams.into_iter().map(Some).collect() }
    }

    async fn exec(&self) -> Exec {
        self.fake.client().exec("c", &ExecRequest::new(["/x"])).await.unwrap()
    }

    async fn stream(&mut self, name: &str) -> Socket {
        let index = STREAMS.iter().position(|known| *known == name).unwrap();
        self.streams[index].take().unwrap().await.unwrap()
    }
}

/// Ends one direction as Incus does.
async fn end(socket: &mut Socket) {
    socket.send(Message::text("")).await.unwrap();
}

fn stdout(text: &'static str) -> Option<ExecOutput> {
    Some(ExecOutput::Stdout(text.into()))
}

#[tokio::test(start_paused = true)]
async fn the_control_stream_is_there_before_the_command_can_start() {
    let guest = Guest::start(0);
    let _exec = guest.exec().await;
    let opened: Vec<String> = guest.fake.seen().iter().map(|seen| seen.target.clone()).collect();
    assert_eq!(opened[1], "/1.0/operations/one/websocket?secret=scontrol");
    assert_eq!(opened.len(), 5, "{opened:?}");
}

#[tokio::test(start_paused = true)]
async fn output_of_all_kinds_of_messages_is_read_until_both_streams_end() {
    let mut guest = Guest::start(3);
    let mut exec = guest.exec().await;
    let (mut out, mut err) = (guest.stream("1").await, guest.stream("2").await);
    out.send(Message::binary("one")).await.unwrap();
    out.send(Message::Ping("keepalive".into())).await.unwrap();
    out.send(Message::binary("")).await.unwrap();
    assert_eq!(exec.read().await.unwrap(), stdout("one"));
    out.send(Message::text("two")).await.unwrap();
    assert_eq!(exec.read().await.unwrap(), stdout("two"));
    end(&mut out).await;
    // Whether a stream ends with a barrier or is closed is the same.
    err.send(Message::binary("oh")).await.unwrap();
    err.close(None).await.unwrap();
    assert_eq!(exec.read().await.unwrap(), Some(ExecOutput::Stderr("oh".into())));
    assert_eq!(exec.read().await.unwrap(), None);
    assert_eq!(exec.read().await.unwrap(), None);
    assert_eq!(exec.wait().await.unwrap(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_output_stream_that_breaks_off_is_never_taken_for_its_end() {
    let mut guest = Guest::start(0);
    let mut exec = guest.exec().await;
    let mut out = guest.stream("1").await;
    out.send(Message::binary("half of")).await.unwrap();
    drop(out);
    assert_eq!(exec.read().await.unwrap(), stdout("half of"));
    let error = exec.read().await.unwrap_err();
    assert!(matches!(error, Error::Dropped { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_breaks_off_midway_is_dropped() {
    let mut guest = Guest::start(0);
    let mut exec = guest.exec().await;
    let mut out = guest.stream("1").await;
    // The head of a frame of 100 bytes, and three of them.
    tokio::io::AsyncWriteExt::write_all(out.get_mut(), &[0x82, 100, 1, 2, 3]).await.unwrap();
    drop(out);
    let error = exec.read().await.unwrap_err();
    assert!(matches!(error, Error::Dropped { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_silent_command_is_waited_for_as_long_as_its_control_stream_lives() {
    let mut guest = Guest::start(0);
    let mut exec = guest.exec().await;
    let (control, mut out) = (guest.stream("control").await, guest.stream("1").await);
    assert!(timeout(86_400 * SECOND, exec.read()).await.is_err());
    out.send(Message::binary("at last")).await.unwrap();
    assert_eq!(exec.read().await.unwrap(), stdout("at last"));
    drop(control);
}

#[tokio::test(start_paused = true)]
async fn a_command_whose_control_stream_is_lost_is_read_to_the_end_that_follows() {
    let mut guest = Guest::start(137);
    let mut exec = guest.exec().await;
    let (control, mut out) = (guest.stream("control").await, guest.stream("1").await);
    let mut err = guest.stream("2").await;
    drop(control);
    assert!(timeout(9 * SECOND, exec.read()).await.is_err());
    // Incus has killed it, and sends what is left: each piece is a sign of life.
    for _ in 0..3 {
        out.send(Message::binary("rest")).await.unwrap();
        assert_eq!(exec.read().await.unwrap(), stdout("rest"));
        assert!(timeout(9 * SECOND, exec.read()).await.is_err());
    }
    end(&mut out).await;
    end(&mut err).await;
    assert_eq!(exec.wait().await.unwrap(), 137);
}

#[tokio::test(start_paused = true)]
async fn a_command_that_says_nothing_after_its_control_stream_was_lost_is_given_up() {
    let mut guest = Guest::start(0);
    let mut exec = guest.exec().await;
    drop(guest.stream("control").await);
    let (_out, start) = (guest.stream("1").await, Instant::now());
    // Also by a caller who looks only now and then.
    let error = loop {
        match timeout(SECOND, exec.read()).await {
            Err(_) => assert!(start.elapsed() < 60 * SECOND),
            Ok(read) => break read.unwrap_err(),
        }
    };
    assert!(matches!(error, Error::Dropped { .. }), "{error}");
    let error = exec.signal(15).await.unwrap_err();
    assert!(matches!(error, Error::Dropped { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn output_that_is_there_counts_however_late_it_is_read() {
    let mut guest = Guest::start(0);
    let mut exec = guest.exec().await;
    drop(guest.stream("control").await);
    let mut out = guest.stream("1").await;
    assert!(timeout(SECOND, exec.read()).await.is_err());
    out.send(Message::binary("late")).await.unwrap();
    tokio::time::advance(3600 * SECOND).await;
    assert_eq!(exec.read().await.unwrap(), stdout("late"));
}

#[tokio::test(start_paused = true)]
async fn output_is_read_to_its_end_when_its_pings_can_be_answered_no_more() {
    let mut guest = Guest::start(4);
    let mut exec = guest.exec().await;
    for name in STREAMS {
        let mut stream = guest.stream(name).await;
        for _ in 0..3 {
            stream.send(Message::Ping("keepalive".into())).await.unwrap();
        }
        if name == "1" {
            stream.send(Message::binary("early")).await.unwrap();
            stream.send(Message::Ping("keepalive".into())).await.unwrap();
        }
        end(&mut stream).await;
    }
    assert_eq!(exec.read().await.unwrap(), stdout("early"));
    assert_eq!(exec.wait().await.unwrap(), 4);
}

#[tokio::test(start_paused = true)]
async fn pings_on_every_stream_are_answered_while_the_output_is_read() {
    let mut guest = Guest::start(0);
    let mut exec = guest.exec().await;
    for name in STREAMS {
        let mut stream = guest.stream(name).await;
        stream.send(Message::Ping("keepalive".into())).await.unwrap();
        let answer = timeout(60 * SECOND, async { stream.next().await.unwrap().unwrap() });
        tokio::select! {
            output = exec.read() => panic!("{output:?}"),
            answer = answer => assert_eq!(answer.expect(name), Message::Pong("keepalive".into()), "{name}"),
        }
        // It stays open for the others.
        std::mem::forget(stream);
    }
}

#[tokio::test(start_paused = true)]
async fn pings_are_answered_by_who_only_writes() {
    let mut guest = Guest::start(0);
    let mut exec = guest.exec().await;
    let mut input = guest.stream("0").await;
    input.send(Message::Ping("keepalive".into())).await.unwrap();
    let mut taken = exec.take_stdin().unwrap();
    guest.fake.until_quiet().await;
    taken.write("hello").await.unwrap();
    assert_eq!(input.next().await.unwrap().unwrap(), Message::Pong("keepalive".into()));
    assert_eq!(input.next().await.unwrap().unwrap(), Message::binary("hello"));
}

#[tokio::test(start_paused = true)]
async fn signals_and_input_are_sent_as_incus_wants_them() {
    let mut guest = Guest::start(0);
    let mut exec = guest.exec().await;
    let (mut control, mut input) = (guest.stream("control").await, guest.stream("0").await);
    exec.signal(15).await.unwrap();
    let Message::Text(text) = control.next().await.unwrap().unwrap() else { panic!("no text") };
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), json!({ "command": "signal", "signal": 15 }));
    exec.write("hello").await.unwrap();
    assert_eq!(input.next().await.unwrap().unwrap(), Message::binary("hello"));
    exec.close_stdin().await.unwrap();
    assert_eq!(input.next().await.unwrap().unwrap(), Message::text(""));
    // Once closed, it stays closed.
    exec.close_stdin().await.unwrap();
    assert!(exec.take_stdin().is_none());
    let error = exec.write("more").await.unwrap_err();
    assert!(matches!(error, Error::Dropped { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn input_that_was_taken_is_written_while_output_is_read() {
    let mut guest = Guest::start(0);
    let mut exec = guest.exec().await;
    let mut taken = exec.take_stdin().unwrap();
    assert!(exec.take_stdin().is_none());
    let (mut input, mut out) = (guest.stream("0").await, guest.stream("1").await);
    // A guest that stands still until its output is read.
    tokio::spawn(async move {
        while let Some(Ok(message)) = input.next().await {
            if message.is_text() {
                end(&mut out).await;
            } else {
                out.send(message).await.unwrap();
            }
        }
    });
    end(&mut guest.stream("2").await).await;
    const PIECES: usize = 64;
    let writing = async move {
        for _ in 0..PIECES {
            taken.write(vec![7; 64 << 10]).await.unwrap();
        }
        taken.close().await.unwrap();
    };
    let reading = async {
        let mut count = 0;
        while let Some(output) = exec.read().await.unwrap() {
            let ExecOutput::Stdout(bytes) = output else { panic!("{output:?}") };
            count += bytes.len();
        }
        count
    };
    let (count, ()) = tokio::join!(reading, writing);
    assert_eq!(count, PIECES * (64 << 10));
    assert_eq!(exec.wait().await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn writing_to_a_command_that_has_gone_is_dropped() {
    let mut guest = Guest::start(0);
    let mut exec = guest.exec().await;
    drop(guest.stream("0").await);
    let error = exec.write("hello").await.unwrap_err();
    assert!(matches!(error, Error::Dropped { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn dropping_an_attached_command_closes_its_streams_and_cancels_its_operation() {
    let mut guest = Guest::start(0);
    let exec = guest.exec().await;
    let mut control = guest.stream("control").await;
    drop(exec);
    assert!(control.next().await.is_none_or(|message| message.is_err()));
    guest.fake.until_asked("DELETE", "/1.0/operations/one").await;
}

#[tokio::test(start_paused = true)]
async fn a_command_that_closed_its_output_and_goes_on_times_out_while_its_control_stream_lives() {
    let (held, waited) = (Arc::new(Mutex::new(Vec::new())), Instant::now());
    let streams = Arc::clone(&held);
    let server = Fake::start(move |seen| match seen.method.as_str() {
        "POST" => {
            let fds = json!({ "control": "open", "0": "open", "1": "ended", "2": "ended" });
            Reply::Sync(operation("one", 103, "", &json!({ "fds": fds })))
        }
        "DELETE" => Reply::Error(400, "no"),
        _ if seen.target.ends_with("secret=open") => {
            let streams = Arc::clone(&streams);
            Reply::upgrade(|socket| async move { streams.lock().unwrap().push(socket) })
        }
        _ if seen.target.ends_with("secret=ended") => Reply::upgrade(|mut socket| async move {
            end(&mut socket).await;
            socket.next().await;
        }),
        _ => Reply::Stall(""),
    });
    let client = server.client().with_deadline(5 * SECOND);
    let exec = client.exec("c", &ExecRequest::new(["/x"])).await.unwrap();
    let error = exec.wait().await.unwrap_err();
    assert!(matches!(&error, Error::TimedOut { after, .. } if *after == 5 * SECOND), "{error}");
    assert!(waited.elapsed() < 6 * SECOND);
    drop(held);
}

/// The streams that a server tells of, what it answers to who opens one, and the error that this is.
type Refusal = (Value, fn() -> Reply, fn(&Error) -> bool);

#[tokio::test(start_paused = true)]
async fn streams_that_cannot_be_had_fail_the_start_and_cancel_the_command() {
    let record = |fds: Value| operation("one", 103, "", &json!({ "fds": fds }));
    let all = json!({ "control": "c", "0": "a", "1": "b", "2": "d" });
    let cases: [Refusal; 5] = [
        (
            json!({ "control": "c", "0": "a" }),
            || Reply::Stall(""),
            |error| matches!(error, Error::TimedOut { .. }),
        ),
        (json!({}), || Reply::Stall(""), |error| matches!(error, Error::Shape { .. })),
        (
            all.clone(),
            || Reply::Error(404, "gone"),
            |error| matches!(error, Error::OperationForgotten { .. }),
        ),
        (
            all.clone(),
            || Reply::Error(403, "no"),
            |error| matches!(error, Error::Refused { status: 403, .. }),
        ),
        (all, || Reply::Drop("HTTP/1.1 101 X\r\n"), |error| matches!(error, Error::Dropped { .. })),
    ];
    for (fds, upgrade, is_expected) in cases {
        let record = record(fds);
        let fake = Fake::start(move |seen| match seen.method.as_str() {
            "POST" => Reply::Sync(record.clone()),
            "DELETE" => Reply::Sync(json!({})),
            _ => upgrade(),
        });
        let (client, start) = (fake.client().with_deadline(5 * SECOND), Instant::now());
        let error = client.exec("c", &ExecRequest::new(["/x"])).await.unwrap_err();
        assert!(is_expected(&error), "{error}");
        assert!(start.elapsed() < 6 * SECOND);
        fake.until_asked("DELETE", "/1.0/operations/one").await;
    }
}

/// A server that says these things to who listens.
fn told(messages: Vec<Message>) -> Fake {
    Fake::start(move |_| {
        let messages = messages.clone();
        Reply::upgrade(|mut socket| async move {
            for message in messages {
                socket.send(message).await.unwrap();
            }
        })
    })
}

#[tokio::test(start_paused = true)]
async fn an_event_that_is_none_is_told_and_those_after_it_are_read() {
    let event = json!({ "type": "lifecycle", "project": "p", "metadata": { "action": "instance-created" } });
    let fake = told(vec![
        Message::text("no JSON"),
        Message::text("[]"),
        Message::text(event.to_string()),
        Message::binary(event.to_string()),
        Message::Close(None),
    ]);
    let mut events = fake.client().with_project("p").events(&["lifecycle", "operation"]).await.unwrap();
    for _ in 0..2 {
        let error = events.next().await.unwrap_err();
        assert!(matches!(error, Error::Shape { .. }), "{error}");
    }
    for _ in 0..2 {
        let event = events.next().await.unwrap().unwrap();
        assert_eq!((event.kind.as_str(), event.project.as_str()), ("lifecycle", "p"));
        assert_eq!(event.metadata["action"], "instance-created");
    }
    assert!(events.next().await.unwrap().is_none());
    assert_eq!(fake.seen()[0].target, "/1.0/events?type=lifecycle%2Coperation&project=p");
}

#[tokio::test(start_paused = true)]
async fn events_that_break_off_are_dropped() {
    let fake = told(Vec::new());
    let mut events = fake.client().events(&[]).await.unwrap();
    let error = events.next().await.unwrap_err();
    assert!(matches!(error, Error::Dropped { .. }), "{error}");
    // No kind is every kind.
    assert_eq!(fake.seen()[0].target, "/1.0/events");
}

#[tokio::test(start_paused = true)]
async fn events_that_one_may_not_see_are_refused_with_the_servers_words() {
    let fake = Fake::start(|_| Reply::Error(403, "not for you"));
    let error = fake.client().events(&["logging"]).await.unwrap_err();
    let Error::Refused { what, status, message } = error else { panic!("{error}") };
    assert_eq!((what.as_str(), status), ("events", 403));
    assert!(message.contains("not for you"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn events_from_a_server_that_never_answers_time_out() {
    let fake = Fake::start(|_| Reply::Stall(""));
    let error = fake.client().with_deadline(SECOND).events(&[]).await.unwrap_err();
    assert!(matches!(error, Error::TimedOut { after: SECOND, .. }), "{error}");
}
