//! Making, opening and keeping a repository.

use super::*;
use crate::fixture::{Fixture, branch};

#[tokio::test]
async fn making_a_repository_twice_keeps_what_is_in_it() {
    let fixture = Fixture::new().await;
    let head = fixture.push("main", "first");
    let again = Repository::init(fixture.bare.path(), &branch("trunk")).await.unwrap();
    assert_eq!(again.find_branch(&branch("main")).await.unwrap(), Some(head));
    assert_eq!(again.find_default_branch().await.unwrap(), Some(branch("trunk")));
    assert_eq!(again.find_config("transfer.fsckObjects").await.unwrap().as_deref(), Some("true"));
}

#[tokio::test]
async fn a_folder_that_is_no_repository_is_named() {
    let scratch = tempfile::tempdir().unwrap();
    for path in [scratch.path().to_owned(), scratch.path().join("missing")] {
        let error = Repository::open(&path).unwrap_err();
        assert!(matches!(&error, GitError::NotARepository { path: named } if *named == path), "{error}");
    }
}

#[tokio::test]
async fn the_hooks_run_at_a_push_and_can_be_replaced() {
    let fixture = Fixture::new().await;
    let script = fixture.scratch.path().join("hook");
    std::fs::write(&script, "#!/bin/sh\ncat > received\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&script, mode).unwrap();
    fixture.bare.install_hooks(Path::new("/nonexistent/old")).unwrap();
    fixture.bare.install_hooks(&script).unwrap();
    fixture.bare.install_hooks(&script).unwrap();
    let head = fixture.push("main", "first");
    let received = std::fs::read_to_string(fixture.bare.path().join("received")).unwrap();
    assert_eq!(received, format!("{} {head} refs/heads/main\n", "0".repeat(40)));
    let hooks = std::fs::read_dir(fixture.bare.path().join("hooks")).unwrap();
    assert_eq!(hooks.count(), 2);
}

#[tokio::test]
async fn packing_keeps_every_branch() {
    let fixture = Fixture::new().await;
    let head = fixture.push("main", "first");
    fixture.bare.maintain().await.unwrap();
    assert_eq!(fixture.bare.list_branches().await.unwrap(), [(branch("main"), head)]);
    fixture.bare.fsck().await.unwrap();
}

#[tokio::test]
async fn settings_of_the_repository_can_be_changed_and_read() {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.bare.find_config("pika-news.socket").await.unwrap(), None);
    fixture.bare.set_config("pika-news.socket", "/run/one two").await.unwrap();
    assert_eq!(fixture.bare.find_config("pika-news.socket").await.unwrap().as_deref(), Some("/run/one two"));
}
