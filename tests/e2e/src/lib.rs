//! Drives the real programs, as their users do: git over HTTP, the pages and the API, the command line, signals.
//!
//! - **programs**: `pikaci` and `pika-news`, as this workspace builds them.
//! - **test forge**: a forge of its own for one test, with its own folder and port.
//! - **work tree**: a clone that a test commits in and pushes from.
//! - **project**: a repository that a test runs `pikaci` in.
//! - **incus project**: a project whose jobs run in instances of the daemon that all tests share.
//! - **browser**: Chromium without a window, told what to do over pipes.
//! - **virtual machine**: a guest without Incus: a kernel, shares, and the guest runner as images have it.
//!
//! Invariants: every wait has a deadline; what a test starts ends with it, also when it fails; no test sees another's
//! files, ports or git configuration. Everything here panics with what was expected: only tests call it.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why")]

mod branch;
mod browser;
mod forge;
mod git;
mod http;
mod incus;
mod process;
mod programs;
mod project;
mod stream;
mod virtual_machine;
mod wait;

pub use branch::{Branch, Lane};
pub use browser::Browser;
pub use forge::{TestForge, TestForgeOptions};
pub use git::{Pushed, WorkTree};
pub use http::{Client, Reply};
pub use incus::IncusProject;
pub use process::{Process, is_alive, processes_with_argument, resident_bytes_max};
pub use programs::{guest_runner, pika_news, pikaci};
pub use project::{Finished, Project, kill_runs};
pub use stream::{LogStream, StreamEvent};
pub use virtual_machine::{Ended, GuestCommand, GuestEnd, Share, VirtualMachine};
pub use wait::{DEADLINE, eventually, soon};
