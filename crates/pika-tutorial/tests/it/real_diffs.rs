//! What git writes in all its forms is read as git counts it.

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use pika_tutorial::{ChangeStatus, Diff};

use crate::git::Repository;

const LONG: &str = "one\ntwo\nthree\nfour\nfive\nsix\nseven\neight\nnine\nten\neleven\ntwelve\n";

/// Two commits that differ in every way that git knows.
fn odd_history() -> Repository {
    let repository = Repository::new();
    repository.write("src/plain.rs", LONG);
    repository.write("src/moved here.rs", LONG.repeat(2));
    repository.write("src/moved away.rs", LONG.repeat(3));
    repository.write("run.sh", "#!/bin/sh\n");
    repository.write("becomes a link", "content\n");
    repository.write("image.bin", b"\0\x01\x02".repeat(50));
    repository.write("no newline", "last");
    repository.write("gone", "a\nb\n");
    repository.write("tab\tand \"quote\".txt", "x\n");
    repository.write("-- a", "x\n");
    repository.write("carriage", "a\r\nb\r\n");
    repository.commit("before");

    repository.write("src/plain.rs", LONG.replace("two", "2").replace("eleven", "11\n11.5"));
    let moved = repository.path().join("src/moved here.rs");
    std::fs::rename(moved, repository.path().join("src/moved there.rs")).unwrap();
    std::fs::remove_file(repository.path().join("src/moved away.rs")).unwrap();
    repository.write("elsewhere/moved.rs", LONG.repeat(3).replace("twelve", "12"));
    let script = repository.path().join("run.sh");
    std::fs::set_permissions(script, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::remove_file(repository.path().join("becomes a link")).unwrap();
    symlink("src/plain.rs", repository.path().join("becomes a link")).unwrap();
    repository.write("image.bin", b"\0\x01\x03".repeat(60));
    repository.write("no newline", "last line");
    std::fs::remove_file(repository.path().join("gone")).unwrap();
    repository.write("tab\tand \"quote\".txt", "y\n");
    repository.write("-- a", "--- a/x\n+++ b/x\n");
    repository.write("carriage", "a\r\nc\r\n");
    repository.write("empty", "");
    let odd = std::ffi::OsStr::from_bytes(b"caf\xe9");
    std::fs::write(repository.path().join(odd), "latin\n").unwrap();
    repository.commit("after");
    repository
}

/// Lines added and removed, which a binary file has not, and the path.
type Counted = (Option<(usize, usize)>, Vec<u8>);

/// Each file as git counts it.
fn numstat(repository: &Repository, options: &[&str]) -> Vec<Counted> {
    // Some options ask for the patch as well.
    let asks_for_patch = |option: &str| option == "--binary" || option.starts_with("-U");
    let options = options.iter().copied().filter(|option| !asks_for_patch(option));
    let arguments: Vec<&str> =
        ["diff", "-z", "--numstat"].into_iter().chain(options).chain(["HEAD~1", "HEAD"]).collect();
    let output = repository.git(&arguments);
    let mut fields = output.split(|byte| *byte == 0).filter(|field| !field.is_empty());
    let mut files = Vec::new();
    while let Some(field) = fields.next() {
        let parts: Vec<&[u8]> = field.splitn(3, |byte| *byte == b'\t').collect();
        let number = |bytes: &[u8]| String::from_utf8_lossy(bytes).parse::<usize>().ok();
        let path = match parts.get(2) {
            Some(path) if !path.is_empty() => path.to_vec(),
            // A rename: the old path, then the new one.
            _ => fields.nth(1).unwrap().to_vec(),
        };
        files.push((number(parts[0]).zip(number(parts[1])), path));
    }
    files
}

#[test]
fn every_form_of_gits_diff_has_the_files_and_counts_that_git_says() {
    let repository = odd_history();
    for options in [
        &["-M"][..],
        &["--no-renames"],
        &["-M", "-C", "--find-copies-harder"],
        &["-M", "--no-prefix"],
        &["-M", "--binary", "--full-index"],
        &["-M", "-U0"],
        &["-M", "-U100"],
        &["-M", "--function-context"],
        &["-M", "--patience", "--src-prefix=x/", "--dst-prefix=y/"],
        &["--no-renames", "-R"],
    ] {
        let patch = repository.git(&[&["diff"][..], options, &["HEAD~1", "HEAD"]].concat());
        let diff = Diff::parse(patch);
        assert_eq!(diff.problems(), &[] as &[String], "{options:?}");
        let mut read: Vec<_> = diff
            .files()
            .iter()
            .map(|file| ((!file.is_binary).then_some((file.added, file.removed)), file.path.clone()))
            .collect();
        let text = |(counts, path): Counted| (counts, String::from_utf8_lossy(&path).into_owned());
        // A file that becomes a link is gone and new in a patch, and one entry in the counts.
        let link = b"becomes a link";
        read.retain(|(_, path)| path != link);
        let mut expected = numstat(&repository, options);
        expected.retain(|(_, path)| path != link);
        let read: Vec<_> = read.into_iter().map(text).collect();
        let expected: Vec<_> = expected.into_iter().map(text).collect();
        assert_eq!(read, expected, "{options:?}");
    }
}

#[test]
fn what_happened_to_each_file_is_told_apart() {
    let repository = odd_history();
    let diff = Diff::parse(repository.git(&["diff", "-M", "HEAD~1", "HEAD"]));
    let told: Vec<(String, ChangeStatus, Option<String>)> = diff
        .files()
        .iter()
        .map(|file| (file.display_path(), file.status, file.display_old_path()))
        .filter(|(_, status, _)| *status != ChangeStatus::Modified)
        .collect();
    let is = |path: &str, status, old: Option<&str>| (path.to_owned(), status, old.map(str::to_owned));
    assert_eq!(
        told,
        [
            is("becomes a link", ChangeStatus::Deleted, None),
            is("becomes a link", ChangeStatus::Added, None),
            is("caf\u{fffd}", ChangeStatus::Added, None),
            is("src/moved away.rs", ChangeStatus::Renamed, None).with_path("elsewhere/moved.rs"),
            is("empty", ChangeStatus::Added, None),
            is("gone", ChangeStatus::Deleted, None),
            is("src/moved there.rs", ChangeStatus::Renamed, Some("src/moved here.rs")),
        ]
    );
}

/// Reads as `old` became `path` in the table above.
trait WithPath {
    fn with_path(self, path: &str) -> Self;
}

impl WithPath for (String, ChangeStatus, Option<String>) {
    fn with_path(self, path: &str) -> Self {
        (path.to_owned(), self.1, Some(self.0))
    }
}

#[test]
fn ids_are_the_same_whatever_happened_elsewhere_in_the_file() {
    let repository = Repository::new();
    repository.write("x", LONG.repeat(4));
    repository.commit("before");
    repository.write("x", LONG.repeat(4).replacen("twelve", "12", 1));
    repository.commit("one change");
    let one = Diff::parse(repository.git(&["diff", "HEAD~1", "HEAD"]));
    let more = format!("zero\n{}", LONG.repeat(4).replacen("twelve", "12", 1));
    repository.write("x", more);
    repository.commit("another above it");
    let two = Diff::parse(repository.git(&["diff", "HEAD~2", "HEAD"]));
    assert_eq!(two.hunks().count(), 2);
    assert_eq!(one.hunks().next().unwrap().id(), two.hunks().nth(1).unwrap().id());
}

#[test]
fn a_merge_with_a_conflict_is_read_from_both_sides() {
    let repository = Repository::new();
    repository.write("src/x y", LONG);
    repository.commit("before");
    repository.git(&["checkout", "--quiet", "-b", "other"]);
    repository.write("src/x y", LONG.replace("six", "theirs"));
    repository.commit("theirs");
    repository.git(&["checkout", "--quiet", "main"]);
    repository.write("src/x y", LONG.replace("six", "ours"));
    repository.commit("ours");
    let (is_merged, _) = repository.try_git(&["merge", "--quiet", "other"]);
    assert!(!is_merged);
    repository.write("src/x y", LONG.replace("six", "both"));
    repository.commit("merge");
    for format in ["--cc", "--combined"] {
        let patch = repository.git(&["show", &format!("--diff-merges={}", &format[2..]), "HEAD"]);
        let diff = Diff::parse(patch);
        assert_eq!(diff.problems(), &[] as &[String]);
        let [file] = diff.files() else { panic!("{diff:?}") };
        assert_eq!((file.display_path().as_str(), file.parents), ("src/x y", 2));
        assert_eq!((file.added, file.removed), (1, 2));
    }
}

#[test]
fn a_submodule_is_read_in_every_form_that_git_has() {
    let library = Repository::new();
    library.write("a", "1\n");
    library.commit("first");
    let repository = Repository::new();
    repository.write("x", "x\n");
    repository.commit("before");
    let url = library.path().to_str().unwrap();
    repository.git(&["submodule", "--quiet", "add", url, "vendor/the library"]);
    repository.commit("add it");
    for form in ["short", "log", "diff"] {
        let patch = repository.git(&["diff", &format!("--submodule={form}"), "HEAD~1", "HEAD"]);
        let diff = Diff::parse(patch);
        let found = diff.files().iter().find(|file| file.display_path() == "vendor/the library");
        let file = found.unwrap_or_else(|| panic!("{form}: {diff:?}"));
        assert!(file.is_submodule() && file.status == ChangeStatus::Added, "{form}: {file:?}");
    }
}
