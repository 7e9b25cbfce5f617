//! The forge seen from outside: what `pika-news` says as a client, for people and for agents.
//!
//! Invariants: a [`Client`] is of one origin, and its token goes to that one alone: addresses are made of the origin and a
//! path, no redirect is followed, no proxy is asked. Every request has a deadline, every answer a bound. What was lost with a
//! connection is asked again when asking twice does no harm.

pub mod address;
pub mod credentials;
mod error;
pub mod find;
pub mod log;
pub mod model;
pub mod session;
pub mod summary;
pub mod wait;

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue, LOCATION};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use address::Origin;
pub use error::ClientError;
use model::{Branch, BranchList, LaneRunDetail, LaneRunWhy, Merged, Queue, Queued, Repository, WhoAmI};

use crate::auth::Secret;

const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// Heartbeats of streams come four times as often.
const SILENCE_MAX: Duration = Duration::from_secs(60);
const DEADLINE: Duration = Duration::from_secs(60);
/// No answer of the API is longer, logs aside.
const ANSWER_BYTES_MAX: usize = 32 << 20;
/// How many rows the forge sends at most at a time.
const PAGE_ROWS_MAX: u32 = 200;
/// How long is waited before what was lost is asked again.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_millis(1000),
    Duration::from_millis(2000),
];

/// One forge, and who asks it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    origin: Origin,
    authorization: HeaderValue,
}

impl Client {
    /// A client of the forge at `origin`, with the token that it issued. Asks nothing yet.
    pub fn new(origin: &Origin, token: &Secret) -> Result<Client, ClientError> {
        let mut authorization = HeaderValue::from_str(&format!("Bearer {}", token.reveal()))
            .map_err(|_| ClientError::Answer { problem: "a token has letters and digits only".to_owned() })?;
        authorization.set_sensitive(true);
        Ok(Client { http: http(origin)?, origin: origin.clone(), authorization })
    }

    /// The forge.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Who the token makes us.
    pub async fn who_am_i(&self) -> Result<WhoAmI, ClientError> {
        self.get(&["forge", "whoami"], &[]).await
    }

    /// Lists the repositories that we may read.
    pub async fn repositories(&self) -> Result<Vec<Repository>, ClientError> {
        self.get(&["forge", "repositories"], &[]).await
    }

    /// Lists branches, the default branch first, then the latest change first.
    pub async fn branches(
        &self,
        repository: &str,
        state: Option<&str>,
        limit: u32,
    ) -> Result<BranchList, ClientError> {
        let mut all = BranchList::default();
        while (all.rows.len() as u64) < u64::from(limit) {
            let offset = all.rows.len() as u64;
            let wanted = (u64::from(limit) - offset).min(u64::from(PAGE_ROWS_MAX));
            let (wanted, offset) = (wanted.to_string(), offset.to_string());
            let mut query = vec![("limit", wanted.as_str()), ("offset", offset.as_str())];
            query.extend(state.map(|state| ("state", state)));
            let page: BranchList = self.get(&["forge", "repository", repository, "branches"], &query).await?;
            let is_last = page.rows.is_empty() || !page.has_more;
            all.rows.extend(page.rows);
            all.has_more = page.has_more;
            if is_last {
                break;
            }
        }
        Ok(all)
    }

    /// Finds the number of a branch by its name.
    pub async fn find_branch_id(&self, repository: &str, name: &str) -> Result<Option<i64>, ClientError> {
        let path = ["forge", "repository", repository, "branches"];
        let list: BranchList = self.get(&path, &[("name", name)]).await?;
        Ok(list.rows.iter().find(|row| row.name == name).map(|row| row.id))
    }

    /// Shows a branch.
    pub async fn branch(&self, id: i64) -> Result<Branch, ClientError> {
        self.get(&["forge", "branch", &id.to_string()], &[]).await
    }

    /// Merges the head that was seen.
    pub async fn merge(&self, id: i64, expected_head: &str) -> Result<Merged, ClientError> {
        self.post(&["forge", "branch", &id.to_string(), "merge"], &ExpectedHead { expected_head }).await
    }

    /// Opens a closed branch again at the head that was seen.
    pub async fn reopen(&self, id: i64, expected_head: &str) -> Result<Branch, ClientError> {
        self.post(&["forge", "branch", &id.to_string(), "reopen"], &ExpectedHead { expected_head }).await
    }

    /// Closes a branch.
    pub async fn close(&self, id: i64, expected_head: &str) -> Result<Branch, ClientError> {
        self.post(&["forge", "branch", &id.to_string(), "close"], &ExpectedHead { expected_head }).await
    }

    /// Shows an attempt at a lane.
    pub async fn lane_run(&self, id: i64) -> Result<LaneRunDetail, ClientError> {
        self.get(&["forge", "lane-run", &id.to_string()], &[]).await
    }

    /// Explains an attempt that did not pass.
    pub async fn why(&self, lane_run: i64) -> Result<LaneRunWhy, ClientError> {
        self.get(&["forge", "lane-run", &lane_run.to_string(), "why"], &[]).await
    }

    /// Queues another attempt, of everything or of what did not pass.
    pub async fn rerun(&self, lane_run: i64, is_failed_only: bool) -> Result<Queued, ClientError> {
        let body = serde_json::json!({ "failed": is_failed_only });
        self.post(&["forge", "lane-run", &lane_run.to_string(), "rerun"], &body).await
    }

    /// Stops an attempt.
    pub async fn cancel(&self, lane_run: i64) -> Result<LaneRunDetail, ClientError> {
        // Stopping twice stops.
        let path = ["forge", "lane-run", &lane_run.to_string(), "cancel"].map(str::to_owned);
        let send = || self.request(Method::POST, &path, &[]).timeout(DEADLINE);
        read_json(self.ask_again(send).await?).await
    }

    /// The record of a run of `pikaci`.
    pub async fn run(&self, run_id: &str) -> Result<pikaci::RunRecord, ClientError> {
        self.get(&["forge", "pikaci", "run", run_id], &[]).await
    }

    /// What waits and what runs, in one repository or in all that we may read; at most `limit`.
    pub async fn queue(&self, repository: Option<&str>, limit: u32) -> Result<Queue, ClientError> {
        let mut all = Queue::default();
        while (all.items.len() as u64) < u64::from(limit) {
            let wanted =
                (u64::from(limit) - all.items.len() as u64).min(u64::from(PAGE_ROWS_MAX)).to_string();
            let after = all.next.take();
            let mut query = vec![("limit", wanted.as_str())];
            query.extend(repository.map(|name| ("repository", name)));
            query.extend(after.as_deref().map(|after| ("after", after)));
            let page: Queue = self.get(&["v1", "queue"], &query).await?;
            all.items.extend(page.items);
            all.next = page.next;
            if all.next.is_none() {
                break;
            }
        }
        Ok(all)
    }

    async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<T, ClientError> {
        let send = || self.request(Method::GET, path, query).timeout(DEADLINE);
        let response = self.ask_again(send).await?;
        read_json(response).await
    }

    /// Sends a change. It is sent again only when it certainly did not arrive, or was refused for the moment.
    async fn post<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let mut pauses = PAUSES.iter();
        loop {
            let request = self.request(Method::POST, path, &[]).timeout(DEADLINE).json(body);
            let error = match self.send(request).await {
                Ok(response) => return read_json(response).await,
                Err(error) => error,
            };
            match pauses.next() {
                Some(pause) if error.is_undone() => tokio::time::sleep(*pause).await,
                Some(_) | None => return Err(error),
            }
        }
    }

    /// Asks until there is an answer, or it is no use.
    async fn ask_again(&self, request: impl Fn() -> RequestBuilder) -> Result<Response, ClientError> {
        let mut pauses = PAUSES.iter();
        loop {
            match self.send(request()).await {
                Err(error) if error.is_passing() => match pauses.next() {
                    Some(pause) => tokio::time::sleep(*pause).await,
                    None => return Err(error),
                },
                decided => return decided,
            }
        }
    }

    /// A request below the API of our own origin; there is no other way to make one.
    fn request<S: AsRef<str>>(&self, method: Method, path: &[S], query: &[(&str, &str)]) -> RequestBuilder {
        let path = ["news", "api"].into_iter().chain(path.iter().map(AsRef::as_ref));
        let request = self.http.request(method, self.origin.url(path, query));
        request.header(AUTHORIZATION, self.authorization.clone()).header(ACCEPT, "*/*")
    }

    /// Sends once; what is not a success is an error.
    async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let response = request.send().await.map_err(|error| self.lost(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        if status.is_redirection() {
            let to = response.headers().get(LOCATION).and_then(|to| to.to_str().ok()).unwrap_or_default();
            let to = to.chars().filter(|letter| !letter.is_control()).take(200).collect();
            return Err(ClientError::Redirected { origin: self.origin.clone(), to });
        }
        Err(refusal(response, status).await)
    }

    fn lost(&self, error: &reqwest::Error) -> ClientError {
        let mut causes = Vec::new();
        let mut next = std::error::Error::source(error);
        while let Some(cause) = next {
            causes.push(cause.to_string());
            next = cause.source();
        }
        let problem = match causes.last() {
            _ if error.is_timeout() => "it did not answer in time".to_owned(),
            Some(cause) => cause.clone(),
            None => "the connection was lost".to_owned(),
        };
        ClientError::Unreachable { origin: self.origin.clone(), problem, is_unsent: error.is_connect() }
    }
}

#[derive(Serialize)]
struct ExpectedHead<'a> {
    expected_head: &'a str,
}

fn http(origin: &Origin) -> Result<reqwest::Client, ClientError> {
    use rustls_platform_verifier::BuilderVerifierExt as _;
    let failed = |problem: String| ClientError::Setup { problem };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(error.to_string()))?;
    let tls = if origin.is_secure() {
        builder.with_platform_verifier().map_err(|error| failed(error.to_string()))?.with_no_client_auth()
    } else {
        // The library wants one all the same: one that trusts nobody.
        builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth()
    };
    reqwest::Client::builder()
        .user_agent(concat!("pika-news/", env!("CARGO_PKG_VERSION")))
        // Whoever sends us elsewhere would be sent our token.
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_DEADLINE)
        .read_timeout(SILENCE_MAX)
        .tls_backend_preconfigured(tls)
        .build()
        .map_err(|error| failed(error.to_string()))
}

/// Reads `{"error": …, "code": …}`, or whatever a proxy said in its place.
async fn refusal(response: Response, status: StatusCode) -> ClientError {
    #[derive(serde::Deserialize)]
    struct Body {
        error: String,
        code: Option<String>,
    }
    let body = read_body(response, 64 << 10).await.unwrap_or_default();
    let status_line = format!("{} {}", status.as_u16(), status.canonical_reason().unwrap_or_default());
    match serde_json::from_slice::<Body>(&body) {
        Ok(body) => ClientError::Refused { status: status.as_u16(), code: body.code, message: body.error },
        Err(_) => ClientError::Refused { status: status.as_u16(), code: None, message: status_line },
    }
}

async fn read_json<T: DeserializeOwned>(response: Response) -> Result<T, ClientError> {
    let body = read_body(response, ANSWER_BYTES_MAX).await?;
    serde_json::from_slice(&body).map_err(|error| ClientError::Answer { problem: error.to_string() })
}

async fn read_body(response: Response, bytes_max: usize) -> Result<Vec<u8>, ClientError> {
    let mut body = Vec::new();
    let mut pieces = response.bytes_stream();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| ClientError::Answer { problem: error.to_string() })?;
        body.extend_from_slice(&piece);
        if body.len() > bytes_max {
            return Err(ClientError::Answer { problem: format!("it is longer than {bytes_max} bytes") });
        }
    }
    Ok(body)
}
