//! Tests of the crate's public face, with real diffs by a real git.

#![allow(clippy::unwrap_used, reason = "helpers of tests, which the lint does not recognise")]

mod command_provider;
mod corpus;
mod git;
mod http_providers;
mod model_server;
mod real_diffs;
mod sample;
