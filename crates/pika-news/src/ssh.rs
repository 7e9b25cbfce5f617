//! Git over SSH: clone, fetch and push with a key, by a server of our own beside HTTP.
//!
//! Invariants: a key is the only way in, and names its user; what a client may run is a fetch or a push of a repository of
//! this forge, decided as over HTTP, and nothing of what it sends reaches a shell or a path. There is no shell, no terminal,
//! no forwarding and no variable but git's own.

mod command;
mod connection;
mod exchange;
mod host_key;
mod limit;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use russh::keys::PrivateKey;
use russh::{MethodKind, MethodSet, SshId, server};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use host_key::{HostKeyError, load_or_make};
pub use limit::SshLimits;

use crate::auth::Authenticator;
use crate::turns::Turns;
use crate::web::git_http::Repositories;
use limit::Addresses;

/// After an error of accept, such as no free descriptor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long a client may take to leave when it is told to.
const LEAVE_DEADLINE: Duration = Duration::from_secs(2);

/// What connections share.
pub(crate) struct Shared {
    authenticator: Authenticator,
    repositories: Repositories,
    /// Where the hook of a push reaches the forge.
    hook_socket: PathBuf,
    /// What a clone's address begins with, for the words to who asks for a shell.
    clone_example: String,
    limits: SshLimits,
    turns: Turns,
}

/// The server, which serves nothing yet.
pub struct SshServer {
    shared: Arc<Shared>,
    config: Arc<server::Config>,
}

impl SshServer {
    /// A server with this key of its own.
    pub fn new(
        authenticator: Authenticator,
        repositories: Repositories,
        hook_socket: PathBuf,
        clone_example: String,
        host_key: PrivateKey,
        limits: SshLimits,
    ) -> SshServer {
        let config = server::Config {
            server_id: SshId::Standard("SSH-2.0-pika".into()),
            methods: MethodSet::from(&[MethodKind::PublicKey][..]),
            // Which keys are known is no secret that time would tell: whoever has the key may as well try it.
            auth_rejection_time: Duration::from_millis(100),
            auth_rejection_time_initial: Some(Duration::ZERO),
            keys: vec![host_key],
            max_auth_attempts: limits.auth_attempts_max,
            inactivity_timeout: None,
            keepalive_interval: Some(limits.keepalive),
            keepalive_max: 3,
            nodelay: true,
            ..server::Config::default()
        };
        let turns = Turns::new(limits.exchanges_max);
        let shared = Shared { authenticator, repositories, hook_socket, clone_example, limits, turns };
        SshServer { shared: Arc::new(shared), config: Arc::new(config) }
    }

    /// Serves until `shutdown`, then waits for the exchanges that are under way.
    pub async fn serve(self, listener: TcpListener, shutdown: CancellationToken) {
        let addresses = Arc::new(Addresses::new(&self.shared.limits));
        let connections = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = shutdown.cancelled() => break,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "an SSH connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            // Who is refused here is not even told: words cost more than they are worth to a flood.
            let Some(place) = addresses.admit(peer.ip()) else {
                tracing::debug!(%peer, "an SSH connection was turned away");
                continue;
            };
            let (shared, config, shutdown) =
                (Arc::clone(&self.shared), Arc::clone(&self.config), shutdown.clone());
            let addresses = Arc::clone(&addresses);
            connections.spawn(async move {
                if !connection(shared, config, stream, peer, shutdown).await {
                    addresses.note_failure(peer.ip());
                }
                drop(place);
            });
        }
        connections.close();
        connections.wait().await;
    }
}

/// Serves one connection to its end; whether its client ever signed in.
async fn connection(
    shared: Arc<Shared>,
    config: Arc<server::Config>,
    stream: TcpStream,
    peer: SocketAddr,
    shutdown: CancellationToken,
) -> bool {
    let _ = stream.set_nodelay(true);
    let limits = shared.limits.clone();
    let signed_in = CancellationToken::new();
    let exchanges = TaskTracker::new();
    let handler = connection::Connection::new(shared, signed_in.clone(), exchanges.clone());
    let login_ends = tokio::time::Instant::now() + limits.login_deadline;
    let started = tokio::time::timeout_at(login_ends, server::run_stream(config, stream, handler));
    let started = tokio::select! {
        started = started => started,
        () = shutdown.cancelled() => return true,
    };
    let Ok(Ok(mut session)) = started else {
        return false;
    };
    let handle = session.handle();
    let ends = async {
        tokio::select! {
            () = signed_in.cancelled() => {}
            () = tokio::time::sleep_until(login_ends) => return "you took too long to sign in",
            () = shutdown.cancelled() => return "the forge is shutting down",
        }
        tokio::select! {
            () = idle(&exchanges, limits.idle_max) => "the connection was idle",
            () = shutdown.cancelled() => {
                exchanges.close();
                exchanges.wait().await;
                "the forge is shutting down"
            }
        }
    };
    let why = tokio::select! {
        ended = &mut session => {
            if let Err(error) = ended {
                // Clients go away all the time.
                tracing::debug!(%peer, %error, "an SSH connection has ended");
            }
            return signed_in.is_cancelled();
        }
        why = ends => why,
    };
    let leave = async {
        let _ = handle.disconnect(russh::Disconnect::ByApplication, why.to_owned(), String::new()).await;
        let _ = session.await;
    };
    let _ = tokio::time::timeout(LEAVE_DEADLINE, leave).await;
    signed_in.is_cancelled()
}

/// Returns when nothing was exchanged for so long.
async fn idle(exchanges: &TaskTracker, idle_max: Duration) {
    let mut was_idle = false;
    loop {
        tokio::time::sleep(idle_max).await;
        let is_idle = exchanges.is_empty();
        if is_idle && was_idle {
            return;
        }
        was_idle = is_idle;
    }
}

#[cfg(test)]
mod tests;
