//! The byte streams of an operation.
//!
//! Incus pings each stream every ten seconds (instance_exec.go, "channel keep alive"). Pings are taken in and answered while a
//! stream is read, so whoever holds one has to read it now and then, even when nothing is expected.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use hyper::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{self, Message};

use crate::answer::{excerpt, refusal};
use crate::call::Call;
use crate::client::Client;
use crate::error::Error;
use crate::transport::Stream;

/// One direction, or both, of an operation's stream.
pub(crate) struct WebSocket {
    what: String,
    stream: WebSocketStream<Readable>,
}

/// A connection that is read to its end, also when the server does not read any more. An answer to a ping comes too late for a
/// command that has just ended, and must not stand before what that has printed.
struct Readable {
    inner: Box<dyn Stream>,
    /// Why nothing can be written, since when that was found out.
    broken: Option<io::ErrorKind>,
}

impl Client {
    pub(crate) async fn websocket(&self, call: &Call, what: &str) -> Result<WebSocket, Error> {
        let endpoint = self.endpoint();
        let url = format!("ws://{}{}", endpoint.authority(), self.target_of(call));
        let request = url.into_client_request().map_err(|error| Error::shape(what, error))?;
        let connecting = async {
            let stream = Readable { inner: endpoint.connect().await?, broken: None };
            let (stream, _) =
                tokio_tungstenite::client_async(request, stream).await.map_err(|error| match error {
                    tungstenite::Error::Http(answer) => {
                        let status = StatusCode::from_u16(answer.status().as_u16()).unwrap_or_default();
                        let message = excerpt(answer.body().as_deref().unwrap_or_default());
                        refusal(what.to_owned(), status, message)
                    }
                    error => Error::dropped(what, error),
                })?;
            Ok(WebSocket { what: what.to_owned(), stream })
        };
        let after = self.deadline_of(call);
        timeout(after, connecting)
            .await
            .unwrap_or_else(|_| Err(Error::TimedOut { what: what.to_owned(), after }))
    }
}

impl WebSocket {
    /// The next bytes; `None` at the end. An empty text message is Incus' word for the end of one direction (shared/ws/rwc.go).
    /// Safe to drop at any moment.
    pub(crate) async fn read(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            match self.stream.next().await {
                Some(Ok(Message::Binary(bytes))) if bytes.is_empty() => {}
                Some(Ok(Message::Binary(bytes))) => return Ok(Some(bytes)),
                Some(Ok(Message::Text(text))) if text.is_empty() => return Ok(None),
                Some(Ok(Message::Text(text))) => return Ok(Some(text.into())),
                Some(Ok(Message::Close(_))) | None => return Ok(None),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(Error::dropped(&self.what, error)),
            }
        }
    }

    /// Takes in and forgets whatever comes, until the stream ends in one way or another.
    pub(crate) async fn until_gone(&mut self) {
        while let Some(Ok(message)) = self.stream.next().await {
            if message.is_close() {
                return;
            }
        }
    }

    /// Sends bytes.
    pub(crate) async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.send(Message::Binary(bytes)).await
    }

    /// Sends text; the empty one says that no more bytes come.
    pub(crate) async fn write_text(&mut self, text: String) -> Result<(), Error> {
        self.send(Message::Text(text.into())).await
    }

    async fn send(&mut self, message: Message) -> Result<(), Error> {
        // What came meanwhile is taken in; that the stream has ended is for the sending to find out.
        let _ = self.until_gone().now_or_never();
        let sent = self.stream.send(message).await;
        let sent = sent.map_err(|error| Error::dropped(&self.what, error));
        match self.stream.get_ref().broken {
            Some(kind) => Err(Error::dropped(&self.what, io::Error::from(kind))),
            None => sent,
        }
    }
}

impl AsyncRead for Readable {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl AsyncWrite for Readable {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.broken.is_none() {
            match ready!(Pin::new(&mut self.inner).poll_write(context, bytes)) {
                Ok(count) => return Poll::Ready(Ok(count)),
                Err(error) => self.broken = Some(error.kind()),
            }
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.broken.is_none()
            && let Err(error) = ready!(Pin::new(&mut self.inner).poll_flush(context))
        {
            self.broken = Some(error.kind());
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

impl std::fmt::Debug for WebSocket {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "WebSocket({})", self.what)
    }
}
