//! Reads what a client wants to run: a fetch or a push of one repository, or nothing.
//!
//! Invariant: what comes out is one of two services and a word that is looked up among the names of repositories; no
//! option, path or quotation of the client's goes any further.

use pika_git::Service;

/// The longest command that is looked at.
const BYTES_MAX: usize = 1024;

/// A fetch or a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GitCommand {
    pub(super) service: Service,
    /// What may be the name of a repository.
    pub(super) repository: String,
}

/// Why a command is not run; what the client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CommandError {
    #[error("only git can be run here: git clone, git fetch and git push")]
    NotGit,
    #[error("archives are not served; clone instead")]
    Archive,
    #[error("there is no such repository here; its address ends in /NAME.git")]
    Path,
}

/// Reads `git-upload-pack '/sample.git'` and the like.
pub(super) fn parse(command: &[u8]) -> Result<GitCommand, CommandError> {
    let text = std::str::from_utf8(command).map_err(|_| CommandError::NotGit)?;
    if text.len() > BYTES_MAX {
        return Err(CommandError::NotGit);
    }
    // Git says `git-upload-pack`, some clients `git upload-pack`.
    let (program, rest) = match text.strip_prefix("git ") {
        Some(text) => (format!("git-{}", text.split(' ').next().unwrap_or_default()), text.split_once(' ')),
        None => (text.split(' ').next().unwrap_or_default().to_owned(), text.split_once(' ')),
    };
    let service = match program.as_str() {
        "git-upload-archive" => return Err(CommandError::Archive),
        program => Service::parse(program).ok_or(CommandError::NotGit)?,
    };
    let path = rest.map(|(_, path)| path).ok_or(CommandError::Path)?;
    let path = match path.strip_prefix('\'') {
        Some(path) => path.strip_suffix('\'').ok_or(CommandError::Path)?,
        None => path,
    };
    let name = path.strip_prefix('/').unwrap_or(path);
    let name = name.strip_prefix("news/git/").unwrap_or(name);
    let name = name.strip_suffix('/').unwrap_or(name);
    let name = name.strip_suffix(".git").unwrap_or(name);
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        && name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if is_name { Ok(GitCommand { service, repository: name.to_owned() }) } else { Err(CommandError::Path) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_way_to_name_a_repository_is_read() {
        for path in ["'/sample.git'", "'sample.git'", "/news/git/sample.git", "'/sample'", "'sample.git/'"] {
            let expected = GitCommand { service: Service::UploadPack, repository: "sample".to_owned() };
            assert_eq!(parse(format!("git-upload-pack {path}").as_bytes()), Ok(expected.clone()), "{path}");
            assert_eq!(parse(format!("git upload-pack {path}").as_bytes()), Ok(expected), "{path}");
        }
        assert_eq!(parse(b"git-receive-pack 'a.b'").map(|command| command.service), Ok(Service::ReceivePack));
    }

    #[test]
    fn what_is_not_a_fetch_or_a_push_of_a_name_is_refused() {
        for hostile in [
            "git-upload-pack '../../etc'",
            "git-upload-pack '/etc/passwd'",
            "git-upload-pack '/news/git/../sample.git'",
            "git-upload-pack --upload-pack=id '/sample.git'",
            "git-upload-pack '--strict'",
            "git-upload-pack '-x'",
            "git-upload-pack 'sample.git'; id",
            "git-upload-pack 'sample.git' '$(id)'",
            "git-upload-pack `id`",
            "git-upload-pack 'sa'\\''mple.git'",
            "git-upload-pack 'sample.git",
            "git-upload-pack ''",
            "git-upload-pack",
            "git-upload-pack 'sample.git\n'",
        ] {
            assert_eq!(parse(hostile.as_bytes()), Err(CommandError::Path), "{hostile}");
        }
        for hostile in
            ["", "id", "git", "git ", "git-shell -c id", "/bin/sh", "scp -t .", "git-upload-pack2 'a'"]
        {
            assert_eq!(parse(hostile.as_bytes()), Err(CommandError::NotGit), "{hostile}");
        }
        assert_eq!(parse(b"git-upload-archive 'sample.git'"), Err(CommandError::Archive));
        assert_eq!(parse(b"\xff"), Err(CommandError::NotGit));
    }

    proptest! {
        #[test]
        fn whatever_is_read_is_a_plain_word(command in "git-(upload|receive)-pack '?[ -~]{0,20}'?") {
            if let Ok(read) = parse(command.as_bytes()) {
                let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
                prop_assert!(read.repository.chars().all(is_plain), "{read:?}");
                prop_assert!(read.repository.starts_with(|first: char| first.is_ascii_alphanumeric()));
            }
        }
    }
}
