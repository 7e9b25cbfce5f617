//! Runs the jobs of a manifest.
//!
//! # Glossary
//!
//! - **source**: the working tree or the commit that is tested; it is frozen into a **snapshot**.
//! - **executor**: makes a guest for one attempt at a job, runs the command in it, and reports facts.
//! - **dispatch**: decides which job may start, which is skipped, and which is tried again.
//! - **prepared output**: what a job of its own builds once for the same inputs, mounted into the jobs that name it.
//! - **secret**: what a job gets as a file in its guest's memory; the process that was given it is the only one that has it.
//! - **slot**: the right to run one job; a run has so many.
//! - **sweep**: finishing the records of runs whose process is gone.
//!
//! Invariants: only `run` and `recover` write records; an executor never judges, and never names another executor; every
//! wait has a deadline.

pub mod artifacts;
mod described;
pub mod dispatch;
#[cfg(test)]
mod exam;
pub mod executor;
pub mod gc;
pub mod host_log;
pub mod image;
pub mod prepared;
pub mod recover;
pub mod run;
pub mod secrets;
pub mod snapshot;

pub use executor::Executor;
pub use executor::incus::{IncusExecutor, IncusSettings, PoolSettings};
pub use executor::local::{LocalConfig, LocalExecutor};
pub use recover::sweep;
pub use run::{ResumeError, RunError, RunRequest, rerun, resume, run};
pub use secrets::{SecretError, Secrets};
pub use snapshot::Source;
