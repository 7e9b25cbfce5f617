//! Webhooks: a real receiver that fails, hangs or leads elsewhere, and what is written down of it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::post;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::net::TcpListener;
use tokio::sync::Notify;

use super::fixture::{Fixture, MANIFEST, REPOSITORY};
use crate::config::{SecretsConfig, WebhooksConfig};
use crate::secrets::SecretKey;

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";
const PATIENCE: Duration = Duration::from_secs(20);

/// What arrived.
type Arrived = (HeaderMap, Bytes);

/// Somebody who is sent events, and answers as told.
#[derive(Clone)]
struct Receiver {
    address: String,
    arrived: Arc<Mutex<Vec<Arrived>>>,
    told: Arc<Notify>,
}

impl Receiver {
    /// Answers the request of this number, from 0, so.
    async fn start(answer: impl Fn(usize) -> Response + Clone + Send + Sync + 'static) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}/hook", listener.local_addr().unwrap());
        let receiver = Receiver { address, arrived: Arc::default(), told: Arc::default() };
        let (shared, count) = (receiver.clone(), Arc::new(AtomicUsize::new(0)));
        let handler = post(async move |headers: HeaderMap, body: Bytes| {
            shared.arrived.lock().unwrap().push((headers, body));
            shared.told.notify_one();
            answer(count.fetch_add(1, Ordering::SeqCst))
        });
        tokio::spawn(async move { axum::serve(listener, Router::new().route("/hook", handler)).await });
        receiver
    }

    /// Waits until so many have arrived.
    async fn wait_for(&self, count: usize) -> Vec<Arrived> {
        let waited = tokio::time::timeout(PATIENCE, async {
            while self.arrived.lock().unwrap().len() < count {
                self.told.notified().await;
            }
        });
        waited
            .await
            .unwrap_or_else(|_| panic!("only {} of {count} arrived", self.arrived.lock().unwrap().len()));
        self.arrived.lock().unwrap().clone()
    }
}

async fn fixture(allow_private: bool) -> Fixture {
    let fixture = Fixture::with_config(|config| {
        let file = config.data.join("key");
        SecretKey::generate(&file).unwrap();
        config.secrets = SecretsConfig { key_file: Some(file) };
        config.webhooks = WebhooksConfig { allow_private };
    })
    .await;
    // It must not run what is pushed.
    let forge = fixture.forge.clone();
    tokio::spawn(async move { forge.send_webhooks().await });
    fixture
}

fn hooks() -> String {
    format!("/news/api/v1/repositories/{REPOSITORY}/webhooks")
}

async fn add(fixture: &Fixture, url: &str, kinds: &[&str]) -> (i64, String) {
    let body = json!({ "url": url, "kinds": kinds }).to_string();
    let added = fixture.post(&hooks(), JSON, &body).await.json(StatusCode::CREATED);
    (added["id"].as_i64().unwrap(), added["secret"].as_str().unwrap().to_owned())
}

/// Waits for the latest delivery to be so.
async fn until(fixture: &Fixture, hook: i64, is_so: impl Fn(&Value) -> bool) -> Value {
    let mut latest = Value::Null;
    let looked = tokio::time::timeout(PATIENCE, async {
        loop {
            let list = fixture.get(&format!("{}/{hook}/deliveries", hooks())).await.json(StatusCode::OK);
            latest = list["items"][0].clone();
            if !latest.is_null() && is_so(&latest) {
                return;
            }
            tokio::task::yield_now().await;
        }
    });
    let is_timely = looked.await.is_ok();
    assert!(is_timely, "{latest}");
    latest
}

#[tokio::test]
async fn a_receiver_that_fails_twice_gets_the_event_signed_and_what_happened_is_listed_and_repeated() {
    let receiver = Receiver::start(|number| match number {
        0 => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        1 => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        _ => StatusCode::NO_CONTENT.into_response(),
    })
    .await;
    let fixture = fixture(true).await;
    let (hook, secret) = add(&fixture, &receiver.address, &["head.pushed"]).await;
    fixture.push("topic", &[("pikaci.toml", MANIFEST)]).await;
    for tries in 1..=2 {
        receiver.wait_for(tries).await;
        let waiting = until(&fixture, hook, |delivery| delivery["tries"] == tries).await;
        assert_eq!((&waiting["status"], waiting["next_try_at_ms"].is_i64()), (&"waiting".into(), true));
        fixture.ahead_ms.fetch_add(3600 * 1000, Ordering::SeqCst);
        fixture.forge.webhooks().wake.notify_one();
    }
    let arrived = receiver.wait_for(3).await;
    let done = until(&fixture, hook, |delivery| delivery["status"] == "delivered").await;
    assert_eq!((&done["tries"], &done["response_status"]), (&3.into(), &204.into()));
    let (headers, body) = &arrived[2];
    let event: Value = serde_json::from_slice(body).unwrap();
    assert_eq!((&event["kind"], &event["branch"]), (&"head.pushed".into(), &"topic".into()));
    assert!(headers["pika-event"] == "head.pushed" && headers["content-type"] == JSON);
    let time = headers["pika-timestamp"].to_str().unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update([time.as_bytes(), b".", body].concat().as_slice());
    let expected: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(headers["pika-signature"], format!("v1={expected}"));
    assert!(arrived.iter().all(|(others, _)| others["pika-delivery"] == headers["pika-delivery"]));
    // Once more, as another delivery of the same bytes.
    let path = format!("{}/{hook}/deliveries/{}/redeliver", hooks(), done["id"]);
    let repeated = fixture.post(&path, JSON, "").await.json(StatusCode::CREATED);
    assert_ne!(repeated["id"], done["id"]);
    let arrived = receiver.wait_for(4).await;
    assert_eq!(arrived[3].1, arrived[2].1);
    until(&fixture, hook, |delivery| delivery["id"] == repeated["id"] && delivery["status"] == "delivered")
        .await;
    let page = fixture.post("/news/sample/settings/webhooks", FORM, "url=ftp://no").await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(page.text().contains("begins with https://") && page.text().contains(&receiver.address));
    let page = fixture
        .post("/news/sample/settings/webhooks", FORM, "url=https://example.org&kinds=head.verdict")
        .await;
    assert!(page.text().contains("shown this once") && page.text().contains("https://example.org/"));
    // The key is not shown again, and no delivery follows the webhook's end.
    let list = fixture.get(&hooks()).await;
    assert!(!list.text().contains(&secret) && list.json(StatusCode::OK)["items"][0]["id"] == hook);
    let bearer = format!("Bearer {}", fixture.token);
    let gone = fixture.request(Method::DELETE, &format!("{}/{hook}", hooks()));
    let gone = gone.header(header::AUTHORIZATION, bearer).body(axum::body::Body::empty()).unwrap();
    assert_eq!(fixture.send(gone).await.status, StatusCode::NO_CONTENT);
    fixture.get(&format!("{}/{hook}/deliveries", hooks())).await.json(StatusCode::NOT_FOUND);
    let audit = fixture.get("/news/api/forge/audit").await.text();
    assert!(audit.contains("webhook.added") && audit.contains("webhook.removed") && !audit.contains(&secret));
}

#[tokio::test]
async fn a_receiver_that_never_takes_it_is_given_up_and_one_that_leads_elsewhere_is_not_followed() {
    let elsewhere = Receiver::start(|_| StatusCode::OK.into_response()).await;
    let target = elsewhere.address.clone();
    let receiver = Receiver::start(move |_| Redirect::temporary(&target).into_response()).await;
    let fixture = fixture(true).await;
    let (hook, _) = add(&fixture, &receiver.address, &["branch.created"]).await;
    fixture.push("topic", &[("pikaci.toml", MANIFEST)]).await;
    for tries in 1..=6 {
        until(&fixture, hook, |delivery| delivery["tries"] == tries).await;
        fixture.ahead_ms.fetch_add(24 * 3600 * 1000, Ordering::SeqCst);
        fixture.forge.webhooks().wake.notify_one();
    }
    let failed = until(&fixture, hook, |delivery| delivery["status"] == "failed").await;
    assert_eq!((&failed["tries"], &failed["response_status"]), (&7.into(), &307.into()));
    assert_eq!(elsewhere.arrived.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn what_only_the_forge_can_reach_is_not_asked_for_others() {
    let receiver = Receiver::start(|_| StatusCode::OK.into_response()).await;
    let fixture = fixture(false).await;
    for url in [receiver.address.as_str(), "http://169.254.169.254/latest", "ftp://example.org", "nothing"] {
        let body = json!({ "url": url }).to_string();
        let refused = fixture.post(&hooks(), JSON, &body).await;
        assert_eq!(refused.json(StatusCode::BAD_REQUEST)["code"], "bad_request", "{url}");
    }
    // A name says nothing; where it leads is looked at when it is connected to.
    let port = receiver.address.rsplit(':').next().unwrap();
    let (hook, _) = add(&fixture, &format!("http://localhost:{port}"), &["head.pushed"]).await;
    fixture.push("topic", &[("pikaci.toml", MANIFEST)]).await;
    let tried = until(&fixture, hook, |delivery| delivery["tries"] == 1).await;
    assert!(tried["problem"].as_str().unwrap().contains("private addresses"), "{tried}");
    assert_eq!(receiver.arrived.lock().unwrap().len(), 0);
    let unknown = json!({ "url": "https://example.org", "kinds": ["head.lost"] }).to_string();
    fixture.post(&hooks(), JSON, &unknown).await.json(StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_forge_without_a_key_says_what_a_webhook_needs() {
    let fixture = Fixture::new().await;
    let refused = fixture.post(&hooks(), JSON, "{\"url\":\"https://example.org\"}").await;
    assert!(refused.json(StatusCode::CONFLICT)["error"].as_str().unwrap().contains("key_file"));
}
