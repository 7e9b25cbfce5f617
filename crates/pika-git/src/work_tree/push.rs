//! Pushes a commit of a checkout, on behalf of the person whose it is, and lists where it could be pushed.
//!
//! Invariants: no secret is in git's arguments, its environment or an address: git asks the given helper for it; git follows
//! no redirect, asks nobody at a terminal, and runs no hook of the checkout.

use std::path::Path;
use std::time::Duration;

use super::WorkTree;
use crate::branch::BranchName;
use crate::error::GitError;
use crate::oid::Oid;

/// A large first push takes its time.
const PUSH_DEADLINE: Duration = Duration::from_secs(1800);

/// What is pushed, and where.
#[derive(Clone, Copy, Debug)]
pub struct Push<'a> {
    /// The repository's address, without a user or a password.
    pub url: &'a str,
    /// The commit.
    pub commit: &'a Oid,
    /// The branch that it becomes the head of.
    pub branch: &'a BranchName,
    /// Replaces the branch even when its head is no ancestor, if the head is the given one; `None`: forward only.
    pub replaces: Option<&'a Oid>,
    /// The program that git asks for the password, as a credential helper (gitcredentials(7)), and its arguments.
    pub helper: (&'a Path, &'a [&'a str]),
}

/// What came of a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// Whether the branch is where it was to be.
    pub is_done: bool,
    /// What git and the server said.
    pub said: String,
}

impl WorkTree {
    /// Lists the remotes: name and address, as git would use it to fetch.
    pub async fn list_remotes(&self) -> Result<Vec<(String, String)>, GitError> {
        let output = self.call("list the remotes").arguments(["remote", "--verbose"]).output().await?;
        let text = String::from_utf8_lossy(&output);
        let remotes = text.lines().filter_map(|line| {
            let (name, rest) = line.split_once('\t')?;
            let (url, _) = rest.split_once(" (fetch)")?;
            Some((name.to_owned(), url.to_owned()))
        });
        Ok(remotes.collect())
    }

    /// The remote that a branch belongs to, when it was set up so.
    pub async fn find_remote_of(&self, branch: &str) -> Result<Option<String>, GitError> {
        let name = format!("branch.{branch}.remote");
        let finished =
            self.call("read the configuration").arguments(["config", "--get", &name]).run().await?;
        let value = String::from_utf8_lossy(&finished.stdout).trim_end().to_owned();
        Ok((finished.code == 0 && !value.is_empty()).then_some(value))
    }

    /// Pushes. A server's refusal is no error: it says why.
    pub async fn push(&self, push: &Push<'_>) -> Result<Pushed, GitError> {
        let branch = push.branch.reference();
        let mut call = self
            .call("push")
            .deadline(PUSH_DEADLINE)
            // The empty one takes away the helpers that the person has configured: they know other secrets.
            .setting("credential.helper=".to_owned())
            .setting(format!("credential.helper={}", helper(push.helper)))
            .setting("credential.useHttpPath=false".to_owned())
            .setting("http.followRedirects=false".to_owned())
            .arguments([
                "push",
                "--porcelain",
                "--no-progress",
                "--recurse-submodules=no",
                "--no-follow-tags",
            ]);
        if let Some(replaced) = push.replaces {
            call = call.argument(format!("--force-with-lease={branch}:{replaced}"));
        }
        let finished = call.arguments(["--", push.url, &format!("{}:{branch}", push.commit)]).run().await?;
        let said = format!("{}{}", String::from_utf8_lossy(&finished.stdout), finished.stderr);
        Ok(Pushed { is_done: finished.code == 0, said: said.trim_end().to_owned() })
    }
}

/// The helper as git runs it: by a shell, hence each word in quotes.
fn helper((program, arguments): (&Path, &[&str])) -> String {
    let quoted = |word: &str| format!("'{}'", word.replace('\'', "'\\''"));
    let words: Vec<String> =
        [program.to_string_lossy().as_ref()].iter().chain(arguments).map(|word| quoted(word)).collect();
    format!("!{}", words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Git;
    use crate::fixture::Fixture;

    #[tokio::test]
    async fn a_commit_is_pushed_forward_and_replaced_only_from_the_head_that_was_seen() {
        let fixture = Fixture::new().await;
        fixture.write("a", "1\n");
        let first = fixture.push("main", "first");
        let tree = WorkTree::find(&Git::default(), &fixture.work(), Vec::new()).unwrap();
        let bare = fixture.scratch.path().join("bare.git");
        let url = format!("file://{}", bare.display());
        let remotes = tree.list_remotes().await.unwrap();
        assert_eq!(remotes, [("origin".to_owned(), "../bare.git".to_owned())]);
        assert_eq!(tree.find_remote_of("main").await.unwrap(), None);

        fixture.write("a", "2\n");
        fixture.git(&["commit", "--quiet", "--all", "-m", "second"]);
        let second = tree.find_head().await.unwrap().unwrap();
        let topic = BranchName::parse("topic").unwrap();
        let helper = (Path::new("/nonexistent"), ["credential"].as_slice());
        let push = Push { url: &url, commit: &second, branch: &topic, replaces: None, helper };
        assert!(tree.push(&push).await.unwrap().is_done);
        assert_eq!(fixture.bare.find_branch(&topic).await.unwrap(), Some(second.clone()));

        let back = Push { commit: &first, ..push };
        let refused = tree.push(&back).await.unwrap();
        assert!(!refused.is_done && refused.said.contains("non-fast-forward"), "{}", refused.said);
        let stale = tree.push(&Push { replaces: Some(&first), ..back }).await.unwrap();
        assert!(!stale.is_done && stale.said.contains("stale info"), "{}", stale.said);
        assert!(tree.push(&Push { replaces: Some(&second), ..back }).await.unwrap().is_done);
        assert_eq!(fixture.bare.find_branch(&topic).await.unwrap(), Some(first));
    }

    #[test]
    fn the_helper_survives_a_shell() {
        let path = Path::new("/opt/it's here/pika-news");
        assert_eq!(helper((path, &["git-credential"])), "!'/opt/it'\\''s here/pika-news' 'git-credential'");
    }
}
