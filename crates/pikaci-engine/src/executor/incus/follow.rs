//! Starts the job, follows its log by offset, and brings its result.
//!
//! Invariants: `guest.log` on the host holds each byte of the guest's once, in order, up to its limit, whatever happened to
//! the connection; the only verdict is the runner's result; whatever the server does, a cancel is over within five seconds.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::pin::pin;
use std::time::Duration;

use incus_client::{Client, Error, Exec, ExecOutput, ExecRequest, File as GuestFile, FileKind};
use pikaci::GuestExit;
use pikaci::guest::{ARTIFACTS_PATH, GuestResult, GuestStatus, LOG_NAME, RESULT_NAME, RUN_BINARY};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::launch::{GRACE_MS, NETWORK_DEADLINE, follow_command};
use super::{Attempt, RemoteLinuxVmContext, build_remote_incus_launch_command, described};

const SIGTERM: i32 = 15;
/// Inside the guest: the runner's user.
const ROOT: u32 = 0;
/// After the guest's own grace, before the instance is given up.
const KILL_AFTER: Duration = Duration::from_millis(1000);
/// How much later than the guest's deadline the host's is.
const HOST_MARGIN: Duration = Duration::from_secs(30);
const BACKOFF_FIRST: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// A result, or the words of a runner that has none. More is none of either.
const REPORT_BYTES_MAX: usize = 64 * 1024;
/// The exit code of a runner that has no job to tell of (docs/formats/guest.md).
const EXIT_REFUSED: i32 = 125;
/// The exit codes of a program that is not there, or is none.
const EXITS_NOT_STARTED: [i32; 2] = [126, 127];
/// How long a stopped instance is asked for what is on its disk.
const SALVAGE_DEADLINE: Duration = Duration::from_secs(60);
/// What the host's limit leaves for the guest runner's own word that the log is full.
const LOG_MARGIN_BYTES: u64 = 4096;

/// Follows one job.
pub(crate) struct Follower<'a> {
    client: &'a Client,
    attempt: &'a Attempt,
    context: &'a RemoteLinuxVmContext,
    log: File,
    offset: u64,
    exec: Option<Exec>,
    has_begun: bool,
    /// Whether an earlier process had the instance made, and may have been gone before that was done.
    is_in_the_making: bool,
    is_cancelled: bool,
    stop_at: Instant,
}

/// How one connection ended.
enum Streamed {
    /// The runner handed over its result.
    Result(Vec<u8>),
    /// The runner says why there is none.
    Refused(String),
    /// Nothing is known.
    Lost(String),
    /// It is too late.
    Late,
}

impl<'a> Follower<'a> {
    /// Opens the log on the host: anew, or after what an earlier process wrote.
    pub(crate) fn open(
        client: &'a Client,
        attempt: &'a Attempt,
        context: &'a RemoteLinuxVmContext,
        is_adopted: bool,
    ) -> io::Result<Follower<'a>> {
        fs::create_dir_all(&attempt.artifacts_dir)?;
        let path = attempt.artifacts_dir.join(LOG_NAME);
        let log = OpenOptions::new().append(true).create(true).open(path)?;
        if !is_adopted {
            log.set_len(0)?;
        }
        let offset = log.metadata()?.len();
        let limit = limit(attempt, context);
        Ok(Follower {
            client,
            attempt,
            context,
            log,
            offset,
            exec: None,
            // Where nothing was printed there may be no job yet: then it is started now.
            has_begun: is_adopted && offset > 0,
            is_in_the_making: is_adopted && offset == 0,
            is_cancelled: false,
            stop_at: Instant::now() + limit,
        })
    }

    /// Starts the job. Asking again is safe: the runner starts it once.
    pub(crate) async fn launch(&mut self, cancel: &CancellationToken) -> Result<(), GuestExit> {
        let give_up_at = Instant::now() + self.context.boot_deadline;
        let mut pause = BACKOFF_FIRST;
        loop {
            let error = tokio::select! {
                attached = self.attach() => match attached {
                    Ok(()) => return Ok(()),
                    Err(error) => error,
                },
                () = cancel.cancelled() => return Err(GuestExit::Cancelled),
            };
            let is_worth_it = error.is_transport() || matches!(error, Error::OperationForgotten { .. });
            if !is_worth_it || Instant::now() > give_up_at {
                let detail = format!("cannot start the guest runner: {}", described(&error));
                return Err(GuestExit::NoResult { detail });
            }
            sleep(pause).await;
            pause = (pause * 2).min(BACKOFF_MAX);
        }
    }

    async fn attach(&mut self) -> Result<(), Error> {
        let may_start = may_start(self.has_begun, self.is_cancelled);
        let mut request: ExecRequest = if may_start {
            build_remote_incus_launch_command(&self.attempt.job, self.context)
        } else {
            follow_command(self.offset)
        };
        let secrets = self.attempt.secrets.as_ref().filter(|_| may_start);
        if secrets.is_some() {
            request.command.push("--secrets".to_owned());
        }
        let mut exec = self.client.exec(&self.context.instance, &request).await?;
        if let Some(secrets) = secrets {
            // A runner that has the job already leaves them unread, and they end with the connection.
            exec.write(secrets.bytes().to_vec()).await?;
        }
        self.is_in_the_making = false;
        self.exec = Some(exec);
        Ok(())
    }

    /// Follows until there is a result, or there can't be one.
    pub(crate) async fn wait(&mut self, cancel: &CancellationToken) -> GuestExit {
        let mut pause = BACKOFF_FIRST;
        let boots_until = Instant::now() + self.context.boot_deadline;
        if cancel.is_cancelled() {
            self.cancelled();
        }
        loop {
            let before = self.offset;
            let streamed = match self.exec.take() {
                Some(exec) => self.stream(exec, cancel).await,
                None => tokio::select! {
                    // What is cancelled is not started any more.
                    biased;
                    () = cancel.cancelled(), if !self.is_cancelled => {
                        self.cancelled();
                        continue;
                    }
                    attached = timeout_at(self.stop_at, self.attach()) => match attached {
                        Ok(Ok(())) => continue,
                        Ok(Err(error)) => Streamed::Lost(described(&error)),
                        Err(_) => Streamed::Late,
                    },
                },
            };
            let reason = match streamed {
                Streamed::Result(bytes) => return self.judge(&bytes),
                Streamed::Refused(detail) => return self.without_result(detail),
                Streamed::Late => return self.late(),
                Streamed::Lost(reason) => reason,
            };
            self.attempt.host_log.line(format!("lost the guest at byte {}: {reason}", self.offset));
            let found = tokio::select! {
                found = self.client.instance(&self.context.instance) => found,
                () = sleep_until(self.stop_at) => return self.late(),
                () = cancel.cancelled(), if !self.is_cancelled => {
                    self.cancelled();
                    continue;
                }
            };
            match found {
                Err(Error::NotFound { .. }) => {
                    let detail = format!("instance {} is gone ({reason})", self.context.instance);
                    return self.without_result(detail);
                }
                // The server goes on with what it makes, also when nobody waits any more.
                Ok(found)
                    if self.is_in_the_making && found.value.is_stopped() && Instant::now() < boots_until => {}
                Ok(found) if !found.value.is_running() => return self.salvage(&reason).await,
                // It runs, or the server can't be asked now: go on.
                Ok(_) | Err(_) => {}
            }
            pause = if self.offset == before { (pause * 2).min(BACKOFF_MAX) } else { BACKOFF_FIRST };
            tokio::select! {
                () = sleep(pause) => {}
                () = sleep_until(self.stop_at) => return self.late(),
                () = cancel.cancelled(), if !self.is_cancelled => self.cancelled(),
            }
        }
    }

    fn cancelled(&mut self) {
        self.is_cancelled = true;
        self.attempt.host_log.line("cancelled: the guest runner is told to stop");
        self.stop_at = Instant::now() + Duration::from_millis(GRACE_MS) + KILL_AFTER;
    }

    /// Reads one connection to its end.
    async fn stream(&mut self, mut exec: Exec, cancel: &CancellationToken) -> Streamed {
        let mut report = Vec::new();
        if self.is_cancelled {
            let _ = timeout_at(self.stop_at, exec.signal(SIGTERM)).await;
        }
        loop {
            let output = tokio::select! {
                output = exec.read() => output,
                () = cancel.cancelled(), if !self.is_cancelled => {
                    self.cancelled();
                    // A lost connection shows itself when it is read.
                    let _ = timeout_at(self.stop_at, exec.signal(SIGTERM)).await;
                    continue;
                }
                () = sleep_until(self.stop_at) => return Streamed::Late,
            };
            match output {
                Ok(Some(ExecOutput::Stdout(bytes))) => {
                    self.has_begun = true;
                    if let Err(error) = self.keep(&bytes) {
                        return Streamed::Refused(format!("cannot write the job's log: {error}"));
                    }
                }
                Ok(Some(ExecOutput::Stderr(bytes))) => {
                    self.has_begun = true;
                    let room = REPORT_BYTES_MAX.saturating_sub(report.len());
                    report.extend_from_slice(&bytes[..bytes.len().min(room)]);
                }
                Ok(None) => break,
                Err(error) => return Streamed::Lost(described(&error)),
            }
        }
        if GuestResult::parse(&report).is_ok() {
            // The exit code says nothing that the result does not say.
            return Streamed::Result(report);
        }
        let mut code = pin!(exec.wait());
        let code = tokio::select! {
            code = timeout_at(self.stop_at, &mut code) => code,
            // Then there is no more time than for any other cancel.
            () = cancel.cancelled(), if !self.is_cancelled => {
                self.cancelled();
                timeout_at(self.stop_at, code).await
            }
        };
        match code {
            Ok(Ok(EXIT_REFUSED)) => {
                let words = String::from_utf8_lossy(&report);
                Streamed::Refused(format!("the guest has no result: {}", words.trim()))
            }
            Ok(Ok(code)) if EXITS_NOT_STARTED.contains(&code) && !self.has_begun => {
                Streamed::Refused(format!(
                    "image {} has no guest runner that can be run at {RUN_BINARY} (exit code {code}); `pikaci image build` makes \
                 one that has",
                    self.attempt.job.image
                ))
            }
            Ok(Err(Error::OperationFailed { message, .. })) => {
                Streamed::Refused(format!("cannot run the guest runner: {message}"))
            }
            Ok(Ok(code)) => Streamed::Lost(format!("the guest runner's follower ended with code {code}")),
            Ok(Err(error)) => Streamed::Lost(described(&error)),
            Err(_) => Streamed::Late,
        }
    }

    /// Keeps bytes of the job's log, as far as there is room for them. What was left out counts as read.
    fn keep(&mut self, bytes: &[u8]) -> io::Result<()> {
        let bytes_max = self.context.log_bytes_max.saturating_add(LOG_MARGIN_BYTES);
        let (begin, end) = (self.offset, self.offset.saturating_add(bytes.len() as u64));
        self.offset = end;
        let room = usize::try_from(bytes_max.saturating_sub(begin)).unwrap_or(usize::MAX);
        self.log.write_all(&bytes[..bytes.len().min(room)])?;
        if begin <= bytes_max && end > bytes_max {
            let words = format!("pikaci: guest.log is longer than {bytes_max} bytes; the rest was left out");
            self.attempt.host_log.line(&words);
            // At the end of the log, where who misses something looks.
            writeln!(self.log, "\n[{words}]")?;
        }
        Ok(())
    }

    fn judge(&self, bytes: &[u8]) -> GuestExit {
        let result = match GuestResult::parse(bytes) {
            Ok(result) => result,
            Err(error) => return self.without_result(error.to_string()),
        };
        self.attempt.host_log.line(format!("the guest's result: {:?}", result.status));
        // Only a run that was cancelled may say so of its job: whoever else stopped the runner was not asked to.
        if result.status == GuestStatus::Cancelled {
            return self.without_result("the guest runner was told to stop, and not by this run".to_owned());
        }
        if let Err(error) = self.keep_result(bytes) {
            self.attempt.host_log.line(format!("cannot keep {RESULT_NAME}: {error}"));
        }
        GuestExit::Result(result)
    }

    fn keep_result(&self, bytes: &[u8]) -> io::Result<()> {
        let folder = &self.attempt.artifacts_dir;
        let temporary = folder.join(".result.json.new");
        fs::write(&temporary, bytes)?;
        fs::rename(temporary, folder.join(RESULT_NAME))
    }

    fn without_result(&self, detail: String) -> GuestExit {
        self.attempt.host_log.line(&detail);
        if self.is_cancelled { GuestExit::Cancelled } else { GuestExit::NoResult { detail } }
    }

    fn late(&self) -> GuestExit {
        if self.is_cancelled {
            self.attempt.host_log.line("the guest did not end by itself");
            return GuestExit::Cancelled;
        }
        GuestExit::HostDeadline { limit: limit(self.attempt, self.context) }
    }

    /// Reads what a stopped instance has on its disk.
    async fn salvage(&mut self, reason: &str) -> GuestExit {
        let stopped = format!("instance {} has stopped ({reason})", self.context.instance);
        self.attempt.host_log.line(&stopped);
        let deadline = if self.is_cancelled { KILL_AFTER } else { SALVAGE_DEADLINE };
        let unread = match timeout(deadline, self.salvage_log()).await {
            Ok(Ok(())) => None,
            Ok(Err(reason)) => Some(reason),
            Err(_) => Some("it took too long".to_owned()),
        };
        if let Some(reason) = unread {
            self.attempt.host_log.line(format!("cannot read the rest of its log: {reason}"));
        }
        match timeout(deadline, self.salvage_result()).await {
            Ok(Ok(Some(bytes))) => self.judge(&bytes),
            Ok(Ok(None) | Err(_)) | Err(_) => self.without_result(stopped),
        }
    }

    /// The result, if it is one: the job can put another file of this name there, but no file of root's.
    async fn salvage_result(&self) -> Result<Option<Vec<u8>>, Error> {
        let Some(mut file) = self.find_file(RESULT_NAME).await? else { return Ok(None) };
        if file.user != ROOT {
            return Ok(None);
        }
        file.body.read_all(REPORT_BYTES_MAX).await
    }

    async fn salvage_log(&mut self) -> Result<(), String> {
        let found = self.find_file(LOG_NAME).await.map_err(|error| described(&error))?;
        let Some(mut file) = found else { return Err(format!("{LOG_NAME} is no file")) };
        let mut position = 0_u64;
        while let Some(bytes) = file.body.read().await.map_err(|error| described(&error))? {
            let end = position + bytes.len() as u64;
            if end > self.offset {
                let known = usize::try_from(self.offset.saturating_sub(position)).unwrap_or(usize::MAX);
                self.keep(bytes.get(known..).unwrap_or_default()).map_err(|error| error.to_string())?;
            }
            position = end;
        }
        Ok(())
    }

    /// A plain file of the artifacts. Looked at before it is opened: in its place the job can have put a pipe, which would be
    /// waited for, or a link, whose text would pass for its content.
    async fn find_file(&self, name: &str) -> Result<Option<GuestFile>, Error> {
        let path = format!("{ARTIFACTS_PATH}/{name}");
        let info = self.client.file_info(&self.context.instance, &path).await?;
        if info.kind != FileKind::File || info.bytes == 0 {
            return Ok(None);
        }
        let file = self.client.file(&self.context.instance, &path).await?;
        Ok(Some(file).filter(|file| file.kind == FileKind::File))
    }
}

/// Whether to order the job's start, which is safe to ask for again, rather than only what it says. Nothing is started for a run
/// that somebody wanted to end.
fn may_start(has_begun: bool, is_cancelled: bool) -> bool {
    !has_begun && !is_cancelled
}

/// How long the host waits for a result, from the launch on.
fn limit(attempt: &Attempt, context: &RemoteLinuxVmContext) -> Duration {
    let network = if context.network.is_some() { NETWORK_DEADLINE } else { Duration::ZERO };
    context.mount_deadline + network + attempt.job.timeout() + Duration::from_millis(GRACE_MS) + HOST_MARGIN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_not_started_when_it_has_begun_or_its_run_was_cancelled() {
        assert!(may_start(false, false));
        assert!(!may_start(true, false) && !may_start(false, true) && !may_start(true, true));
    }
}
