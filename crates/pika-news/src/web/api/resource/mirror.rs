//! Where the mirror of a repository stands.

use axum::Json;
use axum::extract::State;

use crate::auth::{Action, Resource};
use crate::store::MirrorState;
use crate::web::Web;
use crate::web::error::ApiError;
use crate::web::extract::Path;
use crate::web::viewer::{Viewer, must};

/// Shows where the mirror stands.
#[utoipa::path(
    get, path = "/news/api/v1/repositories/{repository}/mirror", tag = "repositories",
    params(("repository" = String, Path, description = "Its name")),
    responses((status = 200, body = MirrorState))
)]
pub(super) async fn mirror(
    viewer: Viewer,
    State(web): State<Web>,
    Path(repository): Path<String>,
) -> Result<Json<MirrorState>, ApiError> {
    // What another host said may name what is no reader's.
    must(&viewer, Action::Write, Resource::Repository(&repository))?;
    Ok(Json(web.forge().find_mirror(&repository).await?))
}

/// Has the mirror made the same now, also when it waits after a failure, and tells what came of it. An answer that says `running` came
/// before its end.
#[utoipa::path(
    post, path = "/news/api/v1/repositories/{repository}/mirror/sync", tag = "repositories",
    params(("repository" = String, Path, description = "Its name")),
    responses((status = 200, body = MirrorState))
)]
pub(super) async fn sync(
    viewer: Viewer,
    State(web): State<Web>,
    Path(repository): Path<String>,
) -> Result<Json<MirrorState>, ApiError> {
    must(&viewer, Action::Write, Resource::Repository(&repository))?;
    Ok(Json(web.forge().sync_mirror(&repository).await?))
}
