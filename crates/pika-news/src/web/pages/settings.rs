//! The pages on which people look after accounts, members and the audit log.
//!
//! Invariant: each asks for the decision before it shows or changes anything; every form works without script.

use askama::Template;
use axum::Form;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;

use super::{as_seen_by, not_found, render, time};
use crate::auth::{Account, Action, AuditEntry, Member, Principal, Resource, Role, Scopes, SshKey, User};
use crate::forge::webhook::{Delivery, Webhook};
use crate::web::Web;
use crate::web::error::{PageError, WebError};
use crate::web::viewer::{PageViewer, allow, within_own};

const ENTRIES_PER_PAGE: u32 = 50;
const USERS_PER_PAGE: u32 = 200;
/// As many as a repository may have.
const WEBHOOKS_SHOWN: u32 = 20;

#[derive(Template)]
#[template(path = "ssh_keys.html")]
struct KeysPage {
    user: Option<User>,
    keys: Vec<SshKey>,
    problem: Option<String>,
}

#[derive(Template)]
#[template(path = "repository_settings.html")]
struct RepositoryPage {
    user: Option<User>,
    repository: String,
    is_public: bool,
    members: Vec<Member>,
    mirror: Option<crate::store::MirrorState>,
    webhooks: Vec<WebhookRow>,
    /// The key of a webhook that was just added.
    webhook_secret: Option<String>,
    problem: Option<String>,
    entries: Vec<AuditEntry>,
}

/// A webhook, and what was sent to it last.
pub(super) struct WebhookRow {
    webhook: Webhook,
    latest: Option<Delivery>,
}

#[derive(Template)]
#[template(path = "users.html")]
struct UsersPage {
    user: Option<User>,
    users: Vec<Account>,
    problem: Option<String>,
    link: Option<String>,
    next: Option<String>,
}

#[derive(Template)]
#[template(path = "audit.html")]
struct AuditPage {
    user: Option<User>,
    entries: Vec<AuditEntry>,
    next: Option<i64>,
}

/// `GET /news/settings/ssh-keys`
pub(super) async fn keys(
    PageViewer(viewer): PageViewer,
    State(web): State<Web>,
) -> Result<Response, PageError> {
    keys_page(&web, &viewer, None).await.map_err(as_seen_by(&viewer))
}

async fn keys_page(web: &Web, viewer: &Principal, problem: Option<String>) -> Result<Response, PageError> {
    let user = viewer.user().ok_or(WebError::Unauthenticated)?;
    allow(viewer, Action::Read, Resource::Account(user.id))?;
    let keys = web.auth().list_ssh_keys(user).await?;
    render(&KeysPage { user: Some(user.clone()), keys, problem })
}

/// A key that is pasted.
#[derive(Debug, Deserialize)]
pub(super) struct NewKey {
    public_key: String,
    #[serde(default)]
    comment: String,
}

/// `POST /news/settings/ssh-keys`
pub(super) async fn add_key(
    PageViewer(viewer): PageViewer,
    State(web): State<Web>,
    Form(form): Form<NewKey>,
) -> Result<Response, PageError> {
    let done = async {
        let user = viewer.user().ok_or(WebError::Unauthenticated)?;
        allow(&viewer, Action::Administer, Resource::Account(user.id))?;
        // A key may do all that its user may.
        within_own(&viewer, &Scopes::all())?;
        match web.auth().add_ssh_key(user, &form.public_key, &form.comment).await.map_err(WebError::from) {
            Ok(_) => Ok(Redirect::to("/news/settings/ssh-keys").into_response()),
            Err(WebError::Refused(code, message)) => {
                let page = keys_page(&web, &viewer, Some(message)).await?;
                Ok((code.status(), page).into_response())
            }
            Err(error) => Err(error.into()),
        }
    };
    done.await.map_err(as_seen_by(&viewer))
}

/// `POST /news/settings/ssh-keys/{id}/revoke`
pub(super) async fn revoke_key(
    PageViewer(viewer): PageViewer,
    State(web): State<Web>,
    Path(id): Path<String>,
) -> Result<Response, PageError> {
    let done = async {
        let user = viewer.user().ok_or(WebError::Unauthenticated)?;
        allow(&viewer, Action::Administer, Resource::Account(user.id))?;
        let id = id.parse().map_err(|_| not_found("key"))?;
        match web.auth().revoke_ssh_key(user, id).await? {
            true => Ok(Redirect::to("/news/settings/ssh-keys").into_response()),
            false => Err(not_found("key").into()),
        }
    };
    done.await.map_err(as_seen_by(&viewer))
}

/// `GET /news/{repository}/settings`
pub(super) async fn repository(
    PageViewer(viewer): PageViewer,
    State(web): State<Web>,
    Path(name): Path<String>,
) -> Result<Response, PageError> {
    repository_page(&web, &viewer, &name, None, None).await.map_err(as_seen_by(&viewer))
}

pub(super) async fn repository_page(
    web: &Web,
    viewer: &Principal,
    name: &str,
    webhook_secret: Option<String>,
    problem: Option<String>,
) -> Result<Response, PageError> {
    allow(viewer, Action::Administer, Resource::Repository(name))?;
    let id = web.forge().hosted(name)?.id;
    let mut webhooks = Vec::new();
    for webhook in web.forge().webhooks_after(name, 0, WEBHOOKS_SHOWN).await? {
        let latest = web.forge().deliveries_after(name, webhook.id, None, 1).await?.into_iter().next();
        webhooks.push(WebhookRow { webhook, latest });
    }
    render(&RepositoryPage {
        user: viewer.user().cloned(),
        repository: name.to_owned(),
        is_public: viewer.is_public(name),
        members: web.auth().list_members(id).await?,
        mirror: Some(web.forge().find_mirror(name).await?).filter(|mirror| mirror.status != "none"),
        webhooks,
        webhook_secret,
        problem,
        entries: web.auth().list_audit(Some(id), None, ENTRIES_PER_PAGE).await?,
    })
}

/// Somebody and their role; a role that is none takes theirs away.
#[derive(Debug, Deserialize)]
pub(super) struct MemberForm {
    user: String,
    role: String,
}

/// `POST /news/{repository}/settings/members`
pub(super) async fn set_member(
    PageViewer(viewer): PageViewer,
    State(web): State<Web>,
    Path(name): Path<String>,
    Form(form): Form<MemberForm>,
) -> Result<Response, PageError> {
    let done = async {
        allow(&viewer, Action::Administer, Resource::Repository(&name))?;
        let id = web.forge().hosted(&name)?.id;
        let set =
            web.auth().set_member(viewer.name(), (id, &name), form.user.trim(), Role::parse(&form.role));
        match set.await.map_err(WebError::from) {
            Ok(()) => Ok(Redirect::to(&format!("/news/{name}/settings")).into_response()),
            Err(error @ (WebError::Refused(..) | WebError::NotFound(_))) => {
                let page = repository_page(&web, &viewer, &name, None, Some(error.message())).await?;
                Ok((axum::http::StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
            }
            Err(error) => Err(error.into()),
        }
    };
    done.await.map_err(as_seen_by(&viewer))
}

/// Where a page of users begins.
#[derive(Debug, Deserialize)]
pub(super) struct UsersQuery {
    after: Option<String>,
}

/// `GET /news/settings/users`
pub(super) async fn users(
    PageViewer(viewer): PageViewer,
    State(web): State<Web>,
    Query(query): Query<UsersQuery>,
) -> Result<Response, PageError> {
    users_page(&web, &viewer, query.after.as_deref(), None, None).await.map_err(as_seen_by(&viewer))
}

async fn users_page(
    web: &Web,
    viewer: &Principal,
    after: Option<&str>,
    problem: Option<String>,
    link: Option<String>,
) -> Result<Response, PageError> {
    allow(viewer, Action::Administer, Resource::Forge)?;
    let mut users = web.auth().list_users(after, USERS_PER_PAGE + 1).await?;
    let has_more = users.len() > USERS_PER_PAGE as usize;
    users.truncate(USERS_PER_PAGE as usize);
    let next = users.last().filter(|_| has_more).map(|user| user.name.clone());
    render(&UsersPage { user: viewer.user().cloned(), users, problem, link, next })
}

/// Somebody to be added.
#[derive(Debug, Deserialize)]
pub(super) struct NewUser {
    name: String,
}

/// `POST /news/settings/users`: makes a user, and shows the link that signs them in.
pub(super) async fn add_user(
    PageViewer(viewer): PageViewer,
    State(web): State<Web>,
    Form(form): Form<NewUser>,
) -> Result<Response, PageError> {
    let done = async {
        allow(&viewer, Action::Administer, Resource::Forge)?;
        match web.auth().add_user(viewer.name(), form.name.trim(), false).await.map_err(WebError::from) {
            Ok(account) => {
                let path = web.auth().create_sign_in_link(&account.user()).await?;
                let link = format!("{}{path}", web.public_url());
                users_page(&web, &viewer, None, None, Some(link)).await
            }
            Err(WebError::Refused(code, message)) => {
                let page = users_page(&web, &viewer, None, Some(message), None).await?;
                Ok((code.status(), page).into_response())
            }
            Err(error) => Err(error.into()),
        }
    };
    done.await.map_err(as_seen_by(&viewer))
}

/// What is to become of a user.
#[derive(Debug, Deserialize)]
pub(super) struct UserForm {
    /// `disable`, `enable`, `administrator`, `user`, `link`.
    action: String,
}

/// `POST /news/settings/users/{name}`
pub(super) async fn change_user(
    PageViewer(viewer): PageViewer,
    State(web): State<Web>,
    Path(name): Path<String>,
    Form(form): Form<UserForm>,
) -> Result<Response, PageError> {
    let done = async {
        allow(&viewer, Action::Administer, Resource::Forge)?;
        let (auth, actor) = (web.auth(), viewer.name());
        match form.action.as_str() {
            "disable" => auth.set_disabled(actor, &name, true).await?,
            "enable" => auth.set_disabled(actor, &name, false).await?,
            "administrator" => auth.set_administrator(actor, &name, true).await?,
            "user" => auth.set_administrator(actor, &name, false).await?,
            "link" => {
                let account = auth.account(&name).await?;
                let path = auth.create_sign_in_link(&account.user()).await?;
                let link = format!("{}{path}", web.public_url());
                return users_page(&web, &viewer, None, None, Some(link)).await;
            }
            _ => return Err(WebError::bad_request("There is no such change.").into()),
        }
        Ok(Redirect::to("/news/settings/users").into_response())
    };
    done.await.map_err(as_seen_by(&viewer))
}

/// Where a page of the audit log begins.
#[derive(Debug, Deserialize)]
pub(super) struct AuditQuery {
    before: Option<i64>,
}

/// `GET /news/settings/audit`
pub(super) async fn audit(
    PageViewer(viewer): PageViewer,
    State(web): State<Web>,
    Query(query): Query<AuditQuery>,
) -> Result<Response, PageError> {
    let shown = async {
        allow(&viewer, Action::Administer, Resource::Forge)?;
        let mut entries = web.auth().list_audit(None, query.before, ENTRIES_PER_PAGE + 1).await?;
        let has_more = entries.len() > ENTRIES_PER_PAGE as usize;
        entries.truncate(ENTRIES_PER_PAGE as usize);
        let next = entries.last().filter(|_| has_more).map(|entry| entry.id);
        render(&AuditPage { user: viewer.user().cloned(), entries, next })
    };
    shown.await.map_err(as_seen_by(&viewer))
}
