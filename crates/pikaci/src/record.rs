//! The records of a run, as they are stored and served.
//!
//! Invariants: unknown keys are ignored, unknown words are kept, and every field that a first version did not have is
//! optional, so that records written by older and newer versions can be read.

mod job;
mod logs;
mod prepared;
mod remote;
mod run;
mod words;

pub use job::{AttemptRecord, JobRecord};
pub use logs::{LogKind, Logs, RunJobLogMetadata, RunLogsMetadata};
pub use prepared::{PreparedOutputRecord, PreparedOutputsRecord};
pub use remote::{
    RemoteLinuxVmExecutionRecord, RemoteLinuxVmImageRecord, RemoteLinuxVmPhaseRecord,
    RemoteLinuxVmPhaseRecorder, phase,
};
pub use run::{PlanRecord, PrepareTiming, RunRecord};
pub use words::{ExecutorKind, Fault, JobStatus, Outcome, RunStatus};

/// The version of the records that this crate writes.
pub const SCHEMA_VERSION: u32 = 1;
