//! Tests of reading a checkout without touching it.

use super::*;
use crate::fixture::Fixture;

fn find(fixture: &Fixture, folder: &str) -> Result<WorkTree, GitError> {
    WorkTree::find(&Git::default(), &fixture.work().join(folder), Vec::new())
}

async fn patch(tree: &WorkTree, base: Option<&Oid>, end: PatchEnd<'_>) -> String {
    String::from_utf8(tree.read_patch(base, end).await.unwrap()).unwrap()
}

#[tokio::test]
async fn a_checkout_is_found_from_any_of_its_folders_and_nowhere_else() {
    let fixture = Fixture::new().await;
    fixture.write("deep/down/file", "x");
    let tree = find(&fixture, "deep/down").unwrap();
    assert_eq!(tree.root(), fixture.work().canonicalize().unwrap());
    assert_eq!(tree.find_head().await.unwrap(), None);
    assert_eq!(tree.find_branch().await.unwrap().as_deref(), Some("main"));
    let outside = tempfile::tempdir().unwrap();
    let error = WorkTree::find(&Git::default(), outside.path(), Vec::new()).unwrap_err();
    assert!(matches!(error, GitError::NotAWorkTree { .. }));
}

#[tokio::test]
async fn a_linked_checkout_is_one_too() {
    let fixture = Fixture::new().await;
    fixture.write("a", "1\n");
    let head = fixture.push("main", "first");
    fixture.git(&["worktree", "add", "--quiet", "-b", "other", "../linked"]);
    let linked = fixture.scratch.path().join("linked");
    let tree = WorkTree::find(&Git::default(), &linked, Vec::new()).unwrap();
    assert_eq!(tree.find_head().await.unwrap(), Some(head));
    assert_eq!(tree.find_branch().await.unwrap().as_deref(), Some("other"));
    std::fs::write(linked.join("b"), "2\n").unwrap();
    let head = tree.find_head().await.unwrap();
    assert!(patch(&tree, head.as_ref(), PatchEnd::Files).await.contains("+++ b/b"));
}

#[tokio::test]
async fn two_commits_are_compared_and_revisions_found() {
    let fixture = Fixture::new().await;
    fixture.write("a", "1\n");
    let first = fixture.push("main", "first");
    fixture.write("a", "2\n");
    let second = fixture.push("main", "Say two\n\nAnd why.");
    let tree = find(&fixture, ".").unwrap();
    assert_eq!(tree.find_commit("HEAD~1").await.unwrap(), Some(first.clone()));
    assert_eq!(tree.find_commit("--all").await.unwrap(), None);
    assert_eq!(tree.find_merge_base(&first, &second).await.unwrap(), Some(first.clone()));
    let commits = tree.list_commits(Some(&first), &second, 10).await.unwrap();
    let said: Vec<(&str, &str)> =
        commits.iter().map(|commit| (&*commit.subject, commit.body.trim_end())).collect();
    assert_eq!(said, [("Say two", "And why.")]);
    assert!(!tree.has_uncommitted().await.unwrap());
    fixture.write("new", "n\n");
    assert!(tree.has_uncommitted().await.unwrap());
    let text = patch(&tree, Some(&first), PatchEnd::Commit(&second)).await;
    assert!(text.ends_with("@@ -1 +1 @@\n-1\n+2\n"), "{text}");
    let text = patch(&tree, None, PatchEnd::Commit(&second)).await;
    assert!(text.contains("new file mode 100644"), "{text}");
}

#[tokio::test]
async fn files_as_they_are_are_compared_with_new_ones_and_without_ignored_ones() {
    let fixture = Fixture::new().await;
    fixture.write("a", "1\n");
    fixture.write(".gitignore", "secret\n");
    let head = fixture.push("main", "first");
    fixture.write("a", "2\n");
    fixture.write("new file", "n\n");
    fixture.write("secret", "s\n");
    fixture.write("everywhere", "e\n");
    fixture.write("staged", "t\n");
    fixture.git(&["add", "staged"]);
    // What this person ignores in every repository.
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(home.path().join(".config/git")).unwrap();
    std::fs::write(home.path().join(".config/git/ignore"), "everywhere\n").unwrap();
    let variables = vec![(OsString::from("HOME"), home.path().into())];
    let tree = WorkTree::find(&Git::default(), &fixture.work(), variables).unwrap();
    let before = fixture.git(&["status", "--porcelain"]);
    let text = patch(&tree, Some(&head), PatchEnd::Files).await;
    for line in ["+2", "+++ b/new file", "+n", "+t"] {
        assert!(text.contains(line), "{line}: {text}");
    }
    for line in ["+s\n", "+e\n"] {
        assert!(!text.contains(line), "{line}: {text}");
    }
    assert_eq!(fixture.git(&["status", "--porcelain"]), before);
    let left = std::fs::read_dir(tree.git_folder()).unwrap().flatten();
    assert!(!left.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with("pika-index")));
}

#[tokio::test]
async fn the_first_files_of_a_repository_without_commits_are_new() {
    let fixture = Fixture::new().await;
    fixture.write("a", "1\n");
    let tree = find(&fixture, ".").unwrap();
    assert!(patch(&tree, None, PatchEnd::Files).await.contains("+1"));
}

#[tokio::test]
async fn files_are_read_at_a_commit_and_as_they_are() {
    let fixture = Fixture::new().await;
    fixture.write("a", "1\n");
    fixture.write("with space/b", b"\xff\n\n");
    fixture.write("large", vec![b'x'; 3 << 20]);
    std::os::unix::fs::symlink("/etc/passwd", fixture.work().join("link")).unwrap();
    let head = fixture.push("main", "first");
    fixture.write("a", "2\n");
    let tree = find(&fixture, ".").unwrap();
    let paths =
        ["a", "missing", "with space/b", "large", "with space", "link"].map(|path| path.as_bytes().to_vec());
    let committed = tree.read_files(Some(&head), &paths).await.unwrap();
    let expected = |path: &str, content: &[u8]| (path.as_bytes().to_vec(), content.to_vec());
    // In a commit, a link is the path that it leads to.
    assert_eq!(
        committed,
        [expected("a", b"1\n"), expected("with space/b", b"\xff\n\n"), expected("link", b"/etc/passwd")]
    );
    let present = tree.read_files(None, &paths).await.unwrap();
    assert_eq!(present, [expected("a", b"2\n"), expected("with space/b", b"\xff\n\n")]);
}
