//! `pika-news serve`: opens everything, serves until SIGTERM or Ctrl-C, and drains.

mod reload;

use std::ffi::OsString;
use std::fs::File;
use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;
use pika_git::Git;
use pika_news::auth::Authenticator;
use pika_news::ci::{Ci, PikaciProgram};
use pika_news::config::Config;
use pika_news::forge::{Forge, Hooks};
use pika_news::hook_socket::HookSocket;
use pika_news::metrics;
use pika_news::ssh::{self, SshLimits, SshServer};
use pika_news::store::Store;
use pika_news::web::git_http::{self, GitHttpConfig};
use pika_news::web::{self, Web};
use reload::Reloader;
use russh::keys::PrivateKey;
use sd_notify::NotifyState;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// How long requests may take to end after a shutdown was asked for.
const HTTP_DEADLINE: Duration = Duration::from_secs(5);
const LOG_VARIABLE: &str = "PIKA_NEWS_LOG";

/// What to serve, and how to tell of it.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// How the log is written to the standard error: for people, or one JSON object a line
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

/// Serves a configuration.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let config = Config::load(&arguments.config)?;
    if matches!(arguments.log_format, LogFormat::Json) {
        let log = tracing_subscriber::fmt().json().flatten_event(true).with_env_filter(filter());
        log.with_writer(std::io::stderr).init();
    }
    super::runtime()?.block_on(async {
        let server = Server::open(config, Some(arguments.config.clone())).await?;
        println!("pika-news serves {}/news", server.public_url());
        if let Some(link) = server.first_sign_in_link().await? {
            println!("sign in as administrator, once, with {link}");
        }
        server.serve().await
    })
}

/// A forge that does nothing by itself, beside one that may be running.
pub(super) async fn open_beside(config: Config, store: Store) -> Result<Forge> {
    let program = PikaciProgram { program: PathBuf::from("pikaci"), environment: Vec::new() };
    let ci = Ci::new(config.ci.clone(), program);
    Ok(Forge::open_with(&git(), config, store, Arc::new(Timestamp::now), ci).await?)
}

/// A forge that is open and listens, and serves nothing yet.
pub(super) struct Server {
    forge: Forge,
    authenticator: Authenticator,
    listener: TcpListener,
    /// For those who watch the forge.
    figures: Option<TcpListener>,
    /// Where git is served over SSH, and the key that the forge shows there.
    ssh: Option<(TcpListener, PrivateKey)>,
    hook_socket: HookSocket,
    hook_socket_path: PathBuf,
    /// What is read again when somebody asks for it; without a file nothing is.
    file: Option<(PathBuf, Config)>,
    /// Held as long as the forge lives: two forges on one folder would run everything twice.
    _lock: File,
}

impl Server {
    /// Opens a forge with what was read from `file`.
    pub(super) async fn open(mut config: Config, file: Option<PathBuf>) -> Result<Server> {
        let file = file.map(|file| (file, config.clone()));
        // Fails only when it was done before.
        let _ = tracing_subscriber::fmt()
            .with_env_filter(filter())
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal())
            .try_init();
        let super::Opened { store, lock } = super::open_store(&config)?;
        let Some(lock) = lock else {
            bail!(
                "another forge is running with {}; stop it first, or configure another data folder",
                config.data.display()
            );
        };
        metrics::install();
        let listener = listen(&mut config).await?;
        let figures = match config.metrics.listen {
            Some(address) => Some(TcpListener::bind(address).await.with_context(|| {
                format!(
                    "cannot listen on {address} for figures; set `listen` under [metrics] to a free address"
                )
            })?),
            None => None,
        };
        let ssh = open_ssh(&mut config).await?;
        let program = PikaciProgram { program: find_pikaci(&config)?, environment: environment(&config) };
        config.tutorial.settings.environment = variables(&config.tutorial.pass_env);
        let clock = Arc::new(Timestamp::now);
        let ci = Ci::new(config.ci.clone(), program);
        let hook_socket_path = hook_socket_path(&config)?;
        let hook_socket = HookSocket::bind(&hook_socket_path).await?;
        let forge = Forge::open_with(&git(), config, store.clone(), clock, ci).await?;
        let program = std::env::current_exe()?;
        forge.install_hooks(Hooks { program: &program, socket: &hook_socket_path }).await?;
        let authenticator = Authenticator::new(store);
        authenticator.set_public(forge.config().public_repositories());
        Ok(Server {
            forge,
            authenticator,
            listener,
            figures,
            ssh,
            hook_socket,
            hook_socket_path,
            file,
            _lock: lock,
        })
    }

    pub(super) fn public_url(&self) -> String {
        self.forge.config().public_url.clone()
    }

    pub(super) fn authenticator(&self) -> &Authenticator {
        &self.authenticator
    }

    /// Makes the first administrator and a link for them; `None` when there are users already.
    pub(super) async fn first_sign_in_link(&self) -> Result<Option<String>> {
        if self.authenticator.has_users().await? {
            return Ok(None);
        }
        let user = self.authenticator.ensure_user(super::FIRST_USER, true).await?;
        let path = self.authenticator.create_sign_in_link(&user).await?;
        Ok(Some(format!("{}{path}", self.public_url())))
    }

    /// Serves until a signal asks for the end.
    pub(super) async fn serve(self) -> Result<()> {
        let (shutdown, last) = (CancellationToken::new(), CancellationToken::new());
        // Before anybody is told that we are there: without somebody who listens it would end the forge.
        let hangup = signal(SignalKind::hangup())?;
        let hooks = tokio::spawn(self.hook_socket.serve(self.forge.clone(), last.clone()));
        let repositories = git_http::Repositories::default();
        repositories.set(reload::served(&self.forge)?);
        // Those who watch the forge are answered from the first moment to the last.
        let figures = self.figures.map(|listener| {
            tokio::spawn(web::server::serve(
                listener,
                web::health_router(self.forge.clone()),
                |_| true,
                last.clone(),
            ))
        });
        let reloader = Reloader {
            file: self.file,
            forge: self.forge.clone(),
            authenticator: self.authenticator.clone(),
            repositories: repositories.clone(),
            hook_socket: self.hook_socket_path.clone(),
        };
        let forge = self.forge.clone();
        let begun = tokio::spawn(async move {
            forge.start().await;
            tokio::join!(tell_the_service_manager(forge), reloader.listen(hangup));
        });
        let ssh = self.ssh.map(|(listener, host_key)| {
            let clone_example = self.forge.config().ssh_clone_url("NAME").unwrap_or_default();
            let (authenticator, repositories) = (self.authenticator.clone(), repositories.clone());
            let hook_socket = self.hook_socket_path.clone();
            let limits = SshLimits::default();
            let server =
                SshServer::new(authenticator, repositories, hook_socket, clone_example, host_key, limits);
            tokio::spawn(server.serve(listener, shutdown.clone()))
        });
        let router = web::router_with_git(
            Web::new(self.forge.clone(), self.authenticator.clone(), shutdown.clone()),
            repositories,
            GitHttpConfig::new(self.hook_socket_path.clone()),
        );
        let router = web::after_start(router, self.forge.clone());
        let forge = self.forge.clone();
        let is_proxy = move |address| forge.config().auth.trusted_proxies.contains(&address);
        let mut http = tokio::spawn(web::server::serve(self.listener, router, is_proxy, shutdown.clone()));
        tokio::select! {
            ended = &mut http => {
                ended?;
                bail!("the server has ended by itself");
            }
            asked = asked_to_end() => asked?,
        }
        tracing::info!("draining");
        begun.abort();
        let _ = sd_notify::notify(&[NotifyState::Stopping]);
        shutdown.cancel();
        let http = async {
            if tokio::time::timeout(HTTP_DEADLINE, http).await.is_err() {
                tracing::warn!("some requests did not end in time and were cut");
            }
        };
        let ssh = async {
            if let Some(ssh) = ssh
                && tokio::time::timeout(HTTP_DEADLINE, ssh).await.is_err()
            {
                tracing::warn!("some clients of git over SSH did not end in time and were cut");
            }
        };
        tokio::join!(http, ssh, self.forge.drain());
        last.cancel();
        if let Some(figures) = figures {
            let _ = tokio::time::timeout(HTTP_DEADLINE, figures).await;
        }
        hooks.await?;
        Ok(())
    }
}

/// What is logged: as the variable says, else all but the details.
fn filter() -> EnvFilter {
    EnvFilter::try_from_env(LOG_VARIABLE).unwrap_or_else(|_| EnvFilter::new("info"))
}

/// Tells systemd, when it has started us, that the forge serves, and then that it still does. A forge of which a part has hung
/// says nothing more, and is started anew.
async fn tell_the_service_manager(forge: Forge) {
    let _ = sd_notify::notify(&[NotifyState::Ready]);
    let Some(within) = sd_notify::watchdog_enabled() else { return };
    loop {
        tokio::time::sleep((within / 4).min(Duration::from_secs(30))).await;
        if !forge.readiness().await.actors.iter().any(|actor| actor.is_late) {
            let _ = sd_notify::notify(&[NotifyState::Watchdog]);
        }
    }
}

async fn asked_to_end() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Listens, and puts the port into the public URL when the system chose it.
async fn listen(config: &mut Config) -> Result<TcpListener> {
    let wanted = config.listen;
    let listener = TcpListener::bind(wanted)
        .await
        .with_context(|| format!("cannot listen on {wanted}; set `listen` to a free address"))?;
    let found: SocketAddr = listener.local_addr()?;
    if wanted.port() == 0 && config.public_url == format!("http://{wanted}") {
        config.public_url = format!("http://{found}");
    }
    config.listen = found;
    Ok(listener)
}

/// Listens for git over SSH, with the forge's own key, and puts the port into the configuration when the system chose it.
async fn open_ssh(config: &mut Config) -> Result<Option<(TcpListener, PrivateKey)>> {
    let Some(ssh) = &mut config.ssh else { return Ok(None) };
    let wanted = ssh.listen;
    let listener = TcpListener::bind(wanted)
        .await
        .with_context(|| format!("cannot listen on {wanted}; set `listen` under [ssh] to a free address"))?;
    ssh.listen = listener.local_addr()?;
    Ok(Some((listener, ssh::load_or_make(&ssh.host_key)?)))
}

/// Where hooks reach the forge.
pub(super) fn hook_socket_path(config: &Config) -> Result<PathBuf> {
    Ok(std::path::absolute(config.data.join("hook.sock"))?)
}

/// Finds `pikaci`: as configured, else beside this program, else on the path.
pub(super) fn find_pikaci(config: &Config) -> Result<PathBuf> {
    let name = match &config.ci.pikaci {
        Some(path) if path.components().count() > 1 => {
            if !path.is_file() {
                bail!("there is no program {}; correct `pikaci` under [ci]", path.display());
            }
            return Ok(path.clone());
        }
        Some(name) => name.clone(),
        None => {
            let beside = std::env::current_exe()?.with_file_name("pikaci");
            if beside.is_file() {
                return Ok(beside);
            }
            PathBuf::from("pikaci")
        }
    };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(&name)).find(|file| file.is_file());
    found.with_context(|| {
        format!(
            "there is no program {} beside pika-news or on the path; install it or set `pikaci` under [ci]",
            name.display()
        )
    })
}

/// git, where the path that this program was started with says it is.
pub(super) fn git() -> Git {
    let path = std::env::var_os("PATH").filter(|path| !path.is_empty());
    path.map_or_else(Git::default, Git::new)
}

/// What a lane's `pikaci` sees: the variables on the list that are set, and nothing else.
fn environment(config: &Config) -> Vec<(OsString, OsString)> {
    variables(&config.ci.pass_env)
}

fn variables(names: &[String]) -> Vec<(OsString, OsString)> {
    let value = |name: &String| std::env::var_os(name).map(|value| (OsString::from(name), value));
    names.iter().filter_map(value).collect()
}
