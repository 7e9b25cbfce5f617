//! The command `pika-news`: the forge's server, its operator's commands, the hook of its repositories, and a client of forges.
//!
//! Invariant: the environment is read here and in `commands/` only; below, everything is handed in.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod commands;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use pika_git::{POST_RECEIVE, PRE_RECEIVE};
use pika_news::hook::HookCall;

/// A forge that tests every branch with pikaci.
#[derive(Debug, Parser)]
#[command(name = "pika-news", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the repositories of a configuration
    Serve(commands::serve::Arguments),
    /// Check a configuration, and print every problem with its line
    CheckConfig(ConfigArgument),
    /// Copy a forge into a folder, also while it serves
    Backup(commands::backup::BackupArguments),
    /// Make a forge of what `backup` copied
    Restore(commands::backup::RestoreArguments),
    /// Serve a sample repository with a passing, a failing and a slow branch
    Demo(commands::demo::Arguments),
    /// Explain the changes of a working tree, as a page that needs no server
    Local(Box<commands::local::Arguments>),
    /// Make tokens, which are the passwords of git and of scripts
    #[command(subcommand)]
    Token(TokenCommand),
    /// Keep the secrets that lanes get
    #[command(subcommand)]
    Secret(commands::secret::Command),
    /// Print a one-time sign-in link
    SignInLink(commands::access::LinkArguments),
    /// List, add, disable and enable users, and give them roles
    #[command(subcommand)]
    User(commands::access::UserCommand),
    #[command(flatten)]
    Client(commands::client::Command),
    /// Tell the forge of a push; git calls this
    #[command(hide = true)]
    Hook {
        /// The hook's name
        name: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Make a token and print it; it is not shown again
    Create(commands::access::Arguments),
}

#[derive(Debug, clap::Args)]
struct ConfigArgument {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

fn main() -> ExitCode {
    let called_as = std::env::args_os().next().unwrap_or_default();
    for name in [PRE_RECEIVE, POST_RECEIVE] {
        if Path::new(&called_as).file_name().is_some_and(|called_as| called_as == name) {
            return hook(name);
        }
    }
    let done = match Arguments::parse().command {
        Command::Serve(arguments) => commands::serve::run(&arguments),
        Command::CheckConfig(argument) => commands::check_config::run(&argument.config),
        Command::Backup(arguments) => commands::backup::back_up(&arguments),
        Command::Restore(arguments) => commands::backup::restore(&arguments),
        Command::Demo(arguments) => commands::demo::run(&arguments),
        Command::Local(arguments) => commands::local::run(&arguments),
        Command::Token(TokenCommand::Create(arguments)) => commands::access::create_token(&arguments),
        Command::Secret(command) => commands::secret::run(&command),
        Command::SignInLink(arguments) => commands::access::print_sign_in_link(&arguments),
        Command::User(command) => commands::access::user(&command),
        Command::Client(command) => return commands::client::run(command, Arguments::command()),
        Command::Hook { name } => return hook(name.as_deref().unwrap_or(POST_RECEIVE)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pika-news: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Refuses a push before it is stored, and never fails one that is.
fn hook(name: &str) -> ExitCode {
    let call = HookCall::from_variables(|name| std::env::var_os(name));
    if name == PRE_RECEIVE {
        return if call.check(std::io::stdin(), std::io::stdout()) {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        };
    }
    call.run(std::io::stdin(), std::io::stdout());
    ExitCode::SUCCESS
}
