//! Pushes all branches and tags to another git host.
//!
//! Invariants: a password is in a file and goes to git's own helper, never into an argument or the environment; what is deleted
//! over there is what was seen there, and no more of it at once than the caller allows; nothing is followed elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::command::Call;
use crate::error::GitError;
use crate::repository::Repository;

/// How many references are deleted by one call.
const DELETED_AT_ONCE: usize = 100;
/// How many rejected references are told by name.
const REJECTED_LISTED: usize = 20;
/// A helper of git's credentials that reads the password from a file, so that it is in no argument and no variable.
const HELPER: &str = r#"credential.helper=!f() { test "$1" = get || exit 0; echo "username=$PIKA_MIRROR_USERNAME"; echo "password=$(head -n 1 "$PIKA_MIRROR_PASSWORD_FILE")"; }; f"#;

/// Another host's repository, and how it is written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorTarget {
    /// Its address, without a password.
    pub url: String,
    /// How git shows who it is.
    pub credential: MirrorCredential,
    /// How long everything together may take.
    pub deadline: Duration,
    /// How many of a hundred of the other host's references may be deleted at once, and always one; `None`: nothing is deleted.
    pub prune_percent_max: Option<u8>,
}

/// How git shows another host who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MirrorCredential {
    /// Not at all.
    None,
    /// With a name and a password or token over HTTP.
    Password {
        /// The name.
        username: String,
        /// The file whose first line is the password.
        password_file: PathBuf,
    },
    /// With a key over SSH.
    SshKey {
        /// The file of the private key.
        key_file: PathBuf,
        /// The file of the host keys that are trusted.
        known_hosts_file: PathBuf,
    },
}

/// What one round of mirroring did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mirrored {
    /// How many references were made or moved.
    pub pushed: usize,
    /// How many were deleted.
    pub deleted: usize,
    /// References that the other host did not take, with its reason; a bounded number of them.
    pub rejected: Vec<(String, String)>,
    /// How many it did not take.
    pub rejected_count: usize,
    /// How many references it has that we have not, and how many it has, when that are too many to be deleted at once.
    pub prune_refused: Option<(usize, usize)>,
}

impl Repository {
    /// Makes the branches and tags of another host's repository the same as ours, by force.
    ///
    /// [`GitError::Failed`] when the host can't be reached or refuses as a whole, [`GitError::TimedOut`] after the deadline.
    pub async fn mirror(&self, target: &MirrorTarget) -> Result<Mirrored, GitError> {
        let ends_at = Instant::now() + target.deadline;
        let left = || ends_at.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        // Theirs first: what comes to us meanwhile is then not taken for something to delete.
        let theirs = self.list_theirs(target, left()).await?;
        let ours = self.list_ours().await?;
        let mut done = Mirrored::default();
        let force = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"].map(str::to_owned);
        if !ours.is_empty() {
            self.push_to(target, left(), &force, &[], &mut done).await?;
        }
        let gone: Vec<(&String, &String)> = theirs.iter().filter(|(name, _)| !ours.contains(*name)).collect();
        if let Some(percent) = target.prune_percent_max.filter(|_| !gone.is_empty()) {
            if gone.len() > 1 && gone.len() * 100 > usize::from(percent) * theirs.len() {
                done.prune_refused = Some((gone.len(), theirs.len()));
                return Ok(done);
            }
            for part in gone.chunks(DELETED_AT_ONCE) {
                let deletions: Vec<String> = part.iter().map(|(name, _)| format!(":{name}")).collect();
                // Only what is still as it was seen.
                let leases: Vec<String> =
                    part.iter().map(|(name, oid)| format!("--force-with-lease={name}:{oid}")).collect();
                self.push_to(target, left(), &deletions, &leases, &mut done).await?;
            }
        }
        Ok(done)
    }

    /// A number that is another one, in all likelihood, after a branch or tag was made, moved or deleted.
    pub async fn fingerprint_references(&self) -> Result<u64, GitError> {
        let arguments = ["for-each-ref", "--format=%(objectname) %(refname)", "refs/heads", "refs/tags"];
        let output = self.call("list the references").arguments(arguments).output().await?;
        let mut hasher = DefaultHasher::new();
        output.hash(&mut hasher);
        Ok(hasher.finish())
    }

    async fn list_theirs(
        &self,
        target: &MirrorTarget,
        deadline: Duration,
    ) -> Result<BTreeMap<String, String>, GitError> {
        let call = target.call(self.call("list the mirror's references")).deadline(deadline);
        let output = call.arguments(["ls-remote", "--refs", "--", &target.url]).output().await?;
        let output = String::from_utf8_lossy(&output).into_owned();
        let references = output.lines().filter_map(|line| line.split_once('\t'));
        let is_mirrored = |name: &str| name.starts_with("refs/heads/") || name.starts_with("refs/tags/");
        Ok(references
            .filter(|(_, name)| is_mirrored(name))
            .map(|(oid, name)| (name.to_owned(), oid.to_owned()))
            .collect())
    }

    async fn list_ours(&self) -> Result<BTreeSet<String>, GitError> {
        let arguments = ["for-each-ref", "--format=%(refname)", "refs/heads", "refs/tags"];
        let output = self.call("list the references").arguments(arguments).output().await?;
        Ok(String::from_utf8_lossy(&output).lines().map(str::to_owned).collect())
    }

    async fn push_to(
        &self,
        target: &MirrorTarget,
        deadline: Duration,
        references: &[String],
        options: &[String],
        done: &mut Mirrored,
    ) -> Result<(), GitError> {
        let what = "push to the mirror";
        let call = target.call(self.call(what)).deadline(deadline);
        let call = call.arguments(["push", "--porcelain", "--no-verify", "--no-signed"]).arguments(options);
        let finished = call.arguments(["--", &target.url]).arguments(references).run().await?;
        let answer = String::from_utf8_lossy(&finished.stdout).into_owned();
        let told = done.read(&answer);
        // With 1, some references were not taken; each of them is in the answer.
        if finished.code == 0 || finished.code == 1 && told { Ok(()) } else { Err(finished.into_error(what)) }
    }
}

impl MirrorTarget {
    fn call(&self, call: Call) -> Call {
        // What the repository's own configuration says of helpers is not ours.
        let call =
            call.setting("credential.helper=".to_owned()).setting("http.followRedirects=false".to_owned());
        match &self.credential {
            MirrorCredential::None => call,
            MirrorCredential::Password { username, password_file } => call
                .setting(HELPER.to_owned())
                .variable("PIKA_MIRROR_USERNAME", username)
                .variable("PIKA_MIRROR_PASSWORD_FILE", password_file),
            MirrorCredential::SshKey { key_file, known_hosts_file } => {
                let options = "-F none -o BatchMode=yes -o IdentitiesOnly=yes -o StrictHostKeyChecking=yes";
                // ssh itself takes an unquoted value for a list of files.
                let known_hosts = word(&format!("UserKnownHostsFile=\"{}\"", plain(known_hosts_file)));
                let key = word(&plain(key_file));
                call.variable("GIT_SSH_COMMAND", format!("ssh {options} -o {known_hosts} -i {key}"))
            }
        }
    }
}

/// A path as ssh takes it: what stands after a percent sign would be replaced (ssh_config(5), "TOKENS").
fn plain(path: &Path) -> String {
    path.to_string_lossy().replace('%', "%%")
}

/// A text as one word of a shell.
fn word(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

impl Mirrored {
    /// Counts what a push in git's porcelain format tells; whether it tells of any reference.
    fn read(&mut self, answer: &str) -> bool {
        let mut is_any = false;
        for line in answer.lines() {
            let mut parts = line.splitn(3, '\t');
            let (Some(flag), Some(names), Some(summary)) = (parts.next(), parts.next(), parts.next()) else {
                continue;
            };
            is_any = true;
            match flag {
                "=" => {}
                "-" => self.deleted += 1,
                "!" => {
                    self.rejected_count += 1;
                    if self.rejected.len() < REJECTED_LISTED {
                        let name = names.split_once(':').map_or(names, |(_, name)| name);
                        self.rejected.push((name.to_owned(), summary.to_owned()));
                    }
                }
                _ => self.pushed += 1,
            }
        }
        is_any
    }
}

#[cfg(test)]
mod tests;
