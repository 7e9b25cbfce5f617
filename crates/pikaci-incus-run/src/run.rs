//! Runs the command: prepare, start, wait for the first of its end, its deadline and an order to stop, end everything,
//! report.
//!
//! Invariant: the verdict is decided by the first of these three alone; what follows can add to its message only.

use std::ffi::OsString;
use std::fs;
use std::io::{self, PipeReader, PipeWriter};
use std::os::unix::fs::fchown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::RecvTimeoutError;
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustix::process::Pid;

use crate::contract::{LOG_BYTES_MAX, LOG_NAME, PATH_DEFAULT, RESULT_NAME, SECRETS_VARIABLE};
use crate::follow::Tee;
use crate::guest_log::{GuestLog, clear};
use crate::job::{GuestJob, GuestPaths, JobError, Sentinel, make_folder};
use crate::mask::Masker;
use crate::network::{self, Watch};
use crate::one_line;
use crate::orders::{Orders, Stop, Wakeup};
use crate::processes;
use crate::pump::Pump;
use crate::report::{GuestReport, GuestStatus};
use crate::secrets::Secrets;
use crate::user::CommandUser;

/// What a command inherits from the runner's own environment, when it is set there.
const INHERITED: [&str; 4] = ["TMPDIR", "TZ", "RUSTUP_HOME", "SSL_CERT_FILE"];
/// What background processes get when the command itself has ended.
const LEFTOVER_GRACE: Duration = Duration::from_millis(200);
const SENTINEL_LOOKS_EVERY: Duration = Duration::from_millis(3);

/// How a command is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunOptions {
    /// What must be mounted.
    pub sentinels: Vec<Sentinel>,
    /// How long all of them together may take to appear.
    pub sentinel_wait: Duration,
    /// How long the guest may take to have an address; zero: none is waited for.
    pub network_wait: Duration,
    /// How much of the command's output is kept.
    pub log_bytes_max: u64,
    /// Whether the end of standard input is an order to stop.
    pub has_lifeline: bool,
    /// Whether secrets are read from standard input.
    pub has_secrets: bool,
    /// Whether the command's output is not printed.
    pub is_quiet: bool,
    /// Whether the command runs as the runner's own user.
    pub keeps_user: bool,
    /// Between TERM and KILL.
    pub grace: Duration,
}

impl Default for RunOptions {
    fn default() -> RunOptions {
        RunOptions {
            sentinels: Vec::new(),
            sentinel_wait: Duration::ZERO,
            network_wait: Duration::ZERO,
            log_bytes_max: LOG_BYTES_MAX,
            has_lifeline: false,
            has_secrets: false,
            is_quiet: false,
            keeps_user: false,
            grace: Duration::from_secs(5),
        }
    }
}

/// How a run ended, and whether `result.json` says so.
pub(crate) struct Ended {
    pub(crate) report: GuestReport,
    pub(crate) is_written: bool,
}

enum NotStarted {
    Refused(JobError),
    Stopped(Stop),
}

impl From<JobError> for NotStarted {
    fn from(error: JobError) -> NotStarted {
        NotStarted::Refused(error)
    }
}

/// Runs the command that the environment names, and leaves `guest.log` and `result.json` in the artifacts.
///
/// Whatever goes wrong becomes a report; it is written wherever the artifacts can be written.
pub(crate) fn run(
    orders: &Orders,
    environment: &dyn Fn(&str) -> Option<OsString>,
    paths: &GuestPaths,
    options: &RunOptions,
    secrets: Result<Secrets, JobError>,
) -> Ended {
    let prepared = secrets.map_err(NotStarted::from).and_then(|secrets| {
        let prepared = prepare(orders, environment, paths, options, &secrets)?;
        Ok((prepared, Masker::new(secrets.masks())))
    });
    let (mut report, tee) = match prepared {
        Ok((prepared, masker)) => prepared.run(orders, options, masker),
        Err(NotStarted::Refused(error)) => (GuestReport::refused(one_line(&error)), None),
        Err(NotStarted::Stopped(stop)) => {
            let message = format!("{} before the command was started", stop.reason());
            (GuestReport::not_started(GuestStatus::Cancelled, message), None)
        }
    };
    let written = report.write(&paths.artifacts);
    let is_written = written.is_ok();
    if let Err(error) = written {
        let reason = report.message.map_or_else(String::new, |message| format!("{message}; "));
        let path = paths.artifacts.display();
        report = GuestReport::refused(format!("{reason}cannot write result.json in {path}: {error}"));
    }
    // After the verdict: a slow reader of our output must not delay it.
    if let Some(tee) = tee {
        tee.finish();
    }
    Ended { report, is_written }
}

/// Takes away the log and the result of an earlier run.
pub(crate) fn clear_earlier(paths: &GuestPaths) -> Result<(), JobError> {
    for name in [RESULT_NAME, LOG_NAME] {
        let path = paths.artifacts.join(name);
        clear(&path).map_err(JobError::io("remove an earlier", &path))?;
    }
    Ok(())
}

struct Prepared {
    job: GuestJob,
    log: GuestLog,
    output: PipeReader,
    command: Command,
}

fn prepare(
    orders: &Orders,
    environment: &dyn Fn(&str) -> Option<OsString>,
    paths: &GuestPaths,
    options: &RunOptions,
    secrets: &Secrets,
) -> Result<Prepared, NotStarted> {
    make_folder(&paths.artifacts)?;
    clear_earlier(paths)?;
    let job = GuestJob::read(environment)?;
    wait_for_sentinels(orders, options)?;
    wait_for_network(orders, options.network_wait)?;
    fs::read_dir(&paths.snapshot).map_err(JobError::io("start a command in", &paths.snapshot))?;
    let user = CommandUser::of(&job, options.keeps_user)?;
    for folder in [&paths.artifacts, &paths.cargo_home, &paths.cargo_target] {
        make_folder(folder)?;
        user.own(folder)?;
    }
    secrets.write(&paths.secrets, &user)?;
    let home = home(&user, environment)?;
    let log_path = paths.artifacts.join(LOG_NAME);
    let opened =
        open_log(&log_path, &user).and_then(|(log, output, pipe)| Ok((log, output, pipe.try_clone()?, pipe)));
    let (log, output, stdout, stderr) = opened.map_err(JobError::io("create", &log_path))?;
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(&job.command).current_dir(&paths.snapshot);
    command.stdin(Stdio::null()).stdout(stdout).stderr(stderr).process_group(0);
    set_environment(&mut command, environment, paths, &user, &home);
    if options.has_secrets {
        command.env(SECRETS_VARIABLE, &paths.secrets);
    }
    if let Some((user, group)) = user.switch {
        command.uid(user).gid(group);
    }
    match orders.find_stop(Duration::ZERO) {
        Some(stop) => Err(NotStarted::Stopped(stop)),
        None => Ok(Prepared { job, log, output, command }),
    }
}

/// Makes sure that every share is mounted, the right one, within the time that all of them may take.
fn wait_for_sentinels(orders: &Orders, options: &RunOptions) -> Result<(), NotStarted> {
    let start = Instant::now();
    for sentinel in &options.sentinels {
        loop {
            match sentinel.check() {
                Ok(()) => break,
                // What is mounted already does not become another share by waiting.
                Err(JobError::NotMounted { .. } | JobError::NoWitness { .. })
                    if start.elapsed() < options.sentinel_wait => {}
                Err(error) => return Err(error.into()),
            }
            if let Some(stop) = orders.find_stop(SENTINEL_LOOKS_EVERY) {
                return Err(NotStarted::Stopped(stop));
            }
        }
    }
    Ok(())
}

/// Makes sure that the guest has an address, when that was asked for.
fn wait_for_network(orders: &Orders, limit: Duration) -> Result<(), NotStarted> {
    let (start, mut watch) = (Instant::now(), Watch::new());
    while !limit.is_zero() && !watch.is_there() {
        if start.elapsed() >= limit {
            return Err(JobError::NoNetwork { after: limit }.into());
        }
        if let Some(stop) = orders.find_stop(network::LOOKS_EVERY) {
            return Err(NotStarted::Stopped(stop));
        }
    }
    Ok(())
}

/// The log, and both ends of the pipe that the command's output comes through.
fn open_log(path: &Path, user: &CommandUser) -> io::Result<(GuestLog, PipeReader, PipeWriter)> {
    let log = GuestLog::create(path)?;
    let (reader, writer) = io::pipe()?;
    if let Some((user, group)) = user.switch {
        log.give_to(user, group)?;
        // Opened anew as /dev/stdout, a pipe is asked for its owner.
        fchown(&writer, Some(user), Some(group))?;
    }
    Ok((log, reader, writer))
}

/// A home that the command can write to: its user's, or one below the temporary folder.
fn home(user: &CommandUser, environment: &dyn Fn(&str) -> Option<OsString>) -> Result<PathBuf, JobError> {
    let is_own = user.switch.is_none();
    let can_write = |folder: &Path| {
        let flags = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
        folder.is_dir() && rustix::fs::access(folder, flags).is_ok()
    };
    if !is_own {
        make_folder(&user.home)?;
        user.own(&user.home)?;
        return Ok(user.home.clone());
    }
    if let Some(home) = environment("HOME").map(PathBuf::from)
        && can_write(&home)
    {
        return Ok(home);
    }
    if user.home != Path::new("/") && can_write(&user.home) {
        return Ok(user.home.clone());
    }
    let home = environment("TMPDIR").map_or_else(|| PathBuf::from("/tmp"), PathBuf::from).join("home");
    make_folder(&home)?;
    Ok(home)
}

fn set_environment(
    command: &mut Command,
    environment: &dyn Fn(&str) -> Option<OsString>,
    paths: &GuestPaths,
    user: &CommandUser,
    home: &Path,
) {
    command.env_clear();
    command.env("PATH", environment("PATH").unwrap_or_else(|| PATH_DEFAULT.into()));
    command.env("HOME", home).env("USER", &user.name).env("LOGNAME", &user.name);
    command.env("LANG", "C.UTF-8").env("TERM", "dumb").env("CI", "true").env("PIKACI", "1");
    command.env("PIKACI_SNAPSHOT", &paths.snapshot).env("PIKACI_ARTIFACTS", &paths.artifacts);
    command.env("CARGO_HOME", &paths.cargo_home).env("CARGO_TARGET_DIR", &paths.cargo_target);
    for name in INHERITED {
        if let Some(value) = environment(name) {
            command.env(name, value);
        }
    }
}

impl Prepared {
    fn run(mut self, orders: &Orders, options: &RunOptions, masker: Masker) -> (GuestReport, Option<Tee>) {
        let refused = |message| (GuestReport::refused(message), None);
        processes::adopt_orphans();
        let (start, started_at) = (Instant::now(), Timestamp::now());
        let child = match self.command.spawn() {
            Ok(child) => child,
            Err(error) => return refused(format!("cannot start /bin/sh: {error}")),
        };
        // Now only the command holds the pipe open.
        drop(self.command);
        let group = Pid::from_child(&child);
        let pump = self.log.writer().map(|log| Pump::start(self.output, log, masker, options.log_bytes_max));
        let tee = if options.is_quiet {
            None
        } else {
            self.log.reader().map(|log| Tee::start(log, options.log_bytes_max)).ok()
        };
        let sender = orders.sender();
        thread::spawn(move || {
            // Nobody listens any more once the deadline has passed.
            let _ = sender.send(Wakeup::Ended(processes::wait_for_command(group)));
        });
        let left = self.job.timeout.saturating_sub(start.elapsed());
        let wakeup = orders.wait(left);
        let is_over = matches!(wakeup, Ok(Wakeup::Ended(Ok(_))));
        let grace = if is_over { LEFTOVER_GRACE } else { options.grace };
        // A second signal means: at once.
        processes::end_all(group, grace, &|| orders.is_urgent());
        let (status, exit_code, message) = judge(wakeup, self.job.timeout);
        let finished_at = Timestamp::now();
        let carried = pump.and_then(Pump::finish);
        let of_log = carried.and_then(|cut| Ok([cut, self.log.finish(options.log_bytes_max)?]));
        let of_log = of_log.unwrap_or_else(|error| [Some(format!("guest.log is not whole: {error}")), None]);
        let messages: Vec<String> = message.into_iter().chain(of_log.into_iter().flatten()).collect();
        let message = Some(messages.join("; ")).filter(|message| !message.is_empty());
        (GuestReport { status, exit_code, started_at, finished_at, message }, tee)
    }
}

/// What the first of the command's end, its deadline and an order to stop means.
fn judge(
    wakeup: Result<Wakeup, RecvTimeoutError>,
    timeout: Duration,
) -> (GuestStatus, Option<i32>, Option<String>) {
    match wakeup {
        Ok(Wakeup::Ended(Ok(ended))) => match (ended.exit_status(), ended.terminating_signal()) {
            (Some(0), _) => (GuestStatus::Passed, Some(0), None),
            (Some(code), _) => (GuestStatus::Failed, Some(code), None),
            (None, Some(signal)) => {
                (GuestStatus::Failed, Some(128 + signal), Some(format!("ended by signal {signal}")))
            }
            (None, None) => (GuestStatus::Failed, None, None),
        },
        Ok(Wakeup::Ended(Err(error))) => {
            (GuestStatus::Refused, None, Some(format!("cannot wait for the command: {error}")))
        }
        Ok(Wakeup::Stop(stop)) => (GuestStatus::Cancelled, None, Some(stop.reason().to_owned())),
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
            let message = format!("stopped at its deadline of {} s", timeout.as_secs());
            (GuestStatus::TimedOut, None, Some(message))
        }
    }
}
