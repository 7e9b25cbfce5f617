//! An image of Debian: mmdebstrap's tarball, passed on entry by entry, with ours in place of what it has there.
//!
//! Invariant: nothing is unpacked here. What is passed on is below `rootfs/`, and none of it is a device.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use pikaci::guest::{USER, USER_ID};
use rustix::process::geteuid;
use tar::{Entry, EntryType, Header};

use super::archive::Archive;
use super::guest::BUSYBOX;
use super::program::Program;
use super::tool::{self, Limits};
use super::tree::{Kind, Tree};
use super::{BuildRequest, ImageError, ScratchFolder, guest};

/// What no job reads. The rules stay in the image, so they hold for what a job installs as well.
const LEFT_OUT: [&str; 6] = [
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/locale/*",
    "path-include=/usr/share/locale/locale.alias",
    "path-exclude=/usr/share/man/*",
];
/// Places where Incus puts its own, or where nothing of the build is wanted.
const EMPTIED: [&str; 4] = ["dev", "proc", "run", "sys"];
/// The init's place, whether or not `/sbin` is a link. An image that has systemd does not start it.
const INITS: [&str; 2] = ["sbin/init", "usr/sbin/init"];
const USERS_BYTES_MAX: u64 = 1 << 20;
const XATTR_PREFIX: &str = "SCHILY.xattr.";

/// What is installed, from where. Words that mmdebstrap would take for options can't be in it.
pub(super) struct Source<'r> {
    suite: &'r str,
    packages: &'r [String],
    mirror: Option<&'r str>,
}

impl<'r> Source<'r> {
    pub(super) fn parse(
        suite: &'r str,
        packages: &'r [String],
        mirror: Option<&'r str>,
    ) -> Result<Source<'r>, ImageError> {
        let is_word = |text: &str, marks: &[u8]| {
            text.starts_with(|first: char| first.is_ascii_alphanumeric())
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || marks.contains(&byte))
        };
        let wrong = |what, text: &str| Err(ImageError::Word { what, text: text.to_owned() });
        if !is_word(suite, b"-._/") {
            return wrong("suite of Debian", suite);
        }
        // apt-get(8): a name, and an architecture, a version or a suite.
        if let Some(package) = packages.iter().find(|package| !is_word(package, b"-+.:=~/_")) {
            return wrong("package of Debian", package);
        }
        if let Some(mirror) = mirror.filter(|mirror| !mirror.contains("://") || mirror.starts_with('-')) {
            return wrong("mirror of Debian; give an address such as http://deb.debian.org/debian", mirror);
        }
        Ok(Source { suite, packages, mirror })
    }
}

/// Adds all of the root file system to an archive.
pub(super) fn fill(
    archive: &mut Archive,
    source: &Source<'_>,
    request: &BuildRequest,
    runner: &Program,
    busybox: &Program,
    limits: &Limits<'_>,
) -> Result<(), ImageError> {
    // It unpacks the system there; what it leaves when it has to be killed goes with the folder.
    let scratch = ScratchFolder::create()
        .map_err(ImageError::io("make a folder in", "the folder for temporary files"))?;
    let (mut command, package) = mmdebstrap(&request.programs.mmdebstrap)?;
    command.env("TMPDIR", scratch.path());
    command.args(["--variant=minbase", "--format=tar", "--skip=output/dev"]);
    command.arg(format!("--architectures={}", runner.architecture.debian_name()));
    command.args(["--aptopt=Acquire::Retries \"3\"", "--aptopt=Acquire::http::Timeout \"30\""]);
    command.args(LEFT_OUT.map(|rule| format!("--dpkgopt={rule}")));
    if !source.packages.is_empty() {
        command.arg(format!("--include={}", source.packages.join(",")));
    }
    command.args([source.suite, "-"]).args(source.mirror);
    // mmdebstrap(1), "SOURCE_DATE_EPOCH": nothing is younger than this.
    command.env("SOURCE_DATE_EPOCH", request.created_at.as_second().max(0).to_string()).env("LC_ALL", "C");
    tool::run(command, "mmdebstrap", package, limits, |stdout| {
        let mut own = Tree::default();
        let passed = pass_on(archive, stdout, &mut own, runner, busybox)?;
        archive.tree(&own, |path| !passed.contains(path))
    })
}

/// The start of the command, and the package that brings its first word.
///
/// As root, mmdebstrap mounts into what it builds, where the host would keep the mounts if it were killed. So it gets
/// mounts and processes of its own, which go with it, and it goes with the thread that waits for it. For anybody else it
/// does the like by itself.
fn mmdebstrap(path: &Path) -> Result<(Command, &'static str), ImageError> {
    const PACKAGE: &str = "mmdebstrap";
    if !path.is_file() {
        let source = io::ErrorKind::NotFound.into();
        return Err(ImageError::Start { path: path.to_owned(), package: PACKAGE, source });
    }
    if !geteuid().is_root() {
        return Ok((Command::new(path), PACKAGE));
    }
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    command.arg("--").arg(path);
    Ok((command, "util-linux"))
}

/// Passes on what is not ours, and returns which of our folders were among it. Fills `own`.
fn pass_on(
    archive: &mut Archive,
    stdout: &mut dyn Read,
    own: &mut Tree,
    runner: &Program,
    busybox: &Program,
) -> Result<BTreeSet<String>, ImageError> {
    guest::add(own, INITS[1], runner, busybox);
    let (mut passed, mut users) = (BTreeSet::new(), 0_u32);
    let read_failed = |error| ImageError::io("read the tarball of", "mmdebstrap")(error);
    let mut tarball = tar::Archive::new(stdout);
    for entry in tarball.entries().map_err(read_failed)? {
        let mut entry = entry.map_err(read_failed)?;
        let path = plain(&entry.path_bytes())?;
        let Some(path) = path.filter(|path| is_wanted(path)) else { continue };
        let name = path.to_str();
        if let Some(name) = name
            && let Some(node) = own.get(name)
        {
            if node.kind != Kind::Folder {
                continue;
            }
            passed.insert(name.to_owned());
        }
        if name == Some("sbin") && entry.header().entry_type() == EntryType::Directory {
            // Before Debian 12 it need not be a link.
            own.link(INITS[0], BUSYBOX);
            passed.insert("sbin".to_owned());
        }
        if let Some(name) = name
            && let Some(line) = guest::user_line(name)
        {
            users += 1;
            add_user(archive, &mut entry, &path, name, &line)?;
            continue;
        }
        pass_on_entry(archive, &mut entry, &path)?;
    }
    if users == 0 {
        return Err(not_usable("it has no /etc/passwd"));
    }
    Ok(passed)
}

fn pass_on_entry(
    archive: &mut Archive,
    entry: &mut Entry<'_, impl Read>,
    path: &Path,
) -> Result<(), ImageError> {
    match entry.header().entry_type() {
        EntryType::Regular | EntryType::Continuous | EntryType::Directory | EntryType::Symlink => {}
        EntryType::Link => {}
        // Nothing of a guest's own system is a device or a pipe, and Incus makes those of /dev.
        _ => return Ok(()),
    }
    let mut header = header(entry)?;
    let attributes = attributes(entry)?;
    let link = entry.link_name_bytes().map(std::borrow::Cow::into_owned);
    let link = match (header.entry_type(), link) {
        (EntryType::Link, Some(other)) => plain(&other)?,
        (EntryType::Symlink, Some(target)) => Some(PathBuf::from(OsStr::from_bytes(&target))),
        _ => None,
    };
    archive.foreign(&mut header, &attributes, path, link.as_deref(), entry)
}

/// Passes on a file that lists users, with one more.
fn add_user(
    archive: &mut Archive,
    entry: &mut Entry<'_, impl Read>,
    path: &Path,
    name: &str,
    line: &str,
) -> Result<(), ImageError> {
    let mut content = String::new();
    let read = entry.take(USERS_BYTES_MAX).read_to_string(&mut content);
    read.map_err(ImageError::io("read the tarball of", "mmdebstrap"))?;
    let number = USER_ID.to_string();
    let has_numbers = matches!(name, "etc/passwd" | "etc/group");
    let is_taken = |other: &str| {
        let mut fields = other.split(':');
        fields.next() == Some(USER) || (has_numbers && fields.nth(1) == Some(&number))
    };
    if let Some(other) = content.lines().find(|other| is_taken(other)) {
        return Err(not_usable(&format!("/{name} has a {other:?}, which is the place of the user {USER}")));
    }
    if !content.is_empty() && !content.ends_with('\n') {
        content.push('\n');
    }
    content.push_str(line);
    let mut header = header(entry)?;
    header.set_size(content.len() as u64);
    archive.foreign(&mut header, &[], path, None, content.as_bytes())
}

/// A header of our own kind with what counts of another's: the one that was read may have fields of other formats.
fn header(entry: &Entry<'_, impl Read>) -> Result<Header, ImageError> {
    let copy = |theirs: &Header| -> io::Result<Header> {
        let mut ours = Header::new_gnu();
        ours.set_entry_type(theirs.entry_type());
        ours.set_mode(theirs.mode()?);
        ours.set_uid(theirs.uid()?);
        ours.set_gid(theirs.gid()?);
        ours.set_mtime(theirs.mtime()?);
        ours.set_size(entry.size());
        Ok(ours)
    };
    copy(entry.header()).map_err(ImageError::io("read the tarball of", "mmdebstrap"))
}

/// Extended attributes, such as the capabilities of a program.
fn attributes(entry: &mut Entry<'_, impl Read>) -> Result<Vec<(String, Vec<u8>)>, ImageError> {
    let failed = |error| ImageError::io("read the tarball of", "mmdebstrap")(error);
    let mut attributes = Vec::new();
    for extension in entry.pax_extensions().map_err(failed)?.into_iter().flatten() {
        let extension = extension.map_err(failed)?;
        if let Ok(key) = extension.key()
            && key.starts_with(XATTR_PREFIX)
        {
            attributes.push((key.to_owned(), extension.value_bytes().to_owned()));
        }
    }
    Ok(attributes)
}

/// A path without its `./`; `None` for the root itself.
fn plain(path: &[u8]) -> Result<Option<PathBuf>, ImageError> {
    let mut plain = PathBuf::new();
    for component in Path::new(OsStr::from_bytes(path)).components() {
        match component {
            Component::CurDir | Component::RootDir => {}
            Component::Normal(name) => plain.push(name),
            Component::ParentDir | Component::Prefix(_) => {
                return Err(not_usable(&format!("it has a file {:?}", String::from_utf8_lossy(path))));
            }
        }
    }
    Ok((plain != Path::new("")).then_some(plain))
}

fn is_wanted(path: &Path) -> bool {
    let is_emptied = EMPTIED.iter().any(|folder| path.starts_with(folder) && path != Path::new(folder));
    !is_emptied && !INITS.iter().any(|init| path == Path::new(init))
}

fn not_usable(problem: &str) -> ImageError {
    ImageError::System { program: "mmdebstrap", problem: problem.to_owned() }
}
