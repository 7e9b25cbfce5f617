//! Copies a repository that is in use, whole: also the commits that only a reflog, or nothing, still names.
//!
//! Invariant: every reference of the copy has its objects. References are read first, at one moment; objects are only ever
//! added meanwhile, or packed anew, which a second look finds.

use std::fs;
use std::io::{self, ErrorKind, Write as _};
use std::path::Path;

use crate::error::GitError;
use crate::repository::Repository;

/// How often the objects are copied again because they were packed meanwhile.
const PASSES_MAX: u32 = 5;

impl Repository {
    /// Copies the repository into a folder that is not there yet, checks the copy, and returns how many references it has.
    ///
    /// Objects are linked where the file system can: git never changes one. Hooks are not copied.
    pub async fn copy_to(&self, to: &Path) -> Result<usize, GitError> {
        let listed =
            self.call("list the references").arguments(["for-each-ref", "--format=%(objectname) %(refname)"]);
        let references = listed.output().await?;
        let count = references.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count();
        let (from, folder) = (self.path().to_owned(), to.to_owned());
        let failed = |folder: &Path| GitError::io(format!("copy the repository to {}", folder.display()));
        let begun = blocking(move || begin(&from, &folder, &references));
        begun.await.map_err(failed(to))?;
        let mut passes = 0;
        loop {
            passes += 1;
            let (from, folder) = (self.path().join("objects"), to.join("objects"));
            match blocking(move || copy_objects(&from, &folder)).await {
                Err(error) if error.kind() == ErrorKind::NotFound && passes < PASSES_MAX => continue,
                copied => copied.map_err(failed(to))?,
            }
            let copy = self.opened_beside(to)?;
            match copy.check_connected().await {
                Err(GitError::Failed { .. }) if passes < PASSES_MAX => {}
                checked => return checked.map(|()| count),
            }
        }
    }

    /// Checks that everything that a reference leads to is there.
    pub async fn check_connected(&self) -> Result<(), GitError> {
        let arguments = ["fsck", "--connectivity-only", "--no-dangling", "--no-reflogs", "--no-progress"];
        let call = self.call("check the repository").arguments(arguments);
        call.deadline(crate::repository::FSCK_DEADLINE).output().await.map(drop)
    }
}

async fn blocking(work: impl FnOnce() -> io::Result<()> + Send + 'static) -> io::Result<()> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// Makes a repository of references without objects.
fn begin(from: &Path, to: &Path, references: &[u8]) -> io::Result<()> {
    fs::create_dir(to)?;
    for folder in ["refs/heads", "refs/tags", "objects/pack", "objects/info"] {
        fs::create_dir_all(to.join(folder))?;
    }
    // One file for all: copied one by one, a reference could slip between a file of its own and the packed ones.
    let mut packed = fs::File::create(to.join("packed-refs"))?;
    packed.write_all(references)?;
    packed.sync_all()?;
    for name in ["HEAD", "config"] {
        fs::copy(from.join(name), to.join(name))?;
    }
    copy_logs(&from.join("logs"), &to.join("logs"))
}

/// Copies reflogs as far as they are there: they grow, and go with their branches.
fn copy_logs(from: &Path, to: &Path) -> io::Result<()> {
    let Ok(entries) = fs::read_dir(from) else { return Ok(()) };
    fs::create_dir_all(to)?;
    for entry in entries {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_logs(&entry.path(), &target)?;
        } else if let Err(error) = fs::copy(entry.path(), target)
            && error.kind() != ErrorKind::NotFound
        {
            return Err(error);
        }
    }
    Ok(())
}

/// Copies what is not there yet. Loose objects come before packs: what was packed meanwhile is in a pack by then.
fn copy_objects(from: &Path, to: &Path) -> io::Result<()> {
    let mut folders: Vec<_> = fs::read_dir(from)?.collect::<io::Result<_>>()?;
    folders.sort_by_key(|folder| folder.file_name() == "pack");
    for folder in folders {
        if !folder.file_type()?.is_dir() {
            continue;
        }
        let target = to.join(folder.file_name());
        fs::create_dir_all(&target)?;
        let entries = match fs::read_dir(folder.path()) {
            Ok(entries) => entries,
            // Emptied by packing.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let is_unfinished =
                name.to_string_lossy().starts_with("tmp_") || name.to_string_lossy().ends_with(".lock");
            if is_unfinished || !entry.file_type()?.is_file() {
                continue;
            }
            link_or_copy(&entry.path(), &target.join(name))?;
        }
    }
    Ok(())
}

fn link_or_copy(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(error),
        // Another file system, or one without links.
        Err(_) => fs::copy(from, to).map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Fixture;

    #[tokio::test]
    async fn a_copy_has_every_reference_and_also_what_was_pushed_over() {
        let fixture = Fixture::new().await;
        fixture.write("a", "1");
        let lost = fixture.push("topic", "One");
        fixture.git(&["commit", "--quiet", "--amend", "-m", "Another"]);
        let kept = fixture.push("topic", "Two");
        let to = fixture.scratch.path().join("copy.git");
        assert_eq!(fixture.bare.copy_to(&to).await.unwrap(), 1);
        let copy = Repository::open(&to).unwrap();
        assert!(copy.has_commit(&lost).await.unwrap() && copy.has_commit(&kept).await.unwrap());
        copy.fsck().await.unwrap();
        assert_eq!(copy.list_branches().await.unwrap(), fixture.bare.list_branches().await.unwrap());
    }

    #[tokio::test]
    async fn a_copy_that_lacks_an_object_is_told() {
        let fixture = Fixture::new().await;
        fixture.write("a", "1");
        fixture.push("main", "One");
        let to = fixture.scratch.path().join("copy.git");
        fixture.bare.copy_to(&to).await.unwrap();
        let copy = Repository::open(&to).unwrap();
        copy.check_connected().await.unwrap();
        std::fs::remove_dir_all(to.join("objects")).unwrap();
        std::fs::create_dir_all(to.join("objects/pack")).unwrap();
        assert!(copy.check_connected().await.is_err());
    }
}
