//! Reads a job's log from the forge: a part of it, all of it, or as it is written.
//!
//! Invariants: each byte is handed out once and in order, however often the connection is lost; a log is never whole in
//! memory.

use std::time::Duration;

use eventsource_stream::Eventsource as _;
use futures_util::StreamExt as _;
use reqwest::header::{CONTENT_RANGE, RANGE};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use tokio::time::Instant;

use super::{Client, ClientError, DEADLINE, PAUSES, read_body};

/// How long a forge may be away while its log is followed.
const AWAY_MAX: Duration = Duration::from_secs(180);
const PAUSE: Duration = Duration::from_secs(1);

/// Which log is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogName {
    /// The run of `pikaci`.
    pub run_id: String,
    /// The job; the one that matters most when none is named.
    pub job: Option<String>,
    /// `guest` or `host`.
    pub kind: String,
    /// An earlier attempt at the job.
    pub attempt: Option<u32>,
}

impl LogName {
    fn query(&self) -> Vec<(&'static str, String)> {
        let mut query = vec![("kind", self.kind.clone())];
        query.extend(self.job.clone().map(|job| ("job", job)));
        query.extend(self.attempt.map(|attempt| ("attempt", attempt.to_string())));
        query
    }
}

/// A part of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPart {
    /// Where it begins, in bytes.
    pub offset: u64,
    /// How long the log was when it was read.
    pub total_bytes: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// What following a log brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogEvent {
    /// More text.
    Text(String),
    /// Another attempt at the job began, with a log of its own.
    Restarted,
    /// The job came to its end, in this state.
    End(String),
}

impl Client {
    /// Reads at most `bytes` of a log from `offset`; from the end of it when that is `None`.
    pub async fn read_log(
        &self,
        name: &LogName,
        offset: Option<u64>,
        bytes: u64,
    ) -> Result<LogPart, ClientError> {
        let range = match offset {
            Some(offset) => format!("bytes={offset}-{}", offset.saturating_add(bytes.max(1) - 1)),
            None => format!("bytes=-{}", bytes.max(1)),
        };
        let answer = self.ask_again(|| self.raw(name).header(RANGE, &range).timeout(DEADLINE)).await;
        let response = match answer {
            Ok(response) => response,
            Err(ClientError::Refused { status: 416, .. }) => return self.nothing_there(name, offset).await,
            Err(error) => return Err(error),
        };
        let (start, total_bytes) = content_range(&response)?;
        let bytes = read_body(response, usize::try_from(bytes).unwrap_or(usize::MAX)).await?;
        Ok(LogPart { offset: start, total_bytes, bytes })
    }

    /// The part that is asked for is past the end, or the log is empty.
    async fn nothing_there(&self, name: &LogName, offset: Option<u64>) -> Result<LogPart, ClientError> {
        // An empty log has no last byte either, and is sent whole without a range.
        let request = self.raw(name).header(RANGE, "bytes=-1").timeout(DEADLINE);
        let total_bytes = match self.send(request).await {
            Ok(response) => content_range(&response)?.1,
            Err(ClientError::Refused { status: 416, .. }) => 0,
            Err(error) => return Err(error),
        };
        Ok(LogPart { offset: offset.unwrap_or(0).min(total_bytes), total_bytes, bytes: Vec::new() })
    }

    /// Hands out a log, as it is when it is read.
    pub async fn copy_log(
        &self,
        name: &LogName,
        mut piece: impl FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<(), ClientError> {
        let (mut offset, mut pauses) = (0u64, PAUSES.iter());
        loop {
            let mut request = self.raw(name);
            if offset > 0 {
                request = request.header(RANGE, format!("bytes={offset}-"));
            }
            let lost = match self.send(request).await {
                Ok(response) if offset > 0 && response.status() != StatusCode::PARTIAL_CONTENT => {
                    let problem = "it can't be read on from where the connection was lost".to_owned();
                    return Err(ClientError::Answer { problem });
                }
                Ok(response) => {
                    let mut pieces = response.bytes_stream();
                    loop {
                        match pieces.next().await {
                            Some(Ok(bytes)) => {
                                offset += bytes.len() as u64;
                                pauses = PAUSES.iter();
                                if piece(&bytes).is_err() {
                                    return Ok(());
                                }
                            }
                            Some(Err(error)) => break self.lost(&error),
                            None => return Ok(()),
                        }
                    }
                }
                // All of it was read, to the last byte, before the connection was lost.
                Err(ClientError::Refused { status: 416, .. }) => return Ok(()),
                Err(error) => error,
            };
            match pauses.next() {
                Some(pause) if lost.is_passing() => tokio::time::sleep(*pause).await,
                Some(_) | None => return Err(lost),
            }
        }
    }

    /// Follows a log until the job has come to its end and everything was handed out. `event` says whether to go on.
    pub async fn follow_log(
        &self,
        name: &LogName,
        mut event: impl FnMut(LogEvent) -> bool,
    ) -> Result<(), ClientError> {
        // Where to go on: the last event's id, and the attempt that it was of once that is known.
        let (mut last_id, mut attempt) = (None::<String>, None::<u32>);
        let mut heard = Instant::now();
        loop {
            let mut query = name.query();
            if let (Some(attempt), None) = (attempt, name.attempt) {
                query.push(("attempt", attempt.to_string()));
            }
            let query: Vec<(&str, &str)> = query.iter().map(|(key, value)| (*key, value.as_str())).collect();
            let mut request =
                self.request(Method::GET, &["forge", "pikaci", "logs", &name.run_id, "stream"], &query);
            if let Some(id) = &last_id {
                request = request.header("last-event-id", id);
            }
            match self.send(request).await {
                Ok(response) => {
                    let mut events = response.bytes_stream().eventsource();
                    while let Some(Ok(message)) = events.next().await {
                        heard = Instant::now();
                        if !message.id.is_empty() {
                            last_id = Some(message.id.clone());
                        }
                        let is_wanted = match Message::read(&message.event, &message.data)? {
                            Message::Text(text) => event(LogEvent::Text(text)),
                            Message::Restarted(number) => {
                                (attempt, last_id) = (Some(number), Some("0".to_owned()));
                                event(LogEvent::Restarted)
                            }
                            Message::End(status) => {
                                event(LogEvent::End(status));
                                return Ok(());
                            }
                            Message::Failure(problem) => return Err(ClientError::Answer { problem }),
                            Message::Other => true,
                        };
                        if !is_wanted {
                            return Ok(());
                        }
                    }
                }
                Err(error) if error.is_passing() && heard.elapsed() < AWAY_MAX => {}
                Err(error) => return Err(error),
            }
            // An hour is a stream's age, and a forge may be restarted; it is taken up at its next byte.
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn raw(&self, name: &LogName) -> reqwest::RequestBuilder {
        let query = name.query();
        let query: Vec<(&str, &str)> = query.iter().map(|(key, value)| (*key, value.as_str())).collect();
        self.request(Method::GET, &["forge", "pikaci", "logs", &name.run_id, "raw"], &query)
    }
}

/// Where an answer begins and how long the whole is.
fn content_range(response: &reqwest::Response) -> Result<(u64, u64), ClientError> {
    if response.status() == StatusCode::OK {
        return Ok((0, response.content_length().unwrap_or(0)));
    }
    let text = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
    let parsed = text.and_then(|text| {
        let (part, total) = text.strip_prefix("bytes ")?.split_once('/')?;
        let (start, _) = part.split_once('-')?;
        Some((start.parse().ok()?, total.parse().ok()?))
    });
    parsed.ok_or_else(|| ClientError::Answer { problem: "it does not say which part it is".to_owned() })
}

enum Message {
    Text(String),
    Restarted(u32),
    End(String),
    Failure(String),
    /// What a newer forge may say.
    Other,
}

impl Message {
    fn read(name: &str, data: &str) -> Result<Message, ClientError> {
        #[derive(Deserialize)]
        struct Data {
            text: Option<String>,
            attempt: Option<u32>,
            status: Option<String>,
            error: Option<String>,
        }
        if !matches!(name, "log" | "restart" | "end" | "failure") {
            return Ok(Message::Other);
        }
        let data: Data =
            serde_json::from_str(data).map_err(|error| ClientError::Answer { problem: error.to_string() })?;
        Ok(match name {
            "log" => Message::Text(data.text.unwrap_or_default()),
            "restart" => Message::Restarted(data.attempt.unwrap_or(1)),
            "end" => Message::End(data.status.unwrap_or_default()),
            _ => Message::Failure(data.error.unwrap_or_default()),
        })
    }
}
