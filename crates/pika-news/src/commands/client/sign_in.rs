//! `pika-news login`, `logout`, `whoami`, and the helper that git asks for the token.
//!
//! Invariant: a token is never an argument, and is shown to the forge that is named and to no other.

use std::io::{BufRead as _, IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};

use pika_news::auth::Secret;
use pika_news::client::credentials::Credential;
use pika_news::client::{Client, Origin};

use super::failure::Failure;
use super::{DONE, PlaceArguments, credentials, output, person};

/// No token is longer, with its line end.
const TOKEN_BYTES_MAX: u64 = 4096;

#[derive(Debug, clap::Args)]
pub(crate) struct LoginArguments {
    /// The forge, such as https://pika.example.org [default: that of the working tree's remotes]
    #[arg(value_name = "URL", env = "PIKA_NEWS_SERVER")]
    server: Option<String>,
    /// Read the token from a file instead of standard input
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct LogoutArguments {
    /// The forge [default: that of the working tree's remotes]
    #[arg(value_name = "URL", env = "PIKA_NEWS_SERVER")]
    server: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct HelperArguments {
    /// What git wants: `get` is answered, all else is ignored
    #[arg(default_value = "get")]
    operation: String,
}

/// Keeps a token, once the forge has said whose it is.
pub(super) async fn login(arguments: &LoginArguments) -> Result<u8, Failure> {
    let origin = origin(arguments.server.clone()).await?;
    if !origin.is_secure() && !origin.is_loopback() {
        eprintln!("pika-news: {origin} is not encrypted: whoever is on the way can read the token");
    }
    let token = read_token(&origin, arguments.token_file.as_deref()).await?;
    let who = match Client::new(&origin, &token)?.who_am_i().await {
        Ok(who) => who,
        Err(error) if error.is_unauthenticated() => {
            return Err(Failure::usage(format!(
                "{origin} does not know this token; make one on its page {}",
                page(&origin)
            )));
        }
        Err(error) => return Err(error.into()),
    };
    credentials()?.keep(&origin, &Credential { user: who.user.clone(), token })?;
    let scopes = who.scopes.join(", ");
    output::line(&output::plain(&format!("signed in to {origin} as {}; the token may: {scopes}", who.user)));
    Ok(DONE)
}

/// Forgets a token. It stays valid until it is revoked on the forge.
pub(super) async fn logout(arguments: &LogoutArguments) -> Result<u8, Failure> {
    let origin = origin(arguments.server.clone()).await?;
    let text = match credentials()?.forget(&origin)? {
        true => format!("the token of {origin} is forgotten; revoke it on {} to end it", page(&origin)),
        false => format!("you were not signed in to {origin}"),
    };
    output::line(&text);
    Ok(DONE)
}

/// Shows who the token makes its bearer.
pub(super) async fn who_am_i(arguments: &PlaceArguments) -> Result<u8, Failure> {
    let person = person(arguments)?;
    let place = person.place(person.work_tree(Path::new(".")).as_ref()).await?;
    let who = person.client(&place.origin)?.who_am_i().await?;
    if arguments.json {
        output::json(&who)?;
        return Ok(DONE);
    }
    let admin = if who.is_admin { ", an administrator" } else { "" };
    let repository = place.repository.map_or_else(String::new, |name| format!(", repository {name}"));
    let text = format!(
        "{}{admin} at {}{repository}; the token may: {}",
        who.user,
        place.origin,
        who.scopes.join(", ")
    );
    output::line(&output::plain(&text));
    Ok(DONE)
}

/// Answers git (gitcredentials(7)): user and token, for a forge that there is a token of, and nothing for any other host.
pub(super) fn help_git(arguments: &HelperArguments) -> Result<u8, Failure> {
    if arguments.operation != "get" {
        return Ok(DONE);
    }
    let (mut protocol, mut host) = (String::new(), String::new());
    for line in std::io::stdin().lock().take(64 << 10).lines() {
        let line = line.map_err(Failure::infrastructure)?;
        match line.split_once('=') {
            Some(("protocol", value)) => protocol = value.to_owned(),
            Some(("host", value)) => host = value.to_owned(),
            Some(_) => {}
            None => break,
        }
    }
    let Ok(origin) = Origin::parse(&format!("{protocol}://{host}")) else { return Ok(DONE) };
    if let Some(Credential { user, token }) = credentials()?.find(&origin)? {
        output::line(&format!("username={}\npassword={}", output::plain(&user), token.reveal()));
    }
    Ok(DONE)
}

async fn origin(server: Option<String>) -> Result<Origin, Failure> {
    let person = person(&PlaceArguments { server, repository: None, json: false })?;
    Ok(person.place(person.work_tree(Path::new(".")).as_ref()).await?.origin)
}

fn page(origin: &Origin) -> String {
    format!("{origin}/news/settings/tokens")
}

async fn read_token(origin: &Origin, file: Option<&Path>) -> Result<Secret, Failure> {
    let text = match file {
        Some(path) => {
            let mut text = String::new();
            let file = std::fs::File::open(path)
                .map_err(|error| Failure::usage(format!("cannot open {}: {error}", path.display())))?;
            file.take(TOKEN_BYTES_MAX).read_to_string(&mut text).map_err(Failure::infrastructure)?;
            text
        }
        None => ask_for_token(origin).await?,
    };
    let text = text.trim();
    let is_one = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    let token = if is_one { Secret::presented(text) } else { None };
    let wrong = "this is no token: one is a line of letters and digits that begins with `pika_`";
    token.ok_or_else(|| Failure::usage(wrong))
}

async fn ask_for_token(origin: &Origin) -> Result<String, Failure> {
    let is_terminal = std::io::stdin().is_terminal();
    if is_terminal {
        eprint!("make a token on {} and paste it here: ", page(origin));
    }
    // Kept outside of what reads, so that an interrupt gives the terminal back as it was.
    let _hidden = is_terminal.then(Hidden::new).flatten();
    let read = tokio::task::spawn_blocking(|| {
        let mut text = String::new();
        std::io::stdin().lock().take(TOKEN_BYTES_MAX).read_line(&mut text).map(|_| text)
    });
    let text = read.await.map_err(Failure::infrastructure)?.map_err(Failure::infrastructure)?;
    if is_terminal {
        eprintln!();
    }
    Ok(text)
}

/// A terminal that does not show what is typed, until this is dropped.
struct Hidden(rustix::termios::Termios);

impl Hidden {
    fn new() -> Option<Hidden> {
        use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
        let before = tcgetattr(std::io::stdin()).ok()?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(std::io::stdin(), OptionalActions::Now, &silent).ok()?;
        Some(Hidden(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let now = rustix::termios::OptionalActions::Now;
        let _ = rustix::termios::tcsetattr(std::io::stdin(), now, &self.0);
    }
}
