//! Tests of the page: nothing foreign gets out of its place, and everything can be reached.

use super::*;
use crate::answer::{Answer, ClaimedEvidence, ClaimedStep};
use crate::check::check;
use crate::explain::End;
use crate::tutorial::Tutorial;

const HOSTILE: [&str; 9] = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\"><svg onload=alert(1)>",
    "</style></script></details></main><script>alert(1)</script>",
    "[click](javascript:alert(1)) ![pixel](https://evil.example/p.png) <https://evil.example>",
    "{{ head.key() }} {% raw %} ${alert(1)}",
    "<a href=\"https://evil.example\" onclick=\"alert(1)\">x</a>",
    "<!-- --> <![CDATA[ ]]> &lt;script&gt;",
    "\u{202e}evil\u{2066}\u{0}",
];

fn explained(diff: &Diff, answer: &Answer) -> Explained {
    let checked = check(diff, answer);
    let tutorial = Tutorial {
        provider: "openai".to_owned(),
        model: Some("<b>model</b>".to_owned()),
        executive_summary: checked.executive_summary,
        steps: checked.steps,
        coverage: checked.coverage,
        problems: checked.findings.iter().map(ToString::to_string).collect(),
        ..Tutorial::default()
    };
    Explained { tutorial, end: End::Written, calls: Vec::new(), duration_ms: 0, usage: None, inventions: 0 }
}

fn page(explained: &Explained, diff: &Diff) -> String {
    let mut bytes = Vec::new();
    write_page(&mut bytes, explained, diff).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// Everything that the page has besides its own sheet and script.
fn foreign(page: &str) -> String {
    page.replace(PAGE_STYLE, "").replace(PAGE_SCRIPT, "")
}

#[track_caller]
fn is_harmless(page: &str) {
    let foreign = foreign(page);
    let lower = foreign.to_lowercase();
    // What looks like a tag is one: everything else is escaped.
    for (place, _) in lower.match_indices('<') {
        let rest = &lower[place + 1..];
        let name: String =
            rest.trim_start_matches(['/', '!']).chars().take_while(char::is_ascii_alphanumeric).collect();
        let is_ours = [
            "doctype",
            "html",
            "head",
            "meta",
            "title",
            "style",
            "body",
            "a",
            "main",
            "header",
            "h1",
            "h2",
            "h4",
            "h5",
            "h6",
            "p",
            "span",
            "nav",
            "ul",
            "ol",
            "li",
            "bdi",
            "section",
            "div",
            "label",
            "input",
            "figure",
            "figcaption",
            "table",
            "tbody",
            "thead",
            "tr",
            "td",
            "th",
            "details",
            "summary",
            "code",
            "pre",
            "em",
            "strong",
            "del",
            "br",
            "hr",
            "blockquote",
            "noscript",
            "script",
        ];
        assert!(is_ours.contains(&name.as_str()), "<{name}");
        if name == "script" {
            let is_data = rest.starts_with("script type=\"application/json\" class=\"hunks\">");
            assert!(
                is_data
                    || rest.starts_with("script>\u{3c}/script>")
                    || rest.starts_with("script></script>")
                    || rest.starts_with("/script>"),
                "{}",
                &rest[..40]
            );
        }
        let tag = &rest[..rest.find('>').unwrap_or(rest.len())];
        assert!(!tag.contains(" on") && !tag.contains("javascript:") && !tag.contains("src="), "{tag}");
        if let Some(target) = tag.split("href=\"").nth(1) {
            assert!(target.starts_with('#'), "{tag}");
        }
    }
    for letter in ['\u{202e}', '\u{2066}', '\u{0}'] {
        assert!(!foreign.contains(letter));
    }
}

#[test]
fn hostile_texts_of_a_model_are_shown_as_text() {
    let diff = Diff::parse(&b"--- a/x\n+++ b/x\n@@ -1 +1 @@\n-one two\n+three four\n"[..]);
    let id = diff.hunks().next().unwrap().id().to_string();
    for hostile in HOSTILE {
        let step = ClaimedStep {
            title: hostile.to_owned(),
            intent: format!("`{hostile}`"),
            affected_files: vec![hostile.to_owned()],
            evidence: vec![
                ClaimedEvidence::Reference { hunk: id.clone(), lines: None, path: None },
                ClaimedEvidence::Quote { text: hostile.to_owned(), path: None },
            ],
            body_markdown: format!("# {hostile}\n\n{hostile}\n\n- {hostile}\n\n    {hostile}\n"),
        };
        let answer = Answer { executive_summary: hostile.to_owned(), steps: vec![step] };
        let mut explained = explained(&diff, &answer);
        explained.end = End::FellBack { reason: hostile.to_owned() };
        explained.tutorial.about.title = hostile.to_owned();
        explained.tutorial.about.head = hostile.to_owned();
        is_harmless(&page(&explained, &diff));
    }
}

#[test]
fn hostile_texts_of_a_diff_are_shown_as_text_written_out_or_not() {
    for hostile in HOSTILE.iter().map(|text| text.replace('\u{0}', "")) {
        for lines in [1, 5_000] {
            let text = format!("+{hostile}\n").repeat(lines);
            let path = hostile.replace('"', "\\\"");
            let text = format!("--- /dev/null\n+++ \"b/{path}\"\n@@ -0,0 +1,{lines} @@ {hostile}\n{text}");
            let diff = Diff::parse(text.into_bytes());
            let page = page(&explained(&diff, &Answer::default()), &diff);
            is_harmless(&page);
            assert_eq!(page.contains("class=\"hunks\""), lines == 5_000);
        }
    }
}

#[test]
fn markdown_keeps_its_form_and_loses_what_leads_away() {
    let html = render_markdown(
        "# Head\n\n*one* **two** `three` ~~four~~\n\n1. [text](https://evil.example \"title\")\n\n![alt](x.png)\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n<div>raw</div>\n",
    );
    for kept in [
        "<h4>Head</h4>",
        "<em>one</em>",
        "<code>three</code>",
        "<del>four</del>",
        "<li>",
        "text",
        "alt",
        "<td>1</td>",
        "&lt;div&gt;raw",
    ] {
        assert!(html.contains(kept), "{kept}: {html}");
    }
    for lost in ["href", "evil", "src", "<div>", "title"] {
        assert!(!html.contains(lost), "{lost}: {html}");
    }
}

#[test]
fn evidence_is_linked_to_its_line_and_marked_there() {
    let diff = Diff::parse(
        &b"--- a/x\n+++ b/x\n@@ -7,2 +7,3 @@\n one\n-two\n+three\n+four\n@@ -90 +91 @@\n-five\n+six\n"[..],
    );
    let ids: Vec<String> = diff.hunks().map(|hunk| hunk.id().to_string()).collect();
    let step = ClaimedStep {
        title: "Count `on`".to_owned(),
        evidence: vec![ClaimedEvidence::Reference { hunk: ids[0].clone(), lines: Some((3, 4)), path: None }],
        ..ClaimedStep::default()
    };
    let answer = Answer { executive_summary: "Sum".to_owned(), steps: vec![step] };
    let page = page(&explained(&diff, &answer), &diff);
    assert!(page.contains(&format!("<a href=\"#{}-3\" data-file=\"1\"><bdi>x:8</bdi></a>", ids[0])));
    assert!(page.contains(&format!("<tr class=\"add shown\" id=\"{}-3\">", ids[0])));
    assert!(page.contains(&format!("<tr class=\"remove\" id=\"{}-2\">", ids[0])));
    assert!(page.contains("Count <code>on</code>"));
    assert!(page.contains("Quotes the diff"));
    assert!(page.contains("Not shown by any step: 1") && page.contains(&format!("#{}-1", ids[1])));
    assert!(page.contains("href=\"#step-1\""));
}

#[test]
fn the_policy_allows_the_sheet_and_the_script_and_nothing_else() {
    let policy = policy();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"));
    assert!(!policy.contains("unsafe") && !policy.contains("http"));
    assert!(!PAGE_SCRIPT.contains("innerHTML") && !PAGE_SCRIPT.contains("fetch("));
    assert!(!PAGE_STYLE.contains("url("));
}

#[test]
fn a_failure_and_the_builtin_writer_are_said() {
    let diff = Diff::parse(&b"--- a/x\n+++ b/x\n@@ -1 +1 @@\n-one\n+two\n"[..]);
    let mut explained = explained(&diff, &Answer::default());
    explained.tutorial.provider = "builtin".to_owned();
    explained.end = End::FellBack { reason: "the answer is empty".to_owned() };
    let page = page(&explained, &diff);
    assert!(page.contains("No model wrote this page"));
    assert!(page.contains("The tutorial could not be had: the answer is empty."));
}

#[test]
fn fragments_have_the_same_steps_and_files() {
    let diff = Diff::parse(&b"--- a/x\n+++ b/x\n@@ -1 +1 @@\n-one\n+two\n"[..]);
    let explained = explained(&diff, &Answer::default());
    let page = page(&explained, &diff);
    assert!(page.contains(render_steps(&explained, &diff, &Embedding::default()).trim()));
    assert!(page.contains(render_file(&explained, &diff, 0).trim()));
}
