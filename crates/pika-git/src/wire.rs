//! Git's own protocol: answers a fetch, takes a push. The bytes are git's on both sides; this file moves them.
//!
//! Invariant: no more than a pipe's worth of a pack is in memory. A push whose client goes away either arrived whole and is
//! stored, or leaves no reference; a fetch whose client goes away ends.

mod pump;

#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use crate::command::Call;
use crate::error::GitError;
use crate::process::Group;
use crate::repository::Repository;

/// The longest protocol parameter that is passed on.
const PROTOCOL_BYTES_MAX: usize = 256;
/// How long git may take to drop a half push.
const GRACE: Duration = Duration::from_secs(2);

/// One side of git's protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Answers a fetch.
    UploadPack,
    /// Takes a push.
    ReceivePack,
}

impl Service {
    /// Reads the name by which clients ask, such as `git-upload-pack`.
    pub fn parse(name: &str) -> Option<Service> {
        match name {
            "git-upload-pack" => Some(Service::UploadPack),
            "git-receive-pack" => Some(Service::ReceivePack),
            _ => None,
        }
    }

    /// The name by which clients ask.
    pub fn name(self) -> &'static str {
        match self {
            Service::UploadPack => "git-upload-pack",
            Service::ReceivePack => "git-receive-pack",
        }
    }

    fn command(self) -> &'static str {
        match self {
            Service::UploadPack => "upload-pack",
            Service::ReceivePack => "receive-pack",
        }
    }

    pub(crate) fn what(self) -> &'static str {
        match self {
            Service::UploadPack => "answer a fetch",
            Service::ReceivePack => "take a push",
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// What a client asks of the protocol itself: over HTTP, the header `Git-Protocol`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WireProtocol(String);

impl WireProtocol {
    /// Reads parameters such as `version=2`. `None` when they hold what no git would send, or too much of it.
    pub fn parse(text: &str) -> Option<WireProtocol> {
        let is_allowed =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'=' | b':' | b'.' | b'-' | b'_');
        (text.len() <= PROTOCOL_BYTES_MAX && text.bytes().all(is_allowed))
            .then(|| WireProtocol(text.to_owned()))
    }

    /// Whether version 2 is asked for.
    pub fn is_version_2(&self) -> bool {
        self.0.split(':').any(|parameter| parameter == "version=2")
    }
}

/// Which part of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireStep {
    /// Says what the repository has. Takes no input.
    Advertise,
    /// Answers one request.
    Exchange,
    /// All of it, in one go, as over SSH.
    Whole,
}

/// One exchange with a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireRequest {
    /// Fetch or push.
    pub service: Service,
    /// Which half.
    pub step: WireStep,
    /// What the client asks of the protocol.
    pub protocol: WireProtocol,
    /// More variables for git, which the hook of a push inherits.
    pub environment: Vec<(String, String)>,
    /// The largest pack that a push may bring; git itself then tells the client.
    pub pack_bytes_max: Option<u64>,
    /// How long neither side may move a byte. Git sends a sign of life every five seconds while it thinks.
    pub idle_max: Duration,
    /// How long everything may take.
    pub deadline: Duration,
}

impl WireRequest {
    /// A request with the usual bounds: two idle minutes, one hour in all.
    pub fn new(service: Service, step: WireStep, protocol: WireProtocol) -> WireRequest {
        WireRequest {
            service,
            step,
            protocol,
            environment: Vec::new(),
            pack_bytes_max: None,
            idle_max: Duration::from_secs(120),
            deadline: Duration::from_secs(3600),
        }
    }
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireEnd {
    /// Git answered, and the client has it all. What it answered may be a refusal.
    Answered,
    /// The client went away before it had all of the answer.
    ClientGone,
}

impl Repository {
    /// Moves bytes between a client and git until git has answered, then closes `output`.
    ///
    /// A client that goes away ends a fetch. A push goes on without it: git has then either read all of the pack and
    /// stores it, or meets the end of `input` early and drops what it has.
    pub async fn serve(
        &self,
        request: &WireRequest,
        input: impl AsyncRead + Unpin + Send,
        output: impl AsyncWrite + Unpin + Send,
    ) -> Result<WireEnd, GitError> {
        let call = self.wire_call(request);
        let on_drop = match request.service {
            Service::UploadPack => Signal::KILL,
            Service::ReceivePack => Signal::TERM,
        };
        let mut group = Group::start(&call, on_drop)?;
        let (mut stdout, stderr) = group.take_output()?;
        let ended = pump::run(request, &mut group, (&mut stdout, stderr), input, output).await;
        match ended {
            Ok(WireEnd::Answered) => {}
            Ok(WireEnd::ClientGone) => group.end().await,
            Err(_) if request.service == Service::UploadPack => group.end().await,
            Err(_) => {
                // Its input is closed: git removes the objects of a half push and reports, if it is let.
                let mut nowhere = tokio::io::sink();
                let drain = tokio::io::copy(&mut stdout, &mut nowhere);
                let _ = timeout(GRACE, async { tokio::join!(drain, group.wait()) }).await;
                group.end().await;
            }
        }
        ended
    }

    fn wire_call(&self, request: &WireRequest) -> Call {
        let mut call = self.call(request.service.what()).with_hooks();
        if let Some(bytes) = request.pack_bytes_max {
            call = call.setting(format!("receive.maxInputSize={bytes}"));
        }
        if request.service == Service::ReceivePack {
            // Which branch may go is for the hook to say.
            call = call.setting("receive.denyDeleteCurrent=ignore".to_owned());
        }
        if !request.protocol.0.is_empty() {
            call = call.variable("GIT_PROTOCOL", &request.protocol.0);
        }
        for (name, value) in &request.environment {
            call = call.variable(name, value);
        }
        call = call.argument(request.service.command());
        call = match request.step {
            WireStep::Advertise => call.arguments(["--stateless-rpc", "--http-backend-info-refs"]),
            WireStep::Exchange => call.argument("--stateless-rpc"),
            WireStep::Whole => call,
        };
        call.argument("--").argument(self.path())
    }
}
