//! One request and its answer.
//!
//! Invariants: every exchange is over by its deadline; a connection on which anything went wrong is not used again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, HOST, HeaderMap, HeaderName, IF_MATCH};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::AsyncRead;
use tokio::time::timeout;
use tokio_util::io::ReaderStream;

use crate::error::Error;
use crate::operations::{Operation, OperationRecord};
use crate::transport::Endpoint;

/// How long a call may take when nothing else is said; waiting for an operation counts.
pub const DEADLINE_DEFAULT: Duration = Duration::from_secs(60);
/// An answer of the API is never larger than this; files are read by other means.
const ANSWER_BYTES_MAX: usize = 64 << 20;
const IDLE_CONNECTIONS_MAX: usize = 16;

/// All but the letters, digits and marks that RFC 3986 calls unreserved: also the slash of an alias.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

pub(crate) type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// A server, seen through one project. Cheap to clone; clones share their connections.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
    project: Option<String>,
    target: Option<String>,
    deadline: Duration,
}

#[derive(Debug)]
struct Shared {
    endpoint: Endpoint,
    idle: Mutex<Vec<SendRequest<Body>>>,
}

/// The version of an object, for a conditional change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag(pub(crate) String);

/// An object with its version.
#[derive(Clone, Debug)]
pub struct Tagged<T> {
    /// The object.
    pub value: T,
    /// Its version when it was read.
    pub tag: Tag,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) path: String,
    query: Vec<(&'static str, String)>,
    body: Option<Value>,
    if_match: Option<Tag>,
    is_in_project: bool,
    is_targeted: bool,
    headers: Vec<(&'static str, String)>,
    deadline: Option<Duration>,
}

impl Call {
    pub(crate) fn new(method: Method, path: impl Into<String>) -> Call {
        Call {
            method,
            path: path.into(),
            query: Vec::new(),
            body: None,
            if_match: None,
            is_in_project: true,
            is_targeted: false,
            headers: Vec::new(),
            deadline: None,
        }
    }

    pub(crate) fn get(path: impl Into<String>) -> Call {
        Call::new(Method::GET, path)
    }

    pub(crate) fn query(mut self, name: &'static str, value: impl Into<String>) -> Call {
        self.query.push((name, value.into()));
        self
    }

    pub(crate) fn json(mut self, body: Value) -> Call {
        self.body = Some(body);
        self
    }

    pub(crate) fn if_match(mut self, tag: Option<&Tag>) -> Call {
        self.if_match = tag.cloned();
        self
    }

    /// For what belongs to the server and not to a project.
    pub(crate) fn global(mut self) -> Call {
        self.is_in_project = false;
        self
    }

    /// For what is made on one member of a cluster.
    pub(crate) fn targeted(mut self) -> Call {
        self.is_targeted = true;
        self
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Call {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn deadline(mut self, deadline: Duration) -> Call {
        self.deadline = Some(deadline);
        self
    }

    fn what(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// Writes a name as one segment of a path.
pub(crate) fn segment(name: &str) -> String {
    utf8_percent_encode(name, SEGMENT).to_string()
}

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

impl Client {
    /// A server on this host, by the path of its socket.
    pub fn unix(socket: impl Into<std::path::PathBuf>) -> Client {
        Client::new(Endpoint::Unix { socket: socket.into() })
    }

    /// A server anywhere. Nothing is sent yet.
    pub fn new(endpoint: Endpoint) -> Client {
        let shared = Shared { endpoint, idle: Mutex::new(Vec::new()) };
        Client { shared: Arc::new(shared), project: None, target: None, deadline: DEADLINE_DEFAULT }
    }

    /// The same server seen through a project; without one it is `default`.
    pub fn with_project(&self, project: impl Into<String>) -> Client {
        Client { project: Some(project.into()), ..self.clone() }
    }

    /// The same server; what is made is made on this member of the cluster.
    pub fn with_target(&self, member: impl Into<String>) -> Client {
        Client { target: Some(member.into()), ..self.clone() }
    }

    /// The same server with another deadline for every call.
    pub fn with_deadline(&self, deadline: Duration) -> Client {
        Client { deadline, ..self.clone() }
    }

    /// Where the server is.
    pub fn endpoint(&self) -> &Endpoint {
        &self.shared.endpoint
    }

    /// The project that the client looks through.
    pub fn project(&self) -> &str {
        self.project.as_deref().unwrap_or("default")
    }

    pub(crate) fn deadline(&self) -> Duration {
        self.deadline
    }

    /// The path with its query.
    pub(crate) fn target_of(&self, call: &Call) -> String {
        let mut target = call.path.clone();
        let mut separator = '?';
        let mut add = |name: &str, value: &str| {
            target.push(separator);
            target.push_str(name);
            target.push('=');
            target.push_str(&segment(value));
            separator = '&';
        };
        for (name, value) in &call.query {
            add(name, value);
        }
        if let Some(project) = self.project.as_deref().filter(|_| call.is_in_project) {
            add("project", project);
        }
        if let Some(member) = self.target.as_deref().filter(|_| call.is_targeted) {
            add("target", member);
        }
        target
    }

    /// Asks, and reads the answer's metadata.
    pub(crate) async fn ask<T: DeserializeOwned>(&self, call: Call) -> Result<T, Error> {
        let what = call.what();
        let (value, _) = self.answer(&call).await?;
        serde_json::from_value(value).map_err(|error| Error::shape(&what, error))
    }

    /// Asks, and reads the answer's metadata and the object's version.
    pub(crate) async fn ask_tagged<T: DeserializeOwned>(&self, call: Call) -> Result<Tagged<T>, Error> {
        let what = call.what();
        let (value, headers) = self.answer(&call).await?;
        let tag = headers.get(ETAG).and_then(|tag| tag.to_str().ok()).unwrap_or_default().to_owned();
        let value = serde_json::from_value(value).map_err(|error| Error::shape(&what, error))?;
        Ok(Tagged { value, tag: Tag(tag) })
    }

    /// Asks for something whose answer says nothing.
    pub(crate) async fn tell(&self, call: Call) -> Result<(), Error> {
        self.answer(&call).await.map(|_| ())
    }

    /// Asks for an operation and waits for its end.
    pub(crate) async fn operate(&self, call: Call) -> Result<OperationRecord, Error> {
        let deadline = call.deadline.unwrap_or(self.deadline);
        self.begin(call).await?.wait(deadline).await
    }

    /// Asks for an operation.
    pub(crate) async fn begin(&self, call: Call) -> Result<Operation, Error> {
        let what = call.what();
        let record: OperationRecord = self.ask(call).await?;
        Ok(Operation::new(self.clone(), what, record))
    }

    async fn answer(&self, call: &Call) -> Result<(Value, HeaderMap), Error> {
        let body = match &call.body {
            Some(value) => Bytes::from(value.to_string()),
            None => Bytes::new(),
        };
        let has_json = call.body.is_some();
        self.within(call, async {
            let length = body.len();
            let body = Full::new(body).map_err(|never| match never {}).boxed_unsync();
            let kind = has_json.then_some("application/json");
            let response = self.send(call, body, Some(length as u64), kind).await?;
            self.read_answer(call, response).await
        })
        .await
    }

    /// Sends what a reader gives and asks for an operation.
    pub(crate) async fn upload(
        &self,
        call: Call,
        length_bytes: u64,
        reader: impl AsyncRead + Send + 'static,
    ) -> Result<(Value, HeaderMap), Error> {
        self.within(&call, async {
            let frames = ReaderStream::with_capacity(reader, 256 << 10).map_ok(Frame::data);
            let body = StreamBody::new(frames).boxed_unsync();
            let kind = Some("application/octet-stream");
            let response = self.send(&call, body, Some(length_bytes), kind).await?;
            self.read_answer(&call, response).await
        })
        .await
    }

    /// Asks for something that is not JSON. An answer that is an error is read and returned as one.
    pub(crate) async fn fetch(&self, call: Call) -> Result<Response<Incoming>, Error> {
        self.within(&call, async {
            let body = Full::new(Bytes::new()).map_err(|never| match never {}).boxed_unsync();
            let response = self.send(&call, body, Some(0), None).await?;
            if response.status().is_success() {
                return Ok(response);
            }
            let what = call.what();
            self.read_answer(&call, response).await?;
            Err(Error::shape(&what, "an error without its status"))
        })
        .await
    }

    /// Asks for headers alone.
    pub(crate) async fn fetch_head(&self, call: Call, what: &str) -> Result<Response<Incoming>, Error> {
        self.within(&call, async {
            let body = Full::new(Bytes::new()).map_err(|never| match never {}).boxed_unsync();
            let response = self.send(&call, body, Some(0), None).await?;
            match response.status() {
                status if status.is_success() => Ok(response),
                status => Err(refusal(what.to_owned(), status, String::new())),
            }
        })
        .await
    }

    async fn within<T>(&self, call: &Call, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let after = call.deadline.unwrap_or(self.deadline);
        timeout(after, work).await.unwrap_or_else(|_| Err(Error::TimedOut { what: call.what(), after }))
    }

    async fn send(
        &self,
        call: &Call,
        body: Body,
        length_bytes: Option<u64>,
        content_type: Option<&'static str>,
    ) -> Result<Response<Incoming>, Error> {
        let what = call.what();
        let mut request = Request::builder().method(call.method.clone()).uri(self.target_of(call));
        request = request.header(HOST, self.shared.endpoint.authority());
        if let Some(kind) = content_type {
            request = request.header(CONTENT_TYPE, kind);
        }
        if let Some(length) = length_bytes.filter(|length| *length > 0) {
            request = request.header(CONTENT_LENGTH, length);
        }
        if let Some(tag) = &call.if_match {
            request = request.header(IF_MATCH, &tag.0);
        }
        for (name, value) in &call.headers {
            request = request.header(HeaderName::from_static(name), value);
        }
        let request = request.body(body).map_err(|error| Error::shape(&what, error))?;
        let mut connection = self.connection().await?;
        let response =
            connection.send_request(request).await.map_err(|error| Error::dropped(&what, error))?;
        self.keep(connection);
        Ok(response)
    }

    /// A connection that nobody uses: an idle one that is still open, or a new one.
    async fn connection(&self) -> Result<SendRequest<Body>, Error> {
        loop {
            let idle = self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(mut idle) = idle else { break };
            // The answer before may still be read; one whose peer has gone says so at once.
            let ready = timeout(Duration::from_millis(1), idle.ready()).await;
            if matches!(ready, Ok(Ok(()))) && !idle.is_closed() {
                return Ok(idle);
            }
        }
        let unreachable = |source| Error::Unreachable { endpoint: self.shared.endpoint.to_string(), source };
        let stream = self.shared.endpoint.connect().await.map_err(unreachable)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| unreachable(std::io::Error::other(error)))?;
        tokio::spawn(async move {
            // Its error reaches whoever uses the connection.
            let _ = connection.await;
        });
        Ok(sender)
    }

    fn keep(&self, connection: SendRequest<Body>) {
        let mut idle = self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|known| !known.is_closed());
        if idle.len() < IDLE_CONNECTIONS_MAX {
            idle.push(connection);
        }
    }

    async fn read_answer(
        &self,
        call: &Call,
        response: Response<Incoming>,
    ) -> Result<(Value, HeaderMap), Error> {
        let what = call.what();
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|source| Error::Dropped { what: what.clone(), source })?.to_bytes();
        let envelope: Envelope = serde_json::from_slice(&body).map_err(|error| {
            let status = head.status.as_u16();
            Error::shape(
                &what,
                format!("HTTP {status} with {} bytes that are no answer: {error}", body.len()),
            )
        })?;
        match envelope.kind.as_str() {
            "sync" | "async" if head.status.is_success() => Ok((envelope.metadata, head.headers)),
            "error" => {
                let status = StatusCode::from_u16(envelope.error_code).unwrap_or(head.status);
                Err(refusal(what, status, envelope.error))
            }
            kind => Err(Error::shape(&what, format!("HTTP {} with type {kind:?}", head.status.as_u16()))),
        }
    }
}

fn refusal(what: String, status: StatusCode, message: String) -> Error {
    match status {
        StatusCode::NOT_FOUND => Error::NotFound { what },
        StatusCode::CONFLICT => Error::Conflict { what, message },
        StatusCode::PRECONDITION_FAILED => Error::Stale { what },
        status => Error::Refused { what, status: status.as_u16(), message },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_and_its_query_are_escaped() {
        let client = Client::unix("/nowhere").with_project("a b");
        let path = format!("/1.0/images/aliases/{}", segment("pikaci/dev"));
        let call = Call::get(path).query("filter", "name eq x");
        assert_eq!(
            client.target_of(&call),
            "/1.0/images/aliases/pikaci%2Fdev?filter=name%20eq%20x&project=a%20b"
        );
        assert_eq!(client.target_of(&Call::get("/1.0").global()), "/1.0");
        let targeted = client.with_target("one");
        assert_eq!(targeted.target_of(&Call::get("/1.0").global().targeted()), "/1.0?target=one");
    }

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
}
