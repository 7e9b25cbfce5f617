//! End to end: the real programs, real git, real processes.

#![allow(clippy::unwrap_used, reason = "helpers of tests, which the lint does not recognise")]

mod contract;
