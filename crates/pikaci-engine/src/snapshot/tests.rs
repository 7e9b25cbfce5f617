//! Snapshots of real repositories, by real git.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::*;

struct Fixture {
    folder: TempDir,
}

impl Fixture {
    /// A repository with one commit.
    fn new() -> Fixture {
        let fixture = Fixture { folder: TempDir::new().unwrap() };
        fs::create_dir(fixture.root()).unwrap();
        fixture.git(&["init", "--quiet", "--initial-branch=main"]);
        fixture.write("README", "read me\n");
        fixture.write("src/main.rs", "fn main() {}\n");
        fixture.write("target/kept.txt", "tracked\n");
        fixture.write(".gitignore", "secret\n/ignored/\n");
        fixture.commit();
        fixture
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("repository")
    }

    fn git(&self, arguments: &[&str]) {
        git_in(&self.root(), arguments);
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn commit(&self) {
        self.git(&["add", "--all", "--", ".", ":!.pikaci"]);
        self.git(&["commit", "--quiet", "--message=change"]);
    }

    fn request(&self, source: Source) -> SnapshotRequest {
        let state_root = self.root().join(".pikaci");
        SnapshotRequest {
            source,
            snapshots_dir: state_root.join("snapshots"),
            state_root,
            base: None,
            git_deadline: Duration::from_secs(30),
        }
    }

    fn try_take(&self) -> Result<Snapshot, SnapshotError> {
        take(&self.request(Source::WorkingTree { root: self.root() }))
    }

    fn take(&self) -> Snapshot {
        self.try_take().unwrap()
    }

    fn take_revision(&self, revision: &str) -> Snapshot {
        take(&self.request(Source::Revision { repository: self.root(), revision: revision.to_owned() }))
            .unwrap()
    }

    /// Waits until the clock that stamps files has moved on, so that what was written counts as settled.
    fn settle(&self) {
        let stamp = |name: &str| {
            let path = self.folder.path().join(name);
            fs::write(&path, "").unwrap();
            let metadata = fs::metadata(&path).unwrap();
            metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec()
        };
        let before = stamp("clock");
        while stamp("clock") < before + 40_000_000 {}
    }
}

fn git_in(folder: &Path, arguments: &[&str]) {
    let mut command = Command::new("git");
    command.current_dir(folder).args(["-c", "user.name=Test", "-c", "user.email=test@example.invalid"]);
    command.args(["-c", "protocol.file.allow=always"]).args(arguments).env("GIT_CONFIG_GLOBAL", "/dev/null");
    assert!(command.status().unwrap().success(), "git {arguments:?}");
}

fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else {
                found.push(entry.path().strip_prefix(folder).unwrap().to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    found
}

#[test]
fn a_snapshot_is_gits_view_of_the_tree() {
    let fixture = Fixture::new();
    fixture.write("untracked", "new\n");
    fixture.write("secret", "password\n");
    fixture.write("ignored/file", "x\n");
    fs::remove_file(fixture.root().join("README")).unwrap();
    symlink("/etc/passwd", fixture.root().join("link")).unwrap();
    let snapshot = fixture.take();
    let expected = [".gitignore", ".pikaci-share", "link", "src/main.rs", "target/kept.txt", "untracked"];
    assert_eq!(files(&snapshot.dir), expected);
    assert_eq!(fs::read_link(snapshot.dir.join("link")).unwrap(), Path::new("/etc/passwd"));
    let sentinel = fs::read_to_string(snapshot.dir.join(".pikaci-share")).unwrap();
    assert_eq!(sentinel.trim(), snapshot.digest.as_str());
    assert!(snapshot.git_dirty && snapshot.git_head.is_some());
    let mode = |path: &str| fs::metadata(snapshot.dir.join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("untracked"), mode("src"), mode("")), (0o444, 0o555, 0o555));
}

#[test]
fn the_state_root_within_the_source_is_neither_frozen_nor_dirt() {
    let fixture = Fixture::new();
    let first = fixture.take();
    assert!(!first.git_dirty);
    assert_eq!(fixture.take().digest, first.digest);
}

#[test]
fn an_unchanged_tree_copies_nothing_and_a_changed_one_what_changed() {
    let fixture = Fixture::new();
    fixture.settle();
    let first = fixture.take();
    assert_eq!((first.files, first.files_copied), (4, 4));
    assert_eq!(fixture.take().files_copied, 0);
    fixture.write("src/main.rs", "fn main() { }\n");
    let changed = fixture.take();
    assert_eq!((changed.files, changed.files_copied, changed.bytes_copied), (4, 1, 14));
    assert_ne!(changed.digest, first.digest);
    let inode = |snapshot: &Snapshot, path: &str| fs::metadata(snapshot.dir.join(path)).unwrap().ino();
    assert_eq!(inode(&first, "README"), inode(&changed, "README"));
}

#[test]
fn an_editor_that_writes_in_place_does_not_change_a_snapshot() {
    let fixture = Fixture::new();
    let snapshot = fixture.take();
    fixture.write("README", "rewritten in place\n");
    assert_eq!(fs::read_to_string(snapshot.dir.join("README")).unwrap(), "read me\n");
}

#[test]
fn a_rewrite_of_the_same_size_in_the_same_moment_is_noticed() {
    let fixture = Fixture::new();
    for round in 0..20 {
        let text = format!("round {round:03}\n");
        fixture.write("README", &text);
        let snapshot = fixture.take();
        assert_eq!(fs::read_to_string(snapshot.dir.join("README")).unwrap(), text);
    }
}

#[test]
fn the_executable_bit_is_part_of_the_address() {
    let fixture = Fixture::new();
    let before = fixture.take();
    fs::set_permissions(fixture.root().join("README"), Permissions::from_mode(0o755)).unwrap();
    let after = fixture.take();
    assert_ne!(before.digest, after.digest);
    let mode = fs::metadata(after.dir.join("README")).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o555);
}

#[test]
fn a_revision_has_the_address_of_the_same_tree_checked_out() {
    let fixture = Fixture::new();
    symlink("README", fixture.root().join("link")).unwrap();
    fs::set_permissions(fixture.root().join("README"), Permissions::from_mode(0o755)).unwrap();
    fixture.commit();
    let bare = fixture.folder.path().join("bare.git");
    git_in(fixture.folder.path(), &["clone", "--quiet", "--bare", "repository", bare.to_str().unwrap()]);
    let mut request = fixture.request(Source::Revision { repository: bare, revision: "main".to_owned() });
    request.state_root = fixture.folder.path().join("state");
    request.snapshots_dir = request.state_root.join("snapshots");
    let revision = take(&request).unwrap();
    assert_eq!(revision.digest, fixture.take().digest);
    assert!(!revision.git_dirty);
    assert_eq!(take(&request).unwrap().files_copied, 0);
}

#[test]
fn the_next_revision_copies_only_the_blobs_that_are_new() {
    let fixture = Fixture::new();
    assert_eq!(fixture.take_revision("main").files_copied, 4);
    fixture.write("src/main.rs", "fn main() { }\n");
    fixture.commit();
    assert_eq!(fixture.take_revision("main").files_copied, 1);
}

#[test]
fn what_changed_is_told_against_the_merge_base() {
    let fixture = Fixture::new();
    fixture.git(&["checkout", "--quiet", "-b", "topic"]);
    fixture.write("src/lib.rs", "");
    fixture.commit();
    fixture.git(&["checkout", "--quiet", "main"]);
    fixture.write("README", "changed on main\n");
    fixture.commit();
    fixture.git(&["checkout", "--quiet", "topic"]);
    fixture.write("untracked", "");
    let changed = |source: Source| {
        let request = SnapshotRequest { base: Some("main".to_owned()), ..fixture.request(source) };
        take(&request).unwrap().changed_files
    };
    assert_eq!(changed(Source::WorkingTree { root: fixture.root() }), ["src/lib.rs", "untracked"]);
    let revision = "topic".to_owned();
    assert_eq!(changed(Source::Revision { repository: fixture.root(), revision }), ["src/lib.rs"]);
}

#[test]
fn a_submodule_is_frozen_when_it_is_checked_out_and_an_empty_folder_otherwise() {
    let fixture = Fixture::new();
    let other = Fixture::new();
    fixture.git(&["submodule", "--quiet", "add", other.root().to_str().unwrap(), "sub"]);
    fixture.commit();
    assert!(files(&fixture.take().dir).contains(&"sub/src/main.rs".to_owned()));
    fixture.git(&["submodule", "--quiet", "deinit", "--force", "sub"]);
    let without = fixture.take();
    assert!(without.dir.join("sub").is_dir() && !without.dir.join("sub/src").exists());
}

#[test]
fn paths_below_a_folder_that_became_a_link_are_not_followed() {
    let fixture = Fixture::new();
    fs::remove_dir_all(fixture.root().join("src")).unwrap();
    let outside = fixture.folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("main.rs"), "secret").unwrap();
    symlink(&outside, fixture.root().join("src")).unwrap();
    let snapshot = fixture.take();
    assert!(fs::symlink_metadata(snapshot.dir.join("src")).unwrap().is_symlink());
}

#[test]
fn a_repository_within_the_tree_that_is_no_submodule_is_an_empty_folder() {
    let fixture = Fixture::new();
    let inner = fixture.root().join("inner");
    fs::create_dir(&inner).unwrap();
    git_in(&inner, &["init", "--quiet"]);
    fs::write(inner.join("file"), "of another repository").unwrap();
    git_in(&inner, &["add", "file"]);
    git_in(&inner, &["commit", "--quiet", "--message=inner"]);
    let snapshot = fixture.take();
    assert!(snapshot.dir.join("inner").is_dir() && snapshot.git_dirty);
    assert!(!files(&snapshot.dir).iter().any(|path| path.starts_with("inner/")));
}

#[test]
fn a_pipe_in_the_place_of_a_file_is_named_and_not_waited_for() {
    let fixture = Fixture::new();
    let readme = fixture.root().join("README");
    fs::remove_file(&readme).unwrap();
    assert!(Command::new("mkfifo").arg(&readme).status().unwrap().success());
    match fixture.try_take() {
        Err(SnapshotError::SpecialFile { path }) => assert_eq!(path, readme),
        other => panic!("{other:?}"),
    }
}

#[test]
fn names_that_are_no_text_are_frozen_too() {
    use std::os::unix::ffi::OsStrExt as _;
    let fixture = Fixture::new();
    let name = std::ffi::OsStr::from_bytes(b"n\xffame\n with space");
    fs::write(fixture.root().join(name), "odd").unwrap();
    assert_eq!(fs::read_to_string(fixture.take().dir.join(name)).unwrap(), "odd");
    fixture.commit();
    assert_eq!(fixture.take_revision("main").digest, fixture.take().digest);
}

#[test]
fn what_cannot_be_frozen_is_named() {
    let fixture = Fixture::new();
    let outside = TempDir::new().unwrap();
    let request = SnapshotRequest {
        source: Source::WorkingTree { root: outside.path().to_owned() },
        ..fixture.request(Source::WorkingTree { root: fixture.root() })
    };
    assert!(matches!(take(&request), Err(SnapshotError::Git(GitFailure::NoRepository { .. }))));
    let missing = Source::Revision { repository: fixture.root(), revision: "--upload-pack=x".to_owned() };
    let refused = take(&fixture.request(missing));
    assert!(matches!(refused, Err(SnapshotError::Git(GitFailure::NoRevision { .. }))));
    fixture.write(".pikaci-share", "mine");
    assert!(matches!(fixture.try_take(), Err(SnapshotError::ReservedName { .. })));
}

#[test]
fn before_the_first_commit_the_tree_has_no_head_and_is_dirty() {
    let folder = TempDir::new().unwrap();
    let fixture = Fixture { folder };
    fs::create_dir(fixture.root()).unwrap();
    fixture.git(&["init", "--quiet"]);
    fixture.write("file", "x");
    let snapshot = fixture.take();
    assert_eq!((snapshot.git_head, snapshot.git_dirty, snapshot.files), (None, true, 1));
}

#[test]
fn a_killed_snapshot_leaves_nothing_that_is_used() {
    let fixture = Fixture::new();
    let snapshot = fixture.take();
    let snapshots_dir = fixture.root().join(".pikaci/snapshots");
    assert_eq!(find(&snapshots_dir, &snapshot.digest), Some(snapshot.dir.clone()));
    // Killed after the list was written and before the folder had its name.
    fs::set_permissions(&snapshot.dir, Permissions::from_mode(0o755)).unwrap();
    fs::rename(&snapshot.dir, snapshots_dir.join(".building-0-0")).unwrap();
    assert_eq!(find(&snapshots_dir, &snapshot.digest), None);
    let again = fixture.take();
    assert_eq!((again.digest, again.files), (snapshot.digest, 4));
    assert_eq!(fs::read_to_string(again.dir.join("README")).unwrap(), "read me\n");
}

#[test]
fn snapshots_at_once_agree() {
    let fixture = Fixture::new();
    let digests: Vec<Digest> = std::thread::scope(|scope| {
        let taking: Vec<_> = (0..4).map(|_| scope.spawn(|| fixture.take().digest)).collect();
        taking.into_iter().map(|taken| taken.join().unwrap()).collect()
    });
    assert!(digests.iter().all(|digest| *digest == digests[0]));
    let left: Vec<_> = fs::read_dir(fixture.root().join(".pikaci/snapshots"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with(".building-"))
        .collect();
    assert_eq!(left, Vec::<String>::new());
}
