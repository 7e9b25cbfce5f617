//! `pika-news token create` and `pika-news sign-in-link`: an operator lets somebody in.
//!
//! They work beside a running forge, and without one.

use std::path::PathBuf;

use anyhow::Result;
use pika_news::auth::{Authenticator, Scopes, User};
use pika_news::config::Config;

/// Whom to let in.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The user; made when there is none of that name
    #[arg(long, value_name = "NAME", default_value = super::FIRST_USER)]
    user: String,
    /// What the token is for
    #[arg(long, value_name = "TEXT", default_value = "made on the command line")]
    title: String,
}

/// Prints a new token.
pub(crate) fn create_token(arguments: &Arguments) -> Result<()> {
    let config = Config::load(&arguments.config)?;
    super::runtime()?.block_on(async {
        let (authenticator, user) = find_user(&config, &arguments.user).await?;
        let token = authenticator.create_token(&user, &arguments.title, &Scopes::all(), None).await?;
        println!("{}", token.reveal());
        Ok(())
    })
}

/// Prints a new sign-in link.
pub(crate) fn print_sign_in_link(arguments: &Arguments) -> Result<()> {
    let config = Config::load(&arguments.config)?;
    super::runtime()?.block_on(async {
        let (authenticator, user) = find_user(&config, &arguments.user).await?;
        let path = authenticator.create_sign_in_link(&user).await?;
        println!("{}{path}", config.public_url);
        Ok(())
    })
}

/// Who may read the database may do anything: users that are made here are administrators.
async fn find_user(config: &Config, name: &str) -> Result<(Authenticator, User)> {
    let authenticator = Authenticator::new(super::open_store(config)?.store);
    let user = authenticator.ensure_user(name, true).await?;
    Ok((authenticator, user))
}
