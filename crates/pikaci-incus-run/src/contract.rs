//! The words of the contract with the host. A copy: the runner imports nothing of the host's; the end-to-end tests hold
//! both against each other.

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
/// Writable; `CARGO_HOME`.
pub const CARGO_HOME_PATH: &str = "/cargo-home";
/// Writable; `CARGO_TARGET_DIR`.
pub const CARGO_TARGET_PATH: &str = "/cargo-target";
/// Which job was started in this guest, and by which runner. On a file system that a boot empties.
pub const RUN_FOLDER_PATH: &str = "/run/pikaci";
/// Where a job finds its secrets, each in a file of its name. On a file system in memory.
pub const SECRETS_PATH: &str = "/run/pikaci-secrets";
/// Holds that folder, for a job that has secrets.
pub const SECRETS_VARIABLE: &str = "PIKACI_SECRETS";
/// The file at the root of every share that holds its digest.
pub const SENTINEL_NAME: &str = ".pikaci-share";

/// The unprivileged user.
pub const USER: &str = "pikaci";

/// The log, below the artifacts.
pub const LOG_NAME: &str = "guest.log";
/// The result, below the artifacts.
pub const RESULT_NAME: &str = "result.json";

/// How much of the command's output is kept in the log. What follows is read, and left out.
pub const LOG_BYTES_MAX: u64 = 1 << 30;

/// What a command finds programs with when the runner has no `PATH` of its own.
pub(crate) const PATH_DEFAULT: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/run/current-system/sw/bin";
