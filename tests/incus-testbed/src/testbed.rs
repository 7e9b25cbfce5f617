//! A daemon of one's own: started, restarted, killed, and removed without a trace.
//!
//! Invariant: the supervisor alone holds the daemon. It ends it when its standard input does, so nothing has to be done
//! by a process that is killed, and the orderly end is the same as the other one.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::ops::Deref;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::{Daemon, Programs, TestbedError};

const SUPERVISOR: &str = include_str!("supervisor.sh");

/// What `incus admin init` is given: a pool that needs nothing of the machine, no network, and no update of images.
const PRESEED: &str = "\
config: {images.auto_update_interval: '0'}
storage_pools: [{name: default, driver: dir}]
profiles: [{name: default, devices: {root: {type: disk, path: /, pool: default}}}]
";

/// unix(7) allows 107 bytes; the daemon appends `/d/run/<project>_<instance>/…` and goes through `/proc` where that is longer.
const FOLDER_BYTES_MAX: usize = 80;

/// From the start of the daemon to its first answer.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// For the supervisor to end a daemon that does not want to.
const RESTART_DEADLINE: Duration = Duration::from_secs(30);
const NO_ANSWER: TestbedError = TestbedError::Supervisor { deadline: RESTART_DEADLINE };
/// To delete all instances and remove everything.
const STOP_DEADLINE: Duration = Duration::from_secs(120);

/// A private daemon with a storage pool `default` of the driver `dir`, and a profile `default` with a root disk. Dropped,
/// it is gone with all its instances, processes, mounts and files.
///
/// It derefs to [`Daemon`], which has the socket and the command line client.
#[derive(Debug)]
pub struct Testbed {
    folder: PathBuf,
    daemon: Daemon,
    supervisor: Mutex<Supervisor>,
}

#[derive(Debug)]
struct Supervisor {
    child: Child,
    /// Taken to end it.
    orders: Option<ChildStdin>,
    answers: Receiver<String>,
    pid: u32,
}

impl Testbed {
    /// Starts a daemon in a new folder with a short path, and waits until instances can be started.
    pub fn start_below_tmp() -> Result<Testbed, TestbedError> {
        // Not the environment's folder for temporary files, which may have a long path.
        let folder = tempfile::Builder::new()
            .prefix("pika-")
            .rand_bytes(6)
            .permissions(fs::Permissions::from_mode(0o711))
            .tempdir_in("/tmp")
            .map_err(TestbedError::io("make a folder in /tmp"))?;
        Testbed::start(&folder.keep())
    }

    /// Starts a daemon in this folder, which is made if need be, must be empty, and is removed at the end. Its path must
    /// be short and open to all users, so that containers can reach their files.
    pub fn start(folder: &Path) -> Result<Testbed, TestbedError> {
        let programs = Programs::find()?;
        // Containers run as another user, who must be able to pass.
        let made = fs::DirBuilder::new().recursive(true).mode(0o711).create(folder);
        made.map_err(TestbedError::io(format!("make {}", folder.display())))?;
        check(folder)?;
        let daemon = Daemon::of(&folder.join("d"));
        let supervisor = Supervisor::start(folder, &daemon, &programs)?;
        let testbed = Testbed { folder: folder.to_owned(), daemon, supervisor: Mutex::new(supervisor) };
        testbed.wait_for_start(&mut testbed.supervisor())?;
        testbed.initialise()?;
        Ok(testbed)
    }

    /// The daemon's process; the last one, after a crash.
    pub fn pid(&self) -> u32 {
        self.supervisor().pid
    }

    /// The Unix socket of the REST API.
    pub fn socket(&self) -> &Path {
        &self.daemon.socket
    }

    /// Where the daemon keeps everything.
    pub fn incus_dir(&self) -> &Path {
        &self.daemon.incus_dir
    }

    /// Ends the daemon as an upgrade would, with TERM, and starts it again. Instances live on.
    pub fn restart(&self) -> Result<(), TestbedError> {
        self.start_again("term")
    }

    /// Ends the daemon as a crash would, with KILL, and starts it again. Instances live on.
    pub fn kill(&self) -> Result<(), TestbedError> {
        self.start_again("kill")
    }

    /// Ends the daemon as a crash would, with KILL. It stays away until [`restart`](Testbed::restart); instances live on.
    pub fn crash(&self) -> Result<(), TestbedError> {
        let mut supervisor = self.supervisor();
        supervisor.order("crash")?;
        supervisor.answer().filter(|line| line == "down").map(drop).ok_or(NO_ANSWER)
    }

    /// What the daemon and the supervisor have printed so far.
    pub fn log(&self) -> String {
        read_log(&self.folder)
    }

    /// Deletes all instances, ends the daemon, and removes what it left. An error names what could not be removed.
    pub fn stop(self) -> Result<(), TestbedError> {
        self.stop_once()
    }

    fn supervisor(&self) -> MutexGuard<'_, Supervisor> {
        self.supervisor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start_again(&self, order: &str) -> Result<(), TestbedError> {
        let mut supervisor = self.supervisor();
        supervisor.order(order)?;
        self.wait_for_start(&mut supervisor)
    }

    fn wait_for_start(&self, supervisor: &mut Supervisor) -> Result<(), TestbedError> {
        let pid = supervisor.answer().and_then(|line| line.strip_prefix("pid ")?.parse().ok());
        supervisor.pid = pid.ok_or(NO_ANSWER)?;
        if self.daemon.wait_until_ready(supervisor.pid, START_DEADLINE) {
            return Ok(());
        }
        let log = self.log();
        let begin = log.lines().count().saturating_sub(20);
        let log: Vec<&str> = log.lines().skip(begin).collect();
        Err(TestbedError::NotStarted { log: log.join("\n") })
    }

    fn initialise(&self) -> Result<(), TestbedError> {
        let preseed = self.folder.join("preseed.yaml");
        fs::write(&preseed, PRESEED).map_err(TestbedError::io("write the preseed"))?;
        let input = File::open(&preseed).map_err(TestbedError::io("read the preseed"))?;
        let mut command = self.daemon.command()?;
        let output = command.args(["admin", "init", "--preseed"]).stdin(input).output();
        let output = output.map_err(TestbedError::io("run the client `incus`"))?;
        if output.status.success() {
            return Ok(());
        }
        let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(TestbedError::Client { arguments: "admin init --preseed".to_owned(), message })
    }

    fn stop_once(&self) -> Result<(), TestbedError> {
        let mut supervisor = self.supervisor();
        if supervisor.orders.take().is_none() {
            return Ok(());
        }
        let start = Instant::now();
        let mut left = String::new();
        // The channel ends when the supervisor's output does.
        loop {
            use std::sync::mpsc::RecvTimeoutError::{Disconnected, Timeout};
            match supervisor.answers.recv_timeout(STOP_DEADLINE.saturating_sub(start.elapsed())) {
                Ok(line) => left.extend(line.strip_prefix("left ").map(|line| format!("{line}\n"))),
                Err(Disconnected) => break,
                Err(Timeout) => return Err(TestbedError::Supervisor { deadline: STOP_DEADLINE }),
            }
        }
        supervisor.child.wait().map_err(TestbedError::io("wait for the supervisor"))?;
        if left.is_empty() { Ok(()) } else { Err(TestbedError::Left { left }) }
    }
}

impl Deref for Testbed {
    type Target = Daemon;

    fn deref(&self) -> &Daemon {
        &self.daemon
    }
}

impl Drop for Testbed {
    fn drop(&mut self) {
        let stopped = self.stop_once();
        // A test that already fails says something more useful.
        if !thread::panicking() {
            stopped.expect("the testbed can be removed");
        }
    }
}

impl Supervisor {
    fn start(folder: &Path, daemon: &Daemon, programs: &Programs) -> Result<Supervisor, TestbedError> {
        let log = File::options().create(true).append(true).open(folder.join("log"));
        let log = log.map_err(TestbedError::io("write the testbed's log"))?;
        let (as_root, group) = (as_root()?, group()?);
        // A session of its own: what the terminal sends to the tests must not reach the one that cleans up after them.
        let mut command = Command::new("setsid");
        command.args(as_root).args(["env", "-i"]).args(environment(folder, daemon, programs, group));
        command.args(["sh", "-c", SUPERVISOR]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().map_err(TestbedError::io("start the testbed's supervisor"))?;
        let orders = child.stdin.take();
        let (sender, answers) = channel();
        if let Some(output) = child.stdout.take() {
            thread::spawn(move || {
                let lines = BufReader::new(output).lines().map_while(Result::ok);
                lines.take_while(|line| sender.send(line.clone()).is_ok()).for_each(drop);
            });
        }
        Ok(Supervisor { child, orders, answers, pid: 0 })
    }

    fn order(&mut self, order: &str) -> Result<(), TestbedError> {
        let written = self.orders.as_mut().map(|orders| writeln!(orders, "{order}"));
        written.transpose().map(drop).map_err(TestbedError::io("tell the supervisor what to do"))
    }

    fn answer(&self) -> Option<String> {
        self.answers.recv_timeout(RESTART_DEADLINE).ok()
    }
}

/// What stands before a command that needs root.
fn as_root() -> Result<&'static [&'static str], TestbedError> {
    if rustix::process::geteuid().is_root() {
        return Ok(&[]);
    }
    let may = Command::new("sudo").args(["-n", "true"]).stdin(Stdio::null()).stderr(Stdio::null()).status();
    if may.is_ok_and(|status| status.success()) { Ok(&["sudo", "-n"]) } else { Err(TestbedError::NotRoot) }
}

/// Whoever wants the daemon may speak to it, also when it is not root.
fn group() -> Result<String, TestbedError> {
    let output = Command::new("id").arg("-gn").stdin(Stdio::null()).output();
    let output = output.map_err(TestbedError::io("ask `id` for the group's name"))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// All that the daemon sees of the environment; what a user has set there for their own Incus is not for this one.
fn environment(folder: &Path, daemon: &Daemon, programs: &Programs, group: String) -> Vec<OsString> {
    let variables: [(&str, OsString); 8] = [
        ("PATH", programs.path.clone()),
        ("HOME", folder.into()),
        ("LANG", "C.UTF-8".into()),
        ("FOLDER", folder.into()),
        ("INCUS_DIR", daemon.incus_dir.clone().into()),
        ("INCUS_CONF", daemon.incus_dir.with_extension("client").into()),
        ("INCUSD", programs.daemon.clone().into()),
        ("INCUS_GROUP", group.into()),
    ];
    let joined = variables.into_iter().map(|(name, value)| {
        let mut variable = OsString::from(name);
        variable.push("=");
        variable.push(value);
        variable
    });
    joined.collect()
}

/// Refuses a path that is too long for sockets, is written differently in the table of mounts, or leads to files of the
/// user's.
fn check(folder: &Path) -> Result<(), TestbedError> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.".contains(&byte);
    let text = folder.as_os_str().as_encoded_bytes();
    let is_fine = text.len() <= FOLDER_BYTES_MAX
        && text.iter().copied().all(is_plain)
        && folder.canonicalize().is_ok_and(|real| real == folder)
        && folder.read_dir().is_ok_and(|mut entries| entries.next().is_none());
    if is_fine {
        return Ok(());
    }
    Err(TestbedError::Folder { folder: folder.to_owned(), bytes_max: FOLDER_BYTES_MAX })
}

fn read_log(folder: &Path) -> String {
    fs::read(folder.join("log")).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}
