//! Who the command runs as, and what that user owns.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use crate::contract::USER;
use crate::job::{GuestJob, JobError};

const PASSWD: &str = "/etc/passwd";

/// The command's user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CommandUser {
    pub(crate) name: String,
    pub(crate) home: PathBuf,
    /// User and group to switch to; `None`: stay as we are.
    pub(crate) switch: Option<(u32, u32)>,
}

impl CommandUser {
    /// Decides who the command runs as. Only root can switch, and only when the job is not root's.
    pub(crate) fn of(job: &GuestJob, keeps_user: bool) -> Result<CommandUser, JobError> {
        let own = rustix::process::geteuid().as_raw();
        let passwd = fs::read_to_string(PASSWD).unwrap_or_default();
        if keeps_user || job.is_root || own != 0 {
            let entry = find(&passwd, |entry| entry.id == own);
            let (name, home) =
                entry.map_or((own.to_string(), PathBuf::from("/")), |entry| (entry.name, entry.home));
            return Ok(CommandUser { name, home, switch: None });
        }
        let entry = find(&passwd, |entry| entry.name == USER).ok_or(JobError::NoUser { user: USER })?;
        Ok(CommandUser { name: entry.name, home: entry.home, switch: Some((entry.id, entry.group)) })
    }

    /// Gives a folder to the command's user.
    pub(crate) fn own(&self, folder: &Path) -> Result<(), JobError> {
        let Some((user, group)) = self.switch else { return Ok(()) };
        chown(folder, Some(user), Some(group)).map_err(JobError::io("give the user pikaci", folder))
    }
}

struct Entry {
    name: String,
    id: u32,
    group: u32,
    home: PathBuf,
}

fn find(passwd: &str, is_wanted: impl Fn(&Entry) -> bool) -> Option<Entry> {
    // name:password:uid:gid:comment:home:shell (passwd(5)).
    let parse = |line: &str| -> Option<Entry> {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        let id = fields.nth(1)?.parse().ok()?;
        let group = fields.next()?.parse().ok()?;
        Some(Entry { name, id, group, home: PathBuf::from(fields.nth(1)?) })
    };
    passwd.lines().filter_map(parse).find(is_wanted)
}
