//! `result.json`: the only verdict of a guest.
//!
//! Invariant: whoever reads it sees a whole report of the runner's, or none.

use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use jiff::Timestamp;
use serde::Serialize;

use crate::contract::RESULT_NAME;
use crate::guest_log::clear;
use crate::{EXIT_CANCELLED, EXIT_REFUSED, EXIT_TIMED_OUT};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GuestStatus {
    /// Exit code 0.
    Passed,
    /// Another exit code, or a signal.
    Failed,
    /// The deadline came first.
    TimedOut,
    /// The runner was told to stop.
    Cancelled,
    /// The command was never started.
    Refused,
}

/// What `result.json` holds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GuestReport {
    /// How the command ended.
    pub status: GuestStatus,
    /// The command's exit code; 128 plus the signal's number when a signal ended it; absent when it did not end by itself.
    pub exit_code: Option<i32>,
    /// When the command began.
    pub started_at: Timestamp,
    /// When the command ended.
    pub finished_at: Timestamp,
    /// What a reader should know beyond the status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl GuestReport {
    pub(crate) fn refused(message: String) -> GuestReport {
        let now = Timestamp::now();
        let message = Some(message);
        GuestReport {
            status: GuestStatus::Refused,
            exit_code: None,
            started_at: now,
            finished_at: now,
            message,
        }
    }

    /// The exit code of the runner itself.
    pub fn exit_code_of_runner(&self) -> u8 {
        match self.status {
            GuestStatus::Passed => 0,
            GuestStatus::Failed => self.exit_code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1),
            GuestStatus::TimedOut => EXIT_TIMED_OUT,
            GuestStatus::Cancelled => EXIT_CANCELLED,
            GuestStatus::Refused => EXIT_REFUSED,
        }
    }

    /// Replaces `result.json`: temporary file, fsync, rename, fsync of the folder. Whatever the command put in its place
    /// is gone afterwards.
    pub(crate) fn write(&self, artifacts: &Path) -> io::Result<()> {
        let (temporary, path) = (artifacts.join(".result.json.new"), artifacts.join(RESULT_NAME));
        // The command may have made its artifacts read-only.
        let _ = fs::set_permissions(artifacts, Permissions::from_mode(0o755));
        clear(&temporary)?;
        if path.is_dir() {
            clear(&path)?;
        }
        let mut content = serde_json::to_vec(self)?;
        content.push(b'\n');
        let mut file = File::create_new(&temporary)?;
        file.write_all(&content)?;
        file.sync_data()?;
        fs::rename(&temporary, &path)?;
        File::open(artifacts)?.sync_all()
    }
}
