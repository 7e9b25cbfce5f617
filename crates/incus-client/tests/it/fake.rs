//! A whole server that does what a test says: it answers, stalls, drops the connection, or speaks nonsense.
//!
//! Invariants: what it was asked is recorded before it answers; it serves within the test's own runtime, so that the test's clock
//! is the only one.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use incus_client::Client;
use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

/// How long a test waits for a request; by the test's clock.
const PATIENCE: Duration = Duration::from_secs(300);

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// On which connection it came, counted from 0.
    pub(crate) connection: usize,
    /// How many requests this connection had before.
    pub(crate) earlier: usize,
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// What the client showed in the handshake.
    pub(crate) certificate: Option<CertificateDer<'static>>,
}

impl Seen {
    pub(crate) fn is(&self, method: &str, path: &str) -> bool {
        self.method == method && self.target.split('?').next() == Some(path)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

pub(crate) type Socket = WebSocketStream<Box<dyn Stream>>;
type Conversation = Box<dyn FnOnce(Socket) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// What the server does with a request.
pub(crate) enum Reply {
    /// An answer of the API, by its metadata.
    Sync(Value),
    /// An answer of the API with an ETag.
    Tagged(Value, &'static str),
    /// An operation of this name that runs.
    Async(&'static str),
    /// An error of the API.
    Error(u16, &'static str),
    /// An error of the API in an answer whose HTTP status is 200.
    LateError(u16, &'static str),
    /// HTTP status, headers, body.
    Foreign(u16, &'static str, Vec<u8>),
    /// These bytes, and then silence.
    Stall(&'static str),
    /// These bytes, and then the end of the connection.
    Drop(&'static str),
    /// These bytes and the end of the connection, before the body of the request was read.
    Interrupt(String),
    /// A whole answer, and then the end of the connection, without a word.
    Last(Value),
    /// A websocket.
    Upgrade(Conversation),
    /// The same, later.
    After(Duration, Box<Reply>),
}

impl Reply {
    pub(crate) fn upgrade<F: Future<Output = ()> + Send + 'static>(
        conversation: impl FnOnce(Socket) -> F + Send + 'static,
    ) -> Reply {
        Reply::Upgrade(Box::new(move |socket| Box::pin(conversation(socket))))
    }
}

/// An operation's record.
pub(crate) fn operation(id: &str, status_code: u16, err: &str, metadata: &Value) -> Value {
    json!({ "id": id, "status_code": status_code, "err": err, "metadata": metadata, "may_cancel": true })
}

pub(crate) fn envelope(status: u16, content: &Value) -> String {
    let content = content.to_string();
    let length = content.len();
    format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{content}"
    )
}

struct Stage {
    script: Box<dyn Fn(&Seen) -> Reply + Send + Sync>,
    seen: Mutex<Vec<Seen>>,
    has_seen: Notify,
    has_lost: Notify,
}

/// A server.
pub(crate) struct Fake {
    stage: Arc<Stage>,
    folder: TempDir,
    pub(crate) port: u16,
}

impl Fake {
    /// Listens on a Unix socket. The script is asked when the head of a request is there.
    pub(crate) fn start(script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Fake {
        let fake = Fake::new(script);
        let listener = UnixListener::bind(fake.socket()).unwrap();
        let stage = Arc::clone(&fake.stage);
        tokio::spawn(async move {
            for number in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(Arc::clone(&stage).serve(Box::new(stream), number, None));
            }
        });
        fake
    }

    /// Listens on a port of 127.0.0.1, with TLS.
    pub(crate) async fn start_https(
        tls: rustls::ServerConfig,
        script: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> Fake {
        let mut fake = Fake::new(script);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        fake.port = listener.local_addr().unwrap().port();
        let (stage, tls) = (Arc::clone(&fake.stage), TlsAcceptor::from(Arc::new(tls)));
        tokio::spawn(async move {
            for number in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                // A client that does not like the certificate goes away.
                let Ok(stream) = tls.accept(stream).await else { continue };
                let shown = stream.get_ref().1.peer_certificates();
                let shown = shown.and_then(|chain| chain.first()).map(|one| one.clone().into_owned());
                tokio::spawn(Arc::clone(&stage).serve(Box::new(stream), number, shown));
            }
        });
        fake
    }

    fn new(script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Fake {
        let stage = Stage {
            script: Box::new(script),
            seen: Mutex::default(),
            has_seen: Notify::new(),
            has_lost: Notify::new(),
        };
        Fake { stage: Arc::new(stage), folder: tempfile::tempdir().unwrap(), port: 0 }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("unix.socket")
    }

    pub(crate) fn client(&self) -> Client {
        Client::unix(self.socket())
    }

    /// Everything that it was asked so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.stage.seen.lock().unwrap().clone()
    }

    /// Waits until it was asked this.
    pub(crate) async fn until_asked(&self, method: &str, path: &str) -> Seen {
        let asked = async {
            loop {
                let news = self.stage.has_seen.notified();
                if let Some(seen) = self.seen().into_iter().find(|seen| seen.is(method, path)) {
                    return seen;
                }
                news.await;
            }
        };
        let asked = tokio::time::timeout(PATIENCE, asked).await;
        asked.unwrap_or_else(|_| panic!("never asked {method} {path}, but {:?}", self.seen()))
    }

    /// Lets everything happen that is under way. A clock that is paused moves on only when nothing is left to do.
    pub(crate) async fn until_quiet(&self) {
        tokio::time::sleep(PATIENCE).await;
    }

    /// Waits until a client has closed a connection that the server had left open.
    pub(crate) async fn until_left(&self) {
        tokio::time::timeout(PATIENCE, self.stage.has_lost.notified()).await.expect("no client has left");
    }
}

impl Stage {
    async fn serve(
        self: Arc<Self>,
        stream: Box<dyn Stream>,
        connection: usize,
        certificate: Option<CertificateDer<'static>>,
    ) {
        let mut stream = BufReader::new(stream);
        for earlier in 0.. {
            let Some(mut seen) = read_head(&mut stream, connection, earlier).await else {
                self.has_lost.notify_one();
                return;
            };
            seen.certificate.clone_from(&certificate);
            let mut reply = (self.script)(&seen);
            if !matches!(reply, Reply::Interrupt(_)) {
                let length = seen.header("content-length").map_or(0, |length| length.parse().unwrap());
                seen.body = vec![0; length];
                if stream.read_exact(&mut seen.body).await.is_err() {
                    self.has_lost.notify_one();
                    return;
                }
            }
            let key = seen.header("sec-websocket-key").map(str::to_owned);
            self.seen.lock().unwrap().push(seen);
            self.has_seen.notify_waiters();
            while let Reply::After(pause, later) = reply {
                tokio::time::sleep(pause).await;
                reply = *later;
            }
            let sync = |metadata: &Value| json!({ "type": "sync", "status_code": 200, "metadata": metadata });
            let error =
                |code: u16, message: &str| json!({ "type": "error", "error_code": code, "error": message });
            let text = match reply {
                Reply::Sync(metadata) => envelope(200, &sync(&metadata)),
                Reply::Tagged(metadata, tag) => {
                    envelope(200, &sync(&metadata)).replacen("\r\n", &format!("\r\nETag: {tag}\r\n"), 1)
                }
                Reply::Async(id) => {
                    let record = operation(id, 103, "", &Value::Null);
                    envelope(202, &json!({ "type": "async", "metadata": record }))
                }
                Reply::Error(code, message) => envelope(code, &error(code, message)),
                Reply::LateError(code, message) => envelope(200, &error(code, message)),
                Reply::Foreign(status, headers, content) => {
                    let length = content.len();
                    let head =
                        format!("HTTP/1.1 {status} X\r\n{headers}\r\nContent-Length: {length}\r\n\r\n");
                    let _ = stream.get_mut().write_all(&[head.as_bytes(), &content].concat()).await;
                    continue;
                }
                Reply::Stall(text) => {
                    let _ = stream.get_mut().write_all(text.as_bytes()).await;
                    let _ = stream.read_to_end(&mut Vec::new()).await;
                    self.has_lost.notify_one();
                    return;
                }
                Reply::Drop(text) => {
                    let _ = stream.get_mut().write_all(text.as_bytes()).await;
                    return;
                }
                Reply::Interrupt(text) => {
                    let _ = stream.get_mut().write_all(text.as_bytes()).await;
                    return;
                }
                Reply::Last(metadata) => {
                    let _ = stream.get_mut().write_all(envelope(200, &sync(&metadata)).as_bytes()).await;
                    return;
                }
                Reply::After(..) => unreachable!("it was waited for"),
                Reply::Upgrade(conversation) => {
                    let accept = derive_accept_key(key.unwrap().as_bytes());
                    let head = format!(
                        "HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
                    );
                    stream.get_mut().write_all(head.as_bytes()).await.unwrap();
                    let stream = WebSocketStream::from_raw_socket(stream.into_inner(), Role::Server, None);
                    return conversation(stream.await).await;
                }
            };
            if stream.get_mut().write_all(text.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

async fn read_head(
    stream: &mut BufReader<Box<dyn Stream>>,
    connection: usize,
    earlier: usize,
) -> Option<Seen> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let mut words = lines[0].split(' ').map(str::to_owned);
    let headers = lines[1..].iter().filter_map(|line| line.split_once(": "));
    Some(Seen {
        connection,
        earlier,
        method: words.next().unwrap(),
        target: words.next().unwrap(),
        headers: headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect(),
        body: Vec::new(),
        certificate: None,
    })
}

/// A connection, whatever it is made of.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}
