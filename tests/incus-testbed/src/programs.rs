//! Where Incus is installed.
//!
//! Distributions keep the daemon out of the path: Debian and Ubuntu in `/usr/libexec/incus`, the packages of Incus's
//! own maintainers in `/opt/incus`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::TestbedError;

/// The first is a script that sets up the environment of the daemon beside it.
const DAEMONS: [&str; 4] = [
    "/opt/incus/lib/systemd/incusd",
    "/opt/incus/bin/incusd",
    "/usr/libexec/incus/incusd",
    "/usr/lib/incus/incusd",
];

/// An ordinary user's path has none of these, and the daemon runs programs from them.
const SYSTEM_FOLDERS: [&str; 7] =
    ["/opt/incus/bin", "/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// The programs of an installed Incus.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The daemon, `incusd`.
    pub daemon: PathBuf,
    /// The command line client, `incus`.
    pub client: PathBuf,
    /// The search path for the daemon.
    pub(crate) path: OsString,
}

impl Programs {
    /// Looks where distributions put them, then along the search path.
    pub fn find() -> Result<Programs, TestbedError> {
        Programs::find_below(Path::new("/"), &std::env::var_os("PATH").unwrap_or_default())
    }

    fn find_below(root: &Path, path: &OsString) -> Result<Programs, TestbedError> {
        let in_root = |place: &str| root.join(place.trim_start_matches('/'));
        let mut folders: Vec<PathBuf> = std::env::split_paths(path).collect();
        folders.extend(SYSTEM_FOLDERS.map(in_root));
        let on_path =
            |program: &str| folders.iter().map(|folder| folder.join(program)).find(|file| file.is_file());
        let installed = DAEMONS.map(in_root).into_iter().find(|file| file.is_file());
        let daemon =
            installed.or_else(|| on_path("incusd")).ok_or(TestbedError::Missing { program: "incusd" })?;
        let client = on_path("incus").ok_or(TestbedError::Missing { program: "incus" })?;
        // The daemon looks for its agent, and the supervisor for the client, along the path.
        let first = [&daemon, &client].into_iter().filter_map(|program| program.parent().map(Path::to_owned));
        let path = std::env::join_paths(first.chain(folders)).unwrap_or_default();
        Ok(Programs { daemon, client, path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_outside_the_path_is_found_and_a_missing_one_is_named() {
        let root = tempfile::tempdir().expect("a folder");
        let install = |place: &str| {
            let file = root.path().join(place);
            std::fs::create_dir_all(file.parent().expect("a parent")).expect("folders");
            std::fs::write(&file, "").expect("a file");
            file
        };
        let find = || Programs::find_below(root.path(), &OsString::new());
        assert!(matches!(find(), Err(TestbedError::Missing { program: "incusd" })));
        let daemon = install("usr/libexec/incus/incusd");
        assert!(matches!(find(), Err(TestbedError::Missing { program: "incus" })));
        let client = install("usr/bin/incus");
        let programs = find().expect("both are there");
        assert_eq!((programs.daemon, programs.client), (daemon, client));
    }
}
