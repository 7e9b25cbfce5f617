//! Ctrl-C, SIGTERM and SIGHUP: the first is a cancel, the second ends the program at once.
//!
//! Invariant: neither leaves a process of a job behind. After the second, the jobs' runners notice that nobody holds
//! their lifeline any more.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;

/// The exit code of a cancelled run.
const CANCELLED: i32 = 130;

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
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
        if cancellation.is_cancelled() {
            std::process::exit(CANCELLED);
        }
        cancellation.cancel();
    }
}
