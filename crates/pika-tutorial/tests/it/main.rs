//! Tests of the crate's public face, with real diffs by a real git.

#![allow(clippy::unwrap_used, reason = "helpers of tests, which the lint does not recognise")]

mod git;
mod real_diffs;
