//! Asks a server over HTTP and reads its answer while it is written.
//!
//! Invariants: redirects are not followed, so that the key goes to the configured server alone; bodies are bounded; the key
//! is masked in whatever the server says.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use eventsource_stream::Eventsource as _;
use futures_util::StreamExt as _;
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url, redirect};
use rustls::ClientConfig;
use rustls_platform_verifier::BuilderVerifierExt as _;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use crate::read::ANSWER_BYTES_MAX;
use crate::request::Request;

use super::settings::{ProviderKind, ProviderSettings, SettingsError};
use super::{Answered, AskError, Failed, Usage, anthropic, foreign, openai};

const CONNECT_TIME_MAX: Duration = Duration::from_secs(15);
/// How much of a refusal is read.
const REFUSAL_BYTES_MAX: usize = 16 << 10;

/// Which language a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    OpenAi,
    Anthropic,
}

/// A server that writes answers.
#[derive(Clone, Debug)]
pub(super) struct HttpWriter {
    protocol: Protocol,
    client: Client,
    url: Url,
    model: String,
    key_file: Option<PathBuf>,
    output_tokens_max: Option<u32>,
    idle: Duration,
    input_usd_per_million: Option<f64>,
    output_usd_per_million: Option<f64>,
}

/// What was gathered of an answer so far.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) text: String,
    pub(super) is_cut: bool,
    /// The server said that it is done.
    pub(super) is_done: bool,
    pub(super) input_tokens: u64,
    pub(super) output_tokens: u64,
    pub(super) failure: Option<String>,
    pub(super) remark: Option<String>,
}

impl HttpWriter {
    pub(super) fn new(settings: &ProviderSettings, protocol: Protocol) -> Result<HttpWriter, SettingsError> {
        let (kind, default_url, path) = match protocol {
            Protocol::OpenAi => (ProviderKind::Openai, openai::BASE_URL, openai::PATH),
            Protocol::Anthropic => (ProviderKind::Anthropic, anthropic::BASE_URL, anthropic::PATH),
        };
        let model = settings.model.clone().filter(|model| !model.is_empty());
        let model = model.ok_or(SettingsError::Missing { kind, setting: "model" })?;
        let base = settings.base_url.as_deref().unwrap_or(default_url);
        let wrong = || SettingsError::Url { url: base.to_owned() };
        let url = Url::parse(&format!("{}{path}", base.trim_end_matches('/'))).map_err(|_| wrong())?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(wrong());
        }
        let failed = |message: String| SettingsError::Client { message };
        let mut client = Client::builder()
            .user_agent(concat!("pika-tutorial/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_TIME_MAX)
            .read_timeout(settings.idle());
        // Without certificates of the system, only a server without TLS can be asked.
        if url.scheme() == "https" {
            client = client.tls_backend_preconfigured(tls().map_err(|error| failed(error.to_string()))?);
        } else {
            client = client.tls_backend_preconfigured(no_tls().map_err(|error| failed(error.to_string()))?);
        }
        let client = client.build().map_err(|error| failed(error.to_string()))?;
        Ok(HttpWriter {
            protocol,
            client,
            url,
            model,
            key_file: settings.key_file.clone(),
            output_tokens_max: settings.output_tokens_max,
            idle: settings.idle(),
            input_usd_per_million: settings.input_usd_per_million,
            output_usd_per_million: settings.output_usd_per_million,
        })
    }

    pub(super) async fn ask(&self, request: &Request, ends_at: Instant) -> Result<Answered, Failed> {
        let limit = ends_at.duration_since(Instant::now());
        let key = self.read_key().await?;
        let mut gathered = Gathered::default();
        let asked = timeout_at(ends_at, self.exchange(request, key.as_deref(), &mut gathered)).await;
        let result = asked.unwrap_or(Err(AskError::TimedOut { limit }));
        let usage = self.usage(&gathered);
        let partial = std::mem::take(&mut gathered.text).into_bytes();
        let masked = |text: String| match &key {
            Some(key) => text.replace(key.as_str(), "…"),
            None => text,
        };
        match (result, gathered.failure) {
            (Err(error), _) => Err(Failed { error: mask(error, &masked), partial }),
            (Ok(()), Some(message)) => {
                let message = masked(foreign(&message));
                Err(Failed { error: AskError::Reported { message }, partial })
            }
            (Ok(()), None) => Ok(Answered {
                bytes: partial,
                is_cut: gathered.is_cut,
                usage,
                remark: gathered.remark.map(|remark| masked(foreign(&remark))),
            }),
        }
    }

    async fn read_key(&self) -> Result<Option<String>, AskError> {
        let Some(file) = &self.key_file else { return Ok(None) };
        let text = tokio::fs::read_to_string(file).await.map_err(|source| AskError::Key { source })?;
        let key = text.trim();
        Ok((!key.is_empty()).then(|| key.to_owned()))
    }

    fn usage(&self, gathered: &Gathered) -> Option<Usage> {
        let (input_tokens, output_tokens) = (gathered.input_tokens, gathered.output_tokens);
        if input_tokens == 0 && output_tokens == 0 {
            return None;
        }
        #[allow(clippy::cast_precision_loss, reason = "no answer has that many tokens")]
        let cost = |tokens: u64, price: Option<f64>| price.map(|price| tokens as f64 * price / 1e6);
        let cost_usd = cost(input_tokens, self.input_usd_per_million)
            .zip(cost(output_tokens, self.output_usd_per_million))
            .map(|(input, output)| input + output);
        Some(Usage { input_tokens, output_tokens, cost_usd })
    }

    async fn exchange(
        &self,
        request: &Request,
        key: Option<&str>,
        gathered: &mut Gathered,
    ) -> Result<(), AskError> {
        let post = self.client.post(self.url.clone()).header(CONTENT_TYPE, "application/json");
        let post = self.fill(post, request, key);
        let response = post.send().await.map_err(|error| self.connection(&error))?;
        let status = response.status();
        if !status.is_success() {
            return Err(refusal(response).await);
        }
        let is_stream = response
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.starts_with("text/event-stream"));
        if is_stream {
            self.read_events(response, gathered).await
        } else {
            self.read_whole(response, gathered).await
        }
    }

    fn fill(&self, post: RequestBuilder, request: &Request, key: Option<&str>) -> RequestBuilder {
        let (post, body) = match self.protocol {
            Protocol::OpenAi => {
                let post = if let Some(key) = key { post.bearer_auth(key) } else { post };
                (post, openai::body(request, &self.model, self.output_tokens_max))
            }
            Protocol::Anthropic => {
                let post = post.header("anthropic-version", anthropic::VERSION);
                let post = if let Some(key) = key { post.header("x-api-key", key) } else { post };
                (post, anthropic::body(request, &self.model, self.output_tokens_max))
            }
        };
        post.body(body.to_string())
    }

    /// Reads events until the server is done. What came before a failure stays gathered.
    async fn read_events(&self, response: Response, gathered: &mut Gathered) -> Result<(), AskError> {
        let mut bytes_read = 0;
        let bounded = response.bytes_stream().map(|chunk| {
            chunk.map_err(|error| self.connection(&error)).and_then(|chunk| {
                bytes_read += chunk.len();
                // Events are several times as long as their text.
                let is_within = bytes_read <= ANSWER_BYTES_MAX * 16;
                if is_within { Ok(chunk) } else { Err(too_long()) }
            })
        });
        let mut events = bounded.eventsource();
        while let Some(event) = events.next().await {
            let event = match event {
                Ok(event) => event,
                Err(eventsource_stream::EventStreamError::Transport(error)) => return Err(error),
                Err(error) => return Err(AskError::Connection { message: error.to_string() }),
            };
            if event.data == "[DONE]" {
                gathered.is_done = true;
                break;
            }
            if let Ok(value) = serde_json::from_str::<Value>(&event.data) {
                match self.protocol {
                    Protocol::OpenAi => openai::read_event(&value, gathered),
                    Protocol::Anthropic => anthropic::read_event(&value, gathered),
                }
            }
            if gathered.text.len() > ANSWER_BYTES_MAX {
                gathered.is_cut = true;
                return Ok(());
            }
            if gathered.failure.is_some() || gathered.is_done && self.protocol == Protocol::Anthropic {
                return Ok(());
            }
        }
        if gathered.is_done {
            Ok(())
        } else {
            Err(AskError::Connection { message: "it ended in the middle of the answer".to_owned() })
        }
    }

    /// Reads the answer of a server that does not stream.
    async fn read_whole(&self, response: Response, gathered: &mut Gathered) -> Result<(), AskError> {
        let body = read_body(response, ANSWER_BYTES_MAX * 2).await.map_err(|error| match error {
            Some(error) => self.connection(&error),
            None => too_long(),
        })?;
        let value: Value = serde_json::from_slice(&body)
            .map_err(|_| AskError::Connection { message: "its answer is no JSON".to_owned() })?;
        match self.protocol {
            Protocol::OpenAi => openai::read_whole(&value, gathered),
            Protocol::Anthropic => anthropic::read_whole(&value, gathered),
        }
        Ok(())
    }

    fn connection(&self, error: &reqwest::Error) -> AskError {
        if error.is_timeout() && !error.is_connect() {
            return AskError::Stalled { idle: self.idle };
        }
        // The chain says more than its head; the address in it is the operator's own.
        let mut message = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            message = format!("{message}: {cause}");
            source = cause.source();
        }
        AskError::Connection { message: foreign(&message) }
    }
}

fn too_long() -> AskError {
    AskError::Connection { message: "the answer is longer than any tutorial".to_owned() }
}

fn mask(error: AskError, masked: &dyn Fn(String) -> String) -> AskError {
    match error {
        AskError::Refused { status, message } => AskError::Refused { status, message: masked(message) },
        AskError::Busy { status, retry_after, message } => {
            AskError::Busy { status, retry_after, message: masked(message) }
        }
        AskError::Connection { message } => AskError::Connection { message: masked(message) },
        other => other,
    }
}

async fn refusal(response: Response) -> AskError {
    let status = response.status();
    let retry_after = read_retry_after(response.headers());
    let body = read_body(response, REFUSAL_BYTES_MAX).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&body);
    let said = serde_json::from_str::<Value>(&text).ok();
    let message = said.as_ref().and_then(error_message).map_or(foreign(&text), |message| foreign(&message));
    let is_passing = status.is_server_error()
        || matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT | StatusCode::CONFLICT
        );
    let status = status.as_u16();
    if is_passing {
        AskError::Busy { status, retry_after, message }
    } else {
        AskError::Refused { status, message }
    }
}

/// `{"error": {"message": "…"}}`, which both protocols use.
pub(super) fn error_message(value: &Value) -> Option<String> {
    let error = value.get("error")?;
    let message = error.get("message").and_then(Value::as_str).or_else(|| error.as_str());
    Some(message.map_or_else(|| error.to_string(), str::to_owned))
}

/// Seconds, as model servers write it; a date is not waited for.
fn read_retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: f64 = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// Reads a body up to a limit. `Err(None)` when it is longer.
async fn read_body(response: Response, bytes_max: usize) -> Result<Vec<u8>, Option<reqwest::Error>> {
    let mut body = Vec::new();
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        body.extend_from_slice(&chunk.map_err(Some)?);
        if body.len() > bytes_max {
            return Err(None);
        }
    }
    Ok(body)
}

/// TLS with the certificates that the system trusts.
fn tls() -> Result<ClientConfig, rustls::Error> {
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    Ok(builder.with_safe_default_protocol_versions()?.with_platform_verifier()?.with_no_client_auth())
}

/// The client wants a configuration even where it has no use for it: one that trusts nobody.
fn no_tls() -> Result<ClientConfig, rustls::Error> {
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth())
}
