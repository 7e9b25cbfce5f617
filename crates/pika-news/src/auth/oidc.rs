//! Signing in with an OpenID provider: authorisation code with PKCE.
//!
//! Invariants: an identity is (issuer, subject), and only from a token whose signature, issuer, audience, expiry and nonce were
//! checked; an answer counts once, in the browser that asked; every question to the provider has a deadline.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openidconnect::core::{CoreAuthenticationFlow, CoreClient, CoreIdToken, CoreProviderMetadata};
use openidconnect::{
    AccessTokenHash, AsyncHttpClient, AuthorizationCode, ClientId, ClientSecret, CsrfToken, HttpRequest,
    HttpResponse, IssuerUrl, Nonce, OAuth2TokenResponse as _, PkceCodeChallenge, PkceCodeVerifier,
    RedirectUrl, Scope, TokenResponse as _,
};
use serde_json::Value;

use super::{AuthError, Authenticator, SESSION_LIFETIME, Secret, SecretHash, is_user_name, millis};
use crate::config::OidcConfig;
use crate::outgoing;
use crate::store::{Adopted, ExternalIdentity};

/// How long one question to the provider may take.
const DEADLINE: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// How long somebody may take to sign in at the provider.
const PENDING_MAX: Duration = Duration::from_secs(600);
const PENDING_COUNT_MAX: usize = 10_000;
/// How long what the provider says of itself, and its keys, are believed.
const METADATA_KEPT: Duration = Duration::from_secs(600);

/// Why nobody was signed in.
#[derive(Debug, thiserror::Error)]
pub enum OidcError {
    /// The provider can't be asked.
    #[error("the sign-in provider can't be reached")]
    Provider(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The answer belongs to no question of this browser.
    #[error("this sign-in was not begun in this browser, or took too long; begin again")]
    State,
    /// The answer does not hold.
    #[error("what the sign-in provider answered does not hold")]
    Answer(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// They are somebody, and not one of those who may.
    #[error("{0}")]
    Refused(String),
    /// Our own part failed.
    #[error(transparent)]
    Auth(#[from] AuthError),
}

fn provider(error: impl std::error::Error + Send + Sync + 'static) -> OidcError {
    OidcError::Provider(Box::new(error))
}

fn answer(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> OidcError {
    OidcError::Answer(error.into())
}

/// A provider, and those who are on their way through it. Clones share it.
#[derive(Clone)]
pub struct Oidc {
    inner: Arc<Inner>,
}

struct Inner {
    config: OidcConfig,
    redirect: String,
    http: Asker,
    metadata: tokio::sync::Mutex<Option<(CoreProviderMetadata, Instant)>>,
    pending: Mutex<HashMap<String, Pending>>,
}

struct Pending {
    nonce: Nonce,
    verifier: PkceCodeVerifier,
    browser: SecretHash,
    until: Instant,
}

/// The way to the provider.
#[derive(Debug)]
pub struct Departure {
    /// Where to go.
    pub url: String,
    /// What the browser keeps in a cookie, to show that it is the one that went.
    pub browser: Secret,
}

impl Oidc {
    /// Takes a provider's configuration; asks it nothing yet. The forge is at `public_url`.
    pub fn new(config: OidcConfig, public_url: &str) -> Result<Oidc, reqwest::Error> {
        let http = Asker(outgoing::client(DEADLINE, config.issuer.starts_with("https://"))?);
        let redirect = format!("{public_url}/news/sign-in/oidc/callback");
        let inner = Inner {
            config,
            redirect,
            http,
            metadata: tokio::sync::Mutex::default(),
            pending: Mutex::default(),
        };
        Ok(Oidc { inner: Arc::new(inner) })
    }

    /// Begins: where to send the browser.
    pub async fn depart(&self) -> Result<Departure, OidcError> {
        let metadata = self.metadata(false).await?;
        let config = &self.inner.config;
        let redirect = RedirectUrl::new(self.inner.redirect.clone()).map_err(provider)?;
        let client =
            CoreClient::from_provider_metadata(metadata, ClientId::new(config.client_id.clone()), None)
                .set_redirect_uri(redirect);
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let (url, state, nonce) = client
            .authorize_url(
                CoreAuthenticationFlow::AuthorizationCode,
                CsrfToken::new_random,
                Nonce::new_random,
            )
            .add_scopes(config.scopes.iter().filter(|scope| *scope != "openid").cloned().map(Scope::new))
            .set_pkce_challenge(challenge)
            .url();
        let browser = Secret::random().map_err(AuthError::Random)?;
        let now = Instant::now();
        let mut pending = self.inner.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.retain(|_, pending| pending.until > now);
        if pending.len() >= PENDING_COUNT_MAX {
            return Err(OidcError::Refused(
                "too many people are signing in; try again in a minute".to_owned(),
            ));
        }
        let waits = Pending { nonce, verifier, browser: browser.hash(), until: now + PENDING_MAX };
        pending.insert(state.secret().clone(), waits);
        Ok(Departure { url: url.into(), browser })
    }

    /// Ends: who came back with this code and state, in the browser that keeps this secret.
    async fn arrive(&self, code: &str, state: &str, browser: &Secret) -> Result<Claims, OidcError> {
        let found = self.inner.pending.lock().unwrap_or_else(PoisonError::into_inner).remove(state);
        let pending = found.filter(|pending| pending.until > Instant::now());
        let pending = pending.filter(|pending| pending.browser == browser.hash()).ok_or(OidcError::State)?;
        let config = &self.inner.config;
        let secret = match &config.client_secret_file {
            Some(file) => {
                let text = tokio::fs::read_to_string(file).await.map_err(provider)?;
                Some(ClientSecret::new(text.trim().to_owned()))
            }
            None => None,
        };
        let metadata = self.metadata(false).await?;
        let make = |metadata| {
            CoreClient::from_provider_metadata(
                metadata,
                ClientId::new(config.client_id.clone()),
                secret.clone(),
            )
        };
        let client = make(metadata.clone())
            .set_redirect_uri(RedirectUrl::new(self.inner.redirect.clone()).map_err(provider)?);
        let response = client
            .exchange_code(AuthorizationCode::new(code.to_owned()))
            .map_err(answer)?
            .set_pkce_verifier(pending.verifier)
            .request_async(&self.inner.http)
            .await
            .map_err(answer)?;
        let token = response.id_token().ok_or_else(|| answer("there is no identity token"))?;
        // A provider that has new keys says so when it is asked again.
        let client = match token.claims(&client.id_token_verifier(), &pending.nonce) {
            Ok(_) => make(metadata),
            Err(_) => make(self.metadata(true).await?),
        };
        let verifier = client.id_token_verifier();
        let claims = token.claims(&verifier, &pending.nonce).map_err(answer)?;
        if let Some(expected) = claims.access_token_hash() {
            let key = token.signing_key(&verifier).map_err(answer)?;
            let algorithm = token.signing_alg().map_err(answer)?;
            let actual =
                AccessTokenHash::from_token(response.access_token(), algorithm, key).map_err(answer)?;
            if actual != *expected {
                return Err(answer("the access token is another one's"));
            }
        }
        let (issuer, subject) = (claims.issuer().to_string(), claims.subject().to_string());
        let mut all = payload(token)?;
        // Many providers keep names and groups for who asks with the access token.
        if let Some(url) = self.metadata(false).await?.userinfo_endpoint() {
            let more = self.user_info(url.as_str(), response.access_token().secret(), &subject).await?;
            for (name, value) in more {
                all.entry(name).or_insert(value);
            }
        }
        Ok(Claims { identity: ExternalIdentity { issuer, subject }, all })
    }

    async fn user_info(
        &self,
        url: &str,
        token: &str,
        subject: &str,
    ) -> Result<serde_json::Map<String, Value>, OidcError> {
        let response = self.inner.http.0.get(url).bearer_auth(token).send().await.map_err(provider)?;
        if !response.status().is_success() {
            return Ok(serde_json::Map::new());
        }
        let body = read(response).await.map_err(provider)?;
        match serde_json::from_slice(&body) {
            // What is said of another one is not said of this one.
            Ok(Value::Object(claims)) if claims.get("sub").and_then(Value::as_str) == Some(subject) => {
                Ok(claims)
            }
            _ => Ok(serde_json::Map::new()),
        }
    }

    async fn metadata(&self, is_fresh: bool) -> Result<CoreProviderMetadata, OidcError> {
        let mut kept = self.inner.metadata.lock().await;
        if let Some((metadata, at)) = kept.as_ref().filter(|_| !is_fresh)
            && at.elapsed() < METADATA_KEPT
        {
            return Ok(metadata.clone());
        }
        let issuer = IssuerUrl::new(self.inner.config.issuer.clone()).map_err(provider)?;
        let discovered = CoreProviderMetadata::discover_async(issuer, &self.inner.http);
        let metadata =
            tokio::time::timeout(DEADLINE, discovered).await.map_err(provider)?.map_err(provider)?;
        *kept = Some((metadata.clone(), Instant::now()));
        Ok(metadata)
    }
}

/// What asks the provider.
struct Asker(reqwest::Client);

impl<'c> AsyncHttpClient<'c> for Asker {
    type Error = AskError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, AskError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let url = parts.uri.to_string();
            let request = self.0.request(parts.method, url).headers(parts.headers).body(body);
            let response = request.send().await?;
            let (status, headers) = (response.status(), response.headers().clone());
            let mut answer = HttpResponse::new(read(response).await?);
            (*answer.status_mut(), *answer.headers_mut()) = (status, headers);
            Ok(answer)
        })
    }
}

/// Why a provider did not answer.
#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error("the connection failed")]
    Http(#[from] reqwest::Error),
    #[error("the answer is larger than {ANSWER_BYTES_MAX} bytes")]
    TooLarge,
}

async fn read(mut response: reqwest::Response) -> Result<Vec<u8>, AskError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > ANSWER_BYTES_MAX {
            return Err(AskError::TooLarge);
        }
    }
    Ok(body)
}

/// All claims of a token that was checked.
fn payload(token: &CoreIdToken) -> Result<serde_json::Map<String, Value>, OidcError> {
    let text = token.to_string();
    let middle = text.split('.').nth(1).ok_or_else(|| answer("the identity token has no payload"))?;
    let bytes = URL_SAFE_NO_PAD.decode(middle).map_err(answer)?;
    serde_json::from_slice(&bytes).map_err(answer)
}

/// What a provider says of somebody.
struct Claims {
    identity: ExternalIdentity,
    all: serde_json::Map<String, Value>,
}

impl Claims {
    fn text(&self, name: &str) -> Option<&str> {
        self.all.get(name).and_then(Value::as_str)
    }

    /// Whether the configuration lets them in.
    fn check(&self, config: &OidcConfig) -> Result<(), OidcError> {
        if !config.allowed_domains.is_empty() {
            let is_verified = self.all.get("email_verified").and_then(Value::as_bool) == Some(true);
            let domain = self.text("email").filter(|_| is_verified).and_then(|email| email.rsplit_once('@'));
            let is_in = domain.is_some_and(|(_, domain)| {
                config.allowed_domains.iter().any(|allowed| allowed.eq_ignore_ascii_case(domain))
            });
            if !is_in {
                return Err(OidcError::Refused(
                    "your address is not verified, or not of a domain that may sign in here".to_owned(),
                ));
            }
        }
        if !config.required_groups.is_empty() {
            let groups = self.all.get("groups").and_then(Value::as_array).into_iter().flatten();
            let mut groups = groups.filter_map(Value::as_str);
            if !groups.any(|group| config.required_groups.iter().any(|required| required == group)) {
                return Err(OidcError::Refused(
                    "you are in none of the groups that may sign in here".to_owned(),
                ));
            }
        }
        Ok(())
    }

    /// The name that they get when they are new.
    fn user_name(&self, claim: &str) -> Option<String> {
        let text = self.text(claim)?;
        let local = text.split('@').next().unwrap_or_default();
        let is_kept = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
        let name: String = local.chars().map(|letter| if is_kept(letter) { letter } else { '-' }).collect();
        let name = name.trim_matches(|letter| "-_.".contains(letter)).to_owned();
        is_user_name(&name).then_some(name)
    }
}

impl Authenticator {
    /// Opens a session for who came back from the provider.
    pub async fn sign_in_from(
        &self,
        oidc: &Oidc,
        code: &str,
        state: &str,
        browser: &Secret,
    ) -> Result<Secret, OidcError> {
        let config = &oidc.inner.config;
        let claims = oidc.arrive(code, state, browser).await?;
        claims.check(config)?;
        let new_name = if config.create_users { claims.user_name(&config.name_claim) } else { None };
        let (session, now) = (Secret::random().map_err(AuthError::Random)?, self.now_ms());
        let until = now + millis(SESSION_LIFETIME);
        let opened =
            self.store.open_external_session(claims.identity, new_name, session.hash(), now, until).await;
        match opened.map_err(AuthError::from)? {
            Adopted::User(_) => Ok(session),
            Adopted::Disabled => Err(OidcError::Refused("your account here is disabled".to_owned())),
            Adopted::Unknown => Err(OidcError::Refused(
                "you are not a user here; ask an administrator to make you one".to_owned(),
            )),
            Adopted::NameTaken(name) => Err(OidcError::Refused(format!(
                "somebody here is called {name} already; when that is you, have the operator run `pika-news user link`"
            ))),
        }
    }
}
