//! Asks a program: the request on its standard input, the answer on its standard output.
//!
//! Invariant: the program runs in a process group of its own with the variables that it was given and no others, and when
//! an ask ends, for whatever reason, that group has been killed.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout, timeout_at};

use crate::read::ANSWER_BYTES_MAX;
use crate::request::Request;

use super::settings::{ProviderKind, ProviderSettings, SettingsError};
use super::{Answered, AskError, Failed, foreign};

/// How long a group may take to end once it was asked to.
const GRACE: Duration = Duration::from_secs(2);
/// How long what a program left in the background may keep its output open.
const LEFT_OPEN_MAX: Duration = Duration::from_millis(500);
/// How often is looked whether the program has ended while its output is open.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const COMPLAINT_BYTES_MAX: usize = 2048;

/// A program that writes answers.
#[derive(Clone, Debug)]
pub(super) struct CommandWriter {
    command: Vec<String>,
    environment: Vec<(OsString, OsString)>,
    folder: Option<PathBuf>,
}

impl CommandWriter {
    pub(super) fn new(settings: &ProviderSettings) -> Result<CommandWriter, SettingsError> {
        if settings.command.first().is_none_or(String::is_empty) {
            return Err(SettingsError::Missing { kind: ProviderKind::Command, setting: "command" });
        }
        Ok(CommandWriter {
            command: settings.command.clone(),
            environment: settings.environment.clone(),
            folder: settings.folder.clone(),
        })
    }

    pub(super) async fn ask(&self, request: &Request, ends_at: Instant) -> Result<Answered, Failed> {
        let started_at = Instant::now();
        let input = serde_json::to_vec(request).unwrap_or_default();
        let mut group = self.start()?;
        let stdin = group.child.stdin.take();
        let (Some(mut stdout), Some(stderr)) = (group.child.stdout.take(), group.child.stderr.take()) else {
            return Err(AskError::Empty.into());
        };
        let feed = async {
            if let Some(mut stdin) = stdin {
                // A program that does not read everything may still answer.
                let _ = stdin.write_all(&input).await;
                let _ = stdin.shutdown().await;
            }
        };
        let complaint = tokio::spawn(read_end(stderr));
        let mut answer = Vec::new();
        let ended = {
            let read = group.read(&mut stdout, &mut answer);
            tokio::pin!(read);
            let both = async {
                tokio::select! {
                    () = async { feed.await; std::future::pending::<()>().await } => None,
                    read = &mut read => Some(read),
                }
            };
            timeout_at(ends_at, both).await
        };
        let is_late = ended.is_err();
        let is_too_long = answer.len() > ANSWER_BYTES_MAX;
        answer.truncate(ANSWER_BYTES_MAX);
        let status = group.end(is_late || is_too_long).await;
        let complaint = timeout(GRACE, complaint).await.ok().and_then(Result::ok).unwrap_or_default();
        if is_late {
            let limit = ends_at.duration_since(started_at);
            return Err(Failed { error: AskError::TimedOut { limit }, partial: answer });
        }
        let is_failed = !is_too_long && !status.is_some_and(|status| status.success());
        if is_failed {
            let status = status.map_or_else(|| "an unknown status".to_owned(), |status| status.to_string());
            let error = AskError::Exit { status, complaint: foreign(&complaint) };
            return Err(Failed { error, partial: answer });
        }
        Ok(Answered { bytes: answer, is_cut: is_too_long, usage: None, remark: None })
    }

    fn start(&self) -> Result<Group, AskError> {
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]).env_clear().envs(self.environment.iter().cloned());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        let child = command.process_group(0).spawn().map_err(|source| AskError::Start { source })?;
        let leader = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        Ok(Group { child, leader })
    }
}

/// A process group that ends with its owner.
struct Group {
    child: Child,
    /// Set until the leader was reaped: from then on its number may be another's.
    leader: Option<Pid>,
}

impl Group {
    /// Reads the output to its end, to its limit, or until the program has ended and only what it left behind keeps the
    /// output open.
    async fn read(&self, stdout: &mut (impl AsyncRead + Unpin), answer: &mut Vec<u8>) {
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ended_at: Option<Instant> = None;
        let mut chunk = vec![0; 64 << 10];
        loop {
            tokio::select! {
                read = stdout.read(&mut chunk) => match read {
                    Ok(count @ 1..) => {
                        answer.extend_from_slice(&chunk[..count]);
                        if answer.len() > ANSWER_BYTES_MAX {
                            return;
                        }
                    }
                    Ok(0) | Err(_) => return,
                },
                _ = look.tick() => {
                    if ended_at.is_none() && self.has_ended() {
                        ended_at = Some(Instant::now());
                    }
                    if ended_at.is_some_and(|at| at.elapsed() >= LEFT_OPEN_MAX) {
                        return;
                    }
                }
            }
        }
    }

    /// Whether the leader has ended. It is left for [`Group::end`] to reap, so that its number stays taken.
    fn has_ended(&self) -> bool {
        let Some(leader) = self.leader else { return true };
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        matches!(waitid(WaitId::Pid(leader), options), Ok(Some(_)))
    }

    /// Ends the whole group. Unless it `is_late`, the leader gets a moment to end by itself first.
    async fn end(&mut self, is_late: bool) -> Option<ExitStatus> {
        if !is_late && !self.ends_within(GRACE).await {
            self.signal(Signal::TERM);
        }
        if is_late {
            self.signal(Signal::TERM);
        }
        self.ends_within(GRACE).await;
        // Whatever is left of the group, while the leader's number can be no other's.
        self.signal(Signal::KILL);
        let status = self.child.wait().await.ok();
        self.leader = None;
        status
    }

    async fn ends_within(&self, limit: Duration) -> bool {
        let until_ended = async {
            let mut look = interval(LOOK_EVERY);
            while !self.has_ended() {
                look.tick().await;
            }
        };
        timeout(limit, until_ended).await.is_ok()
    }

    fn signal(&self, signal: Signal) {
        if let Some(leader) = self.leader {
            // It may have ended meanwhile, which is what was wanted.
            let _ = kill_process_group(leader, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// Reads everything, so that the program never blocks, and keeps the end.
async fn read_end(mut stream: impl AsyncRead + Unpin) -> String {
    let mut kept = Vec::new();
    let mut chunk = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut chunk).await {
        kept.extend_from_slice(&chunk[..count]);
        let excess = kept.len().saturating_sub(COMPLAINT_BYTES_MAX);
        kept.drain(..excess);
    }
    String::from_utf8_lossy(&kept).into_owned()
}
