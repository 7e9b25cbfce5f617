//! What others wrote stays text.

use axum::http::StatusCode;
use pikaci::{JobStatus, Outcome};

use super::fixture::{Fixture, MANIFEST, write_pikaci_run_fixture};

const MARKUP: &str = "<script>alert(1)</script>";

#[tokio::test]
async fn a_hostile_branch_name_file_and_message_are_escaped() {
    let fixture = Fixture::new().await;
    let name = "x\"><script>alert(1)<-script>&amp;'y";
    let branch = fixture.push(name, &[("pikaci.toml", MANIFEST), ("<b>.txt", MARKUP)]).await;
    for path in ["/news".to_owned(), "/news/sample".to_owned(), format!("/news/sample/branch/{branch}")] {
        let html = fixture.get(&path).await.text();
        assert!(html.contains("alert(1)") && !html.contains("<script>"), "{path}: {html}");
        assert!(!html.contains("<b>"), "{path}: {html}");
    }
}

#[tokio::test]
async fn a_hostile_log_is_escaped_and_its_colours_are_kept() {
    let fixture = Fixture::new().await;
    let branch = fixture.push("topic", &[("pikaci.toml", MANIFEST)]).await;
    let lane_run = fixture.claim(branch, Some(Outcome::Failed)).await;
    let log = format!("{MARKUP}\n\x1b[31merror\x1b[0m \x1b]0;title\x07 broken \u{202e}\n");
    write_pikaci_run_fixture(&fixture.state, &[log.as_bytes(), b"\xff\n"].concat(), &JobStatus::Failed);
    let html = fixture.get(&format!("/news/sample/lane-run/{lane_run}")).await.text();
    assert!(html.contains("&lt;script&gt;alert(1)") && !html.contains(MARKUP), "{html}");
    assert!(html.contains("<span class=\"a-1\">error</span>") && !html.contains('\u{1b}'), "{html}");
    assert!(html.contains('\u{fffd}') && !html.contains('\u{202e}'), "{html}");
}

#[tokio::test]
async fn a_pages_size_does_not_depend_on_the_log() {
    let fixture = Fixture::new().await;
    let branch = fixture.push("topic", &[("pikaci.toml", MANIFEST)]).await;
    let lane_run = fixture.claim(branch, Some(Outcome::Passed)).await;
    let log = [b"the beginning\n".to_vec(), vec![b'x'; 8 << 20], b"\nthe end\n".to_vec()].concat();
    write_pikaci_run_fixture(&fixture.state, &log, &JobStatus::Passed);
    let page = format!("/news/sample/lane-run/{lane_run}");
    let html = fixture.get(&page).await.text();
    assert!(html.len() < 400 * 1024, "{} bytes", html.len());
    assert!(html.contains("the end") && !html.contains("the beginning") && html.contains("before="));
    let earlier = fixture.get(&format!("{page}?job=unit&kind=guest&before=100000")).await.text();
    assert!(earlier.contains("the beginning") && !earlier.contains("\nthe end"));
}

#[tokio::test]
async fn what_cannot_be_understood_is_refused_as_json() {
    let fixture = Fixture::new().await;
    let run = super::fixture::run_id();
    let logs = "/news/api/forge/pikaci/logs";
    for (path, status) in [
        (format!("{logs}/{run}/stream?from=-1"), StatusCode::BAD_REQUEST),
        (format!("{logs}/{run}/stream?from=x"), StatusCode::BAD_REQUEST),
        (format!("{logs}/%ff"), StatusCode::NOT_FOUND),
        ("/news/api/forge/branch/x/logs".to_owned(), StatusCode::NOT_FOUND),
    ] {
        let refused = fixture.get(&path).await.json(status);
        assert!(refused["error"].is_string(), "{path}: {refused}");
    }
}
