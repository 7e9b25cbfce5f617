//! Who the caller is to the forge, for clients that sign in.

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use crate::web::Web;
use crate::web::error::ApiError;
use crate::web::viewer::Viewer;

/// Who asks.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct WhoAmI {
    user: String,
    is_admin: bool,
    /// What the token may be used for; a session has every scope.
    scopes: Vec<String>,
    /// The forge's version.
    version: &'static str,
    /// The address that people reach the forge at.
    public_url: String,
}

/// Says who asks, and what their token may be used for.
#[utoipa::path(
    get, path = "/news/api/forge/whoami", tag = "people", responses((status = 200, body = WhoAmI))
)]
pub(super) async fn show(viewer: Viewer, State(web): State<Web>) -> Result<Json<WhoAmI>, ApiError> {
    let scopes = viewer.principal.scopes().to_string();
    Ok(Json(WhoAmI {
        user: viewer.user.name,
        is_admin: viewer.user.is_admin,
        scopes: scopes.split_whitespace().map(str::to_owned).collect(),
        version: env!("CARGO_PKG_VERSION"),
        public_url: web.public_url().to_owned(),
    }))
}
