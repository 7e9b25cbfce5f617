//! Serves HTTP with the deadlines and bounds that axum's own server does not set.
//!
//! Invariants: a client that sends no request, or half of one, or takes nothing of its answer, is let go; so many
//! connections are open at once and no more, so many of one address; after the shutdown each connection ends with the answer
//! that it is about.

mod places;
mod taker;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::limits::Peer;
use places::Places;
use taker::Taker;

/// How long a client may take to send the head of a request, and how long an idle connection is kept.
const HEAD_DEADLINE: Duration = Duration::from_secs(30);
/// More than live views and git together need; a descriptor each.
const CONNECTIONS_MAX: usize = 768;
/// How many of them one address may have: of IPv6, one network of 64 bits.
const CONNECTIONS_OF_ADDRESS_MAX: usize = 256;
/// How long a client may take nothing of its answer. Git's clients think for a while.
const WRITE_DEADLINE: Duration = Duration::from_secs(120);
/// After an error of accept, such as no free descriptor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `shutdown`, then waits for the answers that are under way.
///
/// An address that `is_proxy` speaks for many, and may have all connections; so may this machine's own.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    is_proxy: impl Fn(IpAddr) -> bool,
    shutdown: CancellationToken,
) {
    let of_address_max = |address: IpAddr| match address.to_canonical() {
        address if address.is_loopback() || is_proxy(address) => CONNECTIONS_MAX,
        _ => CONNECTIONS_OF_ADDRESS_MAX,
    };
    let deadlines = Deadlines { head: HEAD_DEADLINE, write: WRITE_DEADLINE };
    serve_with(listener, router, shutdown, deadlines, of_address_max).await;
}

#[derive(Clone, Copy)]
struct Deadlines {
    head: Duration,
    write: Duration,
}

async fn serve_with(
    listener: TcpListener,
    router: Router,
    shutdown: CancellationToken,
    deadlines: Deadlines,
    of_address_max: impl Fn(IpAddr) -> usize,
) {
    let of_address = Places::default();
    let (places, connections) = (Arc::new(Semaphore::new(CONNECTIONS_MAX)), TaskTracker::new());
    loop {
        let next = async {
            // Closed never: it is ours.
            let place = Arc::clone(&places).acquire_owned().await.ok();
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            next = next => next,
            () = shutdown.cancelled() => break,
        };
        match accepted {
            Ok((stream, address)) => {
                let Some(of_address) = of_address.take(address.ip(), of_address_max(address.ip())) else {
                    tracing::debug!(address = %address.ip(), "this address has as many connections as it may have");
                    continue;
                };
                let (router, shutdown) = (router.clone(), shutdown.clone());
                connections.spawn(async move {
                    connection(stream, address.ip(), router, shutdown, deadlines).await;
                    drop((place, of_address));
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    connections.close();
    connections.wait().await;
}

async fn connection(
    stream: TcpStream,
    address: IpAddr,
    router: Router,
    shutdown: CancellationToken,
    deadlines: Deadlines,
) {
    // A piece of a live log is small, and waits for nothing.
    let _ = stream.set_nodelay(true);
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(deadlines.head);
    let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(Peer(address));
        TowerToHyperService::new(router.clone()).call(request)
    });
    let serving = builder.serve_connection(TokioIo::new(Taker::new(stream, deadlines.write)), service);
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = shutdown.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        // Clients go away all the time.
        tracing::debug!(%error, "a connection ended early");
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const PATIENT: Deadlines = Deadlines { head: HEAD_DEADLINE, write: WRITE_DEADLINE };

    struct Served {
        address: std::net::SocketAddr,
        shutdown: CancellationToken,
        serving: tokio::task::JoinHandle<()>,
    }

    async fn served(router: Router, deadlines: Deadlines, of_address_max: usize) -> Served {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, shutdown) = (listener.local_addr().unwrap(), CancellationToken::new());
        let serving =
            tokio::spawn(serve_with(listener, router, shutdown.clone(), deadlines, move |_| of_address_max));
        Served { address, shutdown, serving }
    }

    async fn answer(mut stream: TcpStream) -> String {
        let mut text = String::new();
        let read = stream.read_to_string(&mut text);
        tokio::time::timeout(Duration::from_secs(20), read).await.expect("an end in time").unwrap();
        text
    }

    #[tokio::test]
    async fn half_a_request_is_let_go() {
        let served =
            served(Router::new(), Deadlines { head: Duration::from_millis(100), ..PATIENT }, 9).await;
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: half").await.unwrap();
        assert!(!answer(stream).await.contains("200 OK"));
    }

    #[tokio::test]
    async fn who_takes_nothing_of_an_answer_is_let_go_and_gives_others_the_place() {
        let large = get(async || vec![b'x'; 64 << 20]);
        let deadlines = Deadlines { write: Duration::from_millis(100), ..PATIENT };
        let served = served(Router::new().route("/", large), deadlines, 1).await;
        let mut first = TcpStream::connect(served.address).await.unwrap();
        first.write_all(b"GET / HTTP/1.1\r\nHost: large\r\n\r\n").await.unwrap();
        let until = tokio::time::Instant::now() + Duration::from_secs(20);
        loop {
            let mut second = TcpStream::connect(served.address).await.unwrap();
            let asked = second.write_all(b"GET /none HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
            let mut text = String::new();
            if asked.is_ok() && second.read_to_string(&mut text).await.is_ok() && text.contains("404") {
                break;
            }
            assert!(tokio::time::Instant::now() < until, "the place was never given back");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    #[tokio::test]
    async fn a_shutdown_lets_an_answer_end_and_an_idle_connection_go() {
        let (begun, begins) = tokio::sync::oneshot::channel();
        let (release, released) = tokio::sync::oneshot::channel::<()>();
        let once = std::sync::Mutex::new(Some((begun, released)));
        let once = Arc::new(once);
        let slow = get(move || {
            let held = once.lock().unwrap().take();
            async move {
                let (begun, released) = held.unwrap();
                begun.send(()).unwrap();
                released.await.unwrap();
                "at last"
            }
        });
        let served = served(Router::new().route("/", slow), PATIENT, 9).await;
        let _idle = TcpStream::connect(served.address).await.unwrap();
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: slow\r\n\r\n").await.unwrap();
        begins.await.unwrap();
        served.shutdown.cancel();
        release.send(()).unwrap();
        assert!(answer(stream).await.ends_with("at last"));
        tokio::time::timeout(Duration::from_secs(20), served.serving).await.expect("an end in time").unwrap();
    }
}
