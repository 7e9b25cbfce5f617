//! A connection whose other end has to take what it is sent.
//!
//! Invariant: a write that makes no progress for the deadline is an error, which ends the connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// A stream with a deadline for each write.
pub(super) struct Taker<S> {
    stream: S,
    deadline: Duration,
    /// Runs while a write waits for the other end.
    waits: Option<Pin<Box<Sleep>>>,
}

impl<S> Taker<S> {
    pub(super) fn new(stream: S, deadline: Duration) -> Taker<S> {
        Taker { stream, deadline, waits: None }
    }

    /// What came of a write: itself, or the end of patience.
    fn hold<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waits = None;
            return written;
        }
        let deadline = self.deadline;
        let waits = self.waits.get_or_insert_with(|| Box::pin(sleep(deadline)));
        ready!(waits.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing of its answer")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Taker<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Taker<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.hold(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.hold(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn who_takes_nothing_for_the_deadline_is_let_go() {
        let (ours, mut theirs) = tokio::io::duplex(4);
        let mut taker = Taker::new(ours, Duration::from_secs(600));
        let reads = async { theirs.read_exact(&mut [0; 24]).await.unwrap() };
        let (written, _) = tokio::join!(taker.write_all(&[1; 24]), reads);
        written.unwrap();
        assert!(taker.waits.is_none(), "a write that went on is waited for anew");
        taker.deadline = Duration::from_millis(20);
        let refused = taker.write_all(&[1; 24]).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::TimedOut);
    }
}
