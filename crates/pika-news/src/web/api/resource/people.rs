//! Users, and one's own tokens.

use axum::extract::State;

use super::super::page::{Page, PageAnswer, PageQuery, Paged};
use crate::auth::{Account, Action, Resource, Token};
use crate::web::Web;
use crate::web::error::ApiError;
use crate::web::viewer::{Viewer, must};

/// Lists the users of the forge by name, for its administrators.
#[utoipa::path(
    get, path = "/news/api/v1/users", tag = "people", params(PageQuery),
    responses((status = 200, body = Page<Account>))
)]
pub(super) async fn users(
    viewer: Viewer,
    State(web): State<Web>,
    page: Paged,
) -> Result<PageAnswer<Account>, ApiError> {
    must(&viewer, Action::Administer, Resource::Forge)?;
    let users = web.auth().list_users(page.after(), page.rows()).await?;
    Ok(page.answer(users, |user| user.name.clone()))
}

/// Lists one's own tokens, the latest first.
#[utoipa::path(
    get, path = "/news/api/v1/tokens", tag = "people", params(PageQuery),
    responses((status = 200, body = Page<Token>))
)]
pub(super) async fn tokens(
    viewer: Viewer,
    State(web): State<Web>,
    page: Paged,
) -> Result<PageAnswer<Token>, ApiError> {
    must(&viewer, Action::Read, Resource::Account(viewer.user.id))?;
    let after = page.after_number()?.unwrap_or(i64::MAX);
    // There are at most a hundred.
    let tokens = web.auth().list_tokens(&viewer.user).await?.into_iter().filter(|token| token.id < after);
    let tokens = tokens.take(page.rows() as usize).collect();
    Ok(page.answer(tokens, |token| token.id.to_string()))
}
