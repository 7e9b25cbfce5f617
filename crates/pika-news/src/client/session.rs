//! From where somebody stands to what they mean: which forge, which repository, which branch, which commit.
//!
//! Invariant: nothing is read from the environment: the folder, git, the tokens and the wishes are handed in.

use std::ffi::OsString;
use std::path::Path;

use pika_git::{Git, GitError, WorkTree};

use super::credentials::{Credentials, CredentialsError};
use super::find::{self, Place};
use super::model::Branch;
use super::{Client, ClientError, Origin};

/// So many repositories are named when one has to be chosen.
const NAMED_MAX: usize = 20;

/// Why it is not clear what is meant, or could not be found out.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// Nothing says which forge is meant.
    #[error(
        "which forge? No remote of this working tree leads to one that you are signed in to; name it with `--server URL` or in \
         PIKA_NEWS_SERVER"
    )]
    Forge,
    /// There is no token of the forge.
    #[error("you are not signed in to {origin}; run `pika-news login {origin}`")]
    SignedOut {
        /// The forge.
        origin: Origin,
    },
    /// Nothing says which repository is meant.
    #[error("which repository? name one of: {}", names.join(", "))]
    Repository {
        /// Those there are.
        names: Vec<String>,
    },
    /// No branch was named, and none is checked out.
    #[error("no branch is checked out here; name one")]
    Branch,
    /// The forge has no such branch.
    #[error("repository {repository} has no branch {branch}; was it pushed to the forge?")]
    BranchMissing {
        /// The repository.
        repository: String,
        /// The name.
        branch: String,
    },
    /// The working tree has no such commit.
    #[error("there is no commit {revision} here; write its whole name")]
    CommitMissing {
        /// What was asked for.
        revision: String,
    },
    /// The forge did not answer, or refused.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The tokens can't be read.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// Git could not be asked.
    #[error(transparent)]
    Git(#[from] GitError),
}

/// What a person has: git and its configuration, tokens, and what they said for all that follows.
#[derive(Clone, Debug)]
pub struct Person {
    /// The git program.
    pub git: Git,
    /// The variables that lead git to their configuration.
    pub configuration: Vec<(OsString, OsString)>,
    /// Their tokens.
    pub credentials: Credentials,
    /// The forge that they named.
    pub server: Option<Origin>,
    /// The repository that they named.
    pub repository: Option<String>,
}

impl Person {
    /// The checkout that a folder is in.
    pub fn work_tree(&self, folder: &Path) -> Option<WorkTree> {
        WorkTree::find(&self.git, folder, self.configuration.clone()).ok()
    }

    /// The forge that is meant in a checkout, and the repository if that is known.
    pub async fn place(&self, tree: Option<&WorkTree>) -> Result<Place, SessionError> {
        let addresses = remotes(tree).await?;
        let of_remotes = find::of_remotes(addresses.iter().map(String::as_str), &self.credentials)?;
        let place = match &self.server {
            Some(origin) => {
                // The remotes of another forge say nothing about the repositories of this one.
                let there = of_remotes.filter(|place| place.origin == *origin);
                Place { origin: origin.clone(), repository: there.and_then(|place| place.repository) }
            }
            None => match of_remotes {
                Some(place) => place,
                None => self.only_known()?,
            },
        };
        Ok(Place { repository: self.repository.clone().or(place.repository), ..place })
    }

    /// The only forge that there is a token of.
    fn only_known(&self) -> Result<Place, SessionError> {
        match self.credentials.list()?.as_slice() {
            [(origin, _)] => Ok(Place { origin: origin.clone(), repository: None }),
            _ => Err(SessionError::Forge),
        }
    }

    /// A client of this forge with the token that it issued.
    pub fn client(&self, origin: &Origin) -> Result<Client, SessionError> {
        match self.credentials.find(origin)? {
            Some(credential) => Ok(Client::new(origin, &credential.token)?),
            None => Err(SessionError::SignedOut { origin: origin.clone() }),
        }
    }

    /// Begins in a folder.
    pub async fn open(&self, folder: &Path) -> Result<Session, SessionError> {
        let tree = self.work_tree(folder);
        let place = self.place(tree.as_ref()).await?;
        Ok(Session { client: self.client(&place.origin)?, repository: place.repository, tree })
    }
}

/// The addresses of a checkout's remotes: that of the branch which is checked out first.
async fn remotes(tree: Option<&WorkTree>) -> Result<Vec<String>, GitError> {
    let Some(tree) = tree else { return Ok(Vec::new()) };
    let mut remotes = tree.list_remotes().await?;
    let own = match tree.find_branch().await? {
        Some(branch) => tree.find_remote_of(&branch).await?,
        None => None,
    };
    remotes.sort_by_key(|(name, _)| own.as_ref() != Some(name));
    Ok(remotes.into_iter().map(|(_, address)| address).collect())
}

/// A forge that is signed in to, and what is known of where its user stands.
#[derive(Clone, Debug)]
pub struct Session {
    /// The forge.
    pub client: Client,
    /// The repository, when that is known without asking.
    pub repository: Option<String>,
    /// The checkout.
    pub tree: Option<WorkTree>,
}

impl Session {
    /// The repository that is meant: the one that is named, that of the remotes, or the only one there is.
    pub async fn repository(&self) -> Result<String, SessionError> {
        if let Some(name) = &self.repository {
            return Ok(name.clone());
        }
        let mut names: Vec<String> =
            self.client.repositories().await?.into_iter().map(|repository| repository.name).collect();
        if let [only] = names.as_slice() {
            return Ok(only.clone());
        }
        names.truncate(NAMED_MAX);
        Err(SessionError::Repository { names })
    }

    /// The branch of this name or number; without one, the branch that is checked out.
    pub async fn branch(&self, name: Option<&str>) -> Result<Branch, SessionError> {
        let name = match name {
            Some(name) => name.to_owned(),
            None => self.current_branch().await?,
        };
        let number = name.parse::<i64>().ok();
        let id = match (self.repository().await, number) {
            (Ok(repository), number) => {
                let named = self.client.find_branch_id(&repository, &name).await?;
                named.or(number).ok_or(SessionError::BranchMissing { repository, branch: name })?
            }
            // A number needs no repository.
            (Err(_), Some(id)) => id,
            (Err(error), None) => return Err(error),
        };
        Ok(self.client.branch(id).await?)
    }

    /// The branch that is checked out.
    pub async fn current_branch(&self) -> Result<String, SessionError> {
        let found = match &self.tree {
            Some(tree) => tree.find_branch().await?,
            None => None,
        };
        found.ok_or(SessionError::Branch)
    }

    /// The commit that is checked out, unless a branch was named.
    pub async fn checked_out_head(&self, name: Option<&str>) -> Result<Option<String>, SessionError> {
        let (Some(tree), None) = (&self.tree, name) else { return Ok(None) };
        Ok(tree.find_head().await?.map(|head| head.to_string()))
    }

    /// A commit by its whole name; any other revision is looked up in the checkout.
    pub async fn commit(&self, revision: &str) -> Result<String, SessionError> {
        let is_whole =
            matches!(revision.len(), 40 | 64) && revision.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_whole {
            return Ok(revision.to_ascii_lowercase());
        }
        let found = match &self.tree {
            Some(tree) => tree.find_commit(revision).await?,
            None => None,
        };
        let missing = || SessionError::CommitMissing { revision: revision.to_owned() };
        found.map(|commit| commit.to_string()).ok_or_else(missing)
    }
}
