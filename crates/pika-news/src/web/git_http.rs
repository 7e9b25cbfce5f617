//! Git's smart HTTP protocol: clone, fetch and push below `/news/git/<repository>.git/`.
//!
//! Invariant: nothing reaches git before the client has shown a valid token, and no pack is ever whole in memory.

mod stream;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use pika_git::{Repository, Service, WireProtocol, WireRequest, WireStep};
use serde::Deserialize;
use tower_http::decompression::RequestDecompressionLayer;

use crate::auth::{Action, Authenticator, Decision, Presented, Principal, Resource};
use crate::hook;
use crate::turns::{Turn, Turns};

/// What a push may carry beside its pack: the list of references that it moves.
pub(crate) const COMMANDS_BYTES_MAX: u64 = 16 << 20;
/// What a fetch may ask: one line for each commit that the client wants or has.
pub(crate) const FETCH_BYTES_MAX: u64 = 64 << 20;
const DUMB_PROTOCOL: &str = "this forge speaks git's smart HTTP protocol only; use git 1.6.6 or newer, or clone with another client\n";

const CHALLENGE: &str = "Basic realm=\"pika\", charset=\"UTF-8\"";
const TOKEN_MISSING: &str = "sign in with a token as the password; the user name does not matter\n";
const TOKEN_WRONG: &str = "this token is not valid, or was revoked; make a new one on the forge's page of tokens and use it as the password\n";

/// How the forge serves git over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitHttpConfig {
    /// Where the hook of a push reaches the forge.
    pub hook_socket: PathBuf,
    /// The largest pack that a push may bring.
    pub pack_bytes_max: u64,
    /// How many clients are served at once; more wait for their turn.
    pub exchanges_max: usize,
    /// How long neither client nor git may move a byte.
    pub idle_max: Duration,
    /// How long one fetch or push may take.
    pub deadline: Duration,
}

impl GitHttpConfig {
    /// The usual bounds: packs up to 4 GiB, 16 clients at once, two idle minutes, one hour.
    pub fn new(hook_socket: PathBuf) -> GitHttpConfig {
        GitHttpConfig {
            hook_socket,
            pack_bytes_max: 4 << 30,
            exchanges_max: 16,
            idle_max: Duration::from_secs(120),
            deadline: Duration::from_secs(3600),
        }
    }
}

/// The repositories that git is served of, by their names in URLs. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Repositories {
    served: Arc<RwLock<BTreeMap<String, Repository>>>,
}

impl Repositories {
    /// Finds one.
    pub fn find(&self, name: &str) -> Option<Repository> {
        self.served.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Serves these from now on; what has begun goes on.
    pub fn set(&self, served: BTreeMap<String, Repository>) {
        *self.served.write().unwrap_or_else(PoisonError::into_inner) = served;
    }
}

impl FromIterator<(String, Repository)> for Repositories {
    fn from_iter<I: IntoIterator<Item = (String, Repository)>>(served: I) -> Repositories {
        Repositories { served: Arc::new(RwLock::new(served.into_iter().collect())) }
    }
}

#[derive(Clone)]
struct GitHttp {
    authenticator: Authenticator,
    repositories: Repositories,
    config: Arc<GitHttpConfig>,
    turns: Turns,
}

/// Builds the routes of git. Layers that limit the time or the size of a request must not wrap them.
pub fn router(authenticator: Authenticator, repositories: Repositories, config: GitHttpConfig) -> Router {
    let turns = Turns::new(config.exchanges_max);
    Router::new()
        .route("/news/git/{repository}/info/refs", get(advertise))
        .route("/news/git/{repository}/git-upload-pack", post(upload_pack))
        .route("/news/git/{repository}/git-receive-pack", post(receive_pack))
        .route("/news/git/{repository}/{*file}", any(async || refuse(StatusCode::FORBIDDEN, DUMB_PROTOCOL)))
        // Git clients compress what they ask for when it is long.
        .layer(RequestDecompressionLayer::new())
        .with_state(GitHttp { authenticator, repositories, config: Arc::new(config), turns })
}

#[derive(Deserialize)]
struct Advertise {
    service: Option<String>,
}

/// `GET /news/git/{repository}.git/info/refs?service=…`
async fn advertise(
    State(git): State<GitHttp>,
    Path(repository): Path<String>,
    Query(query): Query<Advertise>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let Some(service) = query.service.as_deref().and_then(Service::parse) else {
        return Err(refuse(StatusCode::FORBIDDEN, DUMB_PROTOCOL));
    };
    let (repository, principal) = git.admit(&headers, &repository, service).await?;
    let request = git.request(service, WireStep::Advertise, &headers, &principal)?;
    // Version 2 announces itself; the older ones are announced in its place (gitprotocol-http).
    let is_version_2 = service == Service::UploadPack && request.protocol.is_version_2();
    let preface = if is_version_2 { Vec::new() } else { preface(service) };
    let turn = git.turn(&principal).await?;
    let content_type = format!("application/x-{service}-advertisement");
    stream::respond(repository, request, (Body::empty(), 0), preface, &content_type, turn).await
}

async fn upload_pack(
    State(git): State<GitHttp>,
    Path(repository): Path<String>,
    request: Request,
) -> Result<Response, Refusal> {
    exchange(git, repository, Service::UploadPack, request).await
}

async fn receive_pack(
    State(git): State<GitHttp>,
    Path(repository): Path<String>,
    request: Request,
) -> Result<Response, Refusal> {
    exchange(git, repository, Service::ReceivePack, request).await
}

/// Answers one request of git's.
async fn exchange(
    git: GitHttp,
    repository: String,
    service: Service,
    request: Request,
) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let (repository, principal) = git.admit(&parts.headers, &repository, service).await?;
    let expected = format!("application/x-{service}-request");
    if parts.headers.get(header::CONTENT_TYPE).is_none_or(|given| given.as_bytes() != expected.as_bytes()) {
        let text = format!("the content type must be {expected}\n");
        return Err(refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
    }
    let bytes_max = match service {
        Service::UploadPack => FETCH_BYTES_MAX,
        Service::ReceivePack => git.config.pack_bytes_max.saturating_add(COMMANDS_BYTES_MAX),
    };
    if content_length(&parts.headers).is_some_and(|bytes| bytes > bytes_max) {
        let text = format!("a request may have {bytes_max} bytes; push less at a time\n");
        return Err(refuse(StatusCode::PAYLOAD_TOO_LARGE, text));
    }
    let request = git.request(service, WireStep::Exchange, &parts.headers, &principal)?;
    let turn = git.turn(&principal).await?;
    let content_type = format!("application/x-{service}-result");
    stream::respond(repository, request, (body, bytes_max), Vec::new(), &content_type, turn).await
}

impl GitHttp {
    /// Finds out who asks, and opens the repository if they may use this service of it.
    async fn admit(
        &self,
        headers: &HeaderMap,
        name: &str,
        service: Service,
    ) -> Result<(Repository, Principal), Refusal> {
        let principal = self.identify(headers).await?;
        let name = name.strip_suffix(".git").unwrap_or(name);
        let action = match service {
            Service::UploadPack => Action::Read,
            Service::ReceivePack => Action::Push,
        };
        let missing = || refuse(StatusCode::NOT_FOUND, "there is no such repository here\n");
        match (self.repositories.find(name), principal.decide(action, Resource::Repository(name))) {
            // Who is nobody is not told which repositories there are.
            (_, Decision::Unauthenticated) => Err(challenge(TOKEN_MISSING)),
            (None, _) | (_, Decision::Hidden) => Err(missing()),
            (Some(_), Decision::Forbidden(why)) => Err(refuse(StatusCode::FORBIDDEN, format!("{why}\n"))),
            (Some(repository), Decision::Allowed) => Ok((repository, principal)),
        }
    }

    async fn identify(&self, headers: &HeaderMap) -> Result<Principal, Refusal> {
        // A session is no key to git: a browser sends it wherever a page tells it to.
        let presented = match Presented::read(headers) {
            Some(presented @ Presented::Token(_)) => presented,
            None if !headers.contains_key(header::AUTHORIZATION) => {
                return Ok(self.authenticator.anonymous());
            }
            Some(Presented::Session(_)) | None => return Err(challenge(TOKEN_MISSING)),
        };
        match self.authenticator.identify(&presented).await {
            Ok(Some(principal)) => Ok(principal),
            Ok(None) => Err(challenge(TOKEN_WRONG)),
            Err(error) => {
                tracing::error!(%error, "a token could not be looked up");
                Err(refuse(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "the forge could not look up the token; try again\n",
                ))
            }
        }
    }

    fn request(
        &self,
        service: Service,
        step: WireStep,
        headers: &HeaderMap,
        principal: &Principal,
    ) -> Result<WireRequest, Refusal> {
        let protocol = match headers.get("git-protocol") {
            None => Some(WireProtocol::default()),
            Some(value) => value.to_str().ok().and_then(WireProtocol::parse),
        };
        let Some(protocol) = protocol else {
            return Err(refuse(StatusCode::BAD_REQUEST, "the header Git-Protocol can't be read\n"));
        };
        let mut request = WireRequest::new(service, step, protocol);
        (request.idle_max, request.deadline) = (self.config.idle_max, self.config.deadline);
        if service == Service::ReceivePack {
            request.pack_bytes_max = Some(self.config.pack_bytes_max);
            request.environment = hook::variables(&self.config.hook_socket, principal.name());
        }
        Ok(request)
    }

    async fn turn(&self, principal: &Principal) -> Result<Turn, Refusal> {
        self.turns.take(principal).await.ok_or_else(|| {
            let busy = "the forge serves as many git clients as it can; try again in a minute\n";
            let refusal = refuse(StatusCode::SERVICE_UNAVAILABLE, busy);
            Refusal { header: Some((header::RETRY_AFTER, "60")), ..refusal }
        })
    }
}

/// One line of the wire that names the service, and the mark that ends a section.
fn preface(service: Service) -> Vec<u8> {
    let line = format!("# service={service}\n");
    format!("{:04x}{line}0000", line.len() + 4).into_bytes()
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// An answer that is not git's.
struct Refusal {
    status: StatusCode,
    text: Cow<'static, str>,
    header: Option<(HeaderName, &'static str)>,
}

fn refuse(status: StatusCode, text: impl Into<Cow<'static, str>>) -> Refusal {
    Refusal { status, text: text.into(), header: None }
}

fn challenge(text: &'static str) -> Refusal {
    Refusal { header: Some((header::WWW_AUTHENTICATE, CHALLENGE)), ..refuse(StatusCode::UNAUTHORIZED, text) }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        // Git shows the text to its user when it is plain.
        let headers =
            [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-store")];
        (self.status, headers, self.header.map(|header| [header]), self.text).into_response()
    }
}
