//! Users, members, tokens and keys through the API and the pages, and what disabling ends.

use axum::body::Body;
use axum::http::{Method, StatusCode, header};
use serde_json::json;

use super::fixture::{Fixture, MANIFEST, REPOSITORY, Reply};

async fn call(fixture: &Fixture, token: &str, method: Method, path: &str, body: serde_json::Value) -> Reply {
    let request = fixture.request(method, path).header(header::AUTHORIZATION, format!("Bearer {token}"));
    let request = request.header(header::CONTENT_TYPE, "application/json");
    fixture.send(request.body(Body::from(body.to_string())).unwrap()).await
}

#[tokio::test]
async fn an_administrator_lets_somebody_in_gives_them_a_role_and_ends_it_all_at_once() {
    let fixture = Fixture::new().await;
    let branch = fixture.push("topic", &[("pikaci.toml", MANIFEST)]).await;
    let admin = fixture.token.clone();
    let users = "/news/api/forge/users";
    let added = call(&fixture, &admin, Method::POST, users, json!({"name": "bob"})).await;
    assert_eq!(added.json(StatusCode::CREATED)["is_admin"], false);
    let again = call(&fixture, &admin, Method::POST, users, json!({"name": "bob"})).await;
    again.json(StatusCode::CONFLICT);

    let bob = fixture.auth.account("bob").await.unwrap().user();
    let link = fixture.auth.create_sign_in_link(&bob).await.unwrap();
    let session = fixture.auth.sign_in(link.rsplit('/').next().unwrap()).await.unwrap().unwrap();
    let cookie = format!("pika_session={}", session.reveal());
    let page = |path: String| {
        let request = fixture.request(Method::GET, &path).header(header::COOKIE, &cookie);
        fixture.send(request.body(Body::empty()).unwrap())
    };
    let branch_page = format!("/news/sample/branch/{branch}");
    assert_eq!(page(branch_page.clone()).await.status, StatusCode::NOT_FOUND);

    let member = format!("/news/api/forge/repository/{REPOSITORY}/members/bob");
    let members = call(&fixture, &admin, Method::PUT, &member, json!({"role": "read"})).await;
    assert_eq!(members.json(StatusCode::OK)[0]["granted_by"], "ada");
    let shown = page(branch_page.clone()).await;
    assert!(shown.status == StatusCode::OK && !shown.text().contains("/merge\""), "{}", shown.text());
    call(&fixture, &admin, Method::PUT, &member, json!({"role": "write"})).await.json(StatusCode::OK);
    assert!(page(branch_page.clone()).await.text().contains("/merge\""));

    call(&fixture, &admin, Method::POST, "/news/api/forge/users/bob/disable", json!({})).await;
    assert_eq!(page(branch_page).await.header("location"), "/news/sign-in");

    let log = call(&fixture, &admin, Method::GET, "/news/api/forge/audit", json!({})).await;
    let log = log.json(StatusCode::OK);
    let actions: Vec<_> = log["entries"].as_array().unwrap().iter().map(|entry| &entry["action"]).collect();
    let expected = ["user.disabled", "member.set", "member.set", "session.opened", "user.created"];
    assert_eq!(actions[..5], expected);
    let others = log["entries"].as_array().unwrap().iter().filter(|entry| entry["actor"] != "ada");
    let others: Vec<_> = others.map(|entry| (&entry["actor"], &entry["action"])).collect();
    assert_eq!(others, [(&json!("bob"), &json!("session.opened"))]);
    let shown = fixture.get("/news/settings/audit").await.text();
    assert!(shown.contains("user.disabled") && shown.contains("user bob"));
}

#[tokio::test]
async fn a_token_is_good_for_its_scopes_and_makes_none_that_is_good_for_more() {
    let fixture = Fixture::new().await;
    let tokens = "/news/api/forge/tokens";
    let new = json!({"title": "script", "scopes": ["admin", "read"], "expires_in_days": 2});
    let created = call(&fixture, &fixture.token, Method::POST, tokens, new).await.json(StatusCode::CREATED);
    assert_eq!(created["scopes"], "read admin");
    assert!(created["expires_at_ms"].as_i64().unwrap() > created["created_at_ms"].as_i64().unwrap());
    let narrow = created["token"].as_str().unwrap();
    let wider = json!({"title": "more", "scopes": ["write"]});
    call(&fixture, narrow, Method::POST, tokens, wider).await.json(StatusCode::FORBIDDEN);
    let form = "title=more&scope_write=on";
    let request = fixture.request(Method::POST, "/news/settings/tokens");
    let request = request.header(header::AUTHORIZATION, format!("Bearer {narrow}"));
    let request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    assert_eq!(fixture.send(request.body(Body::from(form)).unwrap()).await.status, StatusCode::FORBIDDEN);
    let none = json!({"title": "nothing", "scopes": []});
    call(&fixture, narrow, Method::POST, tokens, none).await.json(StatusCode::BAD_REQUEST);
    let listed = call(&fixture, narrow, Method::GET, tokens, json!({})).await;
    assert!(!listed.text().contains("pika_"), "{}", listed.text());
    let path = format!("{tokens}/{}", created["id"]);
    let revoked = call(&fixture, narrow, Method::DELETE, &path, json!({})).await;
    assert_eq!(revoked.status, StatusCode::NO_CONTENT);
    call(&fixture, narrow, Method::GET, tokens, json!({})).await.json(StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_token_adds_no_key_that_may_do_more_than_it_may() {
    let fixture = Fixture::new().await;
    let tokens = "/news/api/forge/tokens";
    let new = json!({"title": "people", "scopes": ["read", "admin"], "expires_in_days": 1});
    let created = call(&fixture, &fixture.token, Method::POST, tokens, new).await.json(StatusCode::CREATED);
    let narrow = created["token"].as_str().unwrap();
    let key = json!({"public_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB0mlNMGAYcXvmnMi3vXPJVPMrqFQ5yGlvzzCsRW9aDf x"});
    let path = "/news/api/forge/ssh-keys";
    let refused = call(&fixture, narrow, Method::POST, path, key.clone()).await;
    let text = refused.json(StatusCode::FORBIDDEN).to_string();
    assert!(text.contains("scope `push`"), "{text}");
    let wide = call(&fixture, &fixture.token, Method::POST, path, key).await;
    assert_ne!(wide.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_passkey_is_added_by_who_has_signed_in_and_by_no_token() {
    let fixture = Fixture::new().await;
    let link = fixture.auth.create_sign_in_link(&fixture.user).await.unwrap();
    let session = fixture.auth.sign_in(link.rsplit('/').next().unwrap()).await.unwrap().unwrap();
    let cookie = format!("pika_session={}", session.reveal());
    for (path, body) in
        [("/news/settings/passkeys/begin", json!({})), ("/news/settings/passkeys", json!({"name": "x"}))]
    {
        let refused = call(&fixture, &fixture.token, Method::POST, path, body.clone()).await;
        let text = refused.json(StatusCode::FORBIDDEN).to_string();
        assert!(text.contains("in a browser"), "{path}: {text}");
        let request = fixture.request(Method::POST, path).header(header::COOKIE, &cookie);
        let request = request.header(header::CONTENT_TYPE, "application/json");
        let request = request.header("sec-fetch-site", "same-origin");
        let asked = fixture.send(request.body(Body::from(body.to_string())).unwrap()).await;
        assert_ne!(asked.status, StatusCode::FORBIDDEN, "{path}: {}", asked.text());
    }
    let log = call(&fixture, &fixture.token, Method::GET, "/news/api/forge/audit", json!({})).await;
    let opened = &log.json(StatusCode::OK)["entries"][0];
    assert_eq!((&opened["action"], &opened["detail"]["by"]), (&json!("session.opened"), &json!("link")));
}

#[tokio::test]
async fn the_forge_is_never_left_without_an_administrator() {
    let fixture = Fixture::new().await;
    let role = "/news/api/forge/users/ada/role";
    let body = || json!({"is_admin": false});
    call(&fixture, &fixture.token, Method::PUT, role, body()).await.json(StatusCode::CONFLICT);
    let removed =
        call(&fixture, &fixture.token, Method::DELETE, "/news/api/forge/users/ada", json!({})).await;
    removed.json(StatusCode::CONFLICT);
    let disabled =
        call(&fixture, &fixture.token, Method::POST, "/news/api/forge/users/ada/disable", json!({})).await;
    disabled.json(StatusCode::CONFLICT);
    fixture.auth.add_user("operator", "eve", true).await.unwrap();
    call(&fixture, &fixture.token, Method::PUT, role, body()).await.json(StatusCode::OK);
}

#[tokio::test]
async fn a_stranger_sees_a_public_repository_and_no_button() {
    let fixture = Fixture::new().await;
    let branch = fixture.push("topic", &[("pikaci.toml", MANIFEST)]).await;
    fixture.auth.set_public(std::collections::BTreeSet::from([REPOSITORY.to_owned()]).into());
    for path in ["/news".to_owned(), "/news/sample".to_owned(), format!("/news/sample/branch/{branch}?wait=")]
    {
        let page = fixture.get_as_stranger(&path).await;
        let html = page.text();
        assert_eq!(page.status, StatusCode::OK, "{path}: {html}");
        assert!(html.contains("href=\"/news/sign-in\""), "{path}");
        // What is only for users would fail: buttons, and the stream that keeps a page fresh.
        assert!(!html.contains("method=\"post\"") && !html.contains("data-changes="), "{path}: {html}");
    }
}
