//! What the guest's kernel finds as its root: busybox, the guest runner, the modules, the list of commands, and an `init`
//! that works the list off.
//!
//! Invariant: everything is root's, whoever runs the tests.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use pikaci::guest;

use super::{Parts, VirtualMachine};

/// The file's name in the machine's folder.
pub(super) const NAME: &str = "initramfs";

/// The guest's first process. Each command gets its writable folders anew; what it left is kept below `/results`.
const INIT: &str = r#"#!/bin/sh
umask 022
/bin/busybox --install -s /bin
export PATH=/bin
# The host's own umask may have been stricter.
chmod 755 /
chmod -R a+rX /bin /commands /etc /modules /run
mkdir -p /dev /proc /sys /results /tmp
chmod 1777 /tmp
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
for module in /modules/*; do insmod "$module"; done
while read -r tag folder; do
    mkdir -p "$folder"
    mount -t virtiofs -o ro "$tag" "$folder"
done </etc/shares
for job in /commands/*; do
    name=${job##*/}
    name=${name#*-}
    kept=/results/$name
    mkdir "$kept"
    rm -rf @writable@
    env -i PATH="$PATH" \
        @command@="$(cat "$job/command")" @timeout@="$(cat "$job/timeout")" @root@="$(cat "$job/root")" \
        @runner@ run $(cat "$job/arguments") </dev/null >"$kept/stdout" 2>"$kept/stderr"
    echo $? >"$kept/code"
    pidof sleep >"$kept/sleepers"
    cp -a @artifacts@ "$kept/artifacts"
done
for port in /sys/class/virtio-ports/*; do
    if test "$(cat "$port/name")" = results; then
        tar -c -C /results . >"/dev/${port##*/}"
    fi
done
poweroff -f
"#;

/// Writes the archive that the kernel unpacks.
pub(super) fn write(machine: &VirtualMachine, parts: &Parts, folder: &Path) -> Result<()> {
    let root = folder.join("root");
    fill(&root, machine, parts).context("cannot write the guest's root")?;
    pack(&root, parts, &folder.join(NAME))
}

fn fill(root: &Path, machine: &VirtualMachine, parts: &Parts) -> io::Result<()> {
    let text = |path: &str, text: &str| -> io::Result<()> {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap_or(root))?;
        fs::write(path, text)
    };
    let copy = |from: &Path, to: &str| -> io::Result<()> {
        let to = root.join(to.trim_start_matches('/'));
        fs::create_dir_all(to.parent().unwrap_or(root))?;
        fs::copy(from, to).map(|_| ())
    };
    text("init", &init())?;
    fs::set_permissions(root.join("init"), Permissions::from_mode(0o755))?;
    let (user, id) = (guest::USER, guest::USER_ID);
    text("etc/passwd", &format!("root:x:0:0::/root:/bin/sh\n{user}:x:{id}:{id}::/home/{user}:/bin/sh\n"))?;
    let mounts = machine.shares.iter().map(|share| format!("{} {}\n", share.tag, share.mounted_at));
    text("etc/shares", &mounts.collect::<String>())?;
    copy(&parts.busybox, "bin/busybox")?;
    symlink("busybox", root.join("bin/sh"))?;
    copy(&parts.guest_runner, guest::RUN_BINARY)?;
    fs::create_dir(root.join("modules"))?;
    for (index, module) in parts.modules.iter().enumerate() {
        copy(module, &format!("modules/{index:02}.ko"))?;
    }
    for (index, job) in machine.commands.iter().enumerate() {
        let folder = format!("commands/{index:02}-{}", job.name);
        text(&format!("{folder}/command"), job.command)?;
        text(&format!("{folder}/timeout"), &job.timeout_s.to_string())?;
        text(&format!("{folder}/root"), if job.is_root { "1" } else { "0" })?;
        text(&format!("{folder}/arguments"), &job.arguments.join(" "))?;
    }
    Ok(())
}

fn init() -> String {
    let writable = [guest::ARTIFACTS_PATH, guest::CARGO_HOME_PATH, guest::CARGO_TARGET_PATH].join(" ");
    let words = [
        ("@writable@", writable.as_str()),
        ("@command@", guest::COMMAND_VARIABLE),
        ("@timeout@", guest::TIMEOUT_VARIABLE),
        ("@root@", guest::RUN_AS_ROOT_VARIABLE),
        ("@runner@", guest::RUN_BINARY),
        ("@artifacts@", guest::ARTIFACTS_PATH),
    ];
    words.iter().fold(INIT.to_owned(), |text, (name, value)| text.replace(name, value))
}

/// Packs the folder in the one format that kernels unpack ("newc"; kernel, driver-api/early-userspace/buffer-format).
fn pack(root: &Path, parts: &Parts, archive: &Path) -> Result<()> {
    let list = root.with_extension("list");
    let mut names = String::new();
    list_names(root, Path::new(""), &mut names).context("cannot list the guest's root")?;
    fs::write(&list, names)?;
    let packed = Command::new(&parts.cpio)
        .args(["--create", "--format=newc", "--owner=+0:+0", "--quiet"])
        .current_dir(root)
        .stdin(File::open(&list)?)
        .stdout(File::create(archive)?)
        .stderr(Stdio::piped())
        .output()
        .context("cannot run cpio")?;
    ensure!(packed.status.success(), "cpio failed: {}", String::from_utf8_lossy(&packed.stderr).trim());
    Ok(())
}

/// One name a line, each folder before what it holds. No name here has a line break.
fn list_names(root: &Path, below: &Path, names: &mut String) -> io::Result<()> {
    for entry in fs::read_dir(root.join(below))? {
        let entry = entry?;
        let name = below.join(entry.file_name());
        names.push_str(&format!("{}\n", name.display()));
        if entry.file_type()?.is_dir() {
            list_names(root, &name, names)?;
        }
    }
    Ok(())
}
