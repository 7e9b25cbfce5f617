//! Reports of real test programs, and reports that nobody honest wrote.

use insta::assert_snapshot;
use proptest::prelude::*;

use super::*;

const NEXTEST: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="nextest-run" tests="3" failures="1" errors="0" time="0.012">
    <testsuite name="pikaci" tests="3" disabled="0" errors="0" failures="1">
        <testcase name="id::tests::passes" classname="pikaci" time="0.004">
        </testcase>
        <testcase name="id::tests::fails" classname="pikaci" time="0.008">
            <failure message="thread &apos;id::tests::fails&apos; panicked at src/id.rs:7:9" type="test failure">thread 'id::tests::fails' panicked at src/id.rs:7:9:
assertion `left == right` failed
  left: 1
 right: &lt;2&gt; &#x1b;[31mred&#x1b;[0m</failure>
            <system-out>
running 1 test
</system-out>
        </testcase>
        <testcase name="id::tests::ignored" classname="pikaci"><skipped/></testcase>
    </testsuite>
</testsuites>
"#;

const PYTEST: &str = r#"<?xml version="1.0" encoding="utf-8"?><testsuites><testsuite name="pytest" errors="1" failures="1" tests="3">
<testcase classname="tests.test_app" name="test_login" file="tests/test_app.py" line="12" time="0.1"><failure message="assert 200 == 500">def test_login():
&gt;       assert client.get("/").status == 200
E       assert 200 == 500</failure></testcase>
<testcase classname="" name="tests.test_broken" time="0.0"><error message="collection failure"><![CDATA[ImportError: no <module>]]></error></testcase>
<testcase classname="tests.test_app" name="test_logout" time="0.1" /></testsuite></testsuites>"#;

fn shown(report: &JunitReport) -> String {
    let mut text = format!("{} tests, {} failed, {} skipped", report.tests, report.failed, report.skipped);
    for test in &report.failures {
        let FailedTest { suite, name, file, line, message, details } = test;
        text.push_str(&format!("\n{suite} | {name} | {file:?} {line:?} | {message} | {details:?}"));
    }
    if let Some(reason) = &report.incomplete {
        text.push_str(&format!("\nincomplete: {reason}"));
    }
    text
}

#[test]
fn the_reports_of_test_programs_are_read() {
    assert_snapshot!(shown(&parse_junit(NEXTEST.as_bytes()).unwrap()), @r#"
    3 tests, 1 failed, 1 skipped
    pikaci | id::tests::fails | None None | thread 'id::tests::fails' panicked at src/id.rs:7:9 | "thread 'id::tests::fails' panicked at src/id.rs:7:9:\nassertion `left == right` failed\n  left: 1\n right: <2> red"
    "#);
    assert_snapshot!(shown(&parse_junit(PYTEST.as_bytes()).unwrap()), @r#"
    3 tests, 2 failed, 0 skipped
    tests.test_app | test_login | Some("tests/test_app.py") Some(12) | assert 200 == 500 | "def test_login():\n>       assert client.get(\"/\").status == 200\nE       assert 200 == 500"
    pytest | tests.test_broken | None None | collection failure | "ImportError: no <module>"
    "#);
    let bare = br#"<testsuite name="suite" file="a.test.js"><testcase name="t"><failure type="Error"/></testcase></testsuite>"#;
    assert_snapshot!(shown(&parse_junit(bare).unwrap()), @r#"
    1 tests, 1 failed, 0 skipped
    suite | t | Some("a.test.js") None | Error | ""
    "#);
}

#[test]
fn a_report_without_an_end_counts_as_far_as_it_goes() {
    let cut = &NEXTEST[..NEXTEST.find("  left: 1").unwrap()];
    assert_snapshot!(shown(&parse_junit(cut.as_bytes()).unwrap()), @r#"
    2 tests, 1 failed, 0 skipped
    pikaci | id::tests::fails | None None | thread 'id::tests::fails' panicked at src/id.rs:7:9 | "thread 'id::tests::fails' panicked at src/id.rs:7:9:\nassertion `left == right` failed"
    incomplete: it ends in the middle
    "#);
    let broken = PYTEST.replace("<testcase classname=\"\"", "</wrong><testcase classname=\"\"");
    assert_snapshot!(shown(&parse_junit(broken.as_bytes()).unwrap()), @r#"
    1 tests, 1 failed, 0 skipped
    tests.test_app | test_login | Some("tests/test_app.py") Some(12) | assert 200 == 500 | "def test_login():\n>       assert client.get(\"/\").status == 200\nE       assert 200 == 500"
    incomplete: byte 361: ill-formed document: expected `</testsuite>`, but `</wrong>` was found
    "#);
}

#[test]
fn a_byte_that_is_not_utf_8_is_shown_as_such() {
    let report =
        parse_junit(b"<testsuite><testcase name=\"caf\xe9\"><error>\xff</error></testcase></testsuite>")
            .unwrap();
    assert_eq!(
        (report.failures[0].name.as_str(), report.failures[0].details.as_str()),
        ("caf\u{fffd}", "\u{fffd}")
    );
}

#[test]
fn entities_of_the_report_are_not_expanded() {
    let bomb = r#"<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;"><!ENTITY f SYSTEM "file:///etc/passwd">]>
<testsuite name="&b;"><testcase name="&f;"><failure message="&b;">&b;&f;&amp;</failure></testcase></testsuite>"#;
    assert_snapshot!(shown(&parse_junit(bomb.as_bytes()).unwrap()), @r#"
    1 tests, 1 failed, 0 skipped
    &b; | &f; | None None | &b; | "&b;&f;&"
    "#);
}

#[test]
fn what_is_no_report_is_refused() {
    for text in ["", "not xml", "<html><body/></html>", "{\"tests\": 3}", "<", "<!DOCTYPE"] {
        assert!(matches!(parse_junit(text.as_bytes()), Err(JunitError::NotJunit { .. })), "{text:?}");
    }
    let large = vec![b' '; JUNIT_BYTES_MAX + 1];
    assert!(matches!(parse_junit(&large), Err(JunitError::TooLarge { bytes }) if bytes == large.len()));
}

#[test]
fn what_is_kept_of_a_hostile_report_is_bounded() {
    let deep = format!("<testsuite>{}", "<a>".repeat(1_000_000));
    assert_snapshot!(shown(&parse_junit(deep.as_bytes()).unwrap()), @r#"
    0 tests, 0 failed, 0 skipped
    incomplete: it nests deeper than 64 elements
    "#);

    let test =
        format!("<testcase name=\"{}\"><error>{}</error></testcase>", "n".repeat(5_000), "ü".repeat(5_000));
    let many = format!("<testsuite>{}</testsuite>", test.repeat(1_100));
    let report = parse_junit(many.as_bytes()).unwrap();
    assert_eq!((report.tests, report.failed, report.failures.len()), (1_100, 1_100, FAILURES_MAX));
    assert!(
        report.failures.iter().all(|test| test.name.len() <= 1024 && test.details.len() <= DETAILS_BYTES_MAX)
    );

    // Quadratic work would take minutes here.
    let attributes: String = (0..500_000).map(|at| format!(" a{at}=\"\"")).collect();
    let wide = format!("<testsuite><testcase{attributes} name=\"last\"><error/></testcase></testsuite>");
    assert_eq!(parse_junit(wide.as_bytes()).unwrap().failures[0].name, "last");
}

proptest! {
    #[test]
    fn a_damaged_report_is_read_or_refused(
        cuts in prop::collection::vec((0..NEXTEST.len(), 0_usize..30, "[<>&;/=\"'a-z!\\[\\]\\-\\PC]{0,8}"), 1..8),
    ) {
        let mut bytes = NEXTEST.as_bytes().to_vec();
        for (at, removed, added) in cuts {
            let at = at.min(bytes.len());
            let end = (at + removed).min(bytes.len());
            bytes.splice(at..end, added.into_bytes());
        }
        if let Ok(report) = parse_junit(&bytes) {
            prop_assert!(report.failed <= report.tests);
        }
    }
}
