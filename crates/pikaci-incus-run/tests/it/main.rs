//! Drives the real runner with real processes, in folders of its own.

#![allow(clippy::unwrap_used, reason = "helpers of tests, which the lint does not recognise")]

mod commands;
mod following;
mod guest;
mod refusals;
mod stopping;
