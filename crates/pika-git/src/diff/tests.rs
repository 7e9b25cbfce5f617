//! What people see of a difference, and what limits cost.

use super::*;
use crate::fixture::Fixture;

async fn diff(fixture: &Fixture, base: &Oid, head: &Oid) -> Diff {
    fixture.bare.diff(Some(base), head, DiffLimits::default()).await.unwrap()
}

/// A hunk as people see it, with its line numbers.
fn shown(hunk: &Hunk) -> String {
    let number = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    let lines = hunk.lines.iter().map(|line| {
        let end = if line.has_no_newline { " (no newline)" } else { "" };
        format!("{:?} {} {} {}{end}", line.kind, number(line.old_no), number(line.new_no), line.text)
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn every_line_carries_its_numbers_on_both_sides() {
    let fixture = Fixture::new().await;
    fixture.write("poem", "one\ntwo\nthree\nfour");
    let base = fixture.push("main", "first");
    fixture.write("poem", "one\n2\n--- not a header\n+++ nor this\n@@ -1 +1 @@\nthree\nfour\n");
    let head = fixture.push("topic", "second");
    let diff = diff(&fixture, &base, &head).await;
    let [file] = &diff.files[..] else { panic!("{diff:?}") };
    assert_eq!(
        (file.path.as_str(), file.status, file.added, file.removed),
        ("poem", ChangeStatus::Modified, 5, 2)
    );
    assert!(!diff.is_cut && !file.is_cut);
    assert_eq!((file.hunks[0].old_lines, file.hunks[0].new_lines), (4, 7));
    assert_eq!(
        shown(&file.hunks[0]),
        "Context 1 1 one\nRemoved 2 - two\nAdded - 2 2\nAdded - 3 --- not a header\nAdded - 4 +++ nor this\n\
         Added - 5 @@ -1 +1 @@\nContext 3 6 three\nRemoved 4 - four (no newline)\nAdded - 7 four"
    );
}

#[tokio::test]
async fn unusual_changes_are_told_apart_and_their_lines_stay_with_their_file() {
    let fixture = Fixture::new().await;
    for (path, content) in
        [("mode", "x\n"), ("link", "target\n"), ("gone", "g\n"), ("moved from", "a\nb\nc\nd\n")]
    {
        fixture.write(path, content);
    }
    fixture.write("picture", b"\0\x01\x02");
    let base = fixture.push("main", "first");
    let work = fixture.work();
    fixture.git(&["update-index", "--chmod=+x", "mode"]);
    fixture.git(&["config", "core.fileMode", "false"]);
    std::fs::remove_file(work.join("link")).unwrap();
    std::os::unix::fs::symlink("zz", work.join("link")).unwrap();
    std::fs::remove_file(work.join("gone")).unwrap();
    std::fs::rename(work.join("moved from"), work.join("moved\tto")).unwrap();
    fixture.write("picture", b"\0\x03\x04");
    fixture.write("empty", "");
    fixture.write("zuletzt", "last\n");
    fixture.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{base},module")]);
    std::fs::create_dir(work.join("module")).unwrap();
    let head = fixture.push("topic", "second");
    let diff = diff(&fixture, &base, &head).await;

    let facts = diff.files.iter().map(|file| {
        let old = file.old_path.as_deref().unwrap_or("-");
        format!("{} {old} {:?} {}/{} {}", file.path, file.status, file.added, file.removed, file.hunks.len())
    });
    assert_eq!(
        facts.collect::<Vec<_>>(),
        [
            "empty - Added 0/0 0",
            "gone - Deleted 0/1 1",
            "link - TypeChanged 1/1 2",
            "mode - Modified 0/0 0",
            "module - Added 1/0 1",
            "moved\tto moved from Renamed 0/0 0",
            "picture - Modified 0/0 0",
            "zuletzt - Added 1/0 1",
        ]
    );
    let find = |path: &str| diff.files.iter().find(|file| file.path == path).unwrap();
    assert_eq!((find("mode").old_mode, find("mode").new_mode), (0o100_644, 0o100_755));
    assert!(find("picture").is_binary && !find("zuletzt").is_binary);
    assert_eq!(find("module").new_mode, 0o160_000);
    assert_eq!(shown(&find("zuletzt").hunks[0]), "Added - 1 last");
}

#[tokio::test]
async fn bytes_that_are_not_text_are_shown_and_not_an_error() {
    use std::os::unix::ffi::OsStrExt as _;
    let fixture = Fixture::new().await;
    let base = fixture.push("main", "first");
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9");
    std::fs::write(fixture.work().join(name), b"gr\xfc\xdfe\r\n").unwrap();
    let head = fixture.push("topic", "second");
    let diff = diff(&fixture, &base, &head).await;
    assert_eq!(diff.files[0].path, "caf\u{fffd}");
    assert_eq!(diff.files[0].hunks[0].lines[0].text, "gr\u{fffd}\u{fffd}e\r");
    let changed = fixture.bare.changed_paths(Some(&base), &head).await.unwrap();
    assert_eq!(changed[0].path, b"caf\xe9");
}

#[tokio::test]
async fn without_a_base_everything_is_new() {
    let fixture = Fixture::new().await;
    fixture.write("a", "1\n");
    let head = fixture.push("main", "first");
    let diff = fixture.bare.diff(None, &head, DiffLimits::default()).await.unwrap();
    assert_eq!((diff.files.len(), diff.files[0].status), (1, ChangeStatus::Added));
    assert_eq!(self::diff(&fixture, &head, &head).await, Diff::default());
}

#[tokio::test]
async fn limits_cost_lines_and_never_a_file_or_a_count() {
    let fixture = Fixture::new().await;
    let base = fixture.push("main", "first");
    for name in ["a", "b", "c"] {
        fixture.write(name, "line\n".repeat(50));
    }
    fixture.write("wide", "w".repeat(5_000_000));
    let head = fixture.push("topic", "second");

    let limits = DiffLimits { file_lines_max: 10, line_bytes_max: 100, ..DiffLimits::default() };
    let diff = fixture.bare.diff(Some(&base), &head, limits).await.unwrap();
    assert!(diff.is_cut);
    let facts: Vec<_> =
        diff.files.iter().map(|file| (file.added, file.hunks[0].lines.len(), file.is_cut)).collect();
    assert_eq!(facts, [(50, 10, true), (50, 10, true), (50, 10, true), (1, 1, true)]);
    assert_eq!(diff.files[3].hunks[0].lines[0].text, "w".repeat(100));

    let limits = DiffLimits { lines_max: 60, ..DiffLimits::default() };
    let diff = fixture.bare.diff(Some(&base), &head, limits).await.unwrap();
    let lines = |file: &FileDiff| file.hunks.iter().map(|hunk| hunk.lines.len()).sum::<usize>();
    let facts: Vec<_> = diff.files.iter().map(|file| (file.added, lines(file), file.is_cut)).collect();
    assert_eq!(facts, [(50, 50, false), (50, 10, true), (50, 0, true), (1, 0, true)]);
}

#[tokio::test]
async fn a_commit_that_is_not_there_is_not_found() {
    let fixture = Fixture::new().await;
    let head = fixture.push("main", "first");
    let missing = Oid::parse(&"1".repeat(40)).unwrap();
    let error = fixture.bare.diff(Some(&missing), &head, DiffLimits::default()).await.unwrap_err();
    assert!(matches!(error, GitError::NotFound { .. }), "{error}");
}

#[tokio::test]
async fn what_a_repository_says_of_its_submodules_hides_none_of_their_changes() {
    let fixture = Fixture::new().await;
    let first = fixture.push("main", "first");
    fixture.write(".gitmodules", "[submodule \"m\"]\n\tpath = module\n\turl = ./m\n\tignore = all\n");
    std::fs::create_dir(fixture.work().join("module")).unwrap();
    fixture.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{first},module")]);
    let base = fixture.push("main", "with a submodule");
    fixture.git(&["update-index", "--cacheinfo", &format!("160000,{base},module")]);
    fixture.git(&["commit", "--quiet", "-m", "moved"]);
    fixture.git(&["push", "--quiet", "origin", "HEAD:refs/heads/topic"]);
    let head = Oid::parse(&fixture.git(&["rev-parse", "HEAD"])).unwrap();
    let diff = diff(&fixture, &base, &head).await;
    assert_eq!(diff.files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), ["module"]);
    assert_eq!(diff.files[0].hunks[0].lines[1].text, format!("Subproject commit {base}"));
}
