//! Merges of real branches.

use super::*;
use crate::fixture::{Fixture, branch};

fn request(target: &Oid, head: &Oid) -> MergeRequest {
    MergeRequest {
        target: branch("main"),
        expected_target: target.clone(),
        head: head.clone(),
        message: "Merge branch 'topic'\n\nReviewed.".to_owned(),
        author: Signature::new("Ada <x>\n", "ada@example.org"),
        committer: Signature::new("", "forge@example.org"),
        at: 1_700_000_000,
    }
}

/// `main` and `topic`, each with a commit of its own on a shared first one.
async fn diverged(on_main: &str, on_topic: &str) -> (Fixture, Oid, Oid) {
    let fixture = Fixture::new().await;
    fixture.write("shared", "1\n2\n3\n");
    let first = fixture.push("main", "first");
    fixture.write(on_main, "main\n");
    let target = fixture.push("main", "on main");
    fixture.git(&["reset", "--quiet", "--hard", first.as_str()]);
    fixture.write(on_topic, "topic\n");
    let head = fixture.push("topic", "on topic");
    (fixture, target, head)
}

#[tokio::test]
async fn a_merge_has_both_parents_and_says_who_and_when() {
    let (fixture, target, head) = diverged("a", "b").await;
    let merged = fixture.bare.merge(&request(&target, &head)).await.unwrap();
    assert_eq!(fixture.bare.find_branch(&branch("main")).await.unwrap(), Some(merged.clone()));
    fixture.git(&["fetch", "--quiet", "origin"]);
    let shown = fixture.git(&["log", "-1", "--format=%P|%an|%ae|%cn|%at|%s|%b", merged.as_str()]);
    let expected =
        format!("{target} {head}|Ada x|ada@example.org|unknown|1700000000|Merge branch 'topic'|Reviewed.");
    assert_eq!(shown, expected);
    assert_eq!(fixture.bare.read_file(&merged, "b", 100).await.unwrap().as_deref(), Some(&b"topic\n"[..]));
    fixture.bare.fsck().await.unwrap();
}

#[tokio::test]
async fn preparing_moves_nothing_and_twice_makes_the_same_commit() {
    let (fixture, target, head) = diverged("a", "b").await;
    let first = fixture.bare.prepare_merge(&request(&target, &head)).await.unwrap();
    let second = fixture.bare.prepare_merge(&request(&target, &head)).await.unwrap();
    assert_eq!(first, second);
    assert_eq!(fixture.bare.find_branch(&branch("main")).await.unwrap(), Some(target));
}

#[tokio::test]
async fn a_conflict_names_its_paths_and_changes_nothing() {
    let (fixture, target, head) = diverged("shared", "shared").await;
    let error = fixture.bare.merge(&request(&target, &head)).await.unwrap_err();
    assert!(matches!(&error, MergeError::Conflict { paths } if paths == &["shared"]), "{error}");
    assert_eq!(fixture.bare.find_branch(&branch("main")).await.unwrap(), Some(target));
}

#[tokio::test]
async fn what_is_merged_already_or_shares_no_history_is_told_apart() {
    let (fixture, target, head) = diverged("a", "b").await;
    let merged = fixture.bare.merge(&request(&target, &head)).await.unwrap();
    let again = fixture.bare.merge(&request(&merged, &head)).await.unwrap_err();
    assert!(matches!(again, MergeError::AlreadyMerged { .. }), "{again}");
    fixture.git(&["checkout", "--quiet", "--orphan", "lonely"]);
    let lonely = fixture.push("lonely", "no parents");
    assert_eq!(fixture.bare.merge_base(&merged, &lonely).await.unwrap(), None);
    let refused = fixture.bare.merge(&request(&merged, &lonely)).await.unwrap_err();
    assert!(matches!(refused, MergeError::Unrelated), "{refused}");
}

#[tokio::test]
async fn a_target_that_moved_is_left_where_it_is() {
    let (fixture, target, head) = diverged("a", "b").await;
    fixture.git(&["checkout", "--quiet", "--detach", target.as_str()]);
    let moved = fixture.push("main", "meanwhile");
    let error = fixture.bare.merge(&request(&target, &head)).await.unwrap_err();
    assert!(
        matches!(&error, MergeError::TargetMoved { found, .. } if found.as_ref() == Some(&moved)),
        "{error}"
    );
    assert_eq!(fixture.bare.find_branch(&branch("main")).await.unwrap(), Some(moved));
}

#[tokio::test]
async fn a_transaction_merges_and_deletes_the_branch_or_does_neither() {
    let (fixture, target, head) = diverged("a", "b").await;
    let merged = fixture.bare.prepare_merge(&request(&target, &head)).await.unwrap();
    let transaction = |expected_topic: &Oid| RefTransaction {
        changes: vec![
            RefChange::Update { branch: branch("main"), new: merged.clone(), old: target.clone() },
            RefChange::Delete { branch: branch("topic"), old: expected_topic.clone() },
        ],
        reason: "merge topic".to_owned(),
    };
    let error = fixture.bare.update_refs(&transaction(&target)).await.unwrap_err();
    assert!(
        matches!(&error, GitError::RefMoved { reference, .. } if reference == "refs/heads/topic"),
        "{error}"
    );
    assert_eq!(fixture.bare.find_branch(&branch("main")).await.unwrap(), Some(target.clone()));

    fixture.bare.update_refs(&transaction(&head)).await.unwrap();
    assert_eq!(fixture.bare.list_branches().await.unwrap(), [(branch("main"), merged.clone())]);
    let log = std::fs::read_to_string(fixture.bare.path().join("logs/refs/heads/main")).unwrap();
    assert!(log.trim_end().ends_with("merge topic"), "{log}");
}

#[test]
fn versions_are_read_with_whatever_a_vendor_adds() {
    assert_eq!(parse_version("2.39.5 (Apple Git-154)"), Some((2, 39)));
    assert_eq!(parse_version("2.9.0"), Some((2, 9)));
    assert_eq!(parse_version("none"), None);
}
