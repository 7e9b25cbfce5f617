//! The connections to a server, and which of them may be used again.
//!
//! Invariants: a connection is used again only when its last answer was read to the end, and only for a question (GET or HEAD),
//! because the server may close an idle one at any moment and then nobody can tell whether it still read the request.
//! What changes something has a connection of its own: when that is lost, it is lost for a reason.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::CONTENT_LENGTH;
use hyper::http::response::Parts;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use crate::error::Error;
use crate::transport::Endpoint;

const IDLE_CONNECTIONS_MAX: usize = 16;
/// How long an idle connection may need to find out that it is ready. It is, as a rule, at once.
const READY_WITHIN: Duration = Duration::from_millis(10);

pub(crate) type Body = UnsyncBoxBody<Bytes, std::io::Error>;

pub(crate) fn no_body() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// Every connection to one server that nobody uses at the moment.
#[derive(Debug)]
pub(crate) struct Connections {
    pub(crate) endpoint: Endpoint,
    idle: Mutex<Vec<SendRequest<Body>>>,
}

/// An answer whose body is still on its way.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) head: Parts,
    pub(crate) body: AnswerBody,
}

/// The body of an answer. Dropped before its end, it closes the connection.
#[derive(Debug)]
pub(crate) struct AnswerBody {
    what: String,
    incoming: Incoming,
    /// What is given back at the end.
    connection: Option<(Arc<Connections>, SendRequest<Body>)>,
}

impl Connections {
    pub(crate) fn new(endpoint: Endpoint) -> Connections {
        Connections { endpoint, idle: Mutex::new(Vec::new()) }
    }

    /// Sends a request and waits for the head of its answer. A request that `is_streamed` may still be on its way when the
    /// answer is there: its connection is not used again.
    pub(crate) async fn exchange(
        self: &Arc<Self>,
        what: &str,
        head: Request<()>,
        body: Body,
        is_streamed: bool,
    ) -> Result<Answer, Error> {
        if head.method().is_safe()
            && let Some(mut idle) = self.take().await
            && let Ok(response) = idle.send_request(head.clone().map(|()| no_body())).await
        {
            return Ok(self.answer(what, response, Some(idle)));
        }
        // Either there was no idle one, or it had been closed: a question can be asked twice.
        let mut fresh = self.open().await?;
        let response =
            fresh.send_request(head.map(|()| body)).await.map_err(|error| Error::dropped(what, error))?;
        Ok(self.answer(what, response, Some(fresh).filter(|_| !is_streamed)))
    }

    fn answer(
        self: &Arc<Self>,
        what: &str,
        response: Response<Incoming>,
        connection: Option<SendRequest<Body>>,
    ) -> Answer {
        let (head, incoming) = response.into_parts();
        let connection = connection.map(|connection| (Arc::clone(self), connection));
        Answer { head, body: AnswerBody { what: what.to_owned(), incoming, connection } }
    }

    async fn open(&self) -> Result<SendRequest<Body>, Error> {
        let stream = self.endpoint.connect().await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.endpoint.unreachable(std::io::Error::other(error)))?;
        tokio::spawn(async move {
            // Its error reaches whoever uses the connection.
            let _ = connection.await;
        });
        Ok(sender)
    }

    async fn take(&self) -> Option<SendRequest<Body>> {
        loop {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
            if matches!(timeout(READY_WITHIN, idle.ready()).await, Ok(Ok(()))) {
                return Some(idle);
            }
        }
    }

    fn give_back(&self, connection: SendRequest<Body>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|known| !known.is_closed());
        if idle.len() < IDLE_CONNECTIONS_MAX && !connection.is_closed() {
            idle.push(connection);
        }
    }
}

impl AnswerBody {
    /// What errors call the answer.
    pub(crate) fn rename(&mut self, what: &str) {
        what.clone_into(&mut self.what);
    }

    pub(crate) fn what(&self) -> &str {
        &self.what
    }

    /// The next bytes; `None` at the end. Safe to drop at any moment.
    pub(crate) async fn read(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            match self.incoming.frame().await {
                None => {
                    if let Some((connections, connection)) = self.connection.take() {
                        connections.give_back(connection);
                    }
                    return Ok(None);
                }
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes));
                    }
                }
                Some(Err(error)) => return Err(Error::dropped(&self.what, error)),
            }
        }
    }

    /// All of it, unless it has more than so many bytes.
    pub(crate) async fn read_all(
        &mut self,
        head: Option<&Parts>,
        bytes_max: usize,
    ) -> Result<Option<Vec<u8>>, Error> {
        let announced = head
            .and_then(|head| head.headers.get(CONTENT_LENGTH))
            .and_then(|length| length.to_str().ok()?.parse::<usize>().ok())
            .unwrap_or(0);
        if announced > bytes_max {
            return Ok(None);
        }
        let mut all = Vec::new();
        while let Some(bytes) = self.read().await? {
            if bytes.len() > bytes_max - all.len() {
                return Ok(None);
            }
            all.extend_from_slice(&bytes);
        }
        Ok(Some(all))
    }
}
