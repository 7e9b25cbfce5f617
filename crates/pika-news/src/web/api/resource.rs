//! The resources of the forge, each under a path of its own below `/news/api/v1`, and the lists of them in parts.

mod artifacts;
mod branches;
mod jobs;
mod mirror;
mod nightlies;
mod people;
mod queue;
mod webhooks;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::web::Web;

/// The routes below `/news/api/v1`.
pub(super) fn router() -> OpenApiRouter<Web> {
    OpenApiRouter::new()
        .routes(routes!(branches::repositories))
        .routes(routes!(branches::repository))
        .routes(routes!(branches::branches))
        .routes(routes!(branches::branch))
        .routes(routes!(branches::heads))
        .routes(routes!(branches::head))
        .routes(routes!(branches::lanes))
        .routes(routes!(branches::lane))
        .routes(routes!(queue::attempts))
        .routes(routes!(queue::lane_run))
        .routes(routes!(queue::runs_of_branch))
        .routes(routes!(queue::runs_of_repository))
        .routes(routes!(queue::queue))
        .routes(routes!(nightlies::nightlies))
        .routes(routes!(jobs::jobs))
        .routes(routes!(jobs::tests))
        .routes(routes!(artifacts::artifacts))
        .routes(routes!(artifacts::download))
        .routes(routes!(mirror::mirror))
        .routes(routes!(mirror::sync))
        .routes(routes!(people::users))
        .routes(routes!(people::tokens))
        .routes(routes!(webhooks::list, webhooks::add))
        .routes(routes!(webhooks::remove))
        .routes(routes!(webhooks::deliveries))
        .routes(routes!(webhooks::redeliver))
}
