//! A virtual machine for the guest's half of the contract: a real kernel, read-only shares over virtiofs, and the static
//! guest runner, in an emulated processor, so that no KVM is needed.
//!
//! One boot runs a list of jobs, each with `/artifacts` and its siblings anew, and powers off. What they left comes out as an
//! archive through a virtio port. The machine has no disk and no network.
//!
//! Invariants: qemu and virtiofsd end with [`VirtualMachine::run`], and if this process is killed, at their own deadline; a
//! part that is missing is an error that names the command that brings it.

mod initramfs;
mod parts;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use pikaci::guest::{GuestResult, GuestStatus, LOG_NAME, RESULT_NAME};

use crate::process::Process;
use crate::wait::{DEADLINE, INTERVAL};
use parts::Parts;

/// From power on to power off. Some seconds by itself; an emulated processor suffers most where others compute as well.
const ON_MAX: Duration = Duration::from_secs(240);
/// For `timeout`, in seconds: nobody is left to wait any more.
const LIFE_MAX: &str = "270";
/// A panic reboots at once, which ends qemu. Without `no_timer_check`, a kernel whose emulated processor has to wait for a
/// real one panics early ("IO-APIC + timer doesn't work"): it counts the ticks that come in ten of its milliseconds.
const KERNEL_ARGUMENTS: &str = "console=ttyS0 panic=-1 quiet no_timer_check";
/// How much of the guest's console an error shows, in bytes.
const CONSOLE_SHOWN_MAX: usize = 4000;

/// A folder that the guest has mounted, read-only.
#[derive(Clone, Debug)]
pub struct Share {
    /// Names it between host and guest: a short word.
    pub tag: &'static str,
    /// On the host.
    pub folder: PathBuf,
    /// In the guest.
    pub mounted_at: &'static str,
}

/// One run of the guest runner.
#[derive(Clone, Debug)]
pub struct GuestCommand {
    /// Names it in the list: a short word.
    pub name: &'static str,
    /// Text for `/bin/sh`.
    pub command: &'static str,
    /// Its deadline.
    pub timeout_s: u32,
    /// Whether it runs as root.
    pub is_root: bool,
    /// The runner's arguments, without white space in any of them.
    pub arguments: Vec<String>,
}

/// A machine that has not been booted.
pub struct VirtualMachine {
    /// What is mounted.
    pub shares: Vec<Share>,
    /// What is run, in this order.
    pub commands: Vec<GuestCommand>,
}

/// What the jobs of a machine left. Nothing of it is on the disk any more.
#[derive(Debug)]
pub struct Ended {
    ends: Vec<(&'static str, GuestEnd)>,
}

/// What one job left.
#[derive(Debug)]
pub struct GuestEnd {
    /// The exit code of the runner.
    pub code: u8,
    /// `result.json`.
    pub result: GuestResult,
    /// `guest.log`, which a job that was refused does not have.
    pub log: Option<Vec<u8>>,
    /// What the runner wrote to its standard output.
    pub output: Vec<u8>,
    /// What the runner wrote to its standard error.
    pub errors: String,
    /// The numbers of processes called `sleep` that lived on, separated by spaces.
    pub sleepers: String,
}

impl VirtualMachine {
    /// Boots the machine, has everything run and waits until it is off.
    pub fn run(&self) -> Result<Ended> {
        let parts = Parts::find()?;
        // Sockets are named relative to this folder: the path of a socket has 107 bytes at most (unix(7)).
        let folder = tempfile::tempdir().context("cannot create a folder for the machine")?;
        initramfs::write(self, &parts, folder.path())?;
        let daemons = self.shares.iter().map(|share| serve(share, &parts, folder.path()));
        let _daemons = daemons.collect::<Result<Vec<Process>>>()?;
        let start = Instant::now();
        let mut command = self.qemu(&parts, folder.path());
        let mut qemu = Process::start(&mut command, &folder.path().join("qemu.log"));
        let console = || shown(&folder.path().join("console.log"));
        let status = loop {
            match qemu.ended() {
                Some(status) => break status,
                None if start.elapsed() > ON_MAX => {
                    bail!("the machine is not off within {ON_MAX:?}; its console:\n{}", console());
                }
                None => thread::sleep(INTERVAL),
            }
        };
        ensure!(status.success(), "qemu ended with {status}: {}; console:\n{}", qemu.log(), console());
        let results = folder.path().join("results");
        fs::create_dir(&results)?;
        let unpacked = Command::new("tar")
            .args(["-x", "--no-same-owner", "-f", "results.tar", "-C", "results"])
            .current_dir(folder.path())
            .output()
            .context("cannot run tar")?;
        ensure!(
            unpacked.status.success(),
            "no whole results came out: {}; console:\n{}",
            String::from_utf8_lossy(&unpacked.stderr).trim(),
            console()
        );
        let ends = self.commands.iter().map(|command| {
            let end = GuestEnd::read(&results.join(command.name));
            Ok((command.name, end.with_context(|| format!("what {} left cannot be read", command.name))?))
        });
        Ok(Ended { ends: ends.collect::<Result<_>>()? })
    }

    fn qemu(&self, parts: &Parts, folder: &Path) -> Command {
        let mut qemu = within_life(&parts.qemu);
        qemu.current_dir(folder);
        qemu.args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]);
        // One processor: a second one costs the host half as much again, and waits.
        qemu.args(["-machine", "q35", "-accel", "tcg", "-cpu", "max", "-smp", "1", "-m", "512M"]);
        // vhost-user: the daemons read and write the guest's memory (qemu, system/devices/vhost-user).
        qemu.args(["-object", "memory-backend-memfd,id=memory,size=512M,share=on"]);
        qemu.args(["-numa", "node,memdev=memory"]);
        qemu.arg("-kernel").arg(&parts.kernel).args(["-initrd", initramfs::NAME]);
        qemu.args(["-append", KERNEL_ARGUMENTS, "-serial", "file:console.log"]);
        qemu.args(["-device", "virtio-serial-pci", "-chardev", "file,id=results,path=results.tar"]);
        qemu.args(["-device", "virtserialport,chardev=results,name=results"]);
        for Share { tag, .. } in &self.shares {
            qemu.args(["-chardev", &format!("socket,id={tag},path={tag}.sock")]);
            qemu.args(["-device", &format!("vhost-user-fs-pci,chardev={tag},tag={tag}")]);
        }
        qemu
    }
}

/// Starts the daemon of a share, and waits until it listens.
fn serve(share: &Share, parts: &Parts, folder: &Path) -> Result<Process> {
    let socket = format!("{}.sock", share.tag);
    let mut command = within_life(&parts.virtiofsd);
    // Its own sandbox takes rights that not everybody who runs tests has; the guest here is no stranger.
    command.args(["--sandbox", "none", "--readonly", "--log-level", "error", "--socket-path", &socket]);
    command.arg("--shared-dir").arg(&share.folder).current_dir(folder);
    let start = Instant::now();
    let mut daemon = Process::start(&mut command, &folder.join(format!("{}.log", share.tag)));
    while !folder.join(&socket).exists() {
        if let Some(status) = daemon.ended() {
            bail!("virtiofsd ended with {status}: {}", daemon.log());
        }
        ensure!(
            start.elapsed() < DEADLINE,
            "virtiofsd does not listen within {DEADLINE:?}: {}",
            daemon.log()
        );
        thread::sleep(INTERVAL);
    }
    Ok(daemon)
}

/// A program that ends even if this process is killed and cannot end it.
fn within_life(program: &Path) -> Command {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", LIFE_MAX]).arg(program);
    command
}

/// The end of a text file.
fn shown(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(CONSOLE_SHOWN_MAX)..]).into_owned()
}

impl Ended {
    /// What the command of this name left.
    #[track_caller]
    pub fn of(&self, name: &str) -> &GuestEnd {
        let end = self.ends.iter().find(|(known, _)| *known == name);
        end.map(|(_, end)| end).unwrap_or_else(|| panic!("no command is called {name}"))
    }
}

impl GuestEnd {
    fn read(folder: &Path) -> Result<GuestEnd> {
        let read = |file: &str| fs::read(folder.join(file)).with_context(|| format!("no {file}"));
        let text =
            |file: &str| -> Result<String> { Ok(String::from_utf8(read(file)?)?.trim_end().to_owned()) };
        let artifact = |name: &str| format!("artifacts/{name}");
        Ok(GuestEnd {
            code: text("code")?.parse().context("an exit code is a number")?,
            result: GuestResult::parse(&read(&artifact(RESULT_NAME))?)
                .context("the host rejects the result")?,
            log: read(&artifact(LOG_NAME)).ok(),
            output: read("stdout")?,
            errors: text("stderr")?,
            sleepers: text("sleepers")?,
        })
    }

    /// The result's status and exit code, and the exit code of the runner.
    pub fn outcome(&self) -> (GuestStatus, Option<i32>, u8) {
        (self.result.status.clone(), self.result.exit_code, self.code)
    }

    /// The log as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.log.as_deref().unwrap_or_default()).into_owned()
    }
}
