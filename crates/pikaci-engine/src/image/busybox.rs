//! The smallest image: busybox, under every name that it knows.

use std::io::Read as _;
use std::path::Path;
use std::process::Command;

use super::guest::{self, BUSYBOX};
use super::program::Program;
use super::tool::{self, Limits};
use super::tree::Tree;
use super::{ImageError, ProgramProblem};

const ANSWER_BYTES_MAX: u64 = 1 << 20;
const SHELLS: &str = "/bin/sh\n";

/// What a busybox says of itself.
pub(super) struct Facts {
    pub(super) version: String,
    /// The path of each of its commands, without the slash at the begin.
    pub(super) commands: Vec<String>,
}

/// Asks a busybox what it can do.
pub(super) fn ask(busybox: &Path, limits: &Limits<'_>) -> Result<Facts, ImageError> {
    let help = answer(busybox, "--help", limits)?;
    let list = answer(busybox, "--list-full", limits)?;
    let unknown = || ImageError::Busybox { path: busybox.to_owned(), problem: ProgramProblem::Foreign };
    // BusyBox v1.35.0 (Debian 1:1.35.0-4+b4) multi-call binary.
    let version = help.strip_prefix("BusyBox v").and_then(|rest| rest.split_whitespace().next());
    let version = version.ok_or_else(unknown)?.to_owned();
    let is_path = |line: &&str| !line.is_empty() && !line.starts_with('/') && !line.contains("..");
    let commands: Vec<String> = list.lines().filter(is_path).map(str::to_owned).collect();
    for needed in ["bin/sh", "sbin/init", "sbin/udhcpc"] {
        if !commands.iter().any(|command| command == needed) {
            let problem = ProgramProblem::Poor { command: needed };
            return Err(ImageError::Busybox { path: busybox.to_owned(), problem });
        }
    }
    Ok(Facts { version, commands })
}

fn answer(busybox: &Path, question: &str, limits: &Limits<'_>) -> Result<String, ImageError> {
    let mut command = Command::new(busybox);
    command.arg(question);
    tool::run(command, "busybox", "busybox-static", limits, |stdout| {
        let mut text = String::new();
        let read = stdout.take(ANSWER_BYTES_MAX).read_to_string(&mut text);
        read.map(|_| text).map_err(ImageError::io("read the answer of", busybox))
    })
}

/// All files of the image.
pub(super) fn tree(facts: &Facts, runner: &Program, busybox: &Program) -> Tree {
    let mut tree = Tree::default();
    for command in &facts.commands {
        tree.link(command, BUSYBOX);
    }
    tree.link("bin/busybox", BUSYBOX);
    guest::add(&mut tree, "sbin/init", runner, busybox);
    let users = [
        (
            "etc/passwd",
            "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n",
            0o644,
        ),
        ("etc/group", "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n", 0o644),
        ("etc/shadow", "root:*:::::::\n", 0o640),
    ];
    for (path, others, mode) in users {
        let own = guest::user_line(path).unwrap_or_default();
        tree.file(path, mode, format!("{others}{own}"));
    }
    tree.file("etc/shells", 0o644, SHELLS);
    tree.folder("mnt", 0o755);
    tree.folder("var/log", 0o755);
    tree.link("var/run", "/run");
    tree
}
