//! A forge on a scratch folder, with one signed-in user and a way to ask.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use jiff::{SignedDuration, Timestamp};
use pikaci::store::{guest_log_path, host_log_path};
use pikaci::{
    Event, ExecutorKind, Fault, JobId, JobRecord, JobStatus, Outcome, PreparedOutputRecord,
    PreparedOutputsRecord, RunId, RunStatus, RunWriter, StateRoot,
};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::auth::{Authenticator, Scopes, User};
use crate::ci::{Ci, PikaciProgram};
use crate::config::{
    AuthConfig, CiConfig, Config, RepositoryConfig, RetentionConfig, TutorialConfig, Visibility,
};
use crate::forge::id::{BranchId, LaneRunId};
use crate::forge::{Forge, RefUpdate};
use crate::store::{Claim, Finish, Store};
use crate::web::git_http::GitHttpConfig;
use crate::web::{Web, router, router_with_git};

pub(super) const REPOSITORY: &str = "sample";
pub(super) const MANIFEST: &str = "version = 1\n\n[targets.check]\ntitle = \"Unit tests\"\n\n[[targets.check.jobs]]\nid = \"unit\"\ncommand = \"true\"\n";

/// A configuration whose one repository is the bare one at `git_dir`.
pub(super) fn forge_test_config_with_git_dir(folder: &Path, git_dir: &Path) -> Config {
    Config {
        data: folder.to_owned(),
        listen: ([127, 0, 0, 1], 7800).into(),
        public_url: "http://127.0.0.1:7800".to_owned(),
        ssh: None,
        ci: CiConfig::default(),
        tutorial: TutorialConfig::default(),
        auth: AuthConfig::default(),
        metrics: Default::default(),
        secrets: Default::default(),
        webhooks: Default::default(),
        retention: RetentionConfig::default(),
        repositories: vec![RepositoryConfig {
            name: REPOSITORY.to_owned(),
            path: git_dir.to_owned(),
            default_branch: "main".to_owned(),
            visibility: Visibility::default(),
            merge_without_manifest: false,
            rules: Vec::new(),
            mirror: None,
            nightly: None,
        }],
    }
}

pub(super) fn run_id() -> RunId {
    RunId::parse("20260301T142233Z-7f3a9c10").unwrap()
}

pub(super) fn job_id(text: &str) -> JobId {
    JobId::parse(text).unwrap()
}

fn now() -> Timestamp {
    "2026-03-01T14:22:33Z".parse().unwrap()
}

pub(super) fn job(id: &str, status: JobStatus) -> JobRecord {
    let is_running = status == JobStatus::Running;
    let is_failed = status == JobStatus::Failed;
    JobRecord {
        id: job_id(id),
        description: format!("run {id}"),
        outcome: (!is_running).then_some(if is_failed { Outcome::Failed } else { Outcome::Passed }),
        fault: is_failed.then_some(Fault::Job),
        status,
        executor: ExecutorKind::HostLocal,
        plan_node_id: None,
        timeout_secs: 60,
        host_log_path: host_log_path(&job_id(id)),
        guest_log_path: guest_log_path(&job_id(id)),
        started_at: now(),
        finished_at: (!is_running).then(now),
        exit_code: (!is_running).then_some(i32::from(is_failed)),
        message: None,
        pre_execution_prepare_duration_ms: None,
        remote_linux_vm_execution: None,
        attempts: Vec::new(),
    }
}

/// A run that still goes on, with one job `unit` that has begun and printed `guest`.
pub(super) fn write_running_run_fixture(state: &StateRoot, guest: &[u8]) -> RunWriter {
    let started = Event::RunStarted {
        run_id: run_id(),
        created_at: now(),
        rerun_of: None,
        target_id: Some(pikaci::TargetId::parse("check").unwrap()),
        target_description: Some("Unit tests".to_owned()),
        source_root: "/source".to_owned(),
        filters: Vec::new(),
    };
    let mut writer = RunWriter::create(state, &started).unwrap();
    writer.append(&Event::JobStarted { run_id: run_id(), job: job("unit", JobStatus::Running) }).unwrap();
    std::fs::create_dir_all(state.artifacts_dir(&run_id(), &job_id("unit"))).unwrap();
    std::fs::write(state.host_log(&run_id(), &job_id("unit")), "guest started\n").unwrap();
    std::fs::write(state.guest_log(&run_id(), &job_id("unit")), guest).unwrap();
    writer
}

/// Ends the job and the run.
pub(super) fn finish_run_fixture(writer: &mut RunWriter, status: &JobStatus) {
    writer.append(&Event::JobFinished { run_id: run_id(), job: job("unit", status.clone()) }).unwrap();
    let mut run = writer.record().clone();
    run.status = if *status == JobStatus::Failed { RunStatus::Failed } else { RunStatus::Passed };
    run.outcome = Some(if *status == JobStatus::Failed { Outcome::Failed } else { Outcome::Passed });
    run.fault = (*status == JobStatus::Failed).then_some(Fault::Job);
    run.finished_at = Some(now());
    writer.append(&Event::RunFinished { run }).unwrap();
}

/// A finished run with both logs and a prepared output.
pub(super) fn write_pikaci_run_fixture(state: &StateRoot, guest: &[u8], status: &JobStatus) {
    let mut writer = write_running_run_fixture(state, guest);
    let outputs = PreparedOutputsRecord {
        outputs: vec![
            serde_json::from_value::<PreparedOutputRecord>(serde_json::json!({
                "node_id": "prepared/linux-rust", "provider": "command", "realised_path": "/prepared",
                "mount": "/staged/linux-rust",
            }))
            .unwrap(),
        ],
        ..Default::default()
    };
    let prepared_outputs_path = writer.write_prepared_outputs(&outputs).unwrap();
    writer.append(&Event::PreparedOutputsWritten { run_id: run_id(), prepared_outputs_path }).unwrap();
    finish_run_fixture(&mut writer, status);
}

pub(super) struct Fixture {
    pub(super) folder: TempDir,
    pub(super) forge: Forge,
    pub(super) auth: Authenticator,
    pub(super) user: User,
    pub(super) token: String,
    pub(super) state: StateRoot,
    pub(super) shutdown: CancellationToken,
    /// How far the forge's clock is ahead of the machine's.
    pub(super) ahead_ms: Arc<AtomicI64>,
    router: Router,
}

impl Fixture {
    pub(super) async fn new() -> Fixture {
        Fixture::with_tutorial(TutorialConfig::default()).await
    }

    /// A forge whose tutorials are written so.
    pub(super) async fn with_tutorial(tutorial: TutorialConfig) -> Fixture {
        Fixture::with_config(|config| config.tutorial = tutorial).await
    }

    /// A forge that is configured otherwise.
    pub(super) async fn with_config(change: impl FnOnce(&mut Config)) -> Fixture {
        Fixture::open_in(tempfile::tempdir().unwrap(), change).await
    }

    /// The same forge after a restart.
    pub(super) async fn restarted(self) -> Fixture {
        let Fixture { folder, forge, .. } = self;
        let config = Config::clone(&forge.config());
        Fixture::open_in(folder, |changed| *changed = config).await
    }

    async fn open_in(folder: TempDir, change: impl FnOnce(&mut Config)) -> Fixture {
        let git_dir = folder.path().join("git/sample.git");
        let mut config = forge_test_config_with_git_dir(folder.path(), &git_dir);
        change(&mut config);
        let store = Store::open(&folder.path().join("forge.sqlite")).unwrap();
        let pikaci = PikaciProgram { program: "/nonexistent".into(), environment: Vec::new() };
        let ci = Ci::new(config.ci.clone(), pikaci);
        let ahead_ms = Arc::new(AtomicI64::new(0));
        let ahead = Arc::clone(&ahead_ms);
        let clock = move || Timestamp::now() + SignedDuration::from_millis(ahead.load(Ordering::SeqCst));
        let forge = Forge::open(config, store.clone(), Arc::new(clock), ci).await.unwrap();
        let auth = Authenticator::new(store);
        let user = auth.ensure_user("ada", true).await.unwrap();
        let token = auth.create_token(&user, "test", &Scopes::all(), None).await.unwrap().reveal().to_owned();
        let shutdown = CancellationToken::new();
        let router = router(Web::new(forge.clone(), auth.clone(), shutdown.clone()));
        let state = forge.state_root(REPOSITORY).unwrap();
        Fixture { folder, forge, auth, user, token, state, shutdown, ahead_ms, router }
    }

    /// All that the forge serves.
    pub(super) fn router_with_git(&self) -> Router {
        let web = Web::new(self.forge.clone(), self.auth.clone(), self.shutdown.clone());
        let repositories =
            [(REPOSITORY.to_owned(), self.forge.git(REPOSITORY).unwrap())].into_iter().collect();
        let git = GitHttpConfig::new(self.folder.path().join("hook.sock"));
        router_with_git(web, repositories, git)
    }

    /// Commits these files on top of `main` and pushes them to a branch; returns its number.
    pub(super) async fn push(&self, branch: &str, files: &[(&str, &str)]) -> BranchId {
        let work = self.folder.path().join("work");
        if !work.exists() {
            std::fs::create_dir_all(&work).unwrap();
            git(&work, &["init", "--quiet", "--initial-branch=main", "."]);
            git(&work, &["remote", "add", "origin", "../git/sample.git"]);
        }
        for (path, content) in files {
            std::fs::write(work.join(path), content).unwrap();
        }
        git(&work, &["add", "--all"]);
        git(&work, &["commit", "--quiet", "--allow-empty", "-m", "Change <b>it</b>"]);
        git(&work, &["push", "--quiet", "--force", "origin", &format!("HEAD:refs/heads/{branch}")]);
        let updates = [RefUpdate { reference: format!("refs/heads/{branch}") }];
        let receipt = self.forge.receive_push(REPOSITORY, Some("ada"), &updates).await.unwrap();
        receipt.branches[0].id.unwrap_or_else(|| panic!("not taken in: {receipt:?}"))
    }

    /// Pushes what was committed last to a branch of another repository, which lies beside the first.
    pub(super) async fn push_to(&self, repository: &str, branch: &str) -> BranchId {
        let work = self.folder.path().join("work");
        let remote = format!("../git/{repository}.git");
        git(&work, &["push", "--quiet", "--force", &remote, &format!("HEAD:refs/heads/{branch}")]);
        let updates = [RefUpdate { reference: format!("refs/heads/{branch}") }];
        let receipt = self.forge.receive_push(repository, Some("ada"), &updates).await.unwrap();
        receipt.branches[0].id.unwrap_or_else(|| panic!("not taken in: {receipt:?}"))
    }

    /// Names the run of the branch's first lane, as the scheduler would; finishes it when there is an outcome.
    pub(super) async fn claim(&self, branch: BranchId, outcome: Option<Outcome>) -> LaneRunId {
        let view = self.forge.branch(REPOSITORY, branch).await.unwrap();
        let id = view.head.lanes[0].attempts[0].id;
        let token = "claim".to_owned();
        let claim = Claim { id, token: token.clone(), run_id: run_id(), lease_until_ms: i64::MAX };
        self.forge.store().claim(vec![claim], Vec::new(), 0).await.unwrap();
        if let Some(outcome) = outcome {
            self.finish(id, outcome).await;
        }
        id
    }

    /// Ends what [`Fixture::claim`] has claimed.
    pub(super) async fn finish(&self, id: LaneRunId, outcome: Outcome) {
        let token = "claim".to_owned();
        let fault = (outcome == Outcome::Failed).then_some(Fault::Job);
        let finish =
            Finish { id, token, outcome, fault, message: None, retry_delays_ms: Vec::new(), now_ms: 1 };
        self.forge.store().finish(finish).await.unwrap().unwrap();
    }

    pub(super) fn request(&self, method: Method, path: &str) -> axum::http::request::Builder {
        Request::builder().method(method).uri(path).header(header::HOST, "127.0.0.1:7800")
    }

    pub(super) async fn send(&self, request: Request<Body>) -> Reply {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, 64 << 20).await.unwrap().to_vec();
        Reply { status: parts.status, headers: parts.headers, bytes }
    }

    /// Asks with the token.
    pub(super) async fn get(&self, path: &str) -> Reply {
        let bearer = format!("Bearer {}", self.token);
        let request = self.request(Method::GET, path).header(header::AUTHORIZATION, bearer);
        self.send(request.body(Body::empty()).unwrap()).await
    }

    /// Asks with another token than the fixture's own.
    pub(super) async fn get_with(&self, path: &str, token: &str) -> Reply {
        let request =
            self.request(Method::GET, path).header(header::AUTHORIZATION, format!("Bearer {token}"));
        self.send(request.body(Body::empty()).unwrap()).await
    }

    /// Asks as nobody.
    pub(super) async fn get_as_stranger(&self, path: &str) -> Reply {
        self.send(self.request(Method::GET, path).body(Body::empty()).unwrap()).await
    }

    /// Changes something with the token.
    pub(super) async fn post(&self, path: &str, content_type: &str, body: &str) -> Reply {
        let bearer = format!("Bearer {}", self.token);
        let request = self.request(Method::POST, path).header(header::AUTHORIZATION, bearer);
        let request = request.header(header::CONTENT_TYPE, content_type);
        self.send(request.body(Body::from(body.to_owned())).unwrap()).await
    }

    /// Opens a stream with the token and hands out its answer while it goes on.
    pub(super) async fn open(&self, path: &str, last_event_id: Option<&str>) -> axum::response::Response {
        self.open_with(path, &self.token, last_event_id).await
    }

    /// Opens a stream with another token than the fixture's own.
    pub(super) async fn open_with(
        &self,
        path: &str,
        token: &str,
        last_event_id: Option<&str>,
    ) -> axum::response::Response {
        let bearer = format!("Bearer {token}");
        let mut request = self.request(Method::GET, path).header(header::AUTHORIZATION, bearer);
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        self.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    }
}

pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: axum::http::HeaderMap,
    pub(super) bytes: Vec<u8>,
}

impl Reply {
    pub(super) fn text(&self) -> String {
        String::from_utf8(self.bytes.clone()).unwrap()
    }

    #[track_caller]
    pub(super) fn json(&self, status: StatusCode) -> serde_json::Value {
        assert_eq!(self.status, status, "{}", self.text());
        serde_json::from_slice(&self.bytes).unwrap()
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

fn git(folder: &Path, arguments: &[&str]) {
    let mut command = Command::new("git");
    command.current_dir(folder).env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").stdin(Stdio::null());
    let variables = [
        ("HOME", "/nonexistent"),
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_AUTHOR_NAME", "Ada"),
        ("GIT_AUTHOR_EMAIL", "ada@example.org"),
        ("GIT_COMMITTER_NAME", "Ada"),
        ("GIT_COMMITTER_EMAIL", "ada@example.org"),
    ];
    command.envs(variables.map(|(name, value)| (name, OsString::from(value))));
    let output = command.args(arguments).output().unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}
