//! The testbed against the real daemon.
//!
//! Invariant: needs root (or `sudo -n`), Incus and busybox-static, as `cargo xtask test` installs them, and no network.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking")]

mod guest;
mod lifecycle;
mod project;
mod traces;
mod watchdog;
