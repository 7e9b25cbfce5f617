//! The client against a fake server that misbehaves, and against a real one.

#![allow(clippy::unwrap_used, reason = "helpers of tests, which the lint does not recognise")]

mod answers;
mod cluster;
mod connections;
mod daemon;
mod daemon_instances;
mod fake;
mod https;
mod operations;
mod streams;
mod world;
