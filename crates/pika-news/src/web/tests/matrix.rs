//! The authorisation matrix: every route, and git, held against everybody who might ask.
//!
//! The list of routes comes from the router itself. A route that has no row here, and a row without a route, fail
//! `every_route_has_a_row`. To add a route, add a line to [`rows`]: its method and path as the router has it, what it needs,
//! and, where the handler reads one before it decides, a body that changes nothing lasting. Path parameters get values from
//! [`Matrix::path`]. What follows for each caller is [`expected`], which is written apart from `Principal::decide` on purpose:
//! the two must agree.

mod over_ssh;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, StatusCode, header};
use pikaci::{JobStatus, Outcome};
use tower::ServiceExt as _;

use super::fixture::{Fixture, MANIFEST, REPOSITORY, job_id, run_id, write_pikaci_run_fixture};
use crate::auth::{Audit, Role, Scope, Scopes, User};
use crate::forge::RunsOf;
use crate::secrets::SealedSecret;
use crate::store::{AddedCredential, NewDelivery, NewPasskey, NewSshKey, NewWebhook};

/// What a route needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// Nothing; what is answered may depend on who asks, and is tested elsewhere.
    Open,
    /// Nothing helps: 403 for everybody.
    Never,
    /// To be somebody, and then to be told that it is not there.
    Missing,
    /// To be somebody, unless there is a public repository to be shown.
    Home,
    /// To be somebody, with whatever scopes.
    SignedIn,
    /// To be somebody whose token may read.
    OwnRead,
    /// To be somebody whose token may administer, to change one's own account.
    OwnChange,
    /// To be somebody who has signed in with a browser; every caller here has a token.
    Browser,
    /// To be allowed to read the repository; of a public one, everybody may where it is a page or git.
    Read,
    /// The same, and to be somebody even when it is public.
    ReadAsUser,
    /// To be allowed to fetch with git.
    Fetch,
    /// To be allowed to push with git.
    Push,
    /// To be allowed to merge and the like.
    Write,
    /// To administer the repository.
    Administer,
    /// To administer the forge.
    Forge,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Caller {
    Anonymous,
    Reader,
    Writer,
    Administrator,
    OtherWriter,
    ForgeAdministrator,
    Disabled,
    Expired,
    /// An administrator of the forge, whose token has every scope but the one that is needed.
    Narrow(Scope),
}

/// What comes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// It is done, or refused for another reason than rights.
    Allowed,
    /// Sign in first: 401, or to the sign-in page.
    SignIn,
    /// It is not there, as far as they may know.
    Hidden,
    /// They may know of it, and not do it.
    Forbidden,
    /// Either of the last two.
    Denied,
    /// Anything but a fault.
    Any,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Api,
    Page,
    Git,
}

struct Row {
    method: &'static str,
    path: &'static str,
    need: Need,
    body: &'static str,
}

const FORM_HEAD: &str = "expected_head=1111111111111111111111111111111111111111";
const JSON_HEAD: &str = "{\"expected_head\":\"1111111111111111111111111111111111111111\"}";

/// Every route. The order does not matter.
fn rows() -> Vec<Row> {
    use Need::*;
    let row = |method, path, need, body| Row { method, path, need, body };
    vec![
        row("GET", "/", Open, ""),
        row("GET", "/news/", Open, ""),
        row("GET", "/healthz", Open, ""),
        row("GET", "/readyz", Open, ""),
        row("GET", "/metrics", Forge, ""),
        row("GET", "/news/static/{hash}/{name}", Open, ""),
        row("GET", "/news/sign-in", Open, ""),
        // A one-time link: whoever has it is let in, once; it is tested in `access`.
        row("GET", "/news/sign-in/{secret}", Open, ""),
        row("GET", "/news/sign-in/oidc", Open, ""),
        row("GET", "/news/sign-in/oidc/callback", Open, ""),
        row("POST", "/news/sign-in/{secret}", Open, ""),
        // Whoever has the device is let in; `e2e` tries it with a browser.
        row("POST", "/news/sign-in/passkey/begin", Open, ""),
        row("POST", "/news/sign-in/passkey", Open, "{\"id\":\"none\"}"),
        row("POST", "/news/sign-out", Open, ""),
        // Shows what may be read, and leads to the sign-in page when that is nothing.
        row("GET", "/news", Home, ""),
        row("GET", "/news/settings/tokens", OwnRead, ""),
        row("POST", "/news/settings/tokens", OwnChange, "title="),
        row("POST", "/news/settings/tokens/{id}/revoke", OwnChange, ""),
        row("GET", "/news/settings/ssh-keys", OwnRead, ""),
        row("POST", "/news/settings/ssh-keys", OwnChange, "public_key=none"),
        row("POST", "/news/settings/ssh-keys/{id}/revoke", OwnChange, ""),
        row("GET", "/news/settings/passkeys", OwnRead, ""),
        row("POST", "/news/settings/passkeys", Browser, "{\"name\":\"none\"}"),
        row("POST", "/news/settings/passkeys/begin", Browser, ""),
        row("POST", "/news/settings/passkeys/{id}/remove", OwnChange, ""),
        row("GET", "/news/settings/users", Forge, ""),
        row("POST", "/news/settings/users", Forge, "name=%20"),
        row("POST", "/news/settings/users/{name}", Forge, "action=none"),
        row("GET", "/news/settings/audit", Forge, ""),
        row("GET", "/news/{repository}", Read, ""),
        row("GET", "/news/{repository}/badge.svg", Read, ""),
        row("GET", "/news/{repository}/settings", Administer, ""),
        row("POST", "/news/{repository}/settings/members", Administer, "user=nobody&role=read"),
        row("POST", "/news/{repository}/settings/webhooks", Administer, "url=none"),
        row("POST", "/news/{repository}/settings/webhooks/{webhook_id}/remove", Administer, ""),
        row("GET", "/news/{repository}/branch/{id}", Read, ""),
        row("POST", "/news/{repository}/branch/{id}/merge", Write, FORM_HEAD),
        row("POST", "/news/{repository}/branch/{id}/close", Write, FORM_HEAD),
        row("POST", "/news/{repository}/branch/{id}/reopen", Write, FORM_HEAD),
        row("GET", "/news/{repository}/branch/{id}/changes", Read, ""),
        row("GET", "/news/{repository}/branch/{id}/file", Read, "?head={head}&file=1"),
        row("GET", "/news/{repository}/branch/{id}/since", Read, "?from={head}"),
        row("POST", "/news/{repository}/branch/{id}/seen", ReadAsUser, "head={head}"),
        row("POST", "/news/{repository}/branch/{id}/tick", ReadAsUser, "step=none&is_ticked=false"),
        row("POST", "/news/{repository}/branch/{id}/tutorial/retry", Write, "expected_head={head}"),
        row("GET", "/news/{repository}/lane-run/{id}", Read, ""),
        row("POST", "/news/{repository}/lane-run/{id}/rerun", Write, "failed=true"),
        row("POST", "/news/{repository}/lane-run/{id}/cancel", Write, ""),
        row("GET", "/news/api/forge/whoami", SignedIn, ""),
        row("GET", "/news/api/forge/repositories", SignedIn, ""),
        row("GET", "/news/api/forge/repository/{name}/branches", Read, ""),
        row("GET", "/news/api/forge/repository/{name}/members", Administer, ""),
        row("GET", "/news/api/forge/repository/{name}/secrets", Administer, ""),
        row("PUT", "/news/api/forge/repository/{name}/secrets/{secret}", Administer, "{}"),
        row("DELETE", "/news/api/forge/repository/{name}/secrets/{secret}", Administer, ""),
        row("PUT", "/news/api/forge/repository/{name}/members/{user}", Administer, "{\"role\":\"none\"}"),
        row("DELETE", "/news/api/forge/repository/{name}/members/{user}", Administer, ""),
        row("GET", "/news/api/forge/repository/{name}/audit", Administer, ""),
        row("GET", "/news/api/forge/users", Forge, ""),
        row("POST", "/news/api/forge/users", Forge, "{\"name\":\"\"}"),
        row("DELETE", "/news/api/forge/users/{name}", Forge, ""),
        row("POST", "/news/api/forge/users/{name}/disable", Forge, ""),
        row("POST", "/news/api/forge/users/{name}/enable", Forge, ""),
        row("PUT", "/news/api/forge/users/{name}/role", Forge, "{\"is_admin\":false}"),
        row("GET", "/news/api/forge/tokens", OwnRead, ""),
        row("POST", "/news/api/forge/tokens", OwnChange, "{\"title\":\"\",\"scopes\":[]}"),
        row("DELETE", "/news/api/forge/tokens/{id}", OwnChange, ""),
        row("GET", "/news/api/forge/ssh-keys", OwnRead, ""),
        row("POST", "/news/api/forge/ssh-keys", OwnChange, "{\"public_key\":\"none\"}"),
        row("DELETE", "/news/api/forge/ssh-keys/{id}", OwnChange, ""),
        row("GET", "/news/api/forge/audit", Forge, ""),
        row("GET", "/news/api/forge/branch/{id}", Read, ""),
        row("GET", "/news/api/forge/branch/{id}/logs", Read, ""),
        row("POST", "/news/api/forge/branch/{id}/merge", Write, JSON_HEAD),
        row("POST", "/news/api/forge/branch/{id}/close", Write, JSON_HEAD),
        row("POST", "/news/api/forge/branch/{id}/reopen", Write, JSON_HEAD),
        row("GET", "/news/api/forge/branch/{id}/tutorial", Read, ""),
        row("GET", "/news/api/forge/branch/{id}/tutorial/steps", Read, ""),
        row("GET", "/news/api/forge/branch/{id}/tutorial/coverage", Read, ""),
        row("GET", "/news/api/forge/branch/{id}/tutorial/state", Read, ""),
        row("POST", "/news/api/forge/branch/{id}/tutorial/retry", Write, "{\"expected_head\":\"{head}\"}"),
        row(
            "POST",
            "/news/api/forge/branch/{id}/tutorial/tick",
            ReadAsUser,
            "{\"step\":\"none\",\"is_ticked\":false}",
        ),
        row("GET", "/news/api/forge/branch/{id}/interdiff", Read, "?from={head}"),
        row("GET", "/news/api/forge/lane-run/{id}", Read, ""),
        row("GET", "/news/api/forge/lane-run/{id}/why", Read, ""),
        row("POST", "/news/api/forge/lane-run/{id}/rerun", Write, "{}"),
        row("POST", "/news/api/forge/lane-run/{id}/cancel", Write, ""),
        row("GET", "/news/api/forge/pikaci/run/{run_id}", Read, ""),
        row("GET", "/news/api/forge/pikaci/logs/{run_id}", Read, ""),
        row("GET", "/news/api/forge/pikaci/logs/{run_id}/raw", Read, ""),
        row("GET", "/news/api/forge/pikaci/logs/{run_id}/stream", Read, ""),
        row("GET", "/news/api/forge/pikaci/prepared-outputs/{run_id}", Read, ""),
        // Tells of the repositories that its watcher may read, and of no others; see `stream`.
        row("GET", "/news/api/forge/changes", SignedIn, ""),
        row("GET", "/news/api/forge/events", SignedIn, ""),
        row("GET", "/news/api/forge/events/stream", SignedIn, ""),
        row("GET", "/news/api/openapi.json", Open, ""),
        row("GET", "/news/api/v1/repositories", SignedIn, ""),
        row("GET", "/news/api/v1/repositories/{repository}", Read, ""),
        row("GET", "/news/api/v1/repositories/{repository}/branches", Read, ""),
        row("GET", "/news/api/v1/repositories/{repository}/runs", Read, ""),
        row("GET", "/news/api/v1/repositories/{repository}/mirror", Write, ""),
        row("POST", "/news/api/v1/repositories/{repository}/mirror/sync", Write, ""),
        row("GET", "/news/api/v1/branches/{branch_id}", Read, ""),
        row("GET", "/news/api/v1/branches/{branch_id}/heads", Read, ""),
        row("GET", "/news/api/v1/branches/{branch_id}/runs", Read, ""),
        row("GET", "/news/api/v1/heads/{head_id}", Read, ""),
        row("GET", "/news/api/v1/heads/{head_id}/lanes", Read, ""),
        row("GET", "/news/api/v1/lanes/{lane_id}", Read, ""),
        row("GET", "/news/api/v1/lanes/{lane_id}/attempts", Read, ""),
        row("GET", "/news/api/v1/lane-runs/{lane_run_id}", Read, ""),
        row("GET", "/news/api/v1/runs/{run_id}/jobs", Read, ""),
        row("GET", "/news/api/v1/runs/{run_id}/jobs/{job}/tests", Read, ""),
        row("GET", "/news/api/v1/runs/{run_id}/jobs/{job}/artifacts", Read, ""),
        row("GET", "/news/api/v1/runs/{run_id}/jobs/{job}/artifacts/{*path}", Read, ""),
        // Tells of what whoever asks may read, and of nothing else; see `resources`.
        row("GET", "/news/api/v1/queue", SignedIn, ""),
        row("GET", "/news/api/v1/nightlies", SignedIn, ""),
        row("GET", "/news/api/v1/users", Forge, ""),
        row("GET", "/news/api/v1/tokens", OwnRead, ""),
        row("GET", "/news/api/v1/repositories/{repository}/webhooks", Administer, ""),
        row("POST", "/news/api/v1/repositories/{repository}/webhooks", Administer, "{\"url\":\"none\"}"),
        row("DELETE", "/news/api/v1/repositories/{repository}/webhooks/{webhook_id}", Administer, ""),
        row("GET", "/news/api/v1/repositories/{repository}/webhooks/{webhook_id}/deliveries", Administer, ""),
        row(
            "POST",
            "/news/api/v1/repositories/{repository}/webhooks/{webhook_id}/deliveries/{delivery_id}/redeliver",
            Administer,
            "",
        ),
        row("ANY", "/news/api/{*rest}", Missing, ""),
        row("GET", "/news/git/{repository}/info/refs", Fetch, "?service=git-upload-pack"),
        row("GET", "/news/git/{repository}/info/refs", Push, "?service=git-receive-pack"),
        row("POST", "/news/git/{repository}/git-upload-pack", Fetch, "0000"),
        row("POST", "/news/git/{repository}/git-receive-pack", Push, "0000"),
        // The dumb protocol is spoken to nobody.
        row("ANY", "/news/git/{repository}/{*file}", Never, ""),
    ]
}

/// What a caller gets, as it is promised.
fn expected(need: Need, kind: Kind, caller: Caller, is_public: bool) -> Answer {
    use Caller::*;
    match (need, caller) {
        (Need::Open, _) => return Answer::Any,
        (Need::Never, _) => return Answer::Forbidden,
        // A wrong secret is no way to be nobody.
        (_, Disabled | Expired) => return Answer::SignIn,
        (Need::Home, Anonymous) if is_public => return Answer::Allowed,
        (Need::Read, Anonymous) if is_public && kind == Kind::Page => return Answer::Allowed,
        (Need::Fetch, Anonymous) if is_public => return Answer::Allowed,
        (_, Anonymous) => return Answer::SignIn,
        (Need::Missing, _) => return Answer::Hidden,
        (Need::SignedIn | Need::Home, _) => return Answer::Allowed,
        (_, Narrow(_)) => return Answer::Denied,
        (Need::OwnRead | Need::OwnChange, _) => return Answer::Allowed,
        (Need::Browser, _) => return Answer::Forbidden,
        _ => {}
    }
    let rank = match caller {
        ForgeAdministrator => 4,
        Administrator => 3,
        Writer => 2,
        Reader => 1,
        _ => 0,
    };
    let needed = match need {
        Need::Forge => 4,
        Need::Administer => 3,
        Need::Write | Need::Push => 2,
        _ if is_public => 0,
        _ => 1,
    };
    match rank {
        _ if rank >= needed => Answer::Allowed,
        0 if !is_public && need != Need::Forge => Answer::Hidden,
        _ => Answer::Forbidden,
    }
}

fn callers(need: Need) -> Vec<Caller> {
    use Caller::*;
    let narrow = match need {
        Need::Read | Need::ReadAsUser | Need::Fetch | Need::OwnRead => Scope::Read,
        Need::Push => Scope::Push,
        Need::Write => Scope::Write,
        Need::Administer | Need::Forge | Need::OwnChange | Need::Browser => Scope::Admin,
        Need::Open | Need::Never | Need::Missing | Need::Home | Need::SignedIn => Scope::Read,
    };
    let others =
        [Anonymous, Reader, Writer, Administrator, OtherWriter, ForgeAdministrator, Disabled, Expired];
    others.into_iter().chain([Narrow(narrow)]).collect()
}

struct Matrix {
    fixture: Fixture,
    router: axum::Router,
    secrets: BTreeMap<Caller, String>,
    users: BTreeMap<Caller, User>,
    branch: String,
    head: String,
    lane_run: String,
    lane: String,
    head_id: String,
}

impl Matrix {
    async fn new() -> Matrix {
        let fixture = Fixture::new().await;
        fixture.push("main", &[("pikaci.toml", MANIFEST)]).await;
        let branch = fixture.push("topic", &[("a", "1")]).await;
        let lane_run = fixture.claim(branch, Some(Outcome::Failed)).await;
        write_pikaci_run_fixture(&fixture.state, b"secret", &JobStatus::Failed);
        let head = fixture.forge.branch(REPOSITORY, branch).await.unwrap().head.oid;
        std::fs::write(fixture.state.artifacts_dir(&run_id(), &job_id("unit")).join("report.txt"), "x")
            .unwrap();
        let placed = fixture.forge.lane_runs_after(RunsOf::Branch(branch), None, 1).await.unwrap().remove(0);
        let (lane, head_id) = (placed.lane_id.to_string(), placed.head_id.to_string());
        let router = fixture.router_with_git();
        let (branch, lane_run) = (branch.to_string(), lane_run.to_string());
        let (secrets, users) = Default::default();
        let mut matrix = Matrix { fixture, router, secrets, users, branch, head, lane_run, lane, head_id };
        matrix.add_callers().await;
        matrix
    }

    async fn add_callers(&mut self) {
        use Caller::*;
        let auth = self.fixture.auth.clone();
        let store = self.fixture.forge.store().clone();
        let sample = store.ensure_repository(REPOSITORY, 1).await.unwrap();
        let other = store.ensure_repository("other", 1).await.unwrap();
        let roles = [
            (Reader, "reader", Some((sample, Role::Read))),
            (Writer, "writer", Some((sample, Role::Write))),
            (Administrator, "administrator", Some((sample, Role::Admin))),
            (OtherWriter, "other-writer", Some((other, Role::Write))),
            (ForgeAdministrator, "forge-administrator", None),
            (Disabled, "disabled", Some((sample, Role::Admin))),
            (Expired, "expired", Some((sample, Role::Admin))),
        ];
        for (caller, name, role) in roles {
            let user = auth.ensure_user(name, caller == ForgeAdministrator).await.unwrap();
            if let Some((repository, role)) = role {
                store.set_role(repository, user.id, Some(role), "test".to_owned(), 1).await.unwrap();
            }
            let lifetime = (caller == Expired).then_some(Duration::ZERO);
            let token = auth.create_token(&user, "test", &Scopes::all(), lifetime).await.unwrap();
            self.secrets.insert(caller, token.reveal().to_owned());
            self.users.insert(caller, user);
        }
        auth.disable_user("disabled").await.unwrap();
        let administrator = self.users[&ForgeAdministrator].clone();
        for scope in Scope::ALL.iter().copied() {
            let others = Scope::ALL.iter().copied().filter(|other| *other != scope).collect();
            let token = auth.create_token(&administrator, "narrow", &others, None).await.unwrap();
            self.secrets.insert(Narrow(scope), token.reveal().to_owned());
            self.users.insert(Narrow(scope), administrator.clone());
        }
    }

    /// A webhook and a delivery of it.
    async fn add_webhook(&self) -> (i64, i64) {
        let store = self.fixture.forge.store();
        let repository_id = store.ensure_repository(REPOSITORY, 1).await.unwrap();
        let secret = SealedSecret { nonce: vec![1], ciphertext: vec![1], key_id: "none".to_owned() };
        let (url, kinds) = ("https://example.org".to_owned(), String::new());
        let new = NewWebhook { repository_id, url, kinds, secret };
        let entry = Audit {
            actor: "test".to_owned(),
            action: "webhook.added",
            subject: "webhook".to_owned(),
            repository: None,
            detail: serde_json::json!({}),
        };
        let id = store.add_webhook(new, u32::MAX, entry, 1).await.unwrap().unwrap();
        let position = store.event_bounds().await.unwrap().1;
        let delivery = NewDelivery { event_id: 1, kind: "head.pushed", body: "{}".to_owned() };
        store.queue_deliveries(id, position, position, vec![delivery], 1).await.unwrap();
        (id, store.list_deliveries(id, None, 1).await.unwrap()[0].id)
    }

    /// Puts values into a path or a body.
    async fn path(&self, text: &str, caller: Caller) -> String {
        let git = if text.starts_with("/news/git/") { "sample.git" } else { "sample" };
        let mut text = text
            .replace("branch/{id}", &format!("branch/{}", self.branch))
            .replace("lane-run/{id}", &format!("lane-run/{}", self.lane_run))
            .replace("{branch_id}", &self.branch)
            .replace("{lane_run_id}", &self.lane_run)
            .replace("{lane_id}", &self.lane)
            .replace("{head_id}", &self.head_id)
            .replace("{run_id}", run_id().as_str())
            .replace("{job}", "unit")
            .replace("{*path}", "report.txt")
            .replace("{repository}", git)
            .replace("repository/{name}", "repository/sample")
            .replace("{head}", &self.head)
            .replace("users/{name}", "users/spare")
            .replace("members/{user}", "members/spare")
            .replace("{*rest}", "anything")
            .replace("{*file}", "HEAD");
        if text.contains("/spare") {
            self.fixture.auth.ensure_user("spare", false).await.unwrap();
        }
        if text.contains("{webhook_id}") {
            let (webhook, delivery) = self.add_webhook().await;
            text = text.replace("{webhook_id}", &webhook.to_string());
            text = text.replace("{delivery_id}", &delivery.to_string());
        }
        let user = self.users.get(&caller).filter(|_| caller != Caller::Disabled);
        if let Some(user) = user.filter(|_| text.contains("tokens/{id}")) {
            self.fixture.auth.create_token(user, "spare", &Scopes::all(), None).await.unwrap();
            let spare = self.fixture.auth.list_tokens(user).await.unwrap()[0].id;
            text = text.replace("{id}", &spare.to_string());
        }
        if let Some(user) = user.filter(|_| text.contains("ssh-keys/{id}")) {
            let key = NewSshKey {
                user_id: user.id,
                fingerprint: format!("SHA256:{}", getrandom::u64().unwrap()),
                public_key: "ssh-ed25519 spare".to_owned(),
                comment: "spare".to_owned(),
            };
            let added = self.fixture.forge.store().add_ssh_key(key, 100, audit(), 1).await.unwrap();
            let AddedCredential::Added(id) = added else { panic!("{added:?}") };
            text = text.replace("{id}", &id.to_string());
        }
        if let Some(user) = user.filter(|_| text.contains("passkeys/{id}")) {
            let passkey = NewPasskey {
                user_id: user.id,
                credential_id: getrandom::u64().unwrap().to_be_bytes().to_vec(),
                credential: "none".to_owned(),
                name: "spare".to_owned(),
            };
            let added = self.fixture.forge.store().add_passkey(passkey, 100, audit(), 1).await.unwrap();
            let AddedCredential::Added(id) = added else { panic!("{added:?}") };
            text = text.replace("{id}", &id.to_string());
        }
        if text.contains("secrets/{secret}") {
            let sealed = SealedSecret { nonce: vec![1], ciphertext: vec![2], key_id: "none".to_owned() };
            let repository = self.fixture.forge.hosted(REPOSITORY).unwrap().id;
            let store = self.fixture.forge.store();
            store.set_secret(repository, "secret".to_owned(), sealed, audit(), 1).await.unwrap();
        }
        text.replace(['{', '}'], "")
    }

    async fn ask(&self, row: &Row, caller: Caller) -> axum::response::Response {
        let query = if row.body.starts_with('?') { self.path(row.body, caller).await } else { String::new() };
        let uri = format!("{}{query}", self.path(row.path, caller).await);
        let method = if row.method == "ANY" { Method::GET } else { row.method.parse().unwrap() };
        let content_type = match row.body {
            body if body.starts_with('{') && body.contains(':') => "application/json".to_owned(),
            _ if row.path.contains("/git-") => {
                format!("application/x-{}-request", row.path.rsplit('/').next().unwrap())
            }
            _ => "application/x-www-form-urlencoded".to_owned(),
        };
        let mut request = self.fixture.request(method, &uri);
        if !row.body.is_empty() {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        if let Some(secret) = self.secrets.get(&caller) {
            request = request.header(header::AUTHORIZATION, format!("Bearer {secret}"));
        }
        let body = match row.body {
            body if body.starts_with('?') => String::new(),
            body => body.replace("{head}", &self.head),
        };
        self.router.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap()
    }
}

fn audit() -> Audit {
    Audit {
        actor: "test".to_owned(),
        action: "ssh_key.added",
        subject: "user spare".to_owned(),
        repository: None,
        detail: serde_json::json!({}),
    }
}

fn answer(response: &axum::response::Response) -> Answer {
    let location = response.headers().get(header::LOCATION);
    match response.status() {
        StatusCode::UNAUTHORIZED => Answer::SignIn,
        StatusCode::SEE_OTHER if location.is_some_and(|to| to == "/news/sign-in") => Answer::SignIn,
        StatusCode::NOT_FOUND => Answer::Hidden,
        StatusCode::FORBIDDEN => Answer::Forbidden,
        _ => Answer::Allowed,
    }
}

#[tokio::test]
async fn everybody_may_do_what_the_matrix_says_and_nothing_else() {
    let matrix = Matrix::new().await;
    let mut wrong = Vec::new();
    for is_public in [false, true] {
        let public = if is_public { BTreeSet::from([REPOSITORY.to_owned()]) } else { BTreeSet::new() };
        matrix.fixture.auth.set_public(public.into());
        for row in rows() {
            let kind = match row.path {
                path if path.starts_with("/news/api/") => Kind::Api,
                path if path.starts_with("/news/git/") => Kind::Git,
                _ => Kind::Page,
            };
            for caller in callers(row.need) {
                let response = matrix.ask(&row, caller).await;
                let (status, got) = (response.status(), answer(&response));
                let wanted = expected(row.need, kind, caller, is_public);
                let fits = match wanted {
                    Answer::Any => true,
                    Answer::Denied => matches!(got, Answer::Hidden | Answer::Forbidden),
                    wanted => got == wanted,
                };
                if !fits || (status.is_server_error() && status != StatusCode::SERVICE_UNAVAILABLE) {
                    let visibility = if is_public { "public" } else { "members" };
                    wrong.push(format!(
                        "{} {} ({visibility}) by {caller:?}: wanted {wanted:?}, got {status}",
                        row.method, row.path
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn every_route_has_a_row() {
    let fixture = Fixture::new().await;
    let routes = routes(&format!("{:?}", fixture.router_with_git()));
    assert!(routes.len() > 40, "the router is written in another way than this test reads: {routes:?}");
    let rows: BTreeSet<(String, String)> =
        rows().iter().map(|row| (row.method.to_owned(), row.path.to_owned())).collect();
    let without_row: Vec<_> = routes.difference(&rows).collect();
    assert!(without_row.is_empty(), "add these routes to `rows`: {without_row:?}");
    let without_route: Vec<_> = rows.difference(&routes).collect();
    assert!(without_route.is_empty(), "there are no such routes: {without_route:?}");
}

/// Reads methods and paths from how axum prints a router: what it has by number, then the paths of the numbers.
pub(super) fn routes(printed: &str) -> BTreeSet<(String, String)> {
    let printed = printed.split("fallback_router:").next().unwrap();
    let (endpoints, paths) = printed.split_once("node: Node").unwrap();
    let mut methods: BTreeMap<u32, Vec<&str>> = BTreeMap::new();
    for endpoint in endpoints.split("RouteId(").skip(1) {
        let number = endpoint.split(')').next().unwrap().parse().unwrap();
        let allowed = endpoint.split("allow_header: Bytes(b\"").nth(1);
        let words = allowed.map_or(vec!["ANY"], |rest| rest.split('"').next().unwrap().split(',').collect());
        methods.insert(number, words);
    }
    let mut routes = BTreeSet::new();
    for path in paths.split("RouteId(").skip(1) {
        let number = path.split(')').next().unwrap().parse().unwrap();
        let text = path.split('"').nth(1).unwrap();
        for method in methods[&number].iter().filter(|method| **method != "HEAD") {
            routes.insert(((*method).to_owned(), text.to_owned()));
        }
    }
    routes
}
