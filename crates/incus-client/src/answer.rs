//! What the server answered: the API's envelope, or an error.

use hyper::StatusCode;
use hyper::header::{ETAG, HeaderMap};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::client::Tag;
use crate::connection::Answer;
use crate::error::Error;

/// An answer of the API is never larger than this; files are read by other means.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// How much of an answer that is not the API's is shown.
const EXCERPT_CHARS_MAX: usize = 200;

/// The answer's envelope.
#[derive(Deserialize)]
struct Envelope {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    error: String,
    #[serde(default)]
    error_code: u16,
    #[serde(default)]
    metadata: Value,
}

/// What an answer that is no error says.
#[derive(Debug)]
pub(crate) struct Said {
    what: String,
    /// Whether the work goes on: the metadata is an operation.
    pub(crate) is_async: bool,
    pub(crate) metadata: Value,
    headers: HeaderMap,
}

impl Said {
    /// The metadata as a value of the API.
    pub(crate) fn parse<T: DeserializeOwned>(self) -> Result<T, Error> {
        serde_json::from_value(self.metadata).map_err(|error| Error::shape(&self.what, error))
    }

    /// The object's version. Without one, a conditional change would be made unconditionally.
    pub(crate) fn tag(&self) -> Result<Tag, Error> {
        let tag = self.headers.get(ETAG).and_then(|tag| tag.to_str().ok()).filter(|tag| !tag.is_empty());
        tag.map(|tag| Tag(tag.to_owned())).ok_or_else(|| Error::shape(&self.what, "it has no ETag"))
    }
}

/// Reads an answer to its end.
pub(crate) async fn read(mut answer: Answer) -> Result<Said, Error> {
    let what = answer.body.what().to_owned();
    let status = answer.head.status;
    let Some(content) = answer.body.read_all(Some(&answer.head), ANSWER_BYTES_MAX).await? else {
        return Err(Error::shape(&what, format!("it has more than {ANSWER_BYTES_MAX} bytes")));
    };
    let envelope: Envelope = match serde_json::from_slice(&content) {
        Ok(envelope) => envelope,
        // Not the API's, but an error all the same: a proxy in between, say.
        Err(_) if status.is_client_error() || status.is_server_error() => {
            return Err(refusal(what, status, excerpt(&content)));
        }
        Err(error) => {
            let (status, length) = (status.as_u16(), content.len());
            return Err(Error::shape(
                &what,
                format!("HTTP {status} with {length} bytes that are no answer: {error}"),
            ));
        }
    };
    match envelope.kind.as_str() {
        kind @ ("sync" | "async") if status.is_success() => {
            let is_async = kind == "async";
            Ok(Said { what, is_async, metadata: envelope.metadata, headers: answer.head.headers })
        }
        "error" => {
            // The wait for an operation sends its head before it knows of the error (operations.go, operationWaitGet).
            let status = StatusCode::from_u16(envelope.error_code).unwrap_or(status);
            let status = if status.is_success() { StatusCode::INTERNAL_SERVER_ERROR } else { status };
            Err(refusal(what, status, envelope.error))
        }
        kind => Err(Error::shape(&what, format!("HTTP {} with type {kind:?}", status.as_u16()))),
    }
}

/// Reads a collection. Incus writes some empty ones as `null`.
pub(crate) fn null_as_empty<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Deserialize<'de> + Default,
    D: Deserializer<'de>,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// The error that a status means.
pub(crate) fn refusal(what: String, status: StatusCode, message: String) -> Error {
    match status {
        StatusCode::NOT_FOUND => Error::NotFound { what },
        StatusCode::CONFLICT => Error::Conflict { what, message },
        StatusCode::PRECONDITION_FAILED => Error::Stale { what },
        status => Error::Refused { what, status: status.as_u16(), message },
    }
}

/// The beginning of an answer that only people can read.
pub(crate) fn excerpt(content: &[u8]) -> String {
    let content = &content[..content.len().min(EXCERPT_CHARS_MAX * 4)];
    let text = String::from_utf8_lossy(content);
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().filter(|character| !character.is_control()).take(EXCERPT_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_caller_acts_on_has_a_variant() {
        let kind =
            |status: u16| refusal("x".to_owned(), StatusCode::from_u16(status).unwrap(), String::new());
        assert!(matches!(kind(404), Error::NotFound { .. }));
        assert!(matches!(kind(409), Error::Conflict { .. }));
        assert!(matches!(kind(412), Error::Stale { .. }));
        assert!(matches!(kind(403), Error::Refused { status: 403, .. }));
        assert!(matches!(kind(500), Error::Refused { status: 500, .. }));
    }

    #[test]
    fn an_excerpt_is_one_short_line() {
        assert_eq!(excerpt(b"<h1>502\n  Bad\x1b Gateway</h1>\n"), "<h1>502 Bad Gateway</h1>");
        assert_eq!(excerpt("é".repeat(5000).as_bytes()).chars().count(), EXCERPT_CHARS_MAX);
        assert_eq!(excerpt(&[0xff; 3]), "\u{fffd}\u{fffd}\u{fffd}");
    }
}
