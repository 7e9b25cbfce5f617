//! The hooks of a push: ask the forge whether it may be, tell the forge that it was, and show the pusher the answers.
//!
//! Git runs this binary as `pre-receive` before a push is stored, and as `post-receive` after. What both ends of the socket
//! say is here.
//!
//! Invariants: a push that came through the forge is stored only when the forge has said yes; one over a file path, which
//! only an operator can make, is not asked about. Once stored, a push never fails here and never waits long: a forge that
//! is away finds it by itself later.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pika_git::{Git, Oid, Quarantine, Repository};
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
/// How many references one question is about, and how much git may say of them all.
const CHECKED_AT_ONCE: usize = 1000;
const CHECKED_BYTES_MAX: u64 = 16 << 20;
/// How long it may take to find out where the branches of a push go.
const CHECK_DEADLINE: Duration = Duration::from_secs(90);
/// How much a pusher is shown.
const LINES_MAX: usize = 100;
const LINE_CHARACTERS_MAX: usize = 500;

/// What the forge is told, in one line of JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Push {
    /// Whether it is stored already.
    #[serde(default)]
    pub stage: Stage,
    /// The bare repository, absolute and without links.
    pub repository: PathBuf,
    /// Who pushed; absent when the push came over a file path.
    pub actor: Option<String>,
    /// What moved.
    pub updates: Vec<PushedRef>,
}

/// When the forge is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Before it is stored: the forge decides.
    Asked,
    /// After it is stored.
    #[default]
    Stored,
}

/// One reference that moved, or is to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushedRef {
    /// The full name.
    pub reference: String,
    /// The object that it named before, in hex; absent when it is new.
    pub old: Option<String>,
    /// The object that it names now, in hex; absent when it is gone.
    pub new: Option<String>,
    /// Whether it moved to a descendant. Known of branches, before they are stored.
    #[serde(default)]
    pub is_fast_forward: bool,
}

/// What the forge answers, in one line of JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushAnswer {
    /// What the pusher is shown.
    pub lines: Vec<String>,
    /// Whether a push that was asked about may be stored. Nothing but the word of the forge makes it so.
    #[serde(default)]
    pub is_allowed: bool,
}

/// What git is given for a push that came through the forge, so that its hooks find the forge and know the pusher.
pub fn variables(socket: &Path, actor: &str) -> Vec<(String, String)> {
    vec![
        (SOCKET_VARIABLE.to_owned(), socket.to_string_lossy().into_owned()),
        (ACTOR_VARIABLE.to_owned(), actor.to_owned()),
        // Who moved a branch, for its log.
        ("GIT_COMMITTER_NAME".to_owned(), actor.to_owned()),
    ]
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
    /// The git that runs the hook.
    pub git: Git,
    /// Where the objects of a push are that is not stored yet.
    pub quarantine: Quarantine,
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
            git: is_set("PATH").map_or_else(Git::default, Git::new),
            quarantine: Quarantine::from_variables(is_set),
        }
    }

    /// Asks the forge whether the push on `input` may be stored, and writes why not to `output`.
    pub fn check(&self, input: impl io::Read, mut output: impl io::Write) -> bool {
        if self.actor.is_none() {
            return true;
        }
        let answer = self.ask(input).unwrap_or_else(|error| PushAnswer {
            lines: vec![format!(
                "pika: the push is refused, because the forge could not be asked: {error}; push again in a minute"
            )],
            is_allowed: false,
        });
        show(&answer.lines, &mut output);
        answer.is_allowed
    }

    fn ask(&self, input: impl io::Read) -> Result<PushAnswer, HookError> {
        let updates = read_updates(input, CHECKED_BYTES_MAX, usize::MAX)?;
        self.run_within(CHECK_DEADLINE, self.ask_all(updates))
    }

    async fn ask_all(&self, updates: Vec<PushedRef>) -> Result<PushAnswer, HookError> {
        let repository = self.repository.canonicalize().map_err(HookError::Io)?;
        let repository = Repository::open_with(&self.git, repository).map_err(|_| HookError::Compare)?;
        let mut answer = PushAnswer { lines: Vec::new(), is_allowed: true };
        for updates in updates.chunks(CHECKED_AT_ONCE) {
            let mut updates = updates.to_vec();
            for update in &mut updates {
                update.is_fast_forward = self.is_fast_forward(&repository, update).await?;
            }
            let asked = timeout(DEADLINE, self.exchange(Stage::Asked, updates));
            let answered = asked.await.map_err(|_| HookError::Slow)??;
            answer.is_allowed &= answered.is_allowed;
            answer.lines.extend(answered.lines);
        }
        Ok(answer)
    }

    async fn is_fast_forward(&self, repository: &Repository, update: &PushedRef) -> Result<bool, HookError> {
        let (Some(old), Some(new)) = (&update.old, &update.new) else { return Ok(false) };
        if !update.reference.starts_with("refs/heads/") {
            return Ok(false);
        }
        let parse = |oid: &str| Oid::parse(oid).map_err(|_| HookError::Updates);
        let found = repository.is_ancestor(&parse(old)?, &parse(new)?, &self.quarantine).await;
        found.map_err(|_| HookError::Compare)
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
        show(&lines, &mut output);
    }

    fn tell(&self, input: impl io::Read) -> Result<PushAnswer, HookError> {
        let updates = read_updates(input, MESSAGE_BYTES_MAX, UPDATES_MAX)?;
        if updates.is_empty() {
            return Ok(PushAnswer::default());
        }
        self.run_within(DEADLINE, self.exchange(Stage::Stored, updates))
    }

    fn run_within(
        &self,
        deadline: Duration,
        work: impl Future<Output = Result<PushAnswer, HookError>>,
    ) -> Result<PushAnswer, HookError> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(HookError::Io)?;
        let done = runtime.block_on(async { timeout(deadline, work).await });
        // A socket that does not answer is not waited for on the way out either.
        runtime.shutdown_background();
        done.unwrap_or(Err(HookError::Slow))
    }

    async fn exchange(&self, stage: Stage, updates: Vec<PushedRef>) -> Result<PushAnswer, HookError> {
        let repository = self.repository.canonicalize().map_err(HookError::Io)?;
        let socket = match &self.socket {
            Some(socket) => socket.clone(),
            None => find_socket(&repository).await?,
        };
        let push = Push { stage, repository, actor: self.actor.clone(), updates };
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
    #[error("it took too long")]
    Slow,
    #[error("git could not tell where a branch goes")]
    Compare,
    #[error("the repository does not know its forge's socket (git config {SOCKET_SETTING})")]
    NoSocket,
    #[error("git reported too many references, or a line that can't be read")]
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
fn read_updates(
    input: impl io::Read,
    bytes_max: u64,
    updates_max: usize,
) -> Result<Vec<PushedRef>, HookError> {
    let mut text = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(input, bytes_max + 1), &mut text).map_err(HookError::Io)?;
    if text.len() as u64 > bytes_max {
        return Err(HookError::Updates);
    }
    let text = String::from_utf8_lossy(&text);
    let updates: Option<Vec<PushedRef>> = text.lines().map(parse_update).collect();
    updates.filter(|updates| updates.len() <= updates_max).ok_or(HookError::Updates)
}

fn parse_update(line: &str) -> Option<PushedRef> {
    let mut words = line.splitn(3, ' ');
    let mut object = || Oid::parse_optional(words.next()?).ok();
    let (old, new) = (object()?, object()?);
    let reference = words.next()?.to_owned();
    let text = |oid: Option<Oid>| oid.map(|oid| oid.to_string());
    Some(PushedRef { reference, old: text(old), new: text(new), is_fast_forward: false })
}

/// Shows a pusher what the forge says.
fn show(lines: &[String], output: &mut impl io::Write) {
    for line in lines.iter().take(LINES_MAX) {
        // A pusher who has hung up reads nothing.
        let _ = writeln!(output, "{}", printable(line));
    }
    let _ = output.flush();
}

/// Cuts a line to what a terminal may be given: a manifest's error may quote anything.
fn printable(line: &str) -> String {
    line.chars().filter(|character| !character.is_control()).take(LINE_CHARACTERS_MAX).collect()
}

#[cfg(test)]
mod tests;
