//! Writes tutorials: a queue of its own, beside the lanes and never in their way.
//!
//! Invariants: what a reader is shown at once, the diff and the builtin tutorial, waits for no writer; whoever writes holds a
//! claim; nothing here outlives the process, so what it leaves is queued again at the next start.

mod prepare;
mod write;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pika_tutorial::{ExplainOptions, Provider, ProviderKind, SettingsError};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::TutorialConfig;
use crate::forge::id::{BranchId, HeadId};

pub(crate) use prepare::{Comparison, Prepared};

/// How long a claim holds without a heartbeat.
const LEASE: Duration = Duration::from_secs(60);
/// How many heads are read at once before anybody asks for them.
const READ_AHEAD_MAX: usize = 2;

/// The writer, its queue's state, and what was read for readers.
pub(crate) struct Tutorials {
    provider: Provider,
    config: TutorialConfig,
    wake: Notify,
    live: Mutex<HashMap<HeadId, Live>>,
    prepared: prepare::Shelf,
    /// Places for those who read ahead of any reader.
    ahead: Arc<Semaphore>,
    stopping: CancellationToken,
    tasks: TaskTracker,
}

struct Live {
    branch: BranchId,
    cancel: CancellationToken,
}

impl Tutorials {
    /// Makes the writer; nothing is written yet.
    pub(crate) fn new(config: &TutorialConfig) -> Result<Tutorials, SettingsError> {
        Ok(Tutorials {
            provider: Provider::new(&config.settings)?,
            config: config.clone(),
            wake: Notify::new(),
            live: Mutex::new(HashMap::new()),
            prepared: prepare::Shelf::default(),
            ahead: Arc::new(Semaphore::new(READ_AHEAD_MAX)),
            stopping: CancellationToken::new(),
            tasks: TaskTracker::new(),
        })
    }

    /// Whether somebody else than this program is asked.
    pub(crate) fn has_writer(&self) -> bool {
        self.provider.kind() != ProviderKind::Builtin
    }

    /// Who is asked.
    pub(crate) fn provider(&self) -> &Provider {
        &self.provider
    }

    /// A place for reading a head ahead of its readers, if there is one.
    pub(crate) fn find_place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.ahead).try_acquire_owned().ok()
    }

    /// How often a tutorial is tried before it counts as failed.
    pub(crate) fn tries_max(&self) -> u32 {
        self.config.retries + 1
    }

    /// Ends what is written for a branch's other heads, and looks at the queue.
    pub(crate) fn wake_for(&self, branch: BranchId, head: Option<HeadId>) {
        for (id, live) in self.live().iter() {
            if live.branch == branch && Some(*id) != head {
                live.cancel.cancel();
            }
        }
        self.wake.notify_one();
    }

    /// How long is waited after a failed try; `None`: there was the last one.
    fn delay_ms(&self, tries: u32) -> Option<i64> {
        if tries > self.config.retries {
            return None;
        }
        let first = i64::try_from(self.config.retry_delay.as_millis()).unwrap_or(i64::MAX);
        Some(first.saturating_mul(4_i64.saturating_pow(tries.saturating_sub(1))))
    }

    fn options(&self) -> ExplainOptions {
        ExplainOptions { deadline: self.config.deadline, ..ExplainOptions::default() }
    }

    fn live(&self) -> MutexGuard<'_, HashMap<HeadId, Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
