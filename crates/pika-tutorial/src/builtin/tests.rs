//! Tests of the tutorial that no model writes.

use super::*;
use crate::tutorial::StepState;

/// A diff of whole files: `None` before for a new one, `None` after for one that is gone.
struct Change<'a> {
    path: &'a str,
    before: Option<&'a str>,
    after: Option<&'a str>,
}

/// Writes files as one hunk each that removes everything and adds everything, but for the lines that begin and end both.
fn diff(changes: &[Change<'_>]) -> (Diff, Sources) {
    let mut text = String::new();
    let mut sources = Sources::default();
    for Change { path, before, after } in changes {
        let old: Vec<&str> = before.unwrap_or_default().lines().collect();
        let new: Vec<&str> = after.unwrap_or_default().lines().collect();
        let same = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
        let most = old.len().min(new.len()) - same;
        let end =
            old.iter().rev().zip(new.iter().rev()).take(most).take_while(|(old, new)| old == new).count();
        let name = |prefix: &str, side: &Option<&str>| match side {
            Some(_) => format!("{prefix}/{path}"),
            None => "/dev/null".to_owned(),
        };
        text += &format!("--- {}\n+++ {}\n", name("a", before), name("b", after));
        let start = |lines: &[&str]| usize::from(!lines.is_empty());
        text += &format!("@@ -{},{} +{},{} @@\n", start(&old), old.len(), start(&new), new.len());
        let lines = old[..same].iter().map(|line| format!(" {line}\n"));
        let lines = lines.chain(old[same..old.len() - end].iter().map(|line| format!("-{line}\n")));
        let lines = lines.chain(new[same..new.len() - end].iter().map(|line| format!("+{line}\n")));
        text +=
            &lines.chain(old[old.len() - end..].iter().map(|line| format!(" {line}\n"))).collect::<String>();
        if let Some(before) = before {
            sources.insert(Side::Base, path.as_bytes(), before.as_bytes());
        }
        if let Some(after) = after {
            sources.insert(Side::Head, path.as_bytes(), after.as_bytes());
        }
    }
    let diff = Diff::parse(text.into_bytes());
    assert_eq!(diff.problems(), &[] as &[String]);
    (diff, sources)
}

fn titles(checked: &Checked) -> Vec<&str> {
    checked.steps.iter().map(|step| step.title.as_str()).collect()
}

const CALLER: &str = "fn start() {\n    let root = 1;\n}\n";
const CALLER_AFTER: &str = "fn start() {\n    let root = state_root();\n}\n";
const DEFINED: &str = "/// Finds where state is kept. More.\npub fn state_root() -> u8 {\n    1\n}\n\n#[cfg(test)]\nmod tests {\n    #[test]\n    fn a_root_is_found() {}\n}\n";

#[test]
fn what_is_defined_comes_before_what_uses_it_and_tests_and_settings_after() {
    let (diff, sources) = diff(&[
        Change { path: "Cargo.lock", before: Some("a\n"), after: Some("b\n") },
        Change { path: "Cargo.toml", before: Some("a\n"), after: Some("b\n") },
        Change { path: "src/a_caller.rs", before: Some(CALLER), after: Some(CALLER_AFTER) },
        Change { path: "src/state.rs", before: None, after: Some(DEFINED) },
        Change { path: "docs/old.md", before: Some("x\n"), after: None },
    ]);
    let checked = explain_by_program(&diff, &sources);
    assert_eq!(
        titles(&checked),
        [
            "Add the function `state_root`",
            "Change the function `start`",
            "Tests: add `src/state.rs`",
            "Change `Cargo.toml`",
            "Remove `docs/old.md`",
            "Update `Cargo.lock`",
        ]
    );
    assert_eq!(
        checked.steps[0].intent,
        "Its comment says: “Finds where state is kept.” 5 lines added, in 1 place."
    );
    assert!(checked.steps[1].body_markdown.contains("Its lines name `state_root` of step 1."));
    assert_eq!(checked.findings, []);
    assert_eq!(checked.coverage.unexplained, []);
    assert_eq!(checked.coverage.lines, checked.coverage.lines_explained);
    assert!(checked.steps.iter().all(|step| step.state == StepState::Verified));
    assert!(checked.executive_summary.contains("What the change is *for* is not in a diff"));
}

#[test]
fn items_are_told_from_the_hunk_alone_where_no_file_is_there() {
    let (diff, _) = diff(&[
        Change { path: "src/a_caller.rs", before: Some(CALLER), after: Some(CALLER_AFTER) },
        Change { path: "src/gone.py", before: Some("def first():\n    pass\n"), after: None },
    ]);
    let checked = explain_by_program(&diff, &Sources::default());
    assert_eq!(titles(&checked), ["Change the function `start`", "Remove the function `first`"]);
}

#[test]
fn an_item_that_is_new_is_one_change_with_what_is_in_it() {
    let before = "class Other:\n    pass\n";
    let after = "class Other:\n    pass\n\nclass List:\n    def first(self):\n        return 1\n    def last(self):\n        return 2\n";
    let (diff, sources) = diff(&[Change { path: "list.py", before: Some(before), after: Some(after) }]);
    let checked = explain_by_program(&diff, &sources);
    assert_eq!(titles(&checked), ["Add the class `List`"]);
}

#[test]
fn a_type_and_what_is_implemented_for_it_are_one_step() {
    let before =
        "struct List {\n    size: u8,\n}\n\nimpl List {\n    fn first(&self) -> u8 {\n        1\n    }\n}\n";
    let after = before.replace("u8", "u16").replace("        1\n", "        2\n");
    let (diff, sources) = diff(&[Change { path: "list.rs", before: Some(before), after: Some(&after) }]);
    let checked = explain_by_program(&diff, &sources);
    assert_eq!(titles(&checked), ["Change `List` and `List::first`"]);
}

#[test]
fn a_large_change_is_told_by_folders() {
    let paths: Vec<String> = (0..60).map(|index| format!("crates/c{}/src/f{index}.rs", index % 3)).collect();
    let changes: Vec<Change<'_>> = paths
        .iter()
        .map(|path| Change { path, before: Some("fn a() {}\n"), after: Some("fn a() { 1 }\n") })
        .collect();
    let (diff, sources) = diff(&changes);
    let checked = explain_by_program(&diff, &sources);
    assert_eq!(checked.steps.len(), 3);
    assert_eq!(checked.steps[0].title, "Change 20 files in `crates/c0/src`");
    assert!(
        checked.steps[0]
            .body_markdown
            .ends_with("- function `a` in `crates/c0/src/f57.rs` is changed (+1 −1)\n")
    );
    assert_eq!(checked.coverage.explained, 60);
}

#[test]
fn changes_without_lines_have_their_step() {
    let text = "diff --git a/run.sh b/run.sh\nold mode 100644\nnew mode 100755\ndiff --git a/a.png b/a.png\nindex 1..2\nBinary files a/a.png and b/a.png differ\n";
    let checked = explain_by_program(&Diff::parse(text.as_bytes()), &Sources::default());
    assert_eq!(titles(&checked), ["Change `run.sh`", "Change `a.png`"]);
    assert_eq!(checked.coverage.unexplained, []);
}

#[test]
fn a_hunk_that_lost_its_lines_is_still_shown() {
    let diff = Diff::parse(&b"--- a/x.rs\n+++ b/x.rs\n@@ -1 +1 @@\n"[..]);
    let checked = explain_by_program(&diff, &Sources::default());
    assert_eq!((checked.findings.len(), checked.coverage.explained), (0, 1));
    assert_eq!(checked.steps[0].evidence[0].text, "@@ -1 +1 @@");
}

#[test]
fn names_of_the_diff_do_not_leave_their_quotation() {
    let after = "describe('a ` <script>alert(1)</script> ` b', () => {\n  one();\n});\n";
    let (diff, sources) = diff(&[Change { path: "a.js", before: None, after: Some(after) }]);
    let checked = explain_by_program(&diff, &sources);
    assert_eq!(checked.steps[0].body_markdown.matches('`').count() % 2, 0);
    assert!(checked.steps[0].body_markdown.contains("`a ' <script>alert(1)</script> ' b`"));
}

#[test]
fn an_empty_diff_has_a_summary_and_no_steps() {
    let checked = explain_by_program(&Diff::parse(&b""[..]), &Sources::default());
    assert_eq!(checked.steps, []);
    assert!(checked.executive_summary.starts_with("This change touches 0 files"));
}

#[test]
fn circles_of_use_are_put_in_the_order_of_the_diff() {
    let (diff, sources) = diff(&[
        Change { path: "one.rs", before: None, after: Some("fn first_one() {\n    second_one();\n}\n") },
        Change { path: "two.rs", before: None, after: Some("fn second_one() {\n    first_one();\n}\n") },
    ]);
    let checked = explain_by_program(&diff, &sources);
    assert_eq!(titles(&checked), ["Add the function `first_one`", "Add the function `second_one`"]);
}

#[test]
fn an_empty_line_before_a_new_item_is_part_of_it() {
    let before = "fn one() {}\n";
    let after = "fn one() {}\n\n/// Two.\nfn two() {\n    one();\n}\n";
    let (diff, sources) = diff(&[Change { path: "lib.rs", before: Some(before), after: Some(after) }]);
    let checked = explain_by_program(&diff, &sources);
    assert_eq!(titles(&checked), ["Add the function `two`"]);
    assert_eq!(checked.steps[0].evidence.len(), 1, "{:?}", checked.steps[0].evidence);
    assert!(checked.steps[0].evidence[0].text.starts_with("+\n+/// Two."));
    assert!(!checked.steps[0].body_markdown.contains("outside of any item"));
}

#[test]
fn a_route_is_no_test_and_is_told_from_another_with_the_same_path() {
    let before = "app.get('/user/:id', (request) => {\n  return 1;\n});\n";
    let after = format!("{before}\napp.delete('/user/:id', (request) => {{\n  return 2;\n}});\n");
    let (diff, sources) = diff(&[Change { path: "index.js", before: Some(before), after: Some(&after) }]);
    let checked = explain_by_program(&diff, &sources);
    assert_eq!(titles(&checked), ["Add the call `app.delete /user/:id`"]);
    let tests = "it.only('adds', () => {\n  return 1;\n});\n";
    let (diff, sources) = self::diff(&[Change { path: "index.js", before: Some(""), after: Some(tests) }]);
    assert_eq!(titles(&explain_by_program(&diff, &sources)), ["Tests: change `index.js`: `adds`"]);
}

#[test]
fn what_has_no_lines_is_said_in_words() {
    let cases = [
        ("diff --git a/run.sh b/run.sh\nold mode 100644\nnew mode 100755\n", "`run.sh` is executable now"),
        (
            "diff --git a/old.txt b/new.txt\nsimilarity index 100%\nrename from old.txt\nrename to new.txt\n",
            "`new.txt` is moved, with the content that it had",
        ),
        (
            "diff --git a/mod b/mod\nindex 1111111..2222222 160000\n--- a/mod\n+++ b/mod\n@@ -1 +1 @@\n\
             -Subproject commit 1111111111111111111111111111111111111111\n\
             +Subproject commit 2222222222222222222222222222222222222222\n",
            "`mod` is a submodule, which is at another commit now",
        ),
    ];
    for (text, words) in cases {
        let checked = explain_by_program(&Diff::parse(text.as_bytes()), &Sources::default());
        assert!(checked.steps[0].body_markdown.contains(words), "{}", checked.steps[0].body_markdown);
    }
}

#[test]
fn of_a_large_change_the_heavy_file_is_told_by_symbol_and_the_light_ones_by_folder() {
    let heavy: String =
        (0..12).map(|number| format!("pub fn heavy_{number}() {{\n    {number}\n}}\n\n")).collect();
    let files: Vec<(String, String)> = (0..40)
        .map(|number| {
            (
                format!("crates/light/src/part{}/file{number}.rs", number % 4),
                format!("fn of_{number}() {{}}\n"),
            )
        })
        .collect();
    let mut changes = vec![Change { path: "crates/core/src/heavy.rs", before: None, after: Some(&heavy) }];
    changes.extend(files.iter().map(|(path, text)| Change { path, before: None, after: Some(text) }));
    let (diff, sources) = diff(&changes);
    let checked = explain_by_program(&diff, &sources);
    let titles = titles(&checked);
    for number in 0..12 {
        assert!(titles.contains(&&*format!("Add the function `heavy_{number}`")), "{titles:?}");
    }
    for part in 0..4 {
        assert!(titles.contains(&&*format!("Add 10 files in `crates/light/src/part{part}`")), "{titles:?}");
    }
    assert_eq!(titles.len(), 16, "{titles:?}");
    assert_eq!(checked.coverage.explained, checked.coverage.hunks);
}

#[test]
fn a_few_files_of_a_folder_are_named() {
    let text =
        |count: usize| (0..count).map(|number| format!("fn f{number}_{count}() {{}}\n")).collect::<String>();
    let (many, few) = (text(60), text(2));
    let path = |number: usize| format!("a/x{number}.rs");
    let paths: Vec<String> = (0..18).map(path).collect();
    let mut changes: Vec<Change<'_>> =
        paths.iter().map(|path| Change { path, before: None, after: Some(&many) }).collect();
    changes.push(Change { path: "b/c/one.rs", before: None, after: Some(&few) });
    changes.push(Change { path: "b/c/two.rs", before: None, after: Some(&few) });
    changes.push(Change { path: "b/three.rs", before: None, after: Some(&few) });
    let (diff, sources) = diff(&changes);
    let checked = explain_by_program(&diff, &sources);
    assert!(titles(&checked).contains(&"Add `one.rs` and `two.rs` in `b/c`"), "{:?}", titles(&checked));
}
