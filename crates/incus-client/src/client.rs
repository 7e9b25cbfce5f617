//! A server as one sees it: through a project, with a deadline.
//!
//! Invariant: every call is over by its deadline, whatever the server does.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::Request;
use hyper::body::Frame;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName, IF_MATCH};
use serde::de::DeserializeOwned;
use tokio::io::AsyncRead;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};
use tokio_util::io::ReaderStream;

use crate::answer::{self, Said};
use crate::call::Call;
use crate::connection::{Answer, Connections, no_body};
use crate::error::Error;
use crate::operations::{Operation, OperationRecord};
use crate::transport::Endpoint;

/// How long a call may take when nothing else is said; waiting for an operation counts.
pub const DEADLINE_DEFAULT: Duration = Duration::from_secs(60);
/// How much longer than its caller a request that begins an operation lives, to learn what is to be cancelled.
const ORPHAN_MARGIN: Duration = Duration::from_secs(10);
const UPLOAD_PIECE_BYTES: usize = 256 << 10;

/// A server, seen through one project. Cheap to clone; clones share their connections.
///
/// It must be used within a Tokio runtime, which has to live on for a moment when calls are dropped: the request that
/// cancels an operation is sent in the background.
#[derive(Clone, Debug)]
pub struct Client {
    connections: Arc<Connections>,
    project: Option<String>,
    target: Option<String>,
    deadline: Duration,
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

/// What is sent along with a call.
enum Payload {
    /// The call's JSON, or nothing.
    Json,
    /// Bytes of this number.
    Stream { length_bytes: u64, body: crate::connection::Body },
}

impl Client {
    /// A server on this host, by the path of its socket. Nothing is sent yet.
    pub fn unix(socket: impl Into<std::path::PathBuf>) -> Client {
        Client::new(Endpoint::Unix { socket: socket.into() })
    }

    /// A server anywhere. Nothing is sent yet.
    pub fn new(endpoint: Endpoint) -> Client {
        Client {
            connections: Arc::new(Connections::new(endpoint)),
            project: None,
            target: None,
            deadline: DEADLINE_DEFAULT,
        }
    }

    /// The same server seen through a project; without one it is `default`.
    pub fn with_project(&self, project: impl Into<String>) -> Client {
        Client { project: Some(project.into()), ..self.clone() }
    }

    /// The same server; what is made is made on this member of the cluster.
    pub fn with_target(&self, member: impl Into<String>) -> Client {
        Client { target: Some(member.into()), ..self.clone() }
    }

    /// The same server with another deadline for every call. A call that waits for an operation has it for the whole.
    pub fn with_deadline(&self, deadline: Duration) -> Client {
        Client { deadline, ..self.clone() }
    }

    /// Where the server is.
    pub fn endpoint(&self) -> &Endpoint {
        &self.connections.endpoint
    }

    /// The project that the client looks through.
    pub fn project(&self) -> &str {
        self.project.as_deref().unwrap_or("default")
    }

    /// How long a call may take.
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// The path of a call with its query.
    pub(crate) fn target_of(&self, call: &Call) -> String {
        call.target(self.project.as_deref(), self.target.as_deref())
    }

    /// Asks, and reads the answer's metadata.
    pub(crate) async fn ask<T: DeserializeOwned>(&self, call: Call) -> Result<T, Error> {
        self.exchange(&call, Payload::Json).await?.parse()
    }

    /// Asks for a list. Incus writes some empty ones as `null`.
    pub(crate) async fn ask_list<T: DeserializeOwned>(&self, call: Call) -> Result<Vec<T>, Error> {
        self.ask::<Option<Vec<T>>>(call).await.map(Option::unwrap_or_default)
    }

    /// Asks, and reads the answer's metadata and the object's version.
    pub(crate) async fn ask_tagged<T: DeserializeOwned>(&self, call: Call) -> Result<Tagged<T>, Error> {
        let said = self.exchange(&call, Payload::Json).await?;
        let tag = said.tag()?;
        Ok(Tagged { value: said.parse()?, tag })
    }

    /// Asks for a change that is made by the time of the answer. Where a server makes an operation of it, waits for that.
    pub(crate) async fn tell(&self, call: Call) -> Result<(), Error> {
        let (what, start, deadline) = (call.what(), Instant::now(), self.deadline_of(&call));
        let said = self.exchange(&call, Payload::Json).await?;
        if !said.is_async {
            return Ok(());
        }
        let operation = Operation::new(self.clone(), what, said.parse()?);
        operation.wait_since(start, deadline).await.map(|_| ())
    }

    /// Asks for an operation and waits for its end.
    pub(crate) async fn operate(&self, call: Call) -> Result<OperationRecord, Error> {
        let (start, deadline) = (Instant::now(), self.deadline_of(&call));
        self.begin(call).await?.wait_since(start, deadline).await
    }

    /// Asks for an operation. When nobody waits for the answer any more, the operation is cancelled as soon as it is known.
    pub(crate) async fn begin(&self, call: Call) -> Result<Operation, Error> {
        let (what, after) = (call.what(), self.deadline_of(&call));
        let (answer, answered) = oneshot::channel();
        let client = self.clone();
        tokio::spawn(async move {
            let what = call.what();
            let call = call.deadline(after.saturating_add(ORPHAN_MARGIN));
            let begun = client.ask::<OperationRecord>(call).await;
            let begun = begun.map(|record| Operation::new(client, what, record));
            // An operation that cannot be handed over is dropped here, and so cancelled.
            let _ = answer.send(begun);
        });
        match timeout(after, answered).await {
            Ok(Ok(begun)) => begun,
            Ok(Err(lost)) => Err(Error::dropped(&what, lost)),
            Err(_) => Err(Error::TimedOut { what, after }),
        }
    }

    /// Sends what a reader gives.
    pub(crate) async fn upload(
        &self,
        call: &Call,
        length_bytes: u64,
        reader: impl AsyncRead + Send + 'static,
    ) -> Result<Said, Error> {
        let frames = ReaderStream::with_capacity(reader, UPLOAD_PIECE_BYTES).map_ok(Frame::data);
        let body = StreamBody::new(frames).boxed_unsync();
        self.exchange(call, Payload::Stream { length_bytes, body }).await
    }

    /// Asks for something that is not JSON. An answer that is an error is read and returned as one.
    pub(crate) async fn fetch(&self, call: &Call) -> Result<Answer, Error> {
        self.within(call, async {
            let answer = self.send(call, Payload::Json).await?;
            if answer.head.status.is_success() {
                return Ok(answer);
            }
            answer::read(answer).await?;
            Err(Error::shape(&call.what(), "an error without its status"))
        })
        .await
    }

    pub(crate) fn deadline_of(&self, call: &Call) -> Duration {
        call.deadline.unwrap_or(self.deadline)
    }

    async fn exchange(&self, call: &Call, payload: Payload) -> Result<Said, Error> {
        self.within(call, async { answer::read(self.send(call, payload).await?).await }).await
    }

    async fn within<T>(&self, call: &Call, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let after = self.deadline_of(call);
        timeout(after, work).await.unwrap_or_else(|_| Err(Error::TimedOut { what: call.what(), after }))
    }

    async fn send(&self, call: &Call, payload: Payload) -> Result<Answer, Error> {
        let what = call.what();
        let mut head = Request::builder().method(call.method.clone()).uri(self.target_of(call));
        head = head.header(HOST, self.endpoint().authority());
        if let Some(tag) = &call.if_match {
            head = head.header(IF_MATCH, &tag.0);
        }
        for (name, value) in &call.headers {
            head = head.header(HeaderName::from_static(name), value);
        }
        let is_streamed = matches!(payload, Payload::Stream { .. });
        let body = match (payload, &call.body) {
            (Payload::Stream { length_bytes, body }, _) => {
                head = head
                    .header(CONTENT_TYPE, "application/octet-stream")
                    .header(CONTENT_LENGTH, length_bytes);
                body
            }
            (Payload::Json, Some(value)) => {
                head = head.header(CONTENT_TYPE, "application/json");
                Full::new(Bytes::from(value.to_string())).map_err(|never| match never {}).boxed_unsync()
            }
            (Payload::Json, None) => no_body(),
        };
        let head = head.body(()).map_err(|error| Error::shape(&what, error))?;
        self.connections.exchange(&what, head, body, is_streamed).await
    }
}
