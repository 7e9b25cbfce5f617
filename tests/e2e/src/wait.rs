//! Waiting for what another process does.

use std::thread;
use std::time::{Duration, Instant};

/// Long enough for anything here on a busy machine, where a browser is read from the disk for a minute before it begins; what
/// takes longer is broken.
pub const DEADLINE: Duration = Duration::from_secs(150);

pub(crate) const INTERVAL: Duration = Duration::from_millis(20);

/// Looks until there is a value; panics with `what` after [`DEADLINE`].
#[track_caller]
pub fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    soon(what, DEADLINE, look)
}

/// Looks until there is a value; panics with `what` after `deadline`.
#[track_caller]
pub fn soon<T>(what: &str, deadline: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = look() {
            return value;
        }
        assert!(start.elapsed() < deadline, "not within {deadline:?}: {what}");
        thread::sleep(INTERVAL);
    }
}
