//! The JSON routes. Whoever is not signed in gets 401; what is not there is 404; every refusal is `{"error": …, "code": …}`.

mod actions;
mod audit;
mod branch;
mod logs;
mod members;
mod prepared_outputs;
mod queue;
mod raw_log;
mod run;
mod secrets;
mod ssh_keys;
pub(super) mod tokens;
mod tutorial;
mod users;
mod whoami;
mod why;

use axum::Router;
use axum::routing::{delete, get, post, put};

use super::code::Code;
use super::error::{ApiError, WebError};
use super::viewer::require_auth;
use super::{Web, live};

/// The routes below `/news/api`, all behind authentication.
pub(super) fn router(web: Web) -> Router<Web> {
    Router::new()
        .route("/news/api/forge/whoami", get(whoami::show))
        .route("/news/api/forge/queue", get(queue::show))
        .route("/news/api/forge/repositories", get(branch::repositories))
        .route("/news/api/forge/repository/{name}/branches", get(branch::list))
        .route("/news/api/forge/repository/{name}/secrets", get(secrets::list))
        .route(
            "/news/api/forge/repository/{name}/secrets/{secret}",
            put(secrets::set).delete(secrets::remove),
        )
        .route("/news/api/forge/repository/{name}/members", get(members::list))
        .route("/news/api/forge/repository/{name}/members/{user}", put(members::set).delete(members::remove))
        .route("/news/api/forge/repository/{name}/audit", get(audit::list_of_repository))
        .route("/news/api/forge/users", get(users::list).post(users::add))
        .route("/news/api/forge/users/{name}", delete(users::remove))
        .route("/news/api/forge/users/{name}/disable", post(users::disable))
        .route("/news/api/forge/users/{name}/enable", post(users::enable))
        .route("/news/api/forge/users/{name}/role", put(users::set_role))
        .route("/news/api/forge/tokens", get(tokens::list).post(tokens::create))
        .route("/news/api/forge/tokens/{id}", delete(tokens::revoke))
        .route("/news/api/forge/ssh-keys", get(ssh_keys::list).post(ssh_keys::add))
        .route("/news/api/forge/ssh-keys/{id}", delete(ssh_keys::revoke))
        .route("/news/api/forge/audit", get(audit::list))
        .route("/news/api/forge/branch/{id}", get(branch::show))
        .route("/news/api/forge/branch/{id}/logs", get(branch::logs))
        .route("/news/api/forge/branch/{id}/merge", post(actions::merge))
        .route("/news/api/forge/branch/{id}/close", post(actions::close))
        .route("/news/api/forge/branch/{id}/tutorial", get(tutorial::show))
        .route("/news/api/forge/branch/{id}/tutorial/steps", get(tutorial::steps))
        .route("/news/api/forge/branch/{id}/tutorial/coverage", get(tutorial::coverage))
        .route("/news/api/forge/branch/{id}/tutorial/state", get(tutorial::state))
        .route("/news/api/forge/branch/{id}/tutorial/retry", post(tutorial::retry))
        .route("/news/api/forge/branch/{id}/tutorial/tick", post(tutorial::tick))
        .route("/news/api/forge/branch/{id}/interdiff", get(tutorial::since))
        .route("/news/api/forge/lane-run/{id}", get(branch::lane_run))
        .route("/news/api/forge/lane-run/{id}/why", get(why::show))
        .route("/news/api/forge/lane-run/{id}/rerun", post(actions::rerun))
        .route("/news/api/forge/lane-run/{id}/cancel", post(actions::cancel))
        .route("/news/api/forge/pikaci/run/{run_id}", get(run::show))
        .route("/news/api/forge/pikaci/logs/{run_id}", get(logs::show))
        .route("/news/api/forge/pikaci/logs/{run_id}/raw", get(raw_log::show))
        .route("/news/api/forge/pikaci/logs/{run_id}/stream", get(live::log))
        .route("/news/api/forge/pikaci/prepared-outputs/{run_id}", get(prepared_outputs::show))
        .route("/news/api/forge/changes", get(live::changes))
        .route("/news/api/{*rest}", axum::routing::any(missing))
        .method_not_allowed_fallback(wrong_method)
        .layer(axum::middleware::from_fn_with_state(web, require_auth))
}

async fn wrong_method() -> ApiError {
    ApiError(WebError::Refused(Code::MethodNotAllowed, "this route takes other methods".to_owned()))
}

async fn missing() -> ApiError {
    ApiError(WebError::NotFound("there is no such route".to_owned()))
}
