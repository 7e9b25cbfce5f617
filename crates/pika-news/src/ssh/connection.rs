//! One connection: who it is, and what each of its channels asks for.
//!
//! Invariant: a key counts as long as it is known: it is looked up when the client signs in and again before each command.

use std::collections::HashMap;
use std::sync::Arc;

use pika_git::WireProtocol;
use russh::keys::{HashAlg, PublicKey};
use russh::server::{Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelOpenFailure, Pty};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Shared, command, exchange};
use crate::auth::Principal;

/// How many channels one connection may have: a client that shares its connection among commands.
const CHANNELS_MAX: usize = 8;

/// One client.
pub(super) struct Connection {
    shared: Arc<Shared>,
    /// The fingerprint of the key that the client has proved to have.
    fingerprint: Option<String>,
    /// Channels that have not begun anything.
    waiting: HashMap<ChannelId, Waiting>,
    signed_in: CancellationToken,
    exchanges: TaskTracker,
}

struct Waiting {
    channel: Channel<Msg>,
    protocol: WireProtocol,
}

impl Connection {
    pub(super) fn new(
        shared: Arc<Shared>,
        signed_in: CancellationToken,
        exchanges: TaskTracker,
    ) -> Connection {
        Connection { shared, fingerprint: None, waiting: HashMap::new(), signed_in, exchanges }
    }

    /// Whom a key stands for now.
    async fn find_principal(&self, fingerprint: &str) -> Option<Principal> {
        match self.shared.authenticator.ssh_key(fingerprint).await {
            Ok(found) => found,
            Err(error) => {
                tracing::error!(%error, "an SSH key could not be looked up");
                None
            }
        }
    }

    async fn judge(&self, key: &PublicKey) -> (String, Auth) {
        let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
        let auth = match self.find_principal(&fingerprint).await {
            Some(_) => Auth::Accept,
            None => Auth::reject(),
        };
        (fingerprint, auth)
    }

    /// Takes a channel that is to do something; says so to its client.
    fn begin(&mut self, id: ChannelId, session: &mut Session) -> Result<Option<Waiting>, russh::Error> {
        let waiting = self.waiting.remove(&id);
        match waiting {
            Some(_) => session.channel_success(id)?,
            None => session.channel_failure(id)?,
        }
        Ok(waiting)
    }

    /// Says something on standard error and ends the channel. On a task: the session has to go on for that.
    fn refuse(&self, waiting: Waiting, words: String) {
        self.exchanges.spawn(async move { exchange::end(&waiting.channel, Some(&words), 1).await });
    }
}

impl Handler for Connection {
    type Error = russh::Error;

    async fn auth_publickey_offered(
        &mut self,
        _: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, russh::Error> {
        Ok(self.judge(offer.public_key).await.1)
    }

    async fn auth_publickey(&mut self, _: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, russh::Error> {
        let (fingerprint, auth) = self.judge(key.public_key).await;
        if auth == Auth::Accept {
            self.fingerprint = Some(fingerprint);
            self.signed_in.cancel();
        }
        Ok(auth)
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        if self.waiting.len() + self.exchanges.len() >= CHANNELS_MAX {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        }
        reply.accept().await;
        self.waiting.insert(channel.id(), Waiting { channel, protocol: WireProtocol::default() });
        Ok(())
    }

    async fn channel_close(&mut self, id: ChannelId, _: &mut Session) -> Result<(), russh::Error> {
        self.waiting.remove(&id);
        Ok(())
    }

    async fn env_request(
        &mut self,
        id: ChannelId,
        name: &str,
        value: &str,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        let protocol = WireProtocol::parse(value).filter(|_| name == "GIT_PROTOCOL");
        match (self.waiting.get_mut(&id), protocol) {
            (Some(waiting), Some(protocol)) => {
                waiting.protocol = protocol;
                session.channel_success(id)
            }
            _ => session.channel_failure(id),
        }
    }

    async fn pty_request(
        &mut self,
        id: ChannelId,
        _: &str,
        _: u32,
        _: u32,
        _: u32,
        _: u32,
        _: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        session.channel_failure(id)
    }

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        _: &str,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        session.channel_failure(id)
    }

    async fn x11_request(
        &mut self,
        id: ChannelId,
        _: bool,
        _: &str,
        _: &str,
        _: u32,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        session.channel_failure(id)
    }

    async fn shell_request(&mut self, id: ChannelId, session: &mut Session) -> Result<(), russh::Error> {
        let Some(waiting) = self.begin(id, session)? else { return Ok(()) };
        let found = self.find_principal(self.fingerprint.as_deref().unwrap_or_default()).await;
        let words = match found {
            Some(principal) => format!(
                "Hi {}, your key works. There is no shell here; clone with\n  git clone {}",
                principal.name(),
                self.shared.clone_example
            ),
            None => exchange::KEY_GONE.to_owned(),
        };
        self.refuse(waiting, words);
        Ok(())
    }

    async fn exec_request(
        &mut self,
        id: ChannelId,
        data: &[u8],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        let Some(waiting) = self.begin(id, session)? else { return Ok(()) };
        let Some(principal) = self.find_principal(self.fingerprint.as_deref().unwrap_or_default()).await
        else {
            self.refuse(waiting, exchange::KEY_GONE.to_owned());
            return Ok(());
        };
        match command::parse(data) {
            Ok(command) => {
                let (shared, Waiting { channel, protocol }) = (Arc::clone(&self.shared), waiting);
                self.exchanges.spawn(exchange::run(shared, channel, protocol, command, principal));
            }
            Err(error) => self.refuse(waiting, format!("pika: {error}")),
        }
        Ok(())
    }
}
