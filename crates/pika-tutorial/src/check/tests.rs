//! Tests of the check: what holds, what does not, and that the one never costs the other.

use super::*;

const DIFF: &str = "\
diff --git a/src/forge.rs b/src/forge.rs
index 1111111..2222222 100644
--- a/src/forge.rs
+++ b/src/forge.rs
@@ -100,4 +100,9 @@ impl Drop for MirrorLockGuard {
 }
 
+pub fn pikaci_state_root(repo: &ForgeRepoConfig) -> PathBuf {
+    let slug = repo.slug();
+    repo.parent().join(\"pikaci-state\").join(slug)
+}
 fn unrelated() {
-    old_call();
+    new_call();
 }
@@ -324,3 +329,3 @@ where
     let one = 1;
-    let two = 2;
+    let two = pikaci_state_root(repo);
     let three = 3;
diff --git a/docs/plan.md b/docs/plan.md
new file mode 100644
--- /dev/null
+++ b/docs/plan.md
@@ -0,0 +1,2 @@
+# The plan
+Two words.   
diff --git a/run.sh b/run.sh
old mode 100644
new mode 100755
";

fn diff() -> Diff {
    Diff::parse(DIFF.as_bytes())
}

fn quote(text: &str) -> ClaimedEvidence {
    ClaimedEvidence::Quote { text: text.to_owned(), path: None }
}

fn reference(hunk: &str, lines: Option<(u64, u64)>) -> ClaimedEvidence {
    ClaimedEvidence::Reference { hunk: hunk.to_owned(), lines, path: None }
}

fn step(files: &[&str], evidence: Vec<ClaimedEvidence>) -> ClaimedStep {
    ClaimedStep {
        title: "Keep state".to_owned(),
        intent: "So that it lasts".to_owned(),
        affected_files: files.iter().map(|&file| file.to_owned()).collect(),
        evidence,
        body_markdown: "It calls `new_call`.".to_owned(),
    }
}

fn check_one(claimed: ClaimedStep) -> (Step, Vec<Finding>) {
    let answer = Answer { executive_summary: "All of it.".to_owned(), steps: vec![claimed] };
    let mut checked = check(&diff(), &answer);
    (checked.steps.remove(0), checked.findings)
}

/// The texts that a quotation was found as.
fn found(text: &str) -> Vec<String> {
    let (step, findings) = check_one(step(&[], vec![quote(text)]));
    let is_invented = findings.iter().any(Finding::is_invention);
    assert_eq!(is_invented, step.state != StepState::Verified, "{findings:?}");
    step.evidence.into_iter().map(|evidence| evidence.text).collect()
}

#[test]
fn a_hunk_is_named_by_its_id_with_and_without_lines() {
    let diff = diff();
    let id = diff.hunks().next().unwrap().id().to_string();
    let (named, findings) = check_one(step(&[], vec![reference(&id, Some((3, 4)))]));
    assert_eq!(findings, []);
    assert_eq!(named.state, StepState::Verified);
    assert_eq!(named.affected_files, ["src/forge.rs"]);
    let evidence = &named.evidence[0];
    assert_eq!((evidence.lines, evidence.state), ((3, 4), EvidenceState::Verified));
    assert!(evidence.text.starts_with("+pub fn pikaci_state_root"));
    // Numbers beyond the hunk's own are taken for those of the file.
    let (named, _) = check_one(step(&[], vec![reference(&id, Some((102, 103)))]));
    assert_eq!(named.evidence[0].lines, (3, 4));
    let (named, findings) = check_one(step(&[], vec![reference(&id, Some((900, 901)))]));
    assert_eq!(named.evidence[0].lines, (1, 10));
    assert!(matches!(findings[..], [Finding::LinesOutside { step: 0, .. }]));
}

#[test]
fn a_change_without_lines_can_be_evidence() {
    let diff = diff();
    let id = diff.hunks().last().unwrap().id().to_string();
    let (named, _) = check_one(step(&[], vec![reference(&id, None)]));
    assert_eq!(named.evidence[0].text, "old mode 100644\nnew mode 100755");
    assert_eq!(found("new mode 100755"), ["new mode 100755"]);
}

#[test]
fn a_quotation_is_found_in_each_form_that_leaves_the_lines_whole() {
    let marked = " fn unrelated() {\n-    old_call();\n+    new_call();";
    assert_eq!(found(marked), [marked]);
    // Without marks: after, before, and both.
    assert_eq!(found("fn unrelated() {\n    new_call();\n}"), [format!("{marked}\n }}")]);
    assert_eq!(found("fn unrelated() {\n    old_call();"), [" fn unrelated() {\n-    old_call();"]);
    assert_eq!(found("fn unrelated() {\n    old_call();\n    new_call();"), [marked]);
    // White space at line ends, fences, and headers.
    assert_eq!(found("```diff\n+Two words.\n```"), ["+Two words.   "]);
    let whole = "diff --git a/docs/plan.md b/docs/plan.md\n--- /dev/null\n+++ b/docs/plan.md\n@@ -0,0 +1,2 @@\n+# The plan";
    assert_eq!(found(whole), ["+# The plan"]);
    // A header by itself names the hunk.
    assert_eq!(found("@@ -0,0 +1,2 @@")[0], "+# The plan\n+Two words.   ");
}

#[test]
fn context_between_quoted_changes_may_be_left_out() {
    let lines = "+}\n-    old_call();\n+    new_call();";
    assert_eq!(found(lines), ["+}\n fn unrelated() {\n-    old_call();\n+    new_call();"]);
}

#[test]
fn a_quotation_with_an_ellipsis_is_found_in_its_parts() {
    let parts = found("+    let slug = repo.slug();\n...\n+    new_call();");
    assert_eq!(parts, ["+    let slug = repo.slug();", "+    new_call();"]);
}

#[test]
fn what_is_not_in_the_diff_is_never_verified() {
    for invented in [
        "+    let slug = repo.slug() ;",
        "+    let slug = repo.slug();\n+    let never = true;",
        "+let slug = repo.slug();",
        "-    let slug = repo.slug();",
        // The lines exist, in another order or with a changed line between them.
        "+    new_call();\n-    old_call();",
        "+pub fn pikaci_state_root(repo: &ForgeRepoConfig) -> PathBuf {\n+}",
        "@@ -1,2 +3,4 @@",
        "@@ nix/incus/pikaci-image.nix",
    ] {
        let (step, findings) = check_one(step(&[], vec![quote(invented)]));
        assert_eq!(step.state, StepState::Unsupported, "{invented}");
        assert!(findings.iter().any(Finding::is_invention), "{invented}: {findings:?}");
    }
}

#[test]
fn a_quotation_that_fits_everywhere_shows_nothing() {
    let (one, findings) = check_one(step(&[], vec![quote("+}"), quote(" "), quote("```\n```")]));
    assert_eq!(one.state, StepState::Unsupported);
    assert_eq!(findings.iter().filter(|finding| matches!(finding, Finding::EmptySnippet { .. })).count(), 3);
}

#[test]
fn a_step_without_evidence_gets_the_hunks_that_its_words_name() {
    let (repaired, findings) = check_one(step(&["src/forge.rs"], Vec::new()));
    assert_eq!(repaired.state, StepState::Repaired);
    assert_eq!(repaired.evidence.len(), 1);
    assert!(repaired.evidence[0].text.contains("new_call") && repaired.evidence[0].lines == (1, 10));
    assert_eq!(repaired.evidence[0].state, EvidenceState::Repaired);
    assert_eq!(findings, [Finding::Repaired { step: 0 }]);
}

#[test]
fn a_step_that_names_its_file_in_its_text_alone_is_repaired_from_it() {
    let mut claimed = step(&[], Vec::new());
    claimed.body_markdown = "See `docs/plan.md`, and not docs/plan.md5.".to_owned();
    let (repaired, _) = check_one(claimed);
    assert_eq!(
        (repaired.state, repaired.affected_files),
        (StepState::Repaired, vec!["docs/plan.md".to_owned()])
    );
}

#[test]
fn files_that_did_not_change_are_dropped_and_decorated_ones_are_understood() {
    let claimed = step(&["`b/run.sh`", "./docs/plan.md", "forge.rs", "nix/linux-rust.nix", ""], Vec::new());
    let (repaired, findings) = check_one(claimed);
    assert_eq!(repaired.affected_files, ["run.sh", "docs/plan.md", "src/forge.rs"]);
    assert!(
        matches!(&findings[..], [Finding::UnknownFile { path, .. }, Finding::Repaired { .. }] if path == "nix/linux-rust.nix")
    );
}

#[test]
fn good_steps_are_kept_beside_bad_ones() {
    let good = step(&["src/forge.rs"], vec![quote("+    new_call();")]);
    let empty = ClaimedStep::default();
    let bad = step(&["nowhere.rs"], vec![quote("+    never();"), reference("h00000000", None)]);
    let answer = Answer {
        executive_summary: String::new(),
        steps: vec![
            bad,
            good.clone(),
            empty,
            good,
            step(&[], vec![quote("+# The plan"), quote("+# A plan")]),
        ],
    };
    let checked = check(&diff(), &answer);
    let states: Vec<StepState> = checked.steps.iter().map(|step| step.state).collect();
    assert_eq!(states, [StepState::Unsupported, StepState::Verified, StepState::Verified]);
    assert_eq!(checked.findings.iter().filter(|finding| finding.is_invention()).count(), 3);
    assert!(checked.findings.contains(&Finding::Duplicate { step: 3, of: 1 }));
    assert!(checked.findings.contains(&Finding::Blank { step: 2 }));
    assert_eq!(checked.executive_summary, "This change touches 3 files: 8 lines added, 2 removed.");
}

#[test]
fn what_no_step_shows_is_listed() {
    let answer = Answer {
        executive_summary: "x".to_owned(),
        // The second quotation is of context alone: it shows no change.
        steps: vec![step(&[], vec![quote("+    new_call();"), quote("    let three = 3;")])],
    };
    let checked = check(&diff(), &answer);
    let ids: Vec<HunkIdText> = diff().hunks().map(|hunk| hunk.id().to_string()).collect();
    let unexplained: Vec<HunkIdText> = checked.coverage.unexplained.iter().map(ToString::to_string).collect();
    assert_eq!(unexplained, ids[1..]);
    assert_eq!((checked.coverage.hunks, checked.coverage.explained), (4, 1));
    assert_eq!((checked.coverage.lines, checked.coverage.lines_explained), (10, 1));
}

type HunkIdText = String;

#[test]
fn long_texts_are_cut_between_letters_and_said_to_be() {
    let mut claimed = step(&[], vec![quote("+    new_call();")]);
    claimed.body_markdown = "ä".repeat(BODY_CHARS_MAX + 10);
    claimed.title = "t".repeat(10_000);
    let (cut, findings) = check_one(claimed);
    assert_eq!(cut.body_markdown.chars().count(), BODY_CHARS_MAX + 1);
    assert_eq!(cut.title.chars().count(), TITLE_CHARS_MAX + 1);
    assert_eq!(findings.len(), 2);
}

#[test]
fn a_long_quotation_is_cut_and_keeps_its_place() {
    let lines: String = (0..200).map(|line| format!("+line {line}\n")).collect();
    let diff = Diff::parse(format!("--- /dev/null\n+++ b/long\n@@ -0,0 +1,200 @@\n{lines}").into_bytes());
    let id = diff.hunks().next().unwrap().id().to_string();
    let answer =
        Answer { executive_summary: "x".to_owned(), steps: vec![step(&[], vec![reference(&id, None)])] };
    let checked = check(&diff, &answer);
    let evidence = &checked.steps[0].evidence[0];
    assert_eq!((evidence.lines, evidence.omitted_lines), ((1, 200), 120));
    assert_eq!(evidence.text.lines().count(), 80);
    assert_eq!(checked.coverage.lines_explained, 200);
}

#[test]
fn of_equal_places_the_one_in_the_steps_file_is_taken() {
    let text = "--- a/one\n+++ b/one\n@@ -1 +1 @@\n-old name\n+same line\n--- a/two\n+++ b/two\n@@ -1 +1 @@\n-old name\n+same line\n";
    let diff = Diff::parse(text.as_bytes());
    let answer = |step| Answer { executive_summary: "x".to_owned(), steps: vec![step] };
    let checked = check(&diff, &answer(step(&["two"], vec![quote("+same line")])));
    assert_eq!(checked.steps[0].evidence[0].path, "two");
    // A header that fits two files names neither; with a file it names one.
    let checked = check(&diff, &answer(step(&[], vec![quote("@@ -1 +1 @@")])));
    assert_eq!(checked.steps[0].state, StepState::Unsupported);
    let checked = check(&diff, &answer(step(&["two"], vec![quote("@@ -1 +1 @@")])));
    assert_eq!(checked.steps[0].evidence[0].path, "two");
}

#[test]
fn a_merge_is_quoted_with_the_marks_of_both_parents() {
    let text = "diff --cc both.rs\n--- a/both.rs\n+++ b/both.rs\n@@@ -1,2 -1,2 +1,2 @@@\n  same\n- ours();\n -theirs();\n++merged();\n";
    let diff = Diff::parse(text.as_bytes());
    let answer =
        |text: &str| Answer { executive_summary: "x".to_owned(), steps: vec![step(&[], vec![quote(text)])] };
    for quoted in ["- ours();\n -theirs();\n++merged();", "++merged();", "merged();"] {
        assert_eq!(check(&diff, &answer(quoted)).steps[0].state, StepState::Verified, "{quoted}");
    }
    assert_eq!(check(&diff, &answer("--merged();")).steps[0].state, StepState::Unsupported);
}

#[test]
fn the_json_has_the_words_of_the_contract() {
    let (one, _) = check_one(step(&[], vec![quote("+    new_call();")]));
    let json = serde_json::to_value(&one).unwrap();
    assert_eq!(json["state"], "verified");
    assert_eq!(json["evidence"][0]["state"], "verified");
    assert_eq!(json["evidence"][0]["path"], "src/forge.rs");
    assert_eq!(json["evidence_snippets"][0], "+    new_call();");
    assert_eq!(serde_json::from_value::<Step>(json).unwrap(), one);
}
