//! What lies between two commits.

use super::*;
use crate::fixture::{Fixture, branch};

#[tokio::test]
async fn commits_are_listed_newest_first_with_all_that_people_read() {
    let fixture = Fixture::new().await;
    let first = fixture.push("main", "first");
    let second = fixture.push("main", "Wörter\n\nwhy\n\nand how");
    let third = fixture.push("main", "third");
    let between = fixture.bare.list_commits(Some(&first), &third, 10).await.unwrap();
    assert_eq!(between.iter().map(|commit| &commit.oid).collect::<Vec<_>>(), [&third, &second]);
    let expected = Commit {
        oid: second,
        author_name: "Ada".to_owned(),
        author_email: "ada@example.org".to_owned(),
        at: 1_700_000_000,
        subject: "Wörter".to_owned(),
        body: "why\n\nand how".to_owned(),
    };
    assert_eq!(between[1], expected);
    assert_eq!(fixture.bare.list_commits(None, &third, 2).await.unwrap().len(), 2);
    assert_eq!(fixture.bare.list_commits(None, &third, 10).await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_commit_that_is_not_there_is_not_found() {
    let fixture = Fixture::new().await;
    let head = fixture.push("main", "first");
    let missing = Oid::parse(&"1".repeat(40)).unwrap();
    let errors = [
        fixture.bare.list_commits(Some(&missing), &head, 1).await.unwrap_err(),
        fixture.bare.changed_paths(None, &missing).await.unwrap_err(),
        fixture.bare.merge_base(&missing, &head).await.unwrap_err(),
        fixture.bare.read_file(&missing, "a", 1).await.unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, GitError::NotFound { .. }), "{error}");
    }
    assert_eq!(fixture.bare.find_branch(&branch("missing")).await.unwrap(), None);
}

#[tokio::test]
async fn only_regular_files_within_the_limit_are_read() {
    let fixture = Fixture::new().await;
    fixture.write("folder/file", "content");
    fixture.write("*", "star");
    std::os::unix::fs::symlink("/etc/passwd", fixture.work().join("link")).unwrap();
    let head = fixture.push("main", "first");
    let read = async |path: &str| fixture.bare.read_file(&head, path, 7).await;
    assert_eq!(read("folder/file").await.unwrap().as_deref(), Some(&b"content"[..]));
    assert_eq!(read("*").await.unwrap().as_deref(), Some(&b"star"[..]));
    for path in
        ["link", "folder", "folder/", "missing", "", "../x", "/folder/file", "-r", ":(top)folder/file"]
    {
        assert_eq!(read(path).await.unwrap_or(None), None, "{path:?}");
    }
    let error = fixture.bare.read_file(&head, "folder/file", 6).await.unwrap_err();
    assert!(matches!(error, GitError::TooLarge { bytes_max: 6, .. }), "{error}");
}

#[tokio::test]
async fn changed_paths_follow_renames() {
    let fixture = Fixture::new().await;
    fixture.write("old name", "a\nb\nc\nd\ne\n");
    fixture.write("gone", "x");
    let base = fixture.push("main", "first");
    std::fs::rename(fixture.work().join("old name"), fixture.work().join("new name")).unwrap();
    std::fs::remove_file(fixture.work().join("gone")).unwrap();
    let head = fixture.push("topic", "second");
    let changed = fixture.bare.changed_paths(Some(&base), &head).await.unwrap();
    let expected = [
        ChangedPath { status: ChangeStatus::Deleted, path: b"gone".to_vec(), old_path: None },
        ChangedPath {
            status: ChangeStatus::Renamed,
            path: b"new name".to_vec(),
            old_path: Some(b"old name".to_vec()),
        },
    ];
    assert_eq!(changed, expected);
    assert_eq!(fixture.bare.changed_paths(None, &head).await.unwrap().len(), 1);
}
