//! A private Incus daemon for tests and benches, beside whatever Incus the machine's user may have.
//!
//! - **testbed**: a daemon of one's own, with its folder, storage pool and profile; gone when it is dropped.
//! - **supervisor**: the shell that keeps the daemon, and cleans up when the process that wanted it is gone.
//! - **shared daemon**: the testbed that `cargo xtask test` starts for all test programs, each with projects of its own.
//!
//! Invariants: the folder of the system's own Incus is never touched; every wait has a deadline; what a testbed starts
//! ends with the process that wanted it, also when that is killed.

mod daemon;
mod error;
mod http;
mod programs;
mod project;
mod testbed;

pub use daemon::{Daemon, INCUS_DIR_VARIABLE};
pub use error::TestbedError;
pub use programs::Programs;
pub use project::Project;
pub use testbed::Testbed;
