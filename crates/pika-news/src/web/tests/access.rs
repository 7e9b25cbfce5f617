//! Who gets in, and what every answer carries.

use axum::body::Body;
use axum::http::{Method, StatusCode, header};
use pikaci::{JobStatus, Outcome};

use super::fixture::{Fixture, MANIFEST, Reply, run_id, write_pikaci_run_fixture};
use crate::web::CONTENT_SECURITY_POLICY;

async fn sign_in(fixture: &Fixture) -> String {
    let link = fixture.auth.create_sign_in_link(&fixture.user).await.unwrap();
    let looked = fixture.get_as_stranger(&link).await;
    assert!(looked.status == StatusCode::OK && looked.text().contains("Sign in as ada"));
    let reply = fixture.send(fixture.request(Method::POST, &link).body(Body::empty()).unwrap()).await;
    assert_eq!((reply.status, reply.header("location")), (StatusCode::SEE_OTHER, "/news"));
    let cookie = reply.header("set-cookie").to_owned();
    for attribute in ["pika_session=", "HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=2592000"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    cookie.split(';').next().unwrap().to_owned()
}

async fn with_cookie(
    fixture: &Fixture,
    method: Method,
    path: &str,
    cookie: &str,
    origin: Option<&str>,
) -> Reply {
    let mut request = fixture.request(method, path).header(header::COOKIE, cookie);
    request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    if let Some(origin) = origin {
        request = request.header(header::ORIGIN, origin);
    }
    fixture.send(request.body(Body::from("title=laptop&scope_read=on&expires=30")).unwrap()).await
}

#[tokio::test]
async fn every_json_route_and_stream_needs_authentication() {
    let fixture = Fixture::new().await;
    let branch = fixture.push("topic", &[("pikaci.toml", MANIFEST)]).await;
    write_pikaci_run_fixture(&fixture.state, b"secret", &JobStatus::Passed);
    let run = run_id();
    let mut paths = vec![
        "/news/api/forge/repositories".to_owned(),
        "/news/api/forge/repository/sample/branches".to_owned(),
        format!("/news/api/forge/branch/{branch}"),
        format!("/news/api/forge/branch/{branch}/logs"),
        "/news/api/forge/lane-run/1".to_owned(),
        format!("/news/api/forge/pikaci/run/{run}"),
        format!("/news/api/forge/pikaci/prepared-outputs/{run}"),
        "/news/api/forge/changes".to_owned(),
        "/news/api/anything".to_owned(),
    ];
    paths.extend(
        ["", "/raw", "/stream"].map(|route| format!("/news/api/forge/pikaci/logs/{run}{route}?job=unit")),
    );
    for path in paths {
        let refused = fixture.get_as_stranger(&path).await;
        assert!(refused.json(StatusCode::UNAUTHORIZED)["error"].is_string(), "{path}");
        assert_eq!(refused.header("content-security-policy"), CONTENT_SECURITY_POLICY);
    }
    for path in
        [format!("/news/api/forge/branch/{branch}/merge"), "/news/api/forge/lane-run/1/cancel".to_owned()]
    {
        let refused = fixture.send(fixture.request(Method::POST, &path).body(Body::empty()).unwrap()).await;
        refused.json(StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn a_token_is_accepted_as_the_basic_password() {
    use base64::Engine as _;
    let fixture = Fixture::new().await;
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("x:{}", fixture.token));
    let request = fixture.request(Method::GET, "/news/api/forge/repositories");
    let request =
        request.header(header::AUTHORIZATION, format!("Basic {basic}")).body(Body::empty()).unwrap();
    fixture.send(request).await.json(StatusCode::OK);
}

#[tokio::test]
async fn pages_send_strangers_to_the_sign_in_page() {
    let fixture = Fixture::new().await;
    fixture.push("topic", &[("pikaci.toml", MANIFEST)]).await;
    for path in
        ["/news", "/news/sample", "/news/sample/branch/1", "/news/sample/lane-run/1", "/news/settings/tokens"]
    {
        let reply = fixture.get_as_stranger(path).await;
        assert_eq!(
            (reply.status, reply.header("location")),
            (StatusCode::SEE_OTHER, "/news/sign-in"),
            "{path}"
        );
    }
    assert!(fixture.get_as_stranger("/news/sign-in").await.text().contains("pika-news sign-in-link"));
}

#[tokio::test]
async fn looking_at_a_sign_in_link_does_not_use_it_up_but_signing_in_does() {
    let fixture = Fixture::new().await;
    let link = fixture.auth.create_sign_in_link(&fixture.user).await.unwrap();
    for _ in 0..3 {
        assert_eq!(fixture.get_as_stranger(&link).await.status, StatusCode::OK);
    }
    let post = || fixture.send(fixture.request(Method::POST, &link).body(Body::empty()).unwrap());
    assert_eq!(post().await.status, StatusCode::SEE_OTHER);
    assert_eq!(post().await.status, StatusCode::NOT_FOUND);
    assert_eq!(fixture.get_as_stranger(&link).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_change_by_cookie_needs_its_own_origin() {
    let fixture = Fixture::new().await;
    let cookie = sign_in(&fixture).await;
    let path = "/news/settings/tokens";
    for origin in [None, Some("https://evil.example"), Some("null")] {
        let refused = with_cookie(&fixture, Method::POST, path, &cookie, origin).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{origin:?}");
    }
    let origin = Some("http://127.0.0.1:7800");
    let created = with_cookie(&fixture, Method::POST, path, &cookie, origin).await;
    assert!(
        created.status == StatusCode::OK && created.text().contains("value=\"pika_"),
        "{}",
        created.text()
    );
    let listed = with_cookie(&fixture, Method::GET, path, &cookie, None).await.text();
    assert!(listed.contains("laptop") && !listed.contains("value=\"pika_"));
}

#[tokio::test]
async fn who_tries_to_sign_in_too_often_is_told_when_to_come_back() {
    let fixture = Fixture::new().await;
    let mut tries = 0;
    let refused = loop {
        let reply = fixture.get_as_stranger("/news/sign-in/guess").await;
        tries += 1;
        if reply.status != StatusCode::NOT_FOUND {
            break reply;
        }
        assert!(tries < 100);
    };
    assert_eq!((refused.status, tries), (StatusCode::TOO_MANY_REQUESTS, 31));
    assert!((1..=60).contains(&refused.header("retry-after").parse::<u64>().unwrap()));
    // Whoever is signed in, and the page that says how to, are left alone.
    assert_eq!(fixture.get("/news").await.status, StatusCode::OK);
    assert_eq!(fixture.get_as_stranger("/news/sign-in").await.status, StatusCode::OK);
}

#[tokio::test]
async fn signing_out_ends_the_session() {
    let fixture = Fixture::new().await;
    let cookie = sign_in(&fixture).await;
    let origin = Some("http://127.0.0.1:7800");
    let out = with_cookie(&fixture, Method::POST, "/news/sign-out", &cookie, origin).await;
    assert!(out.status == StatusCode::SEE_OTHER && out.header("set-cookie").contains("Max-Age=0"));
    let reply = with_cookie(&fixture, Method::GET, "/news", &cookie, None).await;
    assert_eq!(reply.header("location"), "/news/sign-in");
}

#[tokio::test]
async fn every_page_carries_the_policy_and_holds_nothing_that_it_forbids() {
    let fixture = Fixture::new().await;
    let branch = fixture.push("topic", &[("pikaci.toml", MANIFEST)]).await;
    let lane_run = fixture.claim(branch, Some(Outcome::Failed)).await;
    write_pikaci_run_fixture(&fixture.state, b"\x1b[31mred\x1b[0m\n", &JobStatus::Failed);
    let pages = [
        ("/news".to_owned(), StatusCode::OK),
        ("/news/sample".to_owned(), StatusCode::OK),
        ("/news/sample?state=merged".to_owned(), StatusCode::OK),
        (format!("/news/sample/branch/{branch}"), StatusCode::OK),
        (format!("/news/sample/lane-run/{lane_run}"), StatusCode::OK),
        (format!("/news/sample/lane-run/{lane_run}?kind=host"), StatusCode::OK),
        ("/news/settings/tokens".to_owned(), StatusCode::OK),
        ("/news/nothing".to_owned(), StatusCode::NOT_FOUND),
        ("/news/sample/branch/999".to_owned(), StatusCode::NOT_FOUND),
        ("/news/sample/branch/..%2F1".to_owned(), StatusCode::NOT_FOUND),
        ("/news/other/lane-run/1".to_owned(), StatusCode::NOT_FOUND),
        ("/elsewhere".to_owned(), StatusCode::NOT_FOUND),
    ];
    for (path, status) in pages {
        let page = fixture.get(&path).await;
        assert_eq!(page.status, status, "{path}: {}", page.text());
        assert_eq!(page.header("content-security-policy"), CONTENT_SECURITY_POLICY, "{path}");
        assert_eq!(page.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(page.header("referrer-policy"), "same-origin", "{path}");
        let html = page.text();
        assert!(html.contains("<html lang=\"en\">") && html.contains("<main"), "{path}");
        assert!(
            !html.contains(" style=") && !html.contains("<style") && !html.contains(" onclick"),
            "{path}"
        );
        assert_eq!(
            html.matches("<script").count(),
            html.matches("<script src=\"/news/static/").count(),
            "{path}"
        );
    }
}

#[tokio::test]
async fn static_files_are_kept_for_ever_under_their_hash() {
    let fixture = Fixture::new().await;
    let page = fixture.get_as_stranger("/news/sign-in").await.text();
    let path = page
        .split("href=\"")
        .find(|part| part.starts_with("/news/static/"))
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    let sheet = fixture.get_as_stranger(path).await;
    assert_eq!((sheet.status, sheet.header("content-type")), (StatusCode::OK, "text/css; charset=utf-8"));
    assert!(sheet.header("cache-control").contains("immutable"));
    let request = fixture.request(Method::GET, path).header(header::IF_NONE_MATCH, sheet.header("etag"));
    assert_eq!(fixture.send(request.body(Body::empty()).unwrap()).await.status, StatusCode::NOT_MODIFIED);
}

#[tokio::test]
async fn a_merge_of_another_head_than_the_branch_has_is_a_conflict() {
    let fixture = Fixture::new().await;
    fixture.push("main", &[("pikaci.toml", MANIFEST)]).await;
    let branch = fixture.push("topic", &[("a", "1")]).await;
    let body = format!("{{\"expected_head\":\"{}\"}}", "1".repeat(40));
    let path = format!("/news/api/forge/branch/{branch}/merge");
    let stale = fixture.post(&path, "application/json", &body).await;
    assert!(stale.json(StatusCode::CONFLICT)["error"].is_string());
    let nonsense = fixture.post(&path, "application/json", "{}").await;
    assert!(nonsense.json(StatusCode::BAD_REQUEST)["error"].as_str().unwrap().contains("expected_head"));
    let form = format!("expected_head={}", "1".repeat(40));
    let page = format!("/news/sample/branch/{branch}");
    for action in ["merge", "close"] {
        let stale =
            fixture.post(&format!("{page}/{action}"), "application/x-www-form-urlencoded", &form).await;
        assert_eq!(stale.status, StatusCode::CONFLICT, "{action}: {}", stale.text());
        assert!(stale.text().contains(&format!("href=\"{page}\">Back")), "{action}: {}", stale.text());
    }
}
