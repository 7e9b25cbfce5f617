//! `pika-news demo`: a forge with a sample repository and three branches, pushed to it by git itself.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use pika_news::config::Config;
use tokio::process::Command;

use super::serve::Server;

const REPOSITORY: &str = "sample";
const GIT_DEADLINE: Duration = Duration::from_secs(60);
const MANIFEST: &str = include_str!("demo/pikaci.toml");
const README: &str = include_str!("demo/README.md");
const TEST: &str = include_str!("demo/test.sh");

/// A branch of the sample: its name, its commit's message, and the script of its slow job's steps.
const BRANCHES: [(&str, &str, &str); 3] = [
    ("friendlier-greeting", "Greet more friendly", "greeting='Hello, dear world'\nsteps=3\npause=0.2\n"),
    ("broken-greeting", "Forget whom to greet", "greeting='Hello'\nsteps=3\npause=0.2\n"),
    ("long-story", "Tell a long story", "greeting='Hello, patient world'\nsteps=120\npause=1\n"),
];
const MAIN: &str = "greeting='Hello, world'\nsteps=3\npause=0.2\n";

/// What `demo` can be told.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Where the sample forge keeps everything; made when it is not there
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The address to listen on; port 0 picks a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7800")]
    listen: SocketAddr,
}

/// Serves the sample.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let data = &arguments.data;
    std::fs::create_dir_all(data).with_context(|| format!("cannot make the folder {}", data.display()))?;
    let data = data.canonicalize()?;
    let file = data.join("pika-news.toml");
    let text = format!(
        "data = \".\"\nlisten = \"{}\"\n\n[[repositories]]\nname = \"{REPOSITORY}\"\n",
        arguments.listen
    );
    std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    let config = Config::load(&file)?;
    super::runtime()?.block_on(async {
        let opened = Server::open(config, None).await;
        let server =
            opened.context("the demo can't be served; `cargo xtask demo --port 0` picks a free port")?;
        let url = server.public_url().to_owned();
        let user = server.authenticator().ensure_user(super::FIRST_USER, true).await?;
        let link = server.authenticator().create_sign_in_link(&user).await?;
        let token = server
            .authenticator()
            .create_token(&user, "the demo's first pushes", &pika_news::auth::Scopes::all(), None)
            .await?;
        let push = tokio::spawn({
            let url = url.clone();
            async move {
                match push_sample(&data.join("work-tree"), &url, token.reveal()).await {
                    Ok(()) => println!("pushed main and three branches; stop with Ctrl-C"),
                    Err(error) => eprintln!("pika-news: the sample could not be pushed: {error:#}"),
                }
            }
        });
        println!("pika-news serves {url}/news");
        println!("sign in as administrator, once, with {url}{link}");
        let served = server.serve().await;
        push.abort();
        served
    })
}

/// Makes the sample's work tree and pushes it. A sample that was pushed before is left as it is.
async fn push_sample(tree: &Path, url: &str, token: &str) -> Result<()> {
    let git = Git { tree, url, token };
    if tree.join(".git").exists() {
        return Ok(());
    }
    std::fs::create_dir_all(tree)?;
    git.run(&["init", "--quiet", "--initial-branch=main"]).await?;
    for (name, text) in [("pikaci.toml", MANIFEST), ("README.md", README), ("test.sh", TEST)] {
        std::fs::write(tree.join(name), text)?;
    }
    git.commit("Begin", MAIN).await?;
    git.push("main").await?;
    for (branch, message, script) in BRANCHES {
        git.run(&["checkout", "--quiet", "-b", branch, "main"]).await?;
        git.commit(message, script).await?;
        git.push(branch).await?;
    }
    Ok(())
}

struct Git<'a> {
    tree: &'a Path,
    url: &'a str,
    token: &'a str,
}

impl Git<'_> {
    async fn commit(&self, message: &str, settings: &str) -> Result<()> {
        std::fs::write(self.tree.join("settings.sh"), settings)?;
        self.run(&["add", "."]).await?;
        self.run(&["commit", "--quiet", "-m", message]).await
    }

    async fn push(&self, branch: &str) -> Result<()> {
        let remote = format!("{}/news/git/{REPOSITORY}.git", self.url);
        self.run(&["push", "--quiet", &remote, branch]).await
    }

    async fn run(&self, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new("git");
        command.args(arguments).current_dir(self.tree).kill_on_drop(true).env_clear();
        let passed = ["PATH"].map(|name| (name, std::env::var_os(name).unwrap_or_default()));
        command.envs(passed).envs(self.environment());
        let output = tokio::time::timeout(GIT_DEADLINE, command.output()).await;
        let output = output.context("git took too long")?.context("cannot start git; is it installed?")?;
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            bail!("git {} failed: {}", arguments.join(" "), errors.trim());
        }
        Ok(())
    }

    /// An identity, and the token where no list of processes shows it.
    fn environment(&self) -> [(&'static str, Box<OsStr>); 11] {
        let header = format!("Authorization: Bearer {}", self.token);
        [
            ("HOME", "/nonexistent"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_AUTHOR_NAME", "Ada"),
            ("GIT_AUTHOR_EMAIL", "ada@example.org"),
            ("GIT_COMMITTER_NAME", "Ada"),
            ("GIT_COMMITTER_EMAIL", "ada@example.org"),
            ("GIT_CONFIG_COUNT", "1"),
            ("GIT_CONFIG_KEY_0", "http.extraHeader"),
            ("GIT_CONFIG_VALUE_0", header.as_str()),
        ]
        .map(|(name, value)| (name, Box::from(OsStr::new(value))))
    }
}
