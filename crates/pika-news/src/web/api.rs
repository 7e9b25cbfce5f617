//! The JSON routes. Whoever is not signed in gets 401; what is not there is 404; every refusal is `{"error": …, "code": …}`.

mod actions;
mod audit;
mod branch;
mod document;
mod logs;
mod members;
mod page;
mod prepared_outputs;
mod raw_log;
mod resource;
mod run;
mod secrets;
mod ssh_keys;
pub(super) mod tokens;
mod tutorial;
mod users;
mod whoami;
mod why;

use axum::Router;
use axum::routing::get;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::code::Code;
use super::error::{ApiError, WebError};
use super::viewer::require_auth;
use super::{Web, live};

/// The routes below `/news/api`, all behind authentication but the document that describes them.
pub(super) fn router(web: Web) -> Router<Web> {
    let (routes, described) = described().split_for_parts();
    let document = document::Document::of(described);
    let routes = routes
        .route("/news/api/{*rest}", axum::routing::any(missing))
        .method_not_allowed_fallback(wrong_method)
        .layer(axum::middleware::from_fn_with_state(web, require_auth));
    routes.route("/news/api/openapi.json", get(async move |headers| document.answer(&headers)))
}

/// The routes with what is written about each.
fn described() -> OpenApiRouter<Web> {
    OpenApiRouter::new()
        .routes(routes!(whoami::show))
        .routes(routes!(branch::repositories))
        .routes(routes!(branch::list))
        .routes(routes!(secrets::list))
        .routes(routes!(secrets::set, secrets::remove))
        .routes(routes!(members::list))
        .routes(routes!(members::set, members::remove))
        .routes(routes!(audit::list_of_repository))
        .routes(routes!(users::list, users::add))
        .routes(routes!(users::remove))
        .routes(routes!(users::disable))
        .routes(routes!(users::enable))
        .routes(routes!(users::set_role))
        .routes(routes!(tokens::list, tokens::create))
        .routes(routes!(tokens::revoke))
        .routes(routes!(ssh_keys::list, ssh_keys::add))
        .routes(routes!(ssh_keys::revoke))
        .routes(routes!(audit::list))
        .routes(routes!(branch::show))
        .routes(routes!(branch::logs))
        .routes(routes!(actions::merge))
        .routes(routes!(actions::close))
        .routes(routes!(actions::reopen))
        .routes(routes!(tutorial::show))
        .routes(routes!(tutorial::steps))
        .routes(routes!(tutorial::coverage))
        .routes(routes!(tutorial::state))
        .routes(routes!(tutorial::retry))
        .routes(routes!(tutorial::tick))
        .routes(routes!(tutorial::since))
        .routes(routes!(branch::lane_run))
        .routes(routes!(why::show))
        .routes(routes!(actions::rerun))
        .routes(routes!(actions::cancel))
        .routes(routes!(run::show))
        .routes(routes!(logs::show))
        .routes(routes!(raw_log::show))
        .routes(routes!(live::log))
        .routes(routes!(prepared_outputs::show))
        .routes(routes!(live::changes))
        .routes(routes!(live::events::list))
        .routes(routes!(live::events::stream))
        .merge(resource::router())
}

async fn wrong_method() -> ApiError {
    ApiError(WebError::Refused(Code::MethodNotAllowed, "this route takes other methods".to_owned()))
}

async fn missing() -> ApiError {
    ApiError(WebError::NotFound("there is no such route".to_owned()))
}
