//! Reads server-sent events.

use std::io::{BufRead as _, BufReader, Read};

use serde_json::Value;

/// One event, as <https://html.spec.whatwg.org/multipage/server-sent-events.html> frames it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamEvent {
    /// Its kind; `message` when it names none.
    pub event: String,
    /// Where to continue after it.
    pub id: Option<String>,
    /// Its data, lines joined.
    pub data: String,
}

impl StreamEvent {
    /// The piece of log that it carries; empty for events of other kinds.
    pub fn text(&self) -> String {
        let data: Option<Value> = serde_json::from_str(&self.data).ok();
        data.and_then(|data| data.get("text")?.as_str().map(str::to_owned)).unwrap_or_default()
    }
}

/// A stream that is being read. Reading blocks until the next event, at most as long as the client's deadline.
pub struct LogStream {
    lines: std::io::Lines<BufReader<Box<dyn Read + Send>>>,
}

impl LogStream {
    pub(crate) fn new(body: impl Read + Send + 'static) -> LogStream {
        let body: Box<dyn Read + Send> = Box::new(body);
        LogStream { lines: BufReader::new(body).lines() }
    }

    /// Reads until the log has `text`; returns what was read and the last event's id.
    #[track_caller]
    pub fn read_until(&mut self, text: &str) -> (String, Option<String>) {
        let (mut read, mut id) = (String::new(), None);
        for event in self {
            read.push_str(&event.text());
            id = event.id.or(id);
            if read.contains(text) {
                return (read, id);
            }
        }
        panic!("the stream ended without {text:?}; it had {read:?}");
    }

    /// Reads to the end event; returns the log's text.
    #[track_caller]
    pub fn read_to_end(&mut self) -> String {
        let mut read = String::new();
        for event in self {
            if event.event == "end" {
                return read;
            }
            read.push_str(&event.text());
        }
        panic!("the stream broke off before its end event; it had {} bytes", read.len());
    }
}

impl Iterator for LogStream {
    type Item = StreamEvent;

    /// The next event; `None` when the stream is over or broken.
    fn next(&mut self) -> Option<StreamEvent> {
        let mut event = StreamEvent { event: "message".to_owned(), id: None, data: String::new() };
        let mut is_empty = true;
        loop {
            let line = self.lines.next()?.ok()?;
            let (field, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "" if line.is_empty() && !is_empty => return Some(event),
                // An empty event, or a comment.
                "" => continue,
                "event" => value.clone_into(&mut event.event),
                "id" => event.id = Some(value.to_owned()),
                "data" => {
                    if !event.data.is_empty() {
                        event.data.push('\n');
                    }
                    event.data.push_str(value);
                }
                _ => {}
            }
            is_empty = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_retries_are_skipped_and_events_are_put_together() {
        let text = ": hello\n\nretry: 100\n\nevent: log\nid: 12\ndata: {\"text\":\n\
                    data: \"one\"}\n\nevent: end\ndata: {}\n\n";
        let events: Vec<StreamEvent> =
            LogStream::new(text.as_bytes()).filter(|event| !event.data.is_empty()).collect();
        assert_eq!(events.len(), 2);
        assert_eq!((events[0].text(), events[0].id.as_deref()), ("one".to_owned(), Some("12")));
        assert_eq!(events[1].event, "end");
        assert_eq!(LogStream::new(text.as_bytes()).read_to_end(), "one");
    }
}
