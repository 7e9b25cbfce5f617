//! `GET /news/{repository}`: its branches by state, a page at a time.

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use serde::Deserialize;

use super::{as_seen_by, render, time, words};
use crate::auth::{Action, Principal, Resource, User};
use crate::forge::nightly::Nightly;
use crate::forge::state::BranchState;
use crate::forge::view::{BranchFilter, BranchList, RepositoryView};
use crate::web::Web;
use crate::web::error::PageError;
use crate::web::viewer::{Visitor, allow};

const BRANCHES_PER_PAGE: u32 = 50;

/// Which branches are wanted.
#[derive(Debug, Deserialize)]
pub(super) struct RepositoryQuery {
    state: Option<String>,
    #[serde(default)]
    offset: u32,
}

#[derive(Template)]
#[template(path = "repository.html")]
struct RepositoryPage {
    user: Option<User>,
    repository: RepositoryView,
    is_public: bool,
    can_administer: bool,
    clone_url: String,
    ssh_clone_url: Option<String>,
    tabs: Vec<Tab>,
    state: BranchState,
    list: BranchList,
    /// The latest, when there are nightlies.
    nightly: Option<Nightly>,
    offset: u32,
    previous: u32,
    next: u32,
}

struct Tab {
    state: BranchState,
    label: &'static str,
    count: u32,
    is_current: bool,
}

/// Shows a repository.
pub(super) async fn show(
    Visitor(viewer): Visitor,
    State(web): State<Web>,
    Path(name): Path<String>,
    Query(query): Query<RepositoryQuery>,
) -> Result<Response, PageError> {
    page(&web, &viewer, &name, &query).await.map_err(as_seen_by(&viewer))
}

async fn page(
    web: &Web,
    viewer: &Principal,
    name: &str,
    query: &RepositoryQuery,
) -> Result<Response, PageError> {
    allow(viewer, Action::Read, Resource::Repository(name))?;
    let state = query.state.as_deref().and_then(BranchState::parse).unwrap_or(BranchState::Open);
    // Deleted branches are shown among the closed.
    let state = if state == BranchState::Deleted { BranchState::Closed } else { state };
    let repository = web.forge().repository(name).await?;
    let filter = BranchFilter { state: Some(state), limit: BRANCHES_PER_PAGE, offset: query.offset };
    let list = web.forge().branches(name, filter).await?;
    let counts = repository.counts;
    let tab = |of, label, count| Tab { state: of, label, count, is_current: of == state };
    let tabs = vec![
        tab(BranchState::Open, "Open", counts.open),
        tab(BranchState::Merged, "Merged", counts.merged),
        tab(BranchState::Closed, "Closed", counts.closed),
    ];
    let clone_url = format!("{}{}", web.public_url(), repository.clone_path);
    let ssh_clone_url = web.forge().config().ssh_clone_url(name);
    render(&RepositoryPage {
        user: viewer.user().cloned(),
        is_public: viewer.is_public(name),
        can_administer: viewer.may(Action::Administer, Resource::Repository(name)),
        repository,
        clone_url,
        ssh_clone_url,
        tabs,
        state,
        list,
        nightly: web.forge().nightlies_after(&[name.to_owned()], None, 1).await?.into_iter().next(),
        offset: query.offset,
        previous: query.offset.saturating_sub(BRANCHES_PER_PAGE),
        next: query.offset.saturating_add(BRANCHES_PER_PAGE),
    })
}
