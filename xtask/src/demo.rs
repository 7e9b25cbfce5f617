//! `cargo xtask demo`: builds both programs and becomes `pika-news demo`.

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::cargo;

/// What `demo` can be told.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where the sample forge keeps everything; made when it is not there.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The port on 127.0.0.1; 0 picks a free one.
    #[arg(long, value_name = "N", default_value_t = 7800)]
    port: u16,
    /// Build with optimisations: slower to start, faster to use.
    #[arg(long)]
    release: bool,
}

/// Builds, then replaces this process with the forge, so that Ctrl-C and signals reach it directly.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut build = vec!["build", "-p", "pikaci-cli", "-p", "pika-news", "--bins"];
    if arguments.release {
        build.push("--release");
    }
    cargo::run(&build)?;
    let profile = if arguments.release { "release" } else { "debug" };
    let program = cargo::target_directory()?.join(profile).join("pika-news");
    let data = arguments.data.clone().unwrap_or_else(|| cargo::root().join("demo-data"));
    let error = Command::new(&program)
        .arg("demo")
        .arg("--data")
        .arg(data)
        .arg("--listen")
        .arg(format!("127.0.0.1:{}", arguments.port))
        .exec();
    Err(error).with_context(|| format!("cannot run {}", program.display()))
}
