//! Nightlies.

use axum::extract::State;

use super::super::page::{Page, PageAnswer, PageQuery, Paged};
use super::queue::{QueueQuery, wanted};
use crate::forge::nightly::Nightly;
use crate::web::Web;
use crate::web::error::ApiError;
use crate::web::extract::Query;
use crate::web::viewer::Viewer;

/// Lists the nightlies, the latest first; at least the last 200 of a repository are kept.
#[utoipa::path(
    get, path = "/news/api/v1/nightlies", tag = "runs", params(QueueQuery, PageQuery),
    responses((status = 200, body = Page<Nightly>))
)]
pub(super) async fn nightlies(
    viewer: Viewer,
    State(web): State<Web>,
    Query(query): Query<QueueQuery>,
    page: Paged,
) -> Result<PageAnswer<Nightly>, ApiError> {
    let names = wanted(&web, &viewer, &query)?;
    let rows = web.forge().nightlies_after(&names, page.after_number()?, page.rows()).await?;
    Ok(page.answer(rows, |row| row.id.to_string()))
}
