//! Tests of what is handed to a reader of patches.

use super::*;
use crate::fixture::Fixture;

#[tokio::test]
async fn a_patch_is_whole_or_refused_and_its_files_are_read() {
    let fixture = Fixture::new().await;
    fixture.write("a b", "1\n");
    let first = fixture.push("main", "first");
    fixture.write("a b", "2\n");
    let second = fixture.push("main", "second");
    let repository = &fixture.bare;
    let patch = repository.read_patch(Some(&first), &second, 1 << 20).await.unwrap();
    assert!(String::from_utf8(patch).unwrap().ends_with("@@ -1 +1 @@\n-1\n+2\n"));
    let all = repository.read_patch(None, &second, 1 << 20).await.unwrap();
    assert!(String::from_utf8(all).unwrap().contains("new file mode 100644"));
    let refused = repository.read_patch(Some(&first), &second, 10).await;
    assert!(matches!(refused, Err(GitError::TooLarge { .. })), "{refused:?}");
    let paths = [b"a b".to_vec(), b"missing".to_vec()];
    let files = repository.read_files(&second, &paths).await.unwrap();
    assert_eq!(files, [(b"a b".to_vec(), b"2\n".to_vec())]);
}

#[test]
fn lines_and_hunks_beyond_number_are_refused() {
    assert!(within_limits(b"@@ -1 +1 @@\n-a\n+b\n".repeat(10)).is_ok());
    for patch in [b"+\n".repeat(LINES_MAX + 1), b"@@ -1 +1 @@\n".repeat(HUNKS_MAX + 1)] {
        assert!(matches!(within_limits(patch), Err(GitError::TooManyLines { .. })));
    }
}
