//! Runs lanes: selects them, grants slots, spawns `pikaci`, and stores what its run folder says.
//!
//! Invariants: a run is named before it is spawned; nothing runs twice at once; a lane's end is read from its record,
//! never from the child's output.

mod dispatch;
mod lane;
mod process;
mod recover;
pub(crate) mod schedule;
pub(crate) mod select;

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use dispatch::new_token;

use crate::config::CiConfig;
use crate::forge::id::LaneRunId;
use schedule::LiveLane;

/// How `pikaci` is started.
#[derive(Clone, Debug)]
pub struct PikaciProgram {
    /// The program.
    pub program: PathBuf,
    /// All of its environment, apart from `PIKACI_STATE_ROOT`.
    pub environment: Vec<(OsString, OsString)>,
}

/// The state of the scheduler, shared by everything that runs lanes.
pub struct Ci {
    config: RwLock<Arc<CiConfig>>,
    pikaci: PikaciProgram,
    wake: Notify,
    live: Mutex<HashMap<LaneRunId, Live>>,
    /// Set when no lane is to be started any more.
    draining: CancellationToken,
    /// Set when lanes are to be left alone: they live on without this process.
    leaving: CancellationToken,
    tasks: TaskTracker,
}

struct Live {
    lane: LiveLane,
    cancel: CancellationToken,
}

impl Ci {
    /// Runs something beside the lanes until the forge drains; it is dropped then.
    pub(crate) fn spawn_until_drain(&self, future: impl Future<Output = ()> + Send + 'static) {
        let draining = self.draining.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = future => {}
                () = draining.cancelled() => {}
            }
        });
    }

    /// Makes a scheduler that runs nothing yet.
    pub fn new(config: CiConfig, pikaci: PikaciProgram) -> Ci {
        Ci {
            config: RwLock::new(Arc::new(config)),
            pikaci,
            wake: Notify::new(),
            live: Mutex::new(HashMap::new()),
            draining: CancellationToken::new(),
            leaving: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }
    }

    /// How lanes are run now.
    pub(crate) fn config(&self) -> Arc<CiConfig> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Runs lanes otherwise from now on.
    pub(crate) fn set_config(&self, config: CiConfig) {
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    }

    /// Makes the scheduler look at the queue now.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Whether no lane is started any more.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// How many lanes are alive.
    pub(crate) fn count_live(&self) -> usize {
        self.live().len()
    }

    /// The program that runs lanes.
    pub(crate) fn program(&self) -> &std::path::Path {
        &self.pikaci.program
    }

    /// Stops a lane that is alive; one that is not is nobody's concern any more.
    pub(crate) fn cancel(&self, id: LaneRunId) {
        if let Some(live) = self.live().get(&id) {
            live.cancel.cancel();
        }
    }

    fn live(&self) -> std::sync::MutexGuard<'_, HashMap<LaneRunId, Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
