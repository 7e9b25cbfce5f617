//! What wakes a runner that waits for its command: the command's end, and orders to stop.
//!
//! Invariant: from [`Orders::listen`] on, a signal ends the runner no more; it is kept until somebody looks.

use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use rustix::process::WaitStatus;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

pub(crate) enum Wakeup {
    Ended(io::Result<WaitStatus>),
    Stop(Stop),
}

#[derive(Clone, Copy)]
pub(crate) enum Stop {
    Signal,
    Lifeline,
}

impl Stop {
    /// Why the job was stopped, for its result.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Stop::Signal => "told to stop",
            Stop::Lifeline => "whoever started the job is gone",
        }
    }
}

/// What a runner listens to.
#[derive(Clone, Copy)]
pub(crate) struct Sources {
    /// Whether the end of standard input is an order to stop.
    pub(crate) has_lifeline: bool,
    /// Whether the end of the session is one.
    pub(crate) heeds_hangup: bool,
}

pub(crate) struct Orders {
    sender: Sender<Wakeup>,
    receiver: Receiver<Wakeup>,
}

impl Orders {
    /// Turns signals, and the end of the lifeline, into orders to stop.
    pub(crate) fn listen(sources: Sources) -> io::Result<Orders> {
        let (sender, receiver) = mpsc::channel();
        let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
        let by_signal = sender.clone();
        thread::spawn(move || {
            for signal in &mut signals {
                if signal != SIGHUP || sources.heeds_hangup {
                    let _ = by_signal.send(Wakeup::Stop(Stop::Signal));
                }
            }
        });
        if sources.has_lifeline {
            let by_lifeline = sender.clone();
            thread::spawn(move || {
                let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
                let _ = by_lifeline.send(Wakeup::Stop(Stop::Lifeline));
            });
        }
        Ok(Orders { sender, receiver })
    }

    /// Where to tell of the command's end.
    pub(crate) fn sender(&self) -> Sender<Wakeup> {
        self.sender.clone()
    }

    /// Waits for the next of all these.
    pub(crate) fn wait(&self, limit: Duration) -> Result<Wakeup, RecvTimeoutError> {
        self.receiver.recv_timeout(limit)
    }

    /// Whether an order to stop comes within this time. For before the command is started.
    pub(crate) fn find_stop(&self, limit: Duration) -> Option<Stop> {
        match self.receiver.recv_timeout(limit) {
            Ok(Wakeup::Stop(stop)) => Some(stop),
            Ok(Wakeup::Ended(_)) | Err(_) => None,
        }
    }

    /// Whether another signal has come: it means at once.
    pub(crate) fn is_urgent(&self) -> bool {
        matches!(self.receiver.try_recv(), Ok(Wakeup::Stop(Stop::Signal)))
    }
}
