//! One fetch or push over a channel.
//!
//! Invariant: the channel ends with git's own exit code only when git has answered; whatever else happens is said on
//! standard error and ends with 1.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use pika_git::{Repository, Service, WireEnd, WireProtocol, WireRequest, WireStep};
use russh::Channel;
use russh::server::Msg;
use tokio::io::{AsyncReadExt as _, AsyncWrite};
use tokio::time::timeout;

use super::Shared;
use super::command::GitCommand;
use crate::auth::{Action, Decision, Principal, Resource};
use crate::hook;
use crate::metrics;
use crate::web::git_http::{COMMANDS_BYTES_MAX, FETCH_BYTES_MAX};

/// How long a client may take to read its last words.
const END_DEADLINE: Duration = Duration::from_secs(10);

/// To whom a key was taken away while they were connected.
pub(super) const KEY_GONE: &str = "pika: this key was revoked, or its user disabled";

/// Runs a command and ends its channel.
pub(super) async fn run(
    shared: Arc<Shared>,
    mut channel: Channel<Msg>,
    protocol: WireProtocol,
    command: GitCommand,
    principal: Principal,
) {
    let (service, started) = (command.service.to_string(), Instant::now());
    let outcome = serve(shared, &mut channel, protocol, command, principal).await;
    metrics::ssh_exchange(&service, outcome, started.elapsed());
}

/// Says in a word what came of it, for the figures.
async fn serve(
    shared: Arc<Shared>,
    channel: &mut Channel<Msg>,
    protocol: WireProtocol,
    command: GitCommand,
    principal: Principal,
) -> &'static str {
    let repository = match admit(&shared, &command, &principal) {
        Ok(repository) => repository,
        Err(words) => {
            end(channel, Some(&words), 1).await;
            return "refused";
        }
    };
    let Some(turn) = shared.turns.take(&principal).await else {
        let busy = "pika: the forge serves as many git clients as it can; try again in a minute";
        end(channel, Some(busy), 1).await;
        return "busy";
    };
    let mut request = WireRequest::new(command.service, WireStep::Whole, protocol);
    (request.idle_max, request.deadline) = (shared.limits.idle_max, shared.limits.deadline);
    let bytes_max = match command.service {
        Service::UploadPack => FETCH_BYTES_MAX,
        Service::ReceivePack => {
            request.pack_bytes_max = Some(shared.limits.pack_bytes_max);
            request.environment = hook::variables(&shared.hook_socket, principal.name());
            shared.limits.pack_bytes_max.saturating_add(COMMANDS_BYTES_MAX)
        }
    };
    let output = Unended(channel.make_writer());
    let input = Box::pin(channel.make_reader().take(bytes_max));
    let ended = repository.serve(&request, input, output).await;
    drop(turn);
    match ended {
        Ok(WireEnd::Answered) => {
            end(channel, None, 0).await;
            "answered"
        }
        Ok(WireEnd::ClientGone) => "gone",
        Err(error) => {
            let (service, repository) = (command.service, repository.path().display().to_string());
            tracing::warn!(%service, %error, repository, "an exchange with a git client failed");
            end(channel, Some("pika: git could not answer; the forge's log says why"), 1).await;
            "failed"
        }
    }
}

/// The way to the client, which stays open when git has ended: what is said last still has to go through.
struct Unended<W>(W);

impl<W: AsyncWrite + Unpin> AsyncWrite for Unended<W> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(context)
    }
}

fn admit(shared: &Shared, command: &GitCommand, principal: &Principal) -> Result<Repository, String> {
    let name = command.repository.as_str();
    let action = match command.service {
        Service::UploadPack => Action::Read,
        Service::ReceivePack => Action::Push,
    };
    let decision = principal.decide(action, Resource::Repository(name));
    match (shared.repositories.find(name), decision) {
        (Some(repository), Decision::Allowed) => Ok(repository),
        (Some(_), Decision::Forbidden(why)) => Err(format!("pika: {why}")),
        (None, _) | (_, Decision::Hidden | Decision::Unauthenticated) => {
            Err("pika: there is no such repository here".to_owned())
        }
    }
}

/// Says the last words on standard error and ends a channel.
pub(super) async fn end(channel: &Channel<Msg>, words: Option<&str>, code: u32) {
    // A client that does not read is let go.
    let _ = timeout(END_DEADLINE, async {
        if let Some(words) = words {
            channel.extended_data_bytes(1, format!("{words}\n").into_bytes()).await?;
        }
        channel.eof().await?;
        channel.exit_status(code).await?;
        channel.close().await
    })
    .await;
}
