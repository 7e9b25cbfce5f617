//! Drives the real runner with real processes, in folders of its own.

#![allow(clippy::unwrap_used, reason = "helpers of tests, which the lint does not recognise")]
#![allow(clippy::print_stderr, reason = "a test that cannot be run here says so")]

mod commands;
mod detaching;
mod following;
mod guest;
mod hostile;
mod networks;
mod refusals;
mod secrets;
mod sentinels;
mod stopping;
mod users;
