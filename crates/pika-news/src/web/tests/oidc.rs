//! Signing in through a real OpenID provider: `oidc-provider-mock`, which signs in whoever asks.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use axum::body::Body;
use axum::http::{Method, StatusCode, header};

use super::fixture::{Fixture, Reply};
use crate::config::{AuthConfig, OidcConfig};
use crate::store::ExternalIdentity;

/// Where `cargo xtask test` puts it; else it is looked for on the path.
const PROGRAMS_VARIABLE: &str = "PIKA_TEST_PYTHON_PROGRAMS";
const PROGRAM: &str = "oidc-provider-mock";

struct Provider {
    child: Child,
    issuer: String,
    secret: tempfile::NamedTempFile,
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Provider {
    fn start() -> Provider {
        let folder = std::env::var_os(PROGRAMS_VARIABLE).map(PathBuf::from).unwrap_or_default();
        let mut command = Command::new(folder.join(PROGRAM));
        command.args(["--port", "0", "--require-nonce", "true"]);
        for claims in [
            r#"{"sub": "s1", "preferred_username": "carl", "email": "carl@example.org", "email_verified": true,
                "groups": ["builders"]}"#,
            r#"{"sub": "s2", "preferred_username": "ada", "email": "ada@example.org", "email_verified": true,
                "groups": ["builders"]}"#,
            r#"{"sub": "s3", "preferred_username": "eve", "email": "eve@example.org", "email_verified": false,
                "groups": ["builders"]}"#,
            r#"{"sub": "s4", "preferred_username": "dan", "email": "dan@example.org", "email_verified": true,
                "groups": ["guests"]}"#,
        ] {
            command.args(["--user-claims", claims]);
        }
        let started = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut child =
            started.unwrap_or_else(|error| panic!("{PROGRAM}: {error}; `cargo xtask test` installs it"));
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let issuer = lines.find_map(|line| {
            let at = line.find("http://127.0.0.1:")?;
            Some(line[at..].split_whitespace().next().unwrap().to_owned())
        });
        let issuer = issuer.expect("it says where it listens");
        // A pipe that nobody reads would stop it.
        std::thread::spawn(move || lines.for_each(drop));
        let mut secret = tempfile::NamedTempFile::new().unwrap();
        secret.write_all(b"secret of the forge\n").unwrap();
        Provider { child, issuer, secret }
    }

    fn config(&self) -> AuthConfig {
        let oidc = OidcConfig {
            issuer: self.issuer.clone(),
            client_id: "pika".to_owned(),
            client_secret_file: Some(self.secret.path().to_owned()),
            scopes: vec!["profile".to_owned(), "email".to_owned()],
            name_claim: "preferred_username".to_owned(),
            allowed_domains: vec!["example.org".to_owned()],
            required_groups: vec!["builders".to_owned()],
            create_users: true,
        };
        AuthConfig { oidc: Some(oidc), trusted_proxies: Vec::new() }
    }

    /// What a person does there: says who they are. Returns the way back.
    async fn agree(&self, address: &str, subject: &str) -> String {
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy();
        let tls =
            rustls::ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(rustls::RootCertStore::empty())
                .with_no_client_auth();
        let client = client.tls_backend_preconfigured(tls).build().unwrap();
        let request = client.post(address).header("content-type", "application/x-www-form-urlencoded");
        let answer = request.body(format!("sub={subject}")).send().await.unwrap();
        let location = answer.headers().get("location").map(|to| to.to_str().unwrap().to_owned());
        location.unwrap_or_else(|| panic!("{}", answer.status()))
    }
}

struct Departed {
    address: String,
    cookie: String,
}

async fn depart(fixture: &Fixture) -> Departed {
    let reply = fixture.get_as_stranger("/news/sign-in/oidc").await;
    assert_eq!(reply.status, StatusCode::SEE_OTHER, "{}", reply.text());
    let cookie = reply.header("set-cookie");
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
    Departed {
        address: reply.header("location").to_owned(),
        cookie: cookie.split(';').next().unwrap().to_owned(),
    }
}

async fn arrive(fixture: &Fixture, back: &str, cookie: &str) -> Reply {
    let path = back.strip_prefix("http://127.0.0.1:7800").unwrap_or_else(|| panic!("{back}"));
    let request = fixture.request(Method::GET, path).header(header::COOKIE, cookie);
    fixture.send(request.body(Body::empty()).unwrap()).await
}

async fn sign_in(fixture: &Fixture, provider: &Provider, subject: &str) -> Reply {
    let departed = depart(fixture).await;
    let back = provider.agree(&departed.address, subject).await;
    arrive(fixture, &back, &departed.cookie).await
}

#[tokio::test]
async fn whoever_the_provider_vouches_for_gets_a_session_and_nobody_elses_name() {
    let provider = Provider::start();
    let fixture = Fixture::with_config(|config| config.auth = provider.config()).await;
    assert!(fixture.get_as_stranger("/news/sign-in").await.text().contains("href=\"/news/sign-in/oidc\""));

    let departed = depart(&fixture).await;
    for part in ["code_challenge_method=S256", "nonce=", "state=", "response_type=code"] {
        assert!(departed.address.contains(part), "{}", departed.address);
    }
    let back = provider.agree(&departed.address, "s1").await;
    // Another browser can't use what was meant for this one, and then it is used up.
    let stolen = arrive(&fixture, &back, "pika_departure=0000").await;
    assert_eq!(stolen.status, StatusCode::FORBIDDEN);
    assert_eq!(arrive(&fixture, &back, &departed.cookie).await.status, StatusCode::FORBIDDEN);

    let signed_in = sign_in(&fixture, &provider, "s1").await;
    assert_eq!(signed_in.header("location"), "/news", "{}", signed_in.text());
    let cookie = signed_in.header("set-cookie").split(';').next().unwrap().to_owned();
    let request = fixture.request(Method::GET, "/news").header(header::COOKIE, &cookie);
    let page = fixture.send(request.body(Body::empty()).unwrap()).await;
    assert!(page.status == StatusCode::OK && page.text().contains("carl"));
    sign_in(&fixture, &provider, "s1").await;
    let users = fixture.auth.list_users(None, 10).await.unwrap();
    assert_eq!(users.iter().map(|user| user.name.as_str()).collect::<Vec<_>>(), ["ada", "carl"]);

    // The fixture's ada is another one than the provider's.
    let taken = sign_in(&fixture, &provider, "s2").await;
    assert!(
        taken.status == StatusCode::FORBIDDEN && taken.text().contains("ada already"),
        "{}",
        taken.text()
    );

    let identity = ExternalIdentity { issuer: provider.issuer.clone(), subject: "s2".to_owned() };
    fixture.auth.link_identity("operator", "ada", identity).await.unwrap();
    assert_eq!(sign_in(&fixture, &provider, "s2").await.header("location"), "/news");

    fixture.auth.disable_user("carl").await.unwrap();
    let disabled = sign_in(&fixture, &provider, "s1").await;
    assert_eq!(disabled.status, StatusCode::FORBIDDEN);
    assert!(disabled.header("set-cookie").starts_with("pika_departure=;"));
}

#[tokio::test]
async fn an_address_that_is_not_verified_and_a_wrong_group_do_not_sign_in() {
    let provider = Provider::start();
    let fixture = Fixture::with_config(|config| config.auth = provider.config()).await;
    for (subject, why) in [("s3", "not verified"), ("s4", "none of the groups")] {
        let refused = sign_in(&fixture, &provider, subject).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN);
        assert!(refused.text().contains(why), "{}", refused.text());
    }
    assert_eq!(fixture.auth.list_users(None, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_provider_that_is_away_is_no_fault_of_the_forge() {
    let provider = Provider::start();
    let config = provider.config();
    drop(provider);
    let fixture = Fixture::with_config(|forge| forge.auth = config).await;
    assert_eq!(fixture.get_as_stranger("/news/sign-in/oidc").await.status, StatusCode::BAD_GATEWAY);
    assert_eq!(fixture.get_as_stranger("/news/sign-in").await.status, StatusCode::OK);
}
