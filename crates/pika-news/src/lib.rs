//! The forge: it receives pushes, runs the manifest's targets through `pikaci`, and shows the records.
//!
//! # Glossary
//!
//! - **branch**: one line of work in a repository; the default branch is what the others are merged into.
//! - **head**: one commit that a branch pointed at; what was selected and what came of it belongs to the head.
//! - **lane**: one target of the manifest for one head.
//! - **lane run**: one attempt at a lane, which is one run of `pikaci`. The latest attempt is what counts.
//! - **claim**: the right to run a lane run, held by a token under a lease that a heartbeat renews.
//! - **tutorial**: a head explained; written by a writer in its own time, made by a program at once.
//! - **merge intent**: what is written down before a merge moves a ref.
//!
//! Invariants: SQL is in `store/` only; `web/` calls one use case of `forge/` per request; `ci/` acts only by spawning
//! `pikaci` and learns only from the run's folder.

pub mod auth;
pub mod backup;
pub mod ci;
pub mod client;
pub mod config;
pub mod forge;
pub mod hook;
pub mod hook_socket;
pub mod mcp;
pub mod metrics;
mod mirror;
mod outgoing;
pub mod secrets;
pub mod ssh;
pub mod store;
mod turns;
mod tutorials;
pub mod web;
mod webhooks;
