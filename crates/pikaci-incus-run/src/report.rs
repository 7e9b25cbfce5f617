//! `result.json`: the only verdict of a guest.
//!
//! Invariant: whoever reads it sees a whole report of the runner's, or none.

use std::fs::{self, File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use jiff::Timestamp;
use rustix::process::geteuid;
use serde::Serialize;

use crate::contract::RESULT_NAME;
use crate::guest_log::{clear, open_plain};
use crate::{EXIT_CANCELLED, EXIT_REFUSED, EXIT_TIMED_OUT};

/// More than any report of ours has.
const REPORT_BYTES_MAX: u64 = 64 * 1024;

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

/// A report as its file holds it.
pub(crate) struct WrittenReport {
    pub(crate) content: Vec<u8>,
    pub(crate) exit_code_of_runner: u8,
}

/// What the exit code follows from.
#[derive(Debug, PartialEq)]
struct Verdict {
    status: GuestStatus,
    exit_code: Option<i32>,
}

impl Verdict {
    /// Reads the beginning of what [`GuestReport::write`] wrote: its keys in their order, without white space. A parser that
    /// takes any JSON would add 30 kB to the static file, for two values that this program has written itself.
    fn parse(content: &[u8]) -> Option<Verdict> {
        let rest = str::from_utf8(content).ok()?.strip_prefix("{\"status\":\"")?;
        let (word, rest) = rest.split_once("\",\"exit_code\":")?;
        let (exit_code, _) = rest.split_once(',')?;
        let status = match word {
            "passed" => GuestStatus::Passed,
            "failed" => GuestStatus::Failed,
            "timed_out" => GuestStatus::TimedOut,
            "cancelled" => GuestStatus::Cancelled,
            "refused" => GuestStatus::Refused,
            _ => return None,
        };
        let exit_code = if exit_code == "null" { None } else { Some(exit_code.parse().ok()?) };
        Some(Verdict { status, exit_code })
    }

    fn exit_code_of_runner(&self) -> u8 {
        match self.status {
            GuestStatus::Passed => 0,
            GuestStatus::Failed => self.exit_code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1),
            GuestStatus::TimedOut => EXIT_TIMED_OUT,
            GuestStatus::Cancelled => EXIT_CANCELLED,
            GuestStatus::Refused => EXIT_REFUSED,
        }
    }
}

impl GuestReport {
    pub(crate) fn refused(message: String) -> GuestReport {
        GuestReport::not_started(GuestStatus::Refused, message)
    }

    pub(crate) fn not_started(status: GuestStatus, message: String) -> GuestReport {
        let now = Timestamp::now();
        GuestReport { status, exit_code: None, started_at: now, finished_at: now, message: Some(message) }
    }

    /// Reads what [`GuestReport::write`] wrote; `None` when there is nothing, or something that a command of another user put
    /// in its place.
    pub(crate) fn read(artifacts: &Path) -> io::Result<Option<WrittenReport>> {
        let Some(file) = open_plain(&artifacts.join(RESULT_NAME))? else { return Ok(None) };
        if file.metadata()?.uid() != geteuid().as_raw() {
            return Ok(None);
        }
        let mut content = Vec::new();
        file.take(REPORT_BYTES_MAX).read_to_end(&mut content)?;
        let verdict = Verdict::parse(&content).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Some(WrittenReport { content, exit_code_of_runner: verdict.exit_code_of_runner() }))
    }

    /// The exit code of the runner itself.
    pub fn exit_code_of_runner(&self) -> u8 {
        Verdict { status: self.status, exit_code: self.exit_code }.exit_code_of_runner()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_back_for_every_status() {
        use GuestStatus::{Cancelled, Failed, Passed, Refused, TimedOut};
        let folder = tempfile::tempdir().unwrap();
        let cases = [(Passed, Some(0), 0), (Failed, Some(7), 7), (Failed, None, 1), (Failed, Some(4711), 1)]
            .into_iter();
        for (status, exit_code, expected) in
            cases.chain([(TimedOut, None, 124), (Cancelled, None, 130), (Refused, None, 125)])
        {
            let report =
                GuestReport { exit_code, ..GuestReport::not_started(status, "a \"message\"".to_owned()) };
            report.write(folder.path()).unwrap();
            let written = GuestReport::read(folder.path()).unwrap().unwrap();
            assert_eq!(Verdict::parse(&written.content), Some(Verdict { status, exit_code }));
            assert_eq!((written.exit_code_of_runner, report.exit_code_of_runner()), (expected, expected));
            assert_eq!(written.content, fs::read(folder.path().join(RESULT_NAME)).unwrap());
        }
    }

    #[test]
    fn a_result_that_is_none_of_ours_is_no_verdict() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(RESULT_NAME);
        assert!(GuestReport::read(folder.path()).unwrap().is_none(), "there is none");
        for content in
            ["", "{}", "{\"status\":\"passed\",\"exit_code\":", "{\"status\":\"great\",\"exit_code\":0,"]
        {
            fs::write(&path, content).unwrap();
            assert!(GuestReport::read(folder.path()).is_err(), "{content}");
        }
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        assert!(GuestReport::read(folder.path()).unwrap().is_none(), "a link is not followed");
    }
}
