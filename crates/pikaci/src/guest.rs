//! The contract between host and guest: where things are, and the result that the guest writes.
//!
//! The guest runner has a copy of these words (it imports nothing of ours); `tests/e2e` holds the two against each
//! other. Guest output is hostile input: [`GuestResult::parse`] reads it with a limit.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The guest runner's place in an image.
pub const RUN_BINARY: &str = "/run/current-system/sw/bin/pikaci-incus-run";
/// Holds the command, as text for `/bin/sh`.
pub const COMMAND_VARIABLE: &str = "PIKACI_INCUS_GUEST_COMMAND";
/// Holds the command's deadline, in whole seconds.
pub const TIMEOUT_VARIABLE: &str = "PIKACI_INCUS_TIMEOUT_SECS";
/// Holds `1` when the command runs as root, `0` when it runs as [`USER`].
pub const RUN_AS_ROOT_VARIABLE: &str = "PIKACI_INCUS_RUN_AS_ROOT";

/// The frozen source tree, read-only; the command starts here.
pub const SNAPSHOT_PATH: &str = "/workspace/snapshot";
/// What the job leaves behind, beside log and result.
pub const ARTIFACTS_PATH: &str = "/artifacts";
/// Writable and empty at the start; `CARGO_HOME`.
pub const CARGO_HOME_PATH: &str = "/cargo-home";
/// Writable and empty at the start; `CARGO_TARGET_DIR`.
pub const CARGO_TARGET_PATH: &str = "/cargo-target";
/// Prepared outputs are mounted below this folder.
pub const STAGED_PATH: &str = "/staged";
/// The file at the root of every share that holds its digest. A mount that failed has none.
pub const SENTINEL_NAME: &str = ".pikaci-share";

/// The property of an image that says which version of this contract it keeps.
pub const IMAGE_CONTRACT_PROPERTY: &str = "pikaci.contract";
/// The version of this contract.
pub const IMAGE_CONTRACT_VERSION: u32 = 1;
/// The property of an image that says which C library and loader it has.
pub const IMAGE_CONTRACT_ID_PROPERTY: &str = "pikaci.contract-id";
/// What an output says that needs neither.
pub const CONTRACT_ID_STATIC: &str = "static";

/// The unprivileged user of a guest.
pub const USER: &str = "pikaci";
/// That user's number, and its group's.
pub const USER_ID: u32 = 1000;

/// The log, below [`ARTIFACTS_PATH`].
pub const LOG_NAME: &str = "guest.log";
/// The result, below [`ARTIFACTS_PATH`].
pub const RESULT_NAME: &str = "result.json";

/// How much of a command's output is kept in [`LOG_NAME`]. What follows is read, and left out.
pub const LOG_BYTES_MAX: u64 = 1 << 30;

const RESULT_BYTES_MAX: usize = 64 * 1024;

/// `result.json`: the only verdict of a guest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GuestResult {
    /// How the command ended.
    pub status: GuestStatus,
    /// The command's exit code; 128 plus the signal's number when a signal ended it.
    #[serde(default)]
    pub exit_code: Option<i32>,
    /// When the command began, by the guest's clock.
    pub started_at: Timestamp,
    /// When the command ended, by the guest's clock.
    pub finished_at: Timestamp,
    /// What a reader should know beyond the status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// How a guest's command ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// The command was never started: the guest was not as the contract says.
    Refused,
    /// A word of a newer runner.
    #[serde(untagged)]
    Unknown(String),
}

/// Why a guest's result cannot be used. Always an infrastructure fault.
#[derive(Debug, thiserror::Error)]
pub enum GuestResultError {
    /// Larger than any honest result.
    #[error("result.json has {bytes} bytes; at most {RESULT_BYTES_MAX} are read")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// Not of the contract's shape.
    #[error("result.json is not of the expected shape")]
    Malformed {
        /// What the parser says.
        #[source]
        source: serde_json::Error,
    },
}

impl GuestResult {
    /// Reads a result with a limit on its size.
    pub fn parse(bytes: &[u8]) -> Result<GuestResult, GuestResultError> {
        if bytes.len() > RESULT_BYTES_MAX {
            return Err(GuestResultError::TooLarge { bytes: bytes.len() });
        }
        serde_json::from_slice(bytes).map_err(|source| GuestResultError::Malformed { source })
    }
}
