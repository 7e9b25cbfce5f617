//! What the process was given besides its arguments, read once.
//!
//! Invariant: nothing else of this crate reads the environment, except that the guest runner is handed it in `main`.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};

use clap::ValueEnum as _;
use incus_client::Endpoint;
use pikaci::StateRoot;
use pikaci_engine::prepared::NixConfig;

use crate::arguments::Executor;
use crate::failure::Failure;

/// What Nix reads of the environment (nix(1), "Environment variables"), and where it keeps what it downloads.
const NIX_VARIABLES: [&str; 15] = [
    "HOME",
    "USER",
    "XDG_CACHE_HOME",
    "NIX_CONFIG",
    "NIX_CONF_DIR",
    "NIX_DAEMON_SOCKET_PATH",
    "NIX_LOG_DIR",
    "NIX_PATH",
    "NIX_REMOTE",
    "NIX_SSL_CERT_FILE",
    "NIX_STATE_DIR",
    "NIX_STORE_DIR",
    "NIX_USER_CONF_FILES",
    "SSL_CERT_FILE",
    "TMPDIR",
];

/// Where runs are kept below the current folder, when nothing else is said.
const STATE_FOLDER: &str = ".pikaci";

/// The surroundings of one invocation.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) current_dir: PathBuf,
    pub(crate) state: StateRoot,
    /// The binary itself: the local executor runs it in its sandboxes.
    pub(crate) program: PathBuf,
    pub(crate) path: OsString,
    /// The folders that `path` names.
    pub(crate) path_folders: Vec<PathBuf>,
    pub(crate) home: Option<PathBuf>,
    /// Where jobs run when the arguments do not say.
    pub(crate) executor: Executor,
    /// The operator's settings for Incus, when there are any.
    pub(crate) incus_settings: Option<PathBuf>,
    /// Where such settings are kept for this user.
    pub(crate) settings_folder: PathBuf,
    /// The socket of this host's Incus.
    pub(crate) incus_socket: Endpoint,
    /// What Nix is told of this host.
    pub(crate) nix: NixConfig,
    /// `bwrap`, when it is on the path.
    pub(crate) bubblewrap: Option<PathBuf>,
    /// Whether a person watches standard output.
    pub(crate) is_terminal: bool,
}

impl Config {
    /// Reads the surroundings. `state_root` is what the arguments say, and comes first.
    pub(crate) fn read(state_root: Option<&Path>) -> Result<Config, Failure> {
        let cannot = |what| {
            move |error: io::Error| {
                Failure::infrastructure(anyhow::Error::new(error).context(format!("cannot find out {what}")))
            }
        };
        let current_dir = std::env::current_dir().map_err(cannot("the current folder"))?;
        let program = std::env::current_exe().map_err(cannot("where this program is"))?;
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let path = set("PATH").unwrap_or_else(|| OsString::from("/usr/local/bin:/usr/bin:/bin"));
        let path_folders: Vec<PathBuf> =
            std::env::split_paths(&path).filter(|folder| folder.is_absolute()).collect();
        let state_root = match (state_root, set("PIKACI_STATE_ROOT")) {
            (Some(folder), _) => current_dir.join(folder),
            (None, Some(folder)) => current_dir.join(folder),
            (None, None) => current_dir.join(STATE_FOLDER),
        };
        let executor = match set("PIKACI_EXECUTOR") {
            None => Executor::Local,
            Some(word) => Executor::from_str(&word.to_string_lossy(), false).map_err(|_| {
                Failure::usage_text(format!("PIKACI_EXECUTOR is {word:?}; it takes local or incus"))
            })?,
        };
        let home = set("HOME").map(PathBuf::from);
        let settings_folder = set("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .or_else(|| home.as_ref().map(|home| home.join(".config")))
            .unwrap_or_else(|| PathBuf::from("/etc"))
            .join("pikaci");
        let named = set("PIKACI_INCUS_SETTINGS").map(|path| current_dir.join(path));
        let usual = [settings_folder.join("incus.toml"), PathBuf::from("/etc/pikaci/incus.toml")];
        let incus_settings = named.or_else(|| usual.into_iter().find(|path| path.exists()));
        let known = NIX_VARIABLES.iter().filter_map(|name| Some((OsString::from(name), set(name)?)));
        let nix = NixConfig { path: path.clone(), environment: known.collect() };
        Ok(Config {
            executor,
            nix,
            incus_settings,
            settings_folder,
            incus_socket: Endpoint::from_variables(&|name| std::env::var_os(name)),
            state: StateRoot::new(state_root),
            bubblewrap: find_program("bwrap", &path_folders),
            home,
            is_terminal: io::stdout().is_terminal() && set("TERM").is_none_or(|term| term != "dumb"),
            current_dir,
            program,
            path,
            path_folders,
        })
    }
}

fn find_program(name: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    let is_program =
        |file: &PathBuf| file.is_file() && rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok();
    folders.iter().map(|folder| folder.join(name)).find(is_program)
}
