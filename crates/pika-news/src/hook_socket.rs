//! Where the forge hears of pushes: a Unix socket that the hook of each repository connects to.
//!
//! Invariant: only the forge's own user can connect; a client that stalls or sends nonsense costs one of a bounded
//! number of places, for a bounded time. A push that was read is taken in even when its hook has given up.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::hook::{MESSAGE_BYTES_MAX, Push, PushAnswer, Stage};

/// The longest path of a socket: `sun_path` with the zero byte at its end, unix(7).
const PATH_BYTES_MAX: usize = 107;
/// How many hooks are heard at once; more wait in the system's queue.
const CONNECTIONS_MAX: usize = 32;
/// How long a hook may take to say its line, or to read the answer.
const LINE_DEADLINE: Duration = Duration::from_secs(2);
/// How long the forge may take over a push.
const PUSH_DEADLINE: Duration = Duration::from_secs(60);
/// How long to rest when the system can't accept a connection.
const REST: Duration = Duration::from_millis(100);

/// Why the forge can't hear of pushes.
#[derive(Debug, thiserror::Error)]
pub enum HookSocketError {
    /// Another forge hears there.
    #[error("another forge is running with {}; stop it first, or configure another data folder", path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// No socket can have this path.
    #[error("the path {} of the hook's socket is longer than {PATH_BYTES_MAX} bytes; configure a shorter `data`", path.display())]
    TooLong {
        /// The socket.
        path: PathBuf,
    },
    /// The socket can't be made.
    #[error("cannot listen on {}", path.display())]
    Listen {
        /// The socket.
        path: PathBuf,
        /// Why the system refused.
        source: io::Error,
    },
}

/// What the forge does with a push.
pub trait PushReceiver: Clone + Send + Sync + 'static {
    /// Takes a push in and says what the pusher is to be shown. May be called again for what is known already.
    fn receive(&self, push: Push) -> impl Future<Output = PushAnswer> + Send;

    /// Decides whether a push may be stored.
    fn check(&self, push: Push) -> impl Future<Output = PushAnswer> + Send;
}

/// The listening socket.
#[derive(Debug)]
pub struct HookSocket {
    listener: UnixListener,
}

/// Whether a socket can be at this path.
pub fn check(path: &Path) -> Result<(), HookSocketError> {
    if path.as_os_str().len() > PATH_BYTES_MAX {
        return Err(HookSocketError::TooLong { path: path.to_owned() });
    }
    Ok(())
}

impl HookSocket {
    /// Listens at `path`, in place of a forge that is gone.
    pub async fn bind(path: &Path) -> Result<HookSocket, HookSocketError> {
        check(path)?;
        if UnixStream::connect(path).await.is_ok() {
            return Err(HookSocketError::InUse { path: path.to_owned() });
        }
        let failed = |source| HookSocketError::Listen { path: path.to_owned(), source };
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
        Ok(HookSocket { listener })
    }

    /// Hears of pushes until `stop`. What was begun goes on.
    pub async fn serve(self, receiver: impl PushReceiver, stop: CancellationToken) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let next = async {
                let place = Arc::clone(&places).acquire_owned().await.map_err(io::Error::other)?;
                self.listener.accept().await.map(|(stream, _)| (stream, place))
            };
            let accepted = tokio::select! {
                accepted = next => accepted,
                () = stop.cancelled() => return,
            };
            match accepted {
                Ok((stream, place)) => {
                    let receiver = receiver.clone();
                    tokio::spawn(async move {
                        hear(stream, receiver).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a hook could not be heard");
                    tokio::time::sleep(REST).await;
                }
            }
        }
    }
}

/// Hears one hook out and answers it.
async fn hear(mut stream: UnixStream, receiver: impl PushReceiver) {
    let push = match timeout(LINE_DEADLINE, read_push(&mut stream)).await {
        Ok(Ok(push)) => push,
        Ok(Err(error)) => return tracing::warn!(%error, "a hook said something that can't be read"),
        Err(_) => return tracing::warn!("a hook did not say what was pushed"),
    };
    let repository = push.repository.display().to_string();
    let taken = async {
        match push.stage {
            Stage::Asked => receiver.check(push).await,
            Stage::Stored => receiver.receive(push).await,
        }
    };
    let Ok(answer) = timeout(PUSH_DEADLINE, taken).await else {
        return tracing::error!(repository, "a push was not taken in within a minute");
    };
    let Ok(mut line) = serde_json::to_vec(&answer) else { return };
    line.push(b'\n');
    // A hook that has given up reads nothing; the push is taken in.
    let _ = timeout(LINE_DEADLINE, stream.write_all(&line)).await;
}

async fn read_push(stream: &mut UnixStream) -> io::Result<Push> {
    let mut line = Vec::new();
    BufReader::new(stream.take(MESSAGE_BYTES_MAX)).read_until(b'\n', &mut line).await?;
    if !line.ends_with(b"\n") {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_slice(&line)?)
}

#[cfg(test)]
mod tests;
