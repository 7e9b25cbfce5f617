//! Ctrl-C, SIGTERM and SIGHUP: the first is a cancel, the second ends the program at once.
//!
//! Invariant: neither leaves a process of a job behind. After the second, the jobs' runners notice that nobody holds
//! their lifeline any more.

use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::failure::{CANCELLED, Failure};

/// Signals this close are one wish: timeout(1) signals its child, and then the group that the child is in.
const TWIN_MAX: Duration = Duration::from_millis(100);

/// Cancels the token at the first signal. Must be called within the runtime.
pub(crate) fn listen(cancellation: CancellationToken) -> Result<(), Failure> {
    let open = |kind: SignalKind| {
        signal(kind).map_err(|error| {
            Failure::infrastructure(anyhow::Error::new(error).context("cannot listen for signals"))
        })
    };
    let (interrupt, terminate) = (open(SignalKind::interrupt())?, open(SignalKind::terminate())?);
    let hangup = open(SignalKind::hangup())?;
    tokio::spawn(wait(interrupt, terminate, hangup, cancellation));
    Ok(())
}

async fn wait(
    mut interrupt: Signal,
    mut terminate: Signal,
    mut hangup: Signal,
    cancellation: CancellationToken,
) {
    let mut first: Option<Instant> = None;
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
        if first.is_some_and(|first| first.elapsed() < TWIN_MAX) {
            continue;
        }
        first.get_or_insert_with(Instant::now);
        if cancellation.is_cancelled() {
            std::process::exit(CANCELLED.into());
        }
        cancellation.cancel();
    }
}
