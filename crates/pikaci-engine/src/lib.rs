//! Runs the jobs of a manifest: snapshot, schedule, executors.

pub mod snapshot;
