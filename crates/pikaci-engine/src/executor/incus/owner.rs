//! Names a state root towards a server that several of them use.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};

use jiff::Timestamp;
use pikaci::{RunId, StateRoot};

const FILE: &str = "owner-id";

/// The state root's own name, made at the first question. It moves with the state root.
pub fn owner_id(state: &StateRoot) -> io::Result<String> {
    let path = state.path().join(FILE);
    match fs::read_to_string(&path) {
        Ok(text) if !text.trim().is_empty() => return Ok(text.trim().to_owned()),
        Ok(_) => fs::remove_file(&path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    fs::create_dir_all(state.path())?;
    // The shape of a run's id: unique, and safe wherever it is written.
    let id = RunId::random(Timestamp::now()).to_string();
    let temporary = state.path().join(format!(".{FILE}.{id}"));
    let mut file = OpenOptions::new().write(true).create_new(true).open(&temporary)?;
    writeln!(file, "{id}")?;
    file.sync_all()?;
    // Linked, not renamed: of two that ask at once, the first one's name stays.
    let linked = fs::hard_link(&temporary, &path);
    fs::remove_file(&temporary)?;
    match linked {
        Ok(()) => Ok(id),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::read_to_string(&path).map(|text| text.trim().to_owned())
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_root_keeps_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateRoot::new(folder.path().join("state"));
        let first = owner_id(&state).unwrap();
        assert_eq!(owner_id(&state).unwrap(), first);
        fs::rename(folder.path().join("state"), folder.path().join("moved")).unwrap();
        assert_eq!(owner_id(&StateRoot::new(folder.path().join("moved"))).unwrap(), first);
        assert_ne!(owner_id(&state).unwrap(), first);
    }
}
