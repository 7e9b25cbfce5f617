//! The hook of a push: tells the forge what was pushed, and tells the pusher what the forge makes of it.
//!
//! Git runs this binary as `post-receive`, after the push is stored. What both ends of the socket say is here.
//!
//! Invariant: a push never fails here and never waits long. A forge that is away finds the push by itself later.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pika_git::{Oid, Repository};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// Names the forge's socket to the hook.
pub const SOCKET_VARIABLE: &str = "PIKA_NEWS_HOOK_SOCKET";
/// Names who pushes to the hook.
pub const ACTOR_VARIABLE: &str = "PIKA_NEWS_ACTOR";
/// Names the forge's socket in a repository's configuration, for pushes that do not come through the forge.
pub const SOCKET_SETTING: &str = "pika-news.socket";

/// The most a message may have, in either direction.
pub(crate) const MESSAGE_BYTES_MAX: u64 = 1 << 20;
/// How many references one message tells of; a push of more is found by the forge itself.
const UPDATES_MAX: usize = 2000;
/// How long a push waits for the forge.
const DEADLINE: Duration = Duration::from_secs(5);
/// How much a pusher is shown.
const LINES_MAX: usize = 100;
const LINE_CHARACTERS_MAX: usize = 500;

/// What the forge is told, in one line of JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Push {
    /// The bare repository, absolute and without links.
    pub repository: PathBuf,
    /// Who pushed; absent when the push came over a file path.
    pub actor: Option<String>,
    /// What moved.
    pub updates: Vec<PushedRef>,
}

/// One reference that moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushedRef {
    /// The full name.
    pub reference: String,
    /// The object that it named before, in hex; absent when it is new.
    pub old: Option<String>,
    /// The object that it names now, in hex; absent when it is gone.
    pub new: Option<String>,
}

/// What the forge answers, in one line of JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushAnswer {
    /// What the pusher is shown.
    pub lines: Vec<String>,
}

/// Where a hook runs, and what it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookCall {
    /// The bare repository.
    pub repository: PathBuf,
    /// The forge's socket, when the push came through the forge.
    pub socket: Option<PathBuf>,
    /// Who pushes, when the push came through the forge.
    pub actor: Option<String>,
}

impl HookCall {
    /// Reads what git and the forge hand to a hook. `variable` looks up one variable of the process.
    pub fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> HookCall {
        let is_set = |name: &str| variable(name).filter(|value| !value.is_empty());
        HookCall {
            // Git runs a hook in the repository and names it by `.`.
            repository: is_set("GIT_DIR").map_or_else(|| PathBuf::from("."), PathBuf::from),
            socket: is_set(SOCKET_VARIABLE).map(PathBuf::from),
            actor: is_set(ACTOR_VARIABLE).map(|actor| actor.to_string_lossy().into_owned()),
        }
    }

    /// Tells the forge of the push on `input`, and writes what it answers to `output`. The push stands, whatever happens.
    pub fn run(&self, input: impl io::Read, mut output: impl io::Write) {
        let lines = match self.tell(input) {
            Ok(answer) => answer.lines,
            Err(error) => vec![
                format!("pika: the push is stored, but the forge could not be told: {error}"),
                "pika: it picks the push up by itself within a minute, or when it starts".to_owned(),
            ],
        };
        for line in lines.iter().take(LINES_MAX) {
            // A pusher who has hung up reads nothing.
            let _ = writeln!(output, "{}", printable(line));
        }
        let _ = output.flush();
    }

    fn tell(&self, input: impl io::Read) -> Result<PushAnswer, HookError> {
        let updates = read_updates(input)?;
        if updates.is_empty() {
            return Ok(PushAnswer::default());
        }
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(HookError::Io)?;
        let told = runtime.block_on(async { timeout(DEADLINE, self.exchange(updates)).await });
        // A socket that does not answer is not waited for on the way out either.
        runtime.shutdown_background();
        told.unwrap_or(Err(HookError::Slow))
    }

    async fn exchange(&self, updates: Vec<PushedRef>) -> Result<PushAnswer, HookError> {
        let repository = self.repository.canonicalize().map_err(HookError::Io)?;
        let socket = match &self.socket {
            Some(socket) => socket.clone(),
            None => find_socket(&repository).await?,
        };
        let push = Push { repository, actor: self.actor.clone(), updates };
        let mut message = serde_json::to_vec(&push).map_err(|error| HookError::Io(error.into()))?;
        message.push(b'\n');
        let mut stream = UnixStream::connect(&socket).await.map_err(|_| HookError::Away)?;
        stream.write_all(&message).await.map_err(HookError::Io)?;
        let mut answer = Vec::new();
        let mut reader = BufReader::new(stream.take(MESSAGE_BYTES_MAX));
        reader.read_until(b'\n', &mut answer).await.map_err(HookError::Io)?;
        if answer.is_empty() {
            return Err(HookError::Away);
        }
        serde_json::from_slice(&answer).map_err(|error| HookError::Io(error.into()))
    }
}

/// Why the forge could not be told.
#[derive(Debug, thiserror::Error)]
enum HookError {
    #[error("it does not answer")]
    Away,
    #[error("it took longer than {} s", DEADLINE.as_secs())]
    Slow,
    #[error("the repository does not know its forge's socket (git config {SOCKET_SETTING})")]
    NoSocket,
    #[error("git reported more than {UPDATES_MAX} references, or a line that can't be read")]
    Updates,
    #[error("{0}")]
    Io(io::Error),
}

async fn find_socket(repository: &Path) -> Result<PathBuf, HookError> {
    let repository = Repository::open(repository).map_err(|_| HookError::NoSocket)?;
    let setting = repository.find_config(SOCKET_SETTING).await.map_err(|_| HookError::NoSocket)?;
    setting.map(PathBuf::from).ok_or(HookError::NoSocket)
}

/// Reads `old new reference` lines, as git writes them to its hook.
fn read_updates(input: impl io::Read) -> Result<Vec<PushedRef>, HookError> {
    let mut text = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(input, MESSAGE_BYTES_MAX), &mut text).map_err(HookError::Io)?;
    let text = String::from_utf8_lossy(&text);
    let updates: Option<Vec<PushedRef>> = text.lines().map(parse_update).collect();
    updates.filter(|updates| updates.len() <= UPDATES_MAX).ok_or(HookError::Updates)
}

fn parse_update(line: &str) -> Option<PushedRef> {
    let mut words = line.splitn(3, ' ');
    let mut object = || Oid::parse_optional(words.next()?).ok();
    let (old, new) = (object()?, object()?);
    let reference = words.next()?.to_owned();
    Some(PushedRef { reference, old: old.map(|oid| oid.to_string()), new: new.map(|oid| oid.to_string()) })
}

/// Cuts a line to what a terminal may be given: a manifest's error may quote anything.
fn printable(line: &str) -> String {
    line.chars().filter(|character| !character.is_control()).take(LINE_CHARACTERS_MAX).collect()
}

#[cfg(test)]
mod tests;
