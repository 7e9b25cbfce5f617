//! `pika-news token create`, `sign-in-link` and `user …`: an operator lets somebody in, and out.
//!
//! They work beside a running forge, and without one.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use pika_news::auth::{AuthError, Authenticator, OPERATOR, Role, Scope, Scopes, User};
use pika_news::config::Config;
use pika_news::store::ExternalIdentity;

/// Whom to let in.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The user; the first of a forge is made, as its administrator
    #[arg(long, value_name = "NAME", default_value = super::FIRST_USER)]
    user: String,
    /// What the token is for
    #[arg(long, value_name = "TEXT", default_value = "made on the command line")]
    title: String,
    /// What it may be used for: read, push, write, admin; all of them unless given
    #[arg(long, value_name = "WORD", value_delimiter = ',', value_parser = scope)]
    scope: Vec<Scope>,
    /// After how long it stops to work, such as 30d or 12h; never unless given
    #[arg(long, value_name = "TIME", value_parser = lifetime)]
    expires: Option<Duration>,
}

fn scope(text: &str) -> Result<Scope, String> {
    Scope::parse(text).ok_or_else(|| "a scope is read, push, write or admin".to_owned())
}

fn lifetime(text: &str) -> Result<Duration, String> {
    let wrong = || "write a number and a unit, such as 30d, 12h or 15m".to_owned();
    let unit_s = match text.chars().last() {
        Some('d') => 24 * 3600,
        Some('h') => 3600,
        Some('m') => 60,
        _ => return Err(wrong()),
    };
    let count: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    count.checked_mul(unit_s).filter(|seconds| *seconds > 0).map(Duration::from_secs).ok_or_else(wrong)
}

/// Whose sign-in link.
#[derive(Debug, clap::Args)]
pub(crate) struct LinkArguments {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The user; the first of a forge is made, as its administrator
    #[arg(long, value_name = "NAME", default_value = super::FIRST_USER)]
    user: String,
}

/// What is done about users.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum UserCommand {
    /// List the users
    List(UserConfig),
    /// Add a user
    Add {
        /// Their name
        name: String,
        /// Make them an administrator of the forge
        #[arg(long)]
        admin: bool,
        #[command(flatten)]
        config: UserConfig,
    },
    /// Remove a user for good; what they did stays in the audit log
    Remove(NamedUser),
    /// End every right of a user at once: sessions, tokens, links and keys
    Disable(NamedUser),
    /// Let a user sign in again
    Enable(NamedUser),
    /// Say who a user is to the OpenID provider
    Link {
        /// Their name
        name: String,
        /// The provider, as it calls itself
        #[arg(long, value_name = "URL")]
        issuer: String,
        /// Who they are there: the claim `sub`
        #[arg(long, value_name = "TEXT")]
        subject: String,
        #[command(flatten)]
        config: UserConfig,
    },
    /// Give a user a role in a repository, or take it away
    Role {
        /// Their name
        name: String,
        /// The repository
        repository: String,
        /// read, write, admin or none
        role: String,
        #[command(flatten)]
        config: UserConfig,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct UserConfig {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(crate) struct NamedUser {
    /// Their name
    name: String,
    #[command(flatten)]
    config: UserConfig,
}

/// Does it, in the operator's name.
pub(crate) fn user(command: &UserCommand) -> Result<()> {
    let (UserCommand::List(config)
    | UserCommand::Add { config, .. }
    | UserCommand::Remove(NamedUser { config, .. })
    | UserCommand::Disable(NamedUser { config, .. })
    | UserCommand::Enable(NamedUser { config, .. })
    | UserCommand::Link { config, .. }
    | UserCommand::Role { config, .. }) = command;
    let config = Config::load(&config.config)?;
    super::runtime()?.block_on(async {
        let store = super::open_store(&config)?.store;
        let auth = Authenticator::new(store.clone());
        match command {
            UserCommand::List(_) => list_users(&auth).await?,
            UserCommand::Add { name, admin, .. } => {
                let account = auth.add_user(OPERATOR, name, *admin).await?;
                let path = auth.create_sign_in_link(&account.user()).await?;
                print_link(&config, &account.user(), &path);
            }
            UserCommand::Remove(user) => auth.remove_user(OPERATOR, &user.name).await?,
            UserCommand::Disable(user) => auth.disable_user(&user.name).await?,
            UserCommand::Enable(user) => auth.enable_user(&user.name).await?,
            UserCommand::Link { name, issuer, subject, .. } => {
                let identity = ExternalIdentity { issuer: issuer.clone(), subject: subject.clone() };
                auth.link_identity(OPERATOR, name, identity).await?;
            }
            UserCommand::Role { name, repository, role, .. } => {
                let role = match role.as_str() {
                    "none" => None,
                    word => Some(Role::parse(word).context("a role is read, write, admin or none")?),
                };
                if !config.repositories.iter().any(|configured| configured.name == *repository) {
                    bail!("there is no repository {repository:?} in the configuration");
                }
                let id = store.ensure_repository(repository, jiff::Timestamp::now().as_millisecond()).await?;
                auth.set_member(OPERATOR, (id, repository), name, role).await?;
            }
        }
        Ok(())
    })
}

async fn list_users(auth: &Authenticator) -> Result<()> {
    const USERS_PER_READ: u32 = 500;
    let mut after = None;
    loop {
        let users = auth.list_users(after.as_deref(), USERS_PER_READ).await?;
        let Some(last) = users.last() else { return Ok(()) };
        after = Some(last.name.clone());
        for user in users {
            let words = [(user.is_admin, " administrator"), (user.is_disabled, " disabled")];
            let words: String = words.into_iter().filter(|(is_so, _)| *is_so).map(|(_, word)| word).collect();
            println!("{}{words}", user.name);
        }
    }
}

/// Prints a new token.
pub(crate) fn create_token(arguments: &Arguments) -> Result<()> {
    let config = Config::load(&arguments.config)?;
    super::runtime()?.block_on(async {
        let (authenticator, user) = find_user(&config, &arguments.user).await?;
        let scopes = match arguments.scope.as_slice() {
            [] => Scopes::all(),
            scopes => scopes.iter().copied().collect(),
        };
        let token = authenticator
            .create_token_as(OPERATOR, &user, &arguments.title, &scopes, arguments.expires)
            .await?;
        println!("{}", token.secret.reveal());
        Ok(())
    })
}

/// Prints a new sign-in link.
pub(crate) fn print_sign_in_link(arguments: &LinkArguments) -> Result<()> {
    let config = Config::load(&arguments.config)?;
    super::runtime()?.block_on(async {
        let (authenticator, user) = find_user(&config, &arguments.user).await?;
        let path = authenticator.create_sign_in_link(&user).await?;
        print_link(&config, &user, &path);
        Ok(())
    })
}

/// The link alone goes to standard output: scripts read it.
fn print_link(config: &Config, user: &User, path: &str) {
    let who = if user.is_admin { ", an administrator of the forge" } else { "" };
    eprintln!("this link signs in as {}{who}; it works once, within a day", user.name);
    println!("{}{path}", config.public_url);
}

/// Finds a user, who keeps the rights that they have. The first one is made, as the forge's administrator; any other name that is
/// not there is a mistake, which must not become an administrator.
async fn find_user(config: &Config, name: &str) -> Result<(Authenticator, User)> {
    let authenticator = Authenticator::new(super::open_store(config)?.store);
    let account = match authenticator.account(name).await {
        Err(AuthError::UserMissing { .. })
            if name == super::FIRST_USER || !authenticator.has_users().await? =>
        {
            authenticator.add_user(OPERATOR, name, true).await?
        }
        Err(error @ AuthError::UserMissing { .. }) => {
            bail!(
                "{error}; `pika-news user list` says who is there, `pika-news user add {name}` adds somebody"
            )
        }
        found => found?,
    };
    Ok((authenticator, account.user()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_is_there_already_gets_a_link_and_no_further_rights() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pika-news.toml");
        std::fs::write(&file, format!("data = {:?}\n", folder.path().join("data"))).unwrap();
        let config = Config::load(&file).unwrap();
        let (auth, first) = find_user(&config, "ada").await.unwrap();
        assert!(first.is_admin);
        auth.add_user(OPERATOR, "bob", false).await.unwrap();
        assert!(!find_user(&config, "bob").await.unwrap().1.is_admin);
        assert!(!auth.account("bob").await.unwrap().user().is_admin);
        let entries = auth.list_audit(None, None, 10).await.unwrap();
        let created = entries.iter().filter(|entry| entry.action == "user.created").count();
        assert_eq!((entries.len(), created), (2, 2));
        let refused = find_user(&config, "bbo").await.map(|(_, user)| user).unwrap_err().to_string();
        assert!(refused.contains("\"bbo\"") && refused.contains("user add bbo"), "{refused}");
        assert!(auth.account("bbo").await.is_err());
    }
}
