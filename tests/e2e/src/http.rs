//! A client of the forge's pages and API.

use std::time::Duration;

use serde_json::Value;
use ureq::Agent;
use ureq::http::{Request, Response};

use crate::stream::LogStream;

const REPLY_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Streams stay open as long as a job runs.
const TIMEOUT: Duration = Duration::from_secs(90);

/// Somebody who talks to the forge.
#[derive(Clone)]
pub struct Client {
    agent: Agent,
    base: String,
    token: Option<String>,
    cookie: Option<String>,
}

/// An answer, whatever its status.
#[derive(Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The header `Location`, of a redirect.
    pub location: Option<String>,
    /// The header `Set-Cookie`.
    pub cookie: Option<String>,
    /// The body; bytes that are not UTF-8 are replaced.
    pub body: String,
    /// The body as it came.
    pub bytes: Vec<u8>,
}

impl Reply {
    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body)
            .unwrap_or_else(|error| panic!("{error}; this is no JSON: {}", self.body))
    }

    /// Asserts the status and hands the reply on.
    #[track_caller]
    pub fn expect(self, status: u16) -> Reply {
        assert_eq!(self.status, status, "{}", self.body);
        self
    }

    /// Asserts that the forge did as it was asked.
    #[track_caller]
    pub fn expect_success(self) -> Reply {
        assert!((200..300).contains(&self.status), "{}: {}", self.status, self.body);
        self
    }

    /// Asserts that the forge will not do as it was asked, and that this is no fault of its own.
    #[track_caller]
    pub fn expect_refusal(self) -> Reply {
        assert!((400..500).contains(&self.status), "{}: {}", self.status, self.body);
        self
    }
}

impl Client {
    /// Talks to the forge at `base`, such as `http://127.0.0.1:7800`, with a token or as nobody.
    pub fn new(base: &str, token: Option<&str>) -> Client {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(TIMEOUT))
            .build();
        Client { agent: config.into(), base: base.to_owned(), token: token.map(str::to_owned), cookie: None }
    }

    /// The same, as a browser that was given this cookie.
    pub fn with_cookie(&self, cookie: &str) -> Client {
        let pair = cookie.split(';').next().unwrap_or_default();
        Client { cookie: Some(pair.to_owned()), ..self.clone() }
    }

    /// `GET`.
    #[track_caller]
    pub fn get(&self, path: &str) -> Reply {
        self.try_get(path).unwrap_or_else(|error| panic!("GET {path}: {error}"))
    }

    /// `GET`, for when the forge may not be there.
    pub fn try_get(&self, path: &str) -> Result<Reply, ureq::Error> {
        reply(self.agent.run(self.request("GET", path).body(()).unwrap())?)
    }

    /// `GET` of the bytes from `first` to `last`, both included.
    #[track_caller]
    pub fn get_range(&self, path: &str, first: u64, last: u64) -> Reply {
        let request = self.request("GET", path).header("range", format!("bytes={first}-{last}"));
        self.agent
            .run(request.body(()).unwrap())
            .and_then(reply)
            .unwrap_or_else(|error| panic!("GET {path}: {error}"))
    }

    /// `POST` of a JSON document.
    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> Reply {
        self.try_post(path, body).unwrap_or_else(|error| panic!("POST {path}: {error}"))
    }

    /// `POST` of a JSON document, for when the forge may not be there.
    pub fn try_post(&self, path: &str, body: &Value) -> Result<Reply, ureq::Error> {
        let request = self.request("POST", path).header("content-type", "application/json");
        reply(self.agent.run(request.body(body.to_string()).unwrap())?)
    }

    /// `PUT` of a JSON document.
    #[track_caller]
    pub fn put(&self, path: &str, body: &Value) -> Reply {
        let request = self.request("PUT", path).header("content-type", "application/json");
        let sent = self.agent.run(request.body(body.to_string()).unwrap());
        sent.and_then(reply).unwrap_or_else(|error| panic!("PUT {path}: {error}"))
    }

    /// `POST` of an empty form, as a button of a page of `origin` does.
    #[track_caller]
    pub fn press(&self, path: &str, origin: &str) -> Reply {
        let request = self.request("POST", path).header("origin", origin);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let sent = self.agent.run(request.body(()).unwrap());
        sent.and_then(reply).unwrap_or_else(|error| panic!("POST {path}: {error}"))
    }

    /// Opens a live log, after the byte offset `last_event_id` when it continues an earlier stream.
    #[track_caller]
    pub fn stream(&self, path: &str, last_event_id: Option<&str>) -> LogStream {
        let mut request = self.request("GET", path).header("accept", "text/event-stream");
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        let response =
            self.agent.run(request.body(()).unwrap()).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!(response.status(), 200, "{path} is no stream");
        LogStream::new(response.into_body().into_reader())
    }

    fn request(&self, method: &str, path: &str) -> ureq::http::request::Builder {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        if let Some(cookie) = &self.cookie {
            request = request.header("cookie", cookie);
        }
        match &self.token {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        }
    }
}

fn reply(mut response: Response<ureq::Body>) -> Result<Reply, ureq::Error> {
    let status = response.status().as_u16();
    let header = |name: &str| response.headers().get(name)?.to_str().ok().map(str::to_owned);
    let (location, cookie) = (header("location"), header("set-cookie"));
    let bytes = response.body_mut().with_config().limit(REPLY_BYTES_MAX).read_to_vec()?;
    let body = String::from_utf8_lossy(&bytes).into_owned();
    Ok(Reply { status, location, cookie, body, bytes })
}
