//! The commands that ask a forge over its API: who asks whom about which repository, and with which exit code they end.
//!
//! Invariants: no database is opened and no configuration of a forge is read; a token is found by the forge's whole origin. What
//! is printed for programs goes to standard output, what is said to people about trouble to standard error.

mod branch;
mod completions;
mod failure;
mod lane;
mod mcp;
mod output;
mod sign_in;
mod terminal;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use pika_news::client::Origin;
use pika_news::client::credentials::Credentials;
use pika_news::client::session::{self, Person};

use failure::Failure;

/// It is done, or what was waited for is green.
const DONE: u8 = 0;

const EXIT_CODES: &str = "\
Exit codes: 0 passed or done, 1 failed or refused, 2 usage, sign-in or manifest, 3 infrastructure, 4 timed out, 130 cancelled.";

/// What a client does.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Sign in to a forge: keep a token that was made on its page of tokens
    Login(sign_in::LoginArguments),
    /// Forget the token of a forge
    Logout(sign_in::LogoutArguments),
    /// Show who the token makes you
    #[command(name = "whoami")]
    WhoAmI(PlaceArguments),
    /// Look at branches, wait for them, merge and close them
    #[command(subcommand, after_help = EXIT_CODES)]
    Branch(branch::Command),
    /// Watch, repeat or stop an attempt at a lane
    #[command(subcommand, after_help = EXIT_CODES)]
    Run(lane::RunCommand),
    /// Print the log of a job
    #[command(after_help = EXIT_CODES)]
    Logs(lane::LogsArguments),
    /// Explain why a branch is red: failing job and tests, the lines that matter, the command that repeats it
    Why(lane::WhyArguments),
    /// List what waits and what runs, and why it waits
    Queue(lane::QueueArguments),
    /// Serve the forge to a coding agent: a Model Context Protocol server on standard input and output
    Mcp(mcp::Arguments),
    /// Answer git when it asks for a password, as a credential helper
    ///
    /// `git config --global credential.https://FORGE.helper '!pika-news git-credential'`
    GitCredential(sign_in::HelperArguments),
    /// Print a script that teaches a shell the words of this program
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Which forge, and which of its repositories.
#[derive(Clone, Debug, Args)]
pub(crate) struct PlaceArguments {
    /// The forge, such as https://pika.example.org [default: that of the working tree's remotes]
    #[arg(long, value_name = "URL", env = "PIKA_NEWS_SERVER")]
    server: Option<String>,
    /// The repository [default: that of the working tree's remotes]
    #[arg(long, short = 'R', value_name = "NAME")]
    repository: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Performs a command. `program` is the whole command line, for the words that shells complete.
pub(crate) fn run(command: Command, program: clap::Command) -> ExitCode {
    let done = match super::runtime() {
        Ok(runtime) => {
            let done = runtime.block_on(async {
                tokio::select! {
                    done = perform(command, program) => done,
                    interrupted = tokio::signal::ctrl_c() => match interrupted {
                        Ok(()) => Ok(failure::CANCELLED),
                        Err(error) => Err(Failure::infrastructure(error)),
                    },
                }
            });
            // Standard input may still be read by a thread that nothing ends.
            runtime.shutdown_timeout(Duration::ZERO);
            done
        }
        Err(error) => Err(Failure::infrastructure(error)),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            eprintln!("pika-news: {failure}");
            ExitCode::from(failure.code)
        }
    }
}

async fn perform(command: Command, program: clap::Command) -> Result<u8, Failure> {
    match command {
        Command::Login(arguments) => sign_in::login(&arguments).await,
        Command::Logout(arguments) => sign_in::logout(&arguments).await,
        Command::WhoAmI(place) => sign_in::who_am_i(&place).await,
        Command::Branch(command) => branch::run(&command).await,
        Command::Run(command) => lane::run(&command).await,
        Command::Logs(arguments) => lane::logs(&arguments).await,
        Command::Why(arguments) => lane::why(&arguments).await,
        Command::Queue(arguments) => lane::queue(&arguments).await,
        Command::Mcp(arguments) => mcp::serve(&arguments).await,
        Command::GitCredential(arguments) => sign_in::help_git(&arguments),
        Command::Completions { shell } => Ok(completions::print(shell, program)),
    }
}

/// A session, and how its answers are printed.
struct Session {
    session: session::Session,
    is_json: bool,
}

impl std::ops::Deref for Session {
    type Target = session::Session;

    fn deref(&self) -> &session::Session {
        &self.session
    }
}

impl Session {
    async fn open(arguments: &PlaceArguments) -> Result<Session, Failure> {
        let session = person(arguments)?.open(Path::new(".")).await?;
        Ok(Session { session, is_json: arguments.json })
    }
}

/// Who asks, with what they said about where.
fn person(arguments: &PlaceArguments) -> Result<Person, Failure> {
    let server = arguments.server.as_deref().filter(|server| !server.is_empty());
    Ok(Person {
        git: super::serve::git(),
        configuration: configuration(),
        credentials: credentials()?,
        server: server.map(Origin::parse).transpose().map_err(Failure::usage)?,
        repository: arguments.repository.clone(),
    })
}

/// The variables that lead git to this person's configuration, and its helper, which is this program, to the tokens.
fn configuration() -> Vec<(OsString, OsString)> {
    let names = [
        "HOME",
        "XDG_CONFIG_HOME",
        "GIT_CONFIG_GLOBAL",
        "GIT_CONFIG_SYSTEM",
        "GIT_CONFIG_NOSYSTEM",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
    ];
    names.iter().filter_map(|name| Some((OsString::from(name), std::env::var_os(name)?))).collect()
}

/// Where this person's tokens are kept.
fn credentials() -> Result<Credentials, Failure> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = variable("XDG_CONFIG_HOME").or_else(|| variable("HOME").map(|home| home.join(".config")));
    let folder =
        folder.ok_or_else(|| Failure::usage("set HOME or XDG_CONFIG_HOME: tokens are kept there"))?;
    Ok(Credentials::new(folder.join("pika-news")))
}

/// A time such as `90s`, `10m` or `2h`.
fn time(text: &str) -> Result<Duration, String> {
    let wrong = || "write a number and a unit, such as 90s, 10m or 2h".to_owned();
    let unit_s = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        _ => return Err(wrong()),
    };
    let count: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    count.checked_mul(unit_s).filter(|seconds| *seconds < 1 << 40).map(Duration::from_secs).ok_or_else(wrong)
}
