//! Mirrors: a second repository is kept the same, and a host is told what became of its commits.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use axum::Json;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use pika_git::{MirrorCredential, MirrorTarget};
use pikaci::Outcome;
use serde_json::Value;
use tokio::sync::mpsc;

use super::fixture::{Fixture, MANIFEST, REPOSITORY};
use crate::config::{Config, MirrorConfig, StatusHost, StatusesConfig};

const MIRROR: &str = "/news/api/v1/repositories/sample/mirror";

fn mirror(config: &mut Config, statuses: Option<StatusesConfig>) -> PathBuf {
    let path = config.repositories[0].path.with_file_name("elsewhere.git");
    let target = MirrorTarget {
        url: path.to_string_lossy().into_owned(),
        credential: MirrorCredential::None,
        deadline: Duration::from_secs(60),
        prune_percent_max: Some(50),
    };
    let interval = Duration::from_secs(3600);
    config.repositories[0].mirror = Some(MirrorConfig { target, interval, statuses });
    path
}

fn git(folder: &std::path::Path, arguments: &[&str]) -> String {
    let output = Command::new("git").arg("-C").arg(folder).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

async fn sync(fixture: &Fixture) -> Value {
    let path = format!("{MIRROR}/sync");
    fixture.post(&path, "application/json", "").await.json(StatusCode::OK)
}

#[tokio::test]
async fn a_mirror_that_is_away_says_so_and_is_the_same_once_it_is_back() {
    let mut path = PathBuf::new();
    let fixture = Fixture::with_config(|config| path = mirror(config, None)).await;
    fixture.push("main", &[("a", "1")]).await;
    fixture.push("topic", &[("a", "2")]).await;
    fixture.forge.start().await;
    let failed = sync(&fixture).await;
    assert_eq!(failed["status"], "failed", "{failed}");
    assert!(failed["failures"].as_u64() >= Some(1) && failed["next_try_at_ms"].is_number(), "{failed}");
    let settings = fixture.get(&format!("/news/{REPOSITORY}/settings")).await;
    assert!(settings.text().contains(">Mirror<") && settings.text().contains("failed since"));

    git(path.parent().unwrap(), &["init", "--quiet", "--bare", "elsewhere.git"]);
    let done = sync(&fixture).await;
    assert_eq!(done["status"], "succeeded", "{done}");
    assert_eq!((done["failures"].as_u64(), done["pushed"].as_u64()), (Some(0), Some(2)), "{done}");
    let ours = git(&fixture.forge.config().repositories[0].path, &["for-each-ref"]);
    assert_eq!(git(&path, &["for-each-ref"]), ours);
    assert!(ours.lines().count() == 2);

    // Nobody has to ask for it: a push alone wakes it.
    let mut rounds = fixture.forge.hosted(REPOSITORY).unwrap().live.mirror_rounds.subscribe();
    rounds.borrow_and_update();
    fixture.push("third", &[("a", "3")]).await;
    tokio::time::timeout(Duration::from_secs(60), rounds.changed()).await.unwrap().unwrap();
    assert!(git(&path, &["for-each-ref"]).contains("refs/heads/third"));
    fixture.forge.drain().await;
}

#[tokio::test]
async fn a_repository_without_a_mirror_has_none() {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.get(MIRROR).await.json(StatusCode::OK)["status"], "none");
    let answer = fixture.post(&format!("{MIRROR}/sync"), "application/json", "").await;
    let refused = answer.json(StatusCode::CONFLICT);
    assert!(refused["error"].as_str().unwrap().contains("[repositories.mirror]"), "{refused}");
}

/// A host that fails the second time, and otherwise takes what it is told.
async fn status_host() -> (String, mpsc::UnboundedReceiver<(String, String, Value)>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let asked = std::sync::atomic::AtomicU32::new(0);
    let answer = async move |headers: HeaderMap, uri: Uri, Json(body): Json<Value>| {
        let token = headers.get(header::AUTHORIZATION).map_or("", |value| value.to_str().unwrap());
        sender.send((token.to_owned(), uri.path().to_owned(), body)).unwrap();
        if asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 1 {
            StatusCode::SERVICE_UNAVAILABLE
        } else {
            StatusCode::CREATED
        }
    };
    let answer = std::sync::Arc::new(answer);
    let router = axum::Router::new().fallback(move |headers: HeaderMap, uri: Uri, body: Json<Value>| {
        let answer = std::sync::Arc::clone(&answer);
        async move { answer(headers, uri, body).await }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (format!("http://{address}/api/v1/repos/o/x"), receiver)
}

#[tokio::test]
async fn commits_are_told_their_state_and_a_host_that_fails_is_told_again() {
    let (url, mut told) = status_host().await;
    let mut path = PathBuf::new();
    let fixture = Fixture::with_config(|config| {
        let token_file = config.repositories[0].path.with_file_name("token");
        std::fs::create_dir_all(token_file.parent().unwrap()).unwrap();
        std::fs::write(&token_file, "host-token\n").unwrap();
        path = mirror(config, Some(StatusesConfig { kind: StatusHost::Forgejo, url, token_file }));
    })
    .await;
    git(path.parent().unwrap(), &["init", "--quiet", "--bare", "elsewhere.git"]);
    fixture.forge.store().ensure_mirror(fixture.forge.hosted(REPOSITORY).unwrap().id).await.unwrap();
    let topic = fixture.push("topic", &[("pikaci.toml", MANIFEST)]).await;
    fixture.claim(topic, Some(Outcome::Failed)).await;
    let head = git(&path.with_file_name("sample.git"), &["rev-parse", "topic"]);
    fixture.forge.start_mirrors();
    let mut seen = Vec::new();
    let wait = async {
        while seen.len() < 3 {
            let (token, path, body) = told.recv().await.unwrap();
            assert_eq!(token, "token host-token");
            assert_eq!(path, format!("/api/v1/repos/o/x/statuses/{}", head.trim()));
            if body["state"] == "failure" {
                assert!(
                    body["target_url"].as_str().unwrap().starts_with("http://127.0.0.1:7800/news/sample/")
                );
                seen.push(body["context"].as_str().unwrap().to_owned());
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.unwrap();
    // What it took is not told again for the sake of what it did not.
    assert_ne!(seen[0], seen[1], "{seen:?}");
    assert_eq!(seen[1], seen[2], "{seen:?}");
    fixture.forge.drain().await;
}
