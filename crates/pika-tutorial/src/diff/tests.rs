//! Tests of the parser on texts that git and diff write, and on texts that nobody should.

use proptest::prelude::*;

use super::*;

/// One line for each file and hunk, and the problems.
fn outline(text: &[u8]) -> String {
    let diff = Diff::parse(text.to_vec());
    let mut outline = String::new();
    for (index, file) in diff.files().iter().enumerate() {
        let from = file.display_old_path().map(|path| format!(" from {path}")).unwrap_or_default();
        let modes = match (file.old_mode, file.new_mode) {
            (Some(old), Some(new)) if old != new => format!(" {old:o}>{new:o}"),
            _ => String::new(),
        };
        outline += &format!("{:?} {}{from}{modes}\n", file.status, file.display_path());
        for hunk in diff.hunks_of(index) {
            let one = hunk.hunk();
            outline +=
                &format!("  {} +{} -{} of {}\n", one.header, one.added(), one.removed(), one.lines.len());
        }
    }
    for problem in diff.problems() {
        outline += &format!("! {problem}\n");
    }
    outline
}

#[track_caller]
fn check(text: &str, expected: &str) {
    assert_eq!(outline(text.as_bytes()).trim_end(), expected.trim_end());
    // The same with the line ends of another system.
    let found = outline(text.replace('\n', "\r\n").as_bytes());
    assert_eq!(found.trim_end(), expected.trim_end());
}

#[test]
fn a_change_with_two_hunks_is_read_with_its_counts() {
    let text = "\
commit 0123
Author: Ada

    A message with +signs and --- dashes

diff --git a/src/a b.rs b/src/a b.rs
index 1111111..2222222 100644
--- a/src/a b.rs\t
+++ b/src/a b.rs\t
@@ -1,3 +1,4 @@
 one
-two
+2
+two and a half
 three
@@ -10 +11,0 @@ fn main() {
-gone
";
    check(
        text,
        "Modified src/a b.rs\n  @@ -1,3 +1,4 @@ +2 -1 of 5\n  @@ -10 +11,0 @@ fn main() { +0 -1 of 1",
    );
}

#[test]
fn lines_that_look_like_headers_are_lines_where_the_counts_say_so() {
    let text = "\
diff --git a/notes b/notes
--- a/notes
+++ b/notes
@@ -1,2 +1,2 @@
--- a/old
+++ b/new
 @@ -1 +1 @@
diff --git a/other b/other
new file mode 100644
--- /dev/null
+++ b/other
@@ -0,0 +1 @@
+diff --git a/x b/x
";
    check(text, "Modified notes\n  @@ -1,2 +1,2 @@ +1 -1 of 3\nAdded other\n  @@ -0,0 +1 @@ +1 -0 of 1");
}

#[test]
fn changes_without_lines_are_hunks_too() {
    let text = "\
diff --git a/run.sh b/run.sh
old mode 100644
new mode 100755
diff --git a/old name b/new name
similarity index 100%
rename from old name
rename to new name
diff --git a/logo.png b/logo.png
index 1111111..2222222 100644
Binary files a/logo.png and b/logo.png differ
diff --git a/empty b/empty
new file mode 100644
index 0000000..e69de29
diff --git a/gone.bin b/gone.bin
deleted file mode 100644
index 1111111..0000000
GIT binary patch
literal 0
HcmV?d00001

literal 5
McmZQzU|?imU|<9Q00062

diff --git a/copy b/copied
similarity index 100%
copy from copy
copy to copied
";
    check(
        text,
        "Modified run.sh 100644>100755\n  mode 100644 to 100755 +0 -0 of 2
Renamed new name from old name\n  renamed without a change of its lines +0 -0 of 3
Modified logo.png\n  binary file changed +0 -0 of 2
Added empty\n  file without lines added +0 -0 of 1
Deleted gone.bin\n  binary file deleted +0 -0 of 5
Copied copied from copy\n  copied without a change of its lines +0 -0 of 3",
    );
}

#[test]
fn a_mode_that_changes_beside_lines_is_a_hunk_of_its_own() {
    let text = "\
diff --git a/run.sh b/run.sh
old mode 100644
new mode 100755
index 1111111..2222222
--- a/run.sh
+++ b/run.sh
@@ -1 +1 @@
-a
+b
";
    check(
        text,
        "Modified run.sh 100644>100755\n  mode 100644 to 100755 +0 -0 of 2\n  @@ -1 +1 @@ +1 -1 of 2",
    );
}

#[test]
fn a_renamed_file_with_changes_keeps_both_names() {
    let text = "\
diff --git a/a/x y b/b/x y
similarity index 80%
rename from a/x y
rename to b/x y
--- a/a/x y
+++ b/b/x y
@@ -1 +1 @@
-a
+b
";
    check(text, "Renamed b/x y from a/x y\n  @@ -1 +1 @@ +1 -1 of 2");
}

#[test]
fn submodules_are_read_in_both_forms() {
    let text = "\
diff --git a/library b/library
index 1111111..2222222 160000
--- a/library
+++ b/library
@@ -1 +1 @@
-Subproject commit 1111111
+Subproject commit 2222222
Submodule other library 1111111..2222222:
  > Mend it
  < Break it
Submodule fresh 0000000...1111111 (new submodule)
";
    check(
        text,
        "Modified library\n  @@ -1 +1 @@ +1 -1 of 2
Modified other library\n  file without lines changed +0 -0 of 3
Added fresh\n  file without lines added +0 -0 of 1",
    );
    assert!(Diff::parse(text.as_bytes().to_vec()).files().iter().skip(1).all(FileChange::is_submodule));
}

#[test]
fn a_merge_is_read_with_a_range_and_a_mark_for_each_parent() {
    let text = "\
diff --cc src/both.rs
index 1111111,2222222..3333333
mode 100644,100644..100755
--- a/src/both.rs
+++ b/src/both.rs
@@@ -1,4 -1,3 +1,4 @@@ fn main() {
  same
- ours
 -theirs
++merged
 +from ours
  end
* Unmerged path src/left.rs
";
    let diff = Diff::parse(text.as_bytes().to_vec());
    let hunk = diff.hunks().nth(1).unwrap();
    assert_eq!((diff.files()[0].parents, hunk.hunk().added(), hunk.hunk().removed()), (2, 2, 2));
    let numbers: Vec<_> = hunk.numbered().map(|line| (line.old, line.new)).collect();
    assert_eq!(
        numbers,
        [
            (Some(1), Some(1)),
            (Some(2), None),
            (None, None),
            (None, Some(2)),
            (Some(3), Some(3)),
            (Some(4), Some(4))
        ]
    );
    assert_eq!(hunk.content(&hunk.hunk().lines[4]), b"from ours");
    assert_eq!(diff.files()[1].status, ChangeStatus::Unmerged);
}

#[test]
fn the_missing_line_end_belongs_to_the_line_before() {
    let text = "\
--- a/x
+++ b/x
@@ -1,2 +1,2 @@
 a
-b
\\ No newline at end of file
+c
\\ No newline at end of file
";
    let diff = Diff::parse(text.as_bytes().to_vec());
    let hunk = diff.hunks().next().unwrap();
    let flags: Vec<bool> = hunk.hunk().lines.iter().map(|line| line.has_no_newline).collect();
    assert_eq!(flags, [false, true, true]);
    assert_eq!(hunk.text(1..2), "-b\n\\ No newline at end of file");
}

#[test]
fn a_diff_without_git_is_read_with_and_without_prefixes() {
    let text = "\
Only in old: nothing
diff -ru old/one new/one
--- old/one\t2024-01-01 00:00:00.0 +0000
+++ new/one\t2024-01-02 00:00:00.0 +0000
@@ -1 +1 @@
-a
+b
--- two.txt
+++ two.txt
@@ -1 +1 @@
-a
+b
--- /dev/null\t1970-01-01
+++ b/three
@@ -0,0 +1 @@
+b
Binary files old/four and new/four differ
";
    check(
        text,
        "Modified one\n  @@ -1 +1 @@ +1 -1 of 2
Modified two.txt\n  @@ -1 +1 @@ +1 -1 of 2
Added three\n  @@ -0,0 +1 @@ +1 -0 of 1
Modified four\n  binary file changed +0 -0 of 1",
    );
}

#[test]
fn paths_without_prefix_keep_their_first_folder() {
    let text = "\
diff --git src/one src/one
--- src/one
+++ src/one
@@ -1 +1 @@
-a
+b
";
    check(text, "Modified src/one\n  @@ -1 +1 @@ +1 -1 of 2");
}

#[test]
fn a_path_that_is_not_utf_8_keeps_its_bytes() {
    let text = "diff --git \"a/caf\\351\" \"b/caf\\351\"\nold mode 100644\nnew mode 100755\n";
    let diff = Diff::parse(text.as_bytes().to_vec());
    assert_eq!(diff.files()[0].path, b"caf\xe9");
    assert_eq!(diff.files()[0].display_path(), "caf\u{fffd}");
}

#[test]
fn mail_ends_without_leaving_its_signature_in_the_last_hunk() {
    let text = "\
---
 x | 2 +-
 1 file changed

diff --git a/x b/x
--- a/x
+++ b/x
@@ -1 +1 @@
-a
+b
-- 
2.47.3
";
    check(text, "Modified x\n  @@ -1 +1 @@ +1 -1 of 2");
}

#[test]
fn a_header_that_lies_about_its_lines_hides_none_of_them() {
    let text = "\
diff --git a/x b/x
--- a/x
+++ b/x
@@ -1 +1 @@
-a
+b
+hidden
diff --git a/y b/y
--- a/y
+++ b/y
@@ -1,9 +1,9 @@
-a
diff --git a/z b/z
--- a/z
+++ b/z
@@ nonsense @@
@@ -1 +1 @@
+more
+than one
-a
";
    check(
        text,
        "Modified x\n  @@ -1 +1 @@ +2 -1 of 3
Modified y\n  @@ -1,9 +1,9 @@ +0 -1 of 1
Modified z\n  @@ -1 +1 @@ +2 -1 of 3
! a changed line stands beyond the end of the hunk @@ -1 +1 @@
! the hunk @@ -1,9 +1,9 @@ has fewer lines than its header says
! \"@@ nonsense @@\" is no header of a hunk
! the hunk @@ -1 +1 @@ has more lines of one side than its header says",
    );
}

#[test]
fn an_id_survives_a_move_and_a_neighbour_and_not_a_change() {
    let hunk = |header: &str, line: &str| format!("{header}\n context\n-old\n+{line}\n");
    let file = |hunks: &str| format!("diff --git a/x b/x\n--- a/x\n+++ b/x\n{hunks}");
    let ids = |text: String| -> Vec<String> {
        Diff::parse(text.into_bytes()).hunks().map(|hunk| hunk.id().to_string()).collect()
    };
    let alone = ids(file(&hunk("@@ -1,2 +1,2 @@", "new")));
    let moved = ids(file(&(hunk("@@ -5,2 +5,2 @@", "other") + &hunk("@@ -90,2 +91,2 @@ fn f()", "new"))));
    assert_eq!(alone[0], moved[1]);
    assert_ne!(alone[0], moved[0]);
    let twice = ids(file(&(hunk("@@ -1,2 +1,2 @@", "new") + &hunk("@@ -9,2 +9,2 @@", "new"))));
    assert_eq!(twice, [alone[0].clone(), format!("{}-2", alone[0])]);
}

#[test]
fn restricting_keeps_ids_and_drops_files_that_have_nothing_left() {
    let text =
        "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n@@ -9 +9 @@\n-c\n+d\n--- a/y\n+++ b/y\n@@ -1 +1 @@\n-a\n+b\n";
    let diff = Diff::parse(text.as_bytes().to_vec());
    let wanted = diff.hunks().nth(1).unwrap().id().clone();
    let restricted = diff.restricted(|hunk| *hunk.id() == wanted);
    assert_eq!(restricted.files().len(), 1);
    assert_eq!(restricted.counts(), (1, 1));
    assert_eq!(restricted.find_hunk(wanted.as_str()).unwrap().text(0..2), "-c\n+d");
}

/// What a generated file's hunks are made of.
#[derive(Clone, Debug)]
struct Made {
    path: String,
    hunks: Vec<Vec<(char, String)>>,
}

fn made_files() -> impl Strategy<Value = Vec<Made>> {
    let content = prop_oneof!["[ -~]{0,12}", Just("-- a/x".to_owned()), Just("@@ -1 +1 @@".to_owned())];
    let line = (prop_oneof![Just(' '), Just('+'), Just('-')], content);
    let hunk = prop::collection::vec(line, 1..8);
    let path = "[a-z]{1,4}( [a-z]{1,3})?(/[a-z \"\\\\\t]{1,5}[a-z])?";
    let file = (path, prop::collection::vec(hunk, 1..4)).prop_map(|(path, hunks)| Made { path, hunks });
    prop::collection::vec(file, 0..5)
}

fn quoted(prefix: &str, path: &str) -> String {
    let needs_quotes = path.contains(['"', '\\', '\t']);
    let escaped = path.replace('\\', "\\\\").replace('"', "\\\"").replace('\t', "\\t");
    if needs_quotes { format!("\"{prefix}{escaped}\"") } else { format!("{prefix}{path}") }
}

fn write(files: &[Made]) -> String {
    let mut text = String::new();
    for file in files {
        let (old, new) = (quoted("a/", &file.path), quoted("b/", &file.path));
        text += &format!("diff --git {old} {new}\nindex 1..2 100644\n--- {old}\n+++ {new}\n");
        let mut start = 1;
        for hunk in &file.hunks {
            let count = |mark| hunk.iter().filter(|line| line.0 != mark).count();
            text += &format!("@@ -{start},{} +{start},{} @@\n", count('+'), count('-'));
            start += 100;
            for (mark, content) in hunk {
                text += &format!("{mark}{content}\n");
            }
        }
    }
    text
}

proptest! {
    #[test]
    fn what_is_written_as_a_diff_is_read_back_line_by_line(files in made_files()) {
        let diff = Diff::parse(write(&files).into_bytes());
        prop_assert_eq!(diff.problems(), &[] as &[String]);
        prop_assert_eq!(diff.files().len(), files.len());
        for (index, file) in files.iter().enumerate() {
            prop_assert_eq!(diff.files()[index].display_path(), file.path.clone());
            let read: Vec<Vec<(char, String)>> = diff.hunks_of(index).map(|hunk| {
                let lines = hunk.hunk().lines.iter();
                lines.map(|line| {
                    let mark = char::from(hunk.marked(line)[0]);
                    (mark, String::from_utf8_lossy(hunk.content(line)).into_owned())
                }).collect()
            }).collect();
            prop_assert_eq!(&read, &file.hunks);
        }
    }

    #[test]
    fn no_damage_to_a_diff_makes_it_unreadable(
        files in made_files(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), any::<bool>()), 0..8),
    ) {
        let mut bytes = write(&files).into_bytes();
        for (place, byte, is_cut) in damage {
            if bytes.is_empty() {
                break;
            }
            let place = place.index(bytes.len());
            if is_cut {
                bytes.truncate(place);
            } else {
                bytes[place] = byte;
            }
        }
        let diff = Diff::parse(bytes);
        for hunk in diff.hunks() {
            prop_assert!(diff.find_hunk(hunk.id().as_str()).is_some());
            prop_assert_eq!(hunk.numbered().count(), hunk.hunk().lines.len());
            let _ = hunk.text(0..hunk.hunk().lines.len());
        }
        prop_assert!(diff.files().iter().all(|file| !file.hunks.is_empty()));
    }
}
