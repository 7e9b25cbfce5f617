//! The forge's configuration: one TOML file, read once.
//!
//! Invariants: every problem is reported with its line; an unknown key is a problem; what is here was checked, and
//! nobody below checks it again. No variable of the environment is read here.

mod auth;
mod metrics;
mod mirror;
mod nightly;
mod reload;
mod retention;
mod rules;
mod secrets;
mod ssh;
mod tutorial;
mod unknown;
mod webhooks;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

pub use auth::{AuthConfig, OidcConfig};
pub use metrics::MetricsConfig;
pub use mirror::{MirrorConfig, StatusHost, StatusesConfig};
pub use retention::RetentionConfig;
pub(crate) use retention::as_size;
pub use secrets::SecretsConfig;
pub use ssh::SshConfig;
pub use tutorial::TutorialConfig;
pub use webhooks::WebhooksConfig;

use crate::auth::PublicRepositories;
use crate::forge::push_rules::PushRule;

/// What a lane's `pikaci` sees of the forge's own environment, unless the configuration says otherwise.
pub const PASS_ENV_DEFAULT: [&str; 13] = [
    "PATH",
    "HOME",
    "USER",
    "LANG",
    "TZ",
    "TMPDIR",
    "CARGO_HOME",
    "RUSTUP_HOME",
    "RUSTUP_TOOLCHAIN",
    // Which Incus, and by which settings.
    "INCUS_DIR",
    "INCUS_SOCKET",
    "XDG_CONFIG_HOME",
    "PIKACI_INCUS_SETTINGS",
];

const CONFIG_BYTES_MAX: usize = 1024 * 1024;
const SLOTS_MAX: usize = 256;
const STATE_BYTES_MAX_DEFAULT: u64 = 50 * 1024 * 1024 * 1024;
const INFRA_RETRIES_MAX: u32 = 5;
const NAME_BYTES_MAX: usize = 64;
/// What comes after `/news/` in the forge's own routes.
const RESERVED_NAMES: [&str; 6] = ["api", "git", "settings", "sign-in", "sign-out", "static"];

/// A checked configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The folder of the database, the hook's socket and the repositories.
    pub data: PathBuf,
    /// Where HTTP is served.
    pub listen: SocketAddr,
    /// How browsers and git reach the forge, without a slash at the end; `http://<listen>` when not given.
    pub public_url: String,
    /// Where git is served over SSH; nowhere when absent.
    pub ssh: Option<SshConfig>,
    /// How lanes are run.
    pub ci: CiConfig,
    /// Who writes tutorials.
    pub tutorial: TutorialConfig,
    /// How people are known.
    pub auth: AuthConfig,
    /// Who may read the figures.
    pub metrics: MetricsConfig,
    /// How secrets are kept.
    pub secrets: SecretsConfig,
    /// Whom events may be sent to.
    pub webhooks: WebhooksConfig,
    /// How much of what is past is kept.
    pub retention: RetentionConfig,
    /// The repositories, in the file's order.
    pub repositories: Vec<RepositoryConfig>,
}

/// How lanes are run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CiConfig {
    /// The program; `None`: `pikaci` beside the running binary, else on the path.
    pub pikaci: Option<PathBuf>,
    /// How many lanes run at once.
    pub slots: usize,
    /// What runs the jobs.
    pub executor: Executor,
    /// The names of the variables that `pikaci` is given; it sees nothing else.
    pub pass_env: Vec<String>,
    /// How long a claim holds without a heartbeat.
    pub lease: Duration,
    /// How long a shutdown waits for running lanes before it leaves them to the next start.
    pub drain: Duration,
    /// How many attempts follow one that the machinery lost.
    pub infra_retries: u32,
    /// What runs and snapshots of one repository may take; once a day the oldest runs go until they do.
    pub state_bytes_max: u64,
}

impl Default for CiConfig {
    fn default() -> CiConfig {
        CiConfig {
            pikaci: None,
            slots: 2,
            executor: Executor::Local,
            pass_env: PASS_ENV_DEFAULT.map(str::to_owned).to_vec(),
            lease: Duration::from_secs(60),
            drain: Duration::from_secs(2),
            infra_retries: 2,
            state_bytes_max: STATE_BYTES_MAX_DEFAULT,
        }
    }
}

/// What runs the jobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Executor {
    /// A sandbox on the forge's own machine.
    #[default]
    Local,
    /// Fresh Incus instances.
    Incus,
}

impl Executor {
    /// The word that `pikaci run --executor` takes.
    pub fn as_str(self) -> &'static str {
        match self {
            Executor::Local => "local",
            Executor::Incus => "incus",
        }
    }
}

/// Who may read a repository without a role in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Visibility {
    /// Nobody.
    #[default]
    Members,
    /// Everybody: pages and clones without signing in, the API with.
    Public,
}

/// One repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositoryConfig {
    /// Its name in URLs.
    pub name: String,
    /// The bare repository.
    pub path: PathBuf,
    /// The branch that the others are merged into.
    pub default_branch: String,
    /// Who may read it without a role in it.
    pub visibility: Visibility,
    /// Whether a branch may be merged when neither it nor the default branch has a manifest.
    pub merge_without_manifest: bool,
    /// Who may move which reference, the first that matches; the rest is built in.
    pub rules: Vec<PushRule>,
    /// Where its branches and tags are pushed to.
    pub mirror: Option<MirrorConfig>,
    /// When its nightly targets are run, in UTC; never without.
    pub nightly: Option<jiff::civil::Time>,
}

impl RepositoryConfig {
    /// The name as one path component: every character outside `[A-Za-z0-9_-]` becomes `-`.
    pub fn slug(&self) -> String {
        slug(&self.name)
    }
}

fn slug(name: &str) -> String {
    let is_kept = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
    name.chars().map(|letter| if is_kept(letter) { letter } else { '-' }).collect()
}

/// Everything that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// The file's name, as the operator gave it.
    pub file: String,
    /// At least one, in the order of the text.
    pub problems: Vec<ConfigProblem>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// From 1; 0 when it is about the file as a whole.
    pub line: usize,
    /// From 1; 0 when it is about the file as a whole.
    pub column: usize,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                formatter.write_str("\n")?;
            }
            match problem.line {
                0 => write!(formatter, "{}: {}", self.file, problem.message)?,
                line => write!(formatter, "{}:{line}:{}: {}", self.file, problem.column, problem.message)?,
            }
        }
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    data: Spanned<PathBuf>,
    listen: Option<Spanned<String>>,
    public_url: Option<Spanned<String>>,
    ssh: Option<ssh::RawSsh>,
    #[serde(default)]
    ci: RawCi,
    #[serde(default)]
    tutorial: tutorial::RawTutorial,
    #[serde(default)]
    auth: auth::RawAuth,
    #[serde(default)]
    metrics: metrics::RawMetrics,
    #[serde(default)]
    secrets: secrets::RawSecrets,
    #[serde(default)]
    webhooks: webhooks::RawWebhooks,
    #[serde(default)]
    retention: retention::RawRetention,
    #[serde(default)]
    repositories: Vec<RawRepository>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCi {
    pikaci: Option<PathBuf>,
    slots: Option<Spanned<usize>>,
    executor: Option<Executor>,
    pass_env: Option<Vec<Spanned<String>>>,
    lease_s: Option<Spanned<u64>>,
    drain_s: Option<Spanned<u64>>,
    infra_retries: Option<Spanned<u32>>,
    state_max: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRepository {
    name: Spanned<String>,
    path: Option<PathBuf>,
    default_branch: Option<Spanned<String>>,
    #[serde(default)]
    visibility: Visibility,
    #[serde(default)]
    merge_without_manifest: bool,
    #[serde(default)]
    rules: Vec<rules::RawRule>,
    mirror: Option<mirror::RawMirror>,
    nightly: Option<Spanned<String>>,
}

impl Config {
    /// The names of the repositories that everybody may read.
    pub fn public_repositories(&self) -> PublicRepositories {
        let public = self.repositories.iter().filter(|entry| entry.visibility == Visibility::Public);
        Arc::new(public.map(|entry| entry.name.clone()).collect())
    }

    /// Reads and checks a file. Relative paths in it start at its folder.
    pub fn load(file: &Path) -> Result<Config, ConfigError> {
        let name = file.display().to_string();
        let whole = |message: String| ConfigError {
            file: name.clone(),
            problems: vec![ConfigProblem { line: 0, column: 0, message }],
        };
        let text =
            std::fs::read_to_string(file).map_err(|error| whole(format!("cannot be read: {error}")))?;
        let file = std::path::absolute(file).map_err(|error| whole(format!("has no folder: {error}")))?;
        let folder = file.parent().unwrap_or(Path::new("/"));
        Config::parse(&text, &name, folder)
    }

    /// Reads and checks a text; `folder` is where its relative paths start, `file` what its errors call it.
    pub fn parse(text: &str, file: &str, folder: &Path) -> Result<Config, ConfigError> {
        let mut checker = Checker { text, problems: Vec::new() };
        let config = if text.len() > CONFIG_BYTES_MAX {
            checker.push(0..0, format!("is larger than {CONFIG_BYTES_MAX} bytes"));
            None
        } else {
            checker.read(text).map(|raw| checker.config(raw, folder))
        };
        match config {
            Some(config) if checker.problems.is_empty() => Ok(config),
            _ => {
                checker.problems.sort_by_key(|problem| (problem.line, problem.column));
                Err(ConfigError { file: file.to_owned(), problems: checker.problems })
            }
        }
    }
}

struct Checker<'t> {
    text: &'t str,
    problems: Vec<ConfigProblem>,
}

impl Checker<'_> {
    fn push(&mut self, span: Range<usize>, message: String) {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        self.problems.push(ConfigProblem { line, column, message });
    }

    fn config(&mut self, raw: RawConfig, folder: &Path) -> Config {
        if raw.data.get_ref().as_os_str().is_empty() {
            self.push(
                raw.data.span(),
                "`data` is empty; name a folder that the forge may write to".to_owned(),
            );
        }
        let data = folder.join(raw.data.get_ref());
        let listen = self.listen(raw.listen);
        let public_url = self.public_url(raw.public_url, listen);
        let ssh = self.ssh(raw.ssh, &data, folder);
        let ci = self.ci(raw.ci, folder);
        let tutorial = self.tutorial(raw.tutorial, folder);
        let metrics = self.metrics(raw.metrics);
        let auth = self.auth(raw.auth, folder);
        let secrets = self.secrets(raw.secrets, folder);
        let webhooks = self.webhooks(&raw.webhooks);
        let retention = self.retention(raw.retention);
        let repositories = self.repositories(raw.repositories, &data, folder);
        Config {
            data,
            listen,
            public_url,
            ssh,
            ci,
            tutorial,
            auth,
            metrics,
            secrets,
            webhooks,
            retention,
            repositories,
        }
    }

    fn listen(&mut self, raw: Option<Spanned<String>>) -> SocketAddr {
        let default = SocketAddr::from(([127, 0, 0, 1], 7800));
        let Some(raw) = raw else { return default };
        raw.get_ref().parse().unwrap_or_else(|_| {
            let message = format!(
                "`listen` is {:?}; write an address and a port, such as \"{default}\"",
                raw.get_ref()
            );
            self.push(raw.span(), message);
            default
        })
    }

    fn public_url(&mut self, raw: Option<Spanned<String>>, listen: SocketAddr) -> String {
        let Some(raw) = raw else { return format!("http://{listen}") };
        let url = raw.get_ref().trim_end_matches('/');
        let host = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
        let is_origin = host.is_some_and(|host| {
            !host.is_empty()
                && !host.contains(|letter: char| "/?#@".contains(letter) || letter.is_whitespace())
        });
        if !is_origin {
            let message = format!(
                "`public_url` is {:?}; write a scheme and a host alone, such as \"https://pika.example.org\"",
                raw.get_ref()
            );
            self.push(raw.span(), message);
        }
        url.to_owned()
    }

    fn ci(&mut self, raw: RawCi, folder: &Path) -> CiConfig {
        let default = CiConfig::default();
        CiConfig {
            // A bare name is looked for on the path, anything else starts at the file's folder.
            pikaci: raw
                .pikaci
                .map(|path| if path.components().count() > 1 { folder.join(path) } else { path }),
            slots: self.within("slots", raw.slots, 1, SLOTS_MAX, default.slots),
            executor: raw.executor.unwrap_or(default.executor),
            pass_env: match raw.pass_env {
                Some(names) => names.into_iter().filter_map(|name| self.variable(name)).collect(),
                None => default.pass_env,
            },
            lease: Duration::from_secs(self.within("lease_s", raw.lease_s, 3, 3600, default.lease.as_secs())),
            drain: Duration::from_secs(self.within(
                "drain_s",
                raw.drain_s,
                0,
                86_400,
                default.drain.as_secs(),
            )),
            infra_retries: self.within(
                "infra_retries",
                raw.infra_retries,
                0,
                INFRA_RETRIES_MAX,
                default.infra_retries,
            ),
            state_bytes_max: self.size("state_max", raw.state_max, default.state_bytes_max),
        }
    }

    fn within<T: PartialOrd + fmt::Display + Copy>(
        &mut self,
        key: &str,
        raw: Option<Spanned<T>>,
        min: T,
        max: T,
        default: T,
    ) -> T {
        let Some(raw) = raw else { return default };
        let value = *raw.get_ref();
        if value < min || value > max {
            self.push(raw.span(), format!("`{key}` is {value}; write a number from {min} to {max}"));
        }
        value
    }

    fn size(&mut self, key: &str, raw: Option<Spanned<String>>, default: u64) -> u64 {
        let Some(raw) = raw else { return default };
        pikaci::manifest::parse_size_bytes(raw.get_ref()).unwrap_or_else(|error| {
            self.push(raw.span(), format!("`{key}` is {:?}: {error}", raw.get_ref()));
            default
        })
    }

    fn variable(&mut self, raw: Spanned<String>) -> Option<String> {
        let name = raw.get_ref();
        let is_name = !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && !name.as_bytes()[0].is_ascii_digit();
        if !is_name {
            self.push(raw.span(), format!("{name:?} is not the name of an environment variable"));
            return None;
        }
        if name == "PIKACI_STATE_ROOT" {
            self.push(
                raw.span(),
                "PIKACI_STATE_ROOT is set by the forge for each repository; leave it out".into(),
            );
            return None;
        }
        Some(raw.into_inner())
    }

    fn repositories(&mut self, raw: Vec<RawRepository>, data: &Path, folder: &Path) -> Vec<RepositoryConfig> {
        let mut by_slug: BTreeMap<String, String> = BTreeMap::new();
        let mut repositories: Vec<RepositoryConfig> = Vec::new();
        for entry in raw {
            let name = entry.name.get_ref().clone();
            if !is_repository_name(&name) {
                let message = format!(
                    "{name:?} is not a repository's name; use 1 to {NAME_BYTES_MAX} letters, digits, '-', '_' and '.', starting with a letter or digit, not ending in \".git\" or \".lock\""
                );
                self.push(entry.name.span(), message);
                continue;
            }
            if RESERVED_NAMES.contains(&name.as_str()) {
                let message =
                    format!("{name:?} is a page of the forge itself; give the repository another name");
                self.push(entry.name.span(), message);
                continue;
            }
            if let Some(other) = by_slug.insert(slug(&name), name.clone()) {
                let message = if other == name {
                    format!("repository {name:?} is configured twice")
                } else {
                    format!(
                        "repositories {other:?} and {name:?} would share the folder {:?}; rename one",
                        slug(&name)
                    )
                };
                self.push(entry.name.span(), message);
                continue;
            }
            let path = match entry.path {
                Some(path) => folder.join(path),
                None => data.join("repositories").join(format!("{name}.git")),
            };
            if let Some(other) = repositories.iter().find(|other| other.path == path) {
                let message = format!("repositories {:?} and {name:?} have the same path", other.name);
                self.push(entry.name.span(), message);
                continue;
            }
            let default_branch = self.default_branch(entry.default_branch);
            let merge_without_manifest = entry.merge_without_manifest;
            let rules = self.rules(entry.rules);
            let mirror = entry.mirror.map(|mirror| self.mirror(mirror, folder));
            let nightly = self.nightly(entry.nightly);
            repositories.push(RepositoryConfig {
                name,
                path,
                default_branch,
                visibility: entry.visibility,
                merge_without_manifest,
                rules,
                mirror,
                nightly,
            });
        }
        repositories
    }

    fn default_branch(&mut self, raw: Option<Spanned<String>>) -> String {
        let Some(raw) = raw else { return "main".to_owned() };
        if let Err(error) = pika_git::BranchName::parse(raw.get_ref()) {
            self.push(raw.span(), format!("`default_branch`: {error}"));
        }
        raw.into_inner()
    }
}

fn is_repository_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && name.as_bytes()[0].is_ascii_alphanumeric()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        && !name.contains("..")
        && !name.ends_with(".git")
        && !name.ends_with(".lock")
}

#[cfg(test)]
mod tests;
