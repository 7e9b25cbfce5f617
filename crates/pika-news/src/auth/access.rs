//! Who may do what: the one decision that pages, API, streams and git ask for.
//!
//! Invariant: [`Principal::decide`] is the only place that says yes. Whoever adds an action or a resource says here who may
//! use it; what has no line in the decision does not compile.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::User;

/// What a user may do in a repository. Each includes the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// See branches, runs and logs; clone and fetch.
    Read,
    /// Also push, merge, close, rerun and cancel.
    Write,
    /// Also decide on members, webhooks, secrets and rules.
    Admin,
}

/// What a token may be used for. A session and an SSH key of a user may do all that the user may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Reading: API, streams, clone and fetch.
    Read,
    /// Pushing with git.
    Push,
    /// Merging, closing, rerunning, cancelling.
    Write,
    /// Whatever its user administers, and its user's own account.
    Admin,
}

macro_rules! words {
    ($word:ident { $($variant:ident = $text:literal),* $(,)? }) => {
        impl $word {
            /// All of them, the smallest first.
            pub const ALL: &[$word] = &[$($word::$variant),*];

            /// The word as it is stored and sent.
            pub fn as_str(self) -> &'static str {
                match self {
                    $($word::$variant => $text,)*
                }
            }

            /// Reads a word; `None` when there is no such word.
            pub fn parse(text: &str) -> Option<$word> {
                $word::ALL.iter().copied().find(|word| word.as_str() == text)
            }
        }

        impl fmt::Display for $word {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.pad(self.as_str())
            }
        }
    };
}

words! { Role { Read = "read", Write = "write", Admin = "admin" } }
words! { Scope { Read = "read", Push = "push", Write = "write", Admin = "admin" } }

/// The scopes of one token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scopes(BTreeSet<Scope>);

impl Scopes {
    /// Every scope: what a session has.
    pub fn all() -> Scopes {
        Scopes(Scope::ALL.iter().copied().collect())
    }

    /// Reads words that are separated by spaces. A word that is not known grants nothing, so that a token of a newer
    /// forge is never worth more than it was.
    pub fn parse(text: &str) -> Scopes {
        Scopes(text.split_whitespace().filter_map(Scope::parse).collect())
    }

    /// Whether this is one of them.
    pub fn contains(&self, scope: Scope) -> bool {
        self.0.contains(&scope)
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Scopes {
        Scopes(scopes.into_iter().collect())
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<&str> = self.0.iter().map(|scope| scope.as_str()).collect();
        formatter.write_str(&words.join(" "))
    }
}

/// What somebody wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Look: pages, API, logs, streams, clone and fetch.
    Read,
    /// Push with git; which branches is asked apart, of the repository's rules.
    Push,
    /// Merge, close, rerun, cancel, have a tutorial written again.
    Write,
    /// Change who may do what, and what the forge does by itself.
    Administer,
}

/// What they want to do it to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource<'a> {
    /// A repository, with its branches, runs, logs and settings.
    Repository(&'a str),
    /// The account of the user with this number: tokens, keys, sessions.
    Account(i64),
    /// What concerns the forge as a whole: users, the audit log.
    Forge,
}

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// They may.
    Allowed,
    /// Nobody is signed in; signing in may help.
    Unauthenticated,
    /// They may not know that it is there.
    Hidden,
    /// They may know that it is there, and not do this to it.
    Forbidden(Refused),
}

/// Why somebody who may see a thing may not do something to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Their role is too small.
    Role(Role),
    /// The token's scopes are too small.
    Scope(Scope),
    /// Only administrators of the forge may.
    NotAdministrator,
}

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::Role(role) => write!(formatter, "this needs the role `{role}` in the repository"),
            Refused::Scope(scope) => {
                write!(formatter, "this token has not the scope `{scope}`; make one that has")
            }
            Refused::NotAdministrator => formatter.write_str("only administrators of the forge may do this"),
        }
    }
}

/// The names of the repositories that everybody may read.
pub type PublicRepositories = Arc<BTreeSet<String>>;

/// Who asks, and what they may use of their rights: the outcome of an authentication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    user: Option<User>,
    scopes: Scopes,
    roles: BTreeMap<String, Role>,
    public: PublicRepositories,
}

impl Principal {
    /// Somebody who has shown nothing.
    pub fn anonymous(public: PublicRepositories) -> Principal {
        Principal { user: None, scopes: Scopes::all(), roles: BTreeMap::new(), public }
    }

    /// A user with these roles, by their repositories' names, who uses them within these scopes.
    pub fn new(
        user: User,
        roles: BTreeMap<String, Role>,
        scopes: Scopes,
        public: PublicRepositories,
    ) -> Principal {
        Principal { user: Some(user), scopes, roles, public }
    }

    /// The user; `None` for who is not signed in.
    pub fn user(&self) -> Option<&User> {
        self.user.as_ref()
    }

    /// Their name, for what is written down about them.
    pub fn name(&self) -> &str {
        self.user.as_ref().map_or("anonymous", |user| &user.name)
    }

    /// Their number; 0, which no user has, for who is not signed in.
    pub fn user_id(&self) -> i64 {
        self.user.as_ref().map_or(0, |user| user.id)
    }

    /// What their token may be used for.
    pub fn scopes(&self) -> &Scopes {
        &self.scopes
    }

    /// The role that they have in a repository; an administrator of the forge is one of every repository.
    pub fn role(&self, repository: &str) -> Option<Role> {
        match &self.user {
            Some(user) if user.is_admin => Some(Role::Admin),
            Some(_) => self.roles.get(repository).copied(),
            None => None,
        }
    }

    /// Whether everybody may read a repository.
    pub fn is_public(&self, repository: &str) -> bool {
        self.public.contains(repository)
    }

    /// Decides. Every right in this forge comes from here.
    pub fn decide(&self, action: Action, resource: Resource<'_>) -> Decision {
        match resource {
            Resource::Repository(name) => self.decide_repository(action, name),
            Resource::Account(id) => match &self.user {
                None => Decision::Unauthenticated,
                Some(user) if user.id == id => self.within(account_scope(action)),
                Some(user) if user.is_admin => self.within(Scope::Admin),
                Some(_) => Decision::Hidden,
            },
            Resource::Forge => match &self.user {
                None => Decision::Unauthenticated,
                Some(user) if user.is_admin => self.within(Scope::Admin),
                Some(_) => Decision::Forbidden(Refused::NotAdministrator),
            },
        }
    }

    fn decide_repository(&self, action: Action, name: &str) -> Decision {
        let (needed, scope) = match action {
            Action::Read => (Role::Read, Scope::Read),
            Action::Push => (Role::Write, Scope::Push),
            Action::Write => (Role::Write, Scope::Write),
            Action::Administer => (Role::Admin, Scope::Admin),
        };
        let is_public = self.public.contains(name);
        match self.role(name) {
            Some(role) if role >= needed => self.within(scope),
            Some(_) => Decision::Forbidden(Refused::Role(needed)),
            None if is_public && action == Action::Read => self.within(scope),
            None if is_public && self.user.is_some() => Decision::Forbidden(Refused::Role(needed)),
            None if self.user.is_some() => Decision::Hidden,
            None => Decision::Unauthenticated,
        }
    }

    fn within(&self, scope: Scope) -> Decision {
        match self.scopes.contains(scope) {
            true => Decision::Allowed,
            false => Decision::Forbidden(Refused::Scope(scope)),
        }
    }

    /// Whether the decision is yes.
    pub fn may(&self, action: Action, resource: Resource<'_>) -> bool {
        self.decide(action, resource) == Decision::Allowed
    }

    /// Whether they may read a repository, its runs and its logs.
    pub fn can_read(&self, repository: &str) -> bool {
        self.may(Action::Read, Resource::Repository(repository))
    }

    /// Whether they may merge, close, rerun and cancel in a repository.
    pub fn can_write(&self, repository: &str) -> bool {
        self.may(Action::Write, Resource::Repository(repository))
    }
}

fn account_scope(action: Action) -> Scope {
    match action {
        Action::Read => Scope::Read,
        Action::Push | Action::Write | Action::Administer => Scope::Admin,
    }
}

#[cfg(test)]
mod tests;
