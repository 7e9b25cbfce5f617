//! Takes up lane runs whose forge is gone: follows what still lives, settles the rest.
//!
//! Invariant: a lane run is taken up by taking over its claim, so that two never do.

use super::dispatch::new_token;
use super::lane::{self, Begin};
use crate::forge::Forge;

/// Which claims are taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// All: this forge has just started, and holds none.
    All,
    /// Those whose lease is over.
    Expired,
}

/// Takes over claims that no lane of this forge holds.
pub(super) async fn adopt(forge: &Forge, which: Which) {
    let running = match forge.store().list_running().await {
        Ok(running) => running,
        Err(error) => return tracing::error!(%error, "the claimed lane runs could not be listed"),
    };
    let now_ms = forge.now_ms();
    for mut job in running {
        let is_due = which == Which::All || job.lease_until_ms < now_ms;
        if !is_due || forge.ci().live().contains_key(&job.id) {
            continue;
        }
        let Some(hosted) = forge.hosted_by_id(job.repository_id) else { continue };
        let token = new_token();
        let lease_ms = i64::try_from(forge.ci().config().lease.as_millis()).unwrap_or(i64::MAX);
        let until_ms = now_ms + lease_ms;
        match forge.store().take_over(job.id, &job.token, &token, until_ms).await {
            Ok(true) => {
                (job.token, job.lease_until_ms) = (token, until_ms);
                tracing::info!(run = %job.run_id, "taking up a lane run");
                crate::metrics::lane_adopted();
                lane::start(forge, &hosted, job, Begin::Adopt);
            }
            Ok(false) => {}
            Err(error) => tracing::error!(run = %job.run_id, %error, "a claim could not be taken over"),
        }
    }
}
