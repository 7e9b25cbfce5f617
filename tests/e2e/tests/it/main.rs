//! End to end: the real programs, real git, real processes.

#![allow(clippy::unwrap_used, reason = "helpers of tests, which the lint does not recognise")]

mod agent;
mod cli_crash;
mod cli_run;
mod client_commands;
mod contract;
mod demo;
mod forge_git;
mod forge_hangs;
mod forge_live;
mod forge_merge;
mod forge_mirror;
mod forge_passkeys;
mod forge_push;
mod forge_reload;
mod forge_restart;
mod forge_rules;
mod forge_safety;
mod forge_secrets;
mod forge_storm;
mod incus_run;
mod local;
mod manifest;
mod migration;
mod nix;
mod tutorial;
mod virtual_machine;
