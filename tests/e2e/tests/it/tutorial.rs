//! A branch in a browser: what its reader sees while and after a writer fails.

use e2e::{Browser, TestForge, TestForgeOptions};

use crate::manifest::of_jobs;

const FAILING: &str = "[tutorial]\nprovider = \"command\"\ncommand = [\"sh\", \"-c\", \"cat > /dev/null; echo the model is ill >&2; exit 9\"]\nretries = 0\n";

/// A function of so many lines, none like another one.
fn code(lines: usize) -> String {
    let body: String = (0..lines).map(|line| format!("    let value_{line} = {line};\n")).collect();
    format!("pub fn made() {{\n{body}}}\n")
}

#[test]
fn a_branch_whose_model_fails_shows_its_diff_and_the_builtin_tutorial_at_once_and_says_what_failed() {
    let forge =
        TestForge::start_with(&TestForgeOptions { more: FAILING.to_owned(), ..TestForgeOptions::default() });
    let tree = forge.work_tree_with(&of_jobs(&[("unit", "true")]));
    tree.write("src/small.rs", code(3)).commit("Make small");
    let small = tree.push("HEAD:small");

    let mut browser = Browser::open(forge.token());
    browser.go(&format!("{}{}", forge.url(), forge.branch_page(&small)));
    browser.until("the tutorial is there", "document.querySelectorAll('.tutorial .step').length > 0");
    assert!(browser.text(".tutorial .summary").contains("No model wrote this page"));
    let diff = browser.value("document.querySelector('.changes').textContent");
    assert!(diff.as_str().unwrap().contains("let value_2 = 2;"), "the diff is there: {diff}");

    // The page follows the forge by itself.
    let failed = "document.querySelector('[data-tutorial=failed]') !== null";
    browser.until("the page says that the writer failed", failed);
    let note = browser.text("[data-tutorial=failed]");
    assert!(note.contains("the model is ill") && note.contains("Try again"), "{note}");
    assert!(browser.value("document.querySelectorAll('tr.shown').length").as_u64() > Some(0));

    // Evidence leads to its line.
    browser.click(".tutorial figcaption a");
    browser.until("the line is marked", "document.querySelector('tr.target') !== null");

    // A tick is remembered by the forge, not by the browser.
    browser.click(".tick-form button");
    browser.until("the step is ticked off", "document.querySelector('.step.ticked') !== null");
    let mut other = Browser::open(forge.token());
    other.go(&format!("{}{}", forge.url(), forge.branch_page(&small)));
    other.until("the tick is there", "document.querySelector('.step.ticked button')?.innerText === '✓ Read'");

    let retry = "[data-tutorial=failed] button";
    browser.click(retry);
    browser.until(
        "it was tried again",
        "[...document.querySelectorAll('.explained p')].some((p) => p.textContent.startsWith('2 attempts'))",
    );
}

#[test]
fn a_large_diff_opens_its_files_as_they_are_wanted() {
    let forge = TestForge::start();
    let tree = forge.work_tree_with(&of_jobs(&[("unit", "true")]));
    tree.write("src/large.rs", code(4000)).commit("Make large");
    let large = tree.push("HEAD:large");
    let mut browser = Browser::open(forge.token());
    browser.go(&format!("{}{}", forge.url(), forge.branch_page(&large)));
    browser.until("the file is listed", "document.querySelector('details.file[data-src]') !== null");
    assert_eq!(browser.value("document.body.textContent.includes('value_3999')"), false);
    browser.click("details.file > summary");
    browser.until("its lines are there", "document.body.textContent.includes('value_3999')");
    assert_eq!(browser.value("document.querySelectorAll('details.file tr.add').length"), 4002);
}

/// A writer that waits for a file, and then shows one line.
fn slow(go: &std::path::Path) -> String {
    let answer = r#"{"executive_summary":"x","steps":[{"title":"The first value","intent":"i","affected_files":["src/small.rs"],"evidence_snippets":["+    let value_0 = 0;"],"body_markdown":"b"}]}"#;
    let script =
        format!("cat > /dev/null; while ! test -e {}; do sleep 0.05; done; echo '{answer}'", go.display());
    format!("[tutorial]\nprovider = \"command\"\ncommand = [\"sh\", \"-c\", {script:?}]\n")
}

#[test]
fn when_the_written_tutorial_comes_the_marks_in_the_open_diff_are_its_own_without_a_reload() {
    let scratch = tempfile::tempdir().unwrap();
    let more = slow(&scratch.path().join("go"));
    let forge = TestForge::start_with(&TestForgeOptions { more, ..TestForgeOptions::default() });
    let tree = forge.work_tree_with(&of_jobs(&[("unit", "true")]));
    tree.write("src/small.rs", code(30)).commit("Make small");
    let small = tree.push("HEAD:small");
    let mut browser = Browser::open(forge.token());
    browser.go(&format!("{}{}", forge.url(), forge.branch_page(&small)));
    browser.until("the writer is at work", "document.querySelector('[data-tutorial=running]') !== null");
    browser.value("document.querySelector('details.file').open = true");
    let shown = "document.querySelectorAll('.changes tr.shown').length";
    browser.until("the builtin tutorial marks the function", &format!("{shown} > 1"));
    browser.value("window.stayed = true");
    std::fs::write(scratch.path().join("go"), "").unwrap();
    browser.until("one line is marked", &format!("{shown} === 1"));
    assert_eq!(browser.value("window.stayed && document.querySelector('details.file').open"), true);
}

#[test]
fn a_head_that_is_pushed_while_somebody_looks_is_not_what_they_merge() {
    let forge = TestForge::start();
    let tree = forge.work_tree_with(&of_jobs(&[("unit", "true")]));
    tree.write("src/seen.rs", code(3)).commit("Seen");
    let seen = tree.push("HEAD:topic");
    forge.wait_for_lane(&seen, "check");
    let head = tree.head();
    let mut browser = Browser::open(forge.token());
    browser.go(&format!("{}{}", forge.url(), forge.branch_page(&seen)));
    browser.until("the tutorial is there", "document.querySelectorAll('.tutorial .step').length > 0");
    browser.click(".tick-form button");
    // Without its script, which may not be there yet, the page loads anew: not in the middle of what follows.
    browser.until("the step is ticked off", "document.querySelector('.step.ticked') !== null");
    tree.write("src/unseen.rs", code(3)).commit("Unseen");
    tree.push("HEAD:topic");
    browser.until("the page says so", "document.getElementById('newer-head') !== null");
    let expected = browser.value("document.querySelector('form[action$=merge] [name=expected_head]').value");
    assert_eq!(expected, head.as_str());
    assert_eq!(browser.value("document.body.textContent.includes('unseen.rs')"), false);
    browser.click("#newer-head a");
    browser.until("the newer head is shown", "document.body.textContent.includes('unseen.rs')");
}
