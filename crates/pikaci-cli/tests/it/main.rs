//! The command `pikaci` against real git repositories in temporary folders.

#![allow(clippy::unwrap_used, reason = "helpers of tests, which the lint does not recognise")]

mod exit_codes;
mod formats;
mod guest_run;
mod prepared;
mod project;
mod reading;
mod secrets;
mod starting;
mod workspace;
