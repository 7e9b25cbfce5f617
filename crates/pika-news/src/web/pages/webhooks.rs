//! Adds and removes webhooks of a repository; the page is that of its settings.

use axum::Form;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;

use super::settings::repository_page;
use super::{as_seen_by, not_found};
use crate::auth::{Action, Resource};
use crate::web::Web;
use crate::web::error::{PageError, WebError};
use crate::web::viewer::{PageViewer, allow};

/// Whom to send to, and what: words that are separated by spaces, everything without any.
#[derive(Debug, Deserialize)]
pub(super) struct NewWebhook {
    url: String,
    #[serde(default)]
    kinds: String,
}

/// `POST /news/{repository}/settings/webhooks`
pub(super) async fn add(
    PageViewer(viewer): PageViewer,
    State(web): State<Web>,
    Path(name): Path<String>,
    Form(form): Form<NewWebhook>,
) -> Result<Response, PageError> {
    let done = async {
        allow(&viewer, Action::Administer, Resource::Repository(&name))?;
        let kinds: Vec<String> = form.kinds.split_whitespace().map(str::to_owned).collect();
        let added = web.forge().add_webhook(&name, form.url.trim(), &kinds, viewer.name()).await;
        match added.map_err(WebError::from) {
            Ok((_, secret)) => repository_page(&web, &viewer, &name, Some(secret), None).await,
            Err(error @ WebError::Refused(..)) => {
                let page = repository_page(&web, &viewer, &name, None, Some(error.message())).await?;
                Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
            }
            Err(error) => Err(error.into()),
        }
    };
    done.await.map_err(as_seen_by(&viewer))
}

/// `POST /news/{repository}/settings/webhooks/{webhook_id}/remove`
pub(super) async fn remove(
    PageViewer(viewer): PageViewer,
    State(web): State<Web>,
    Path((name, id)): Path<(String, String)>,
) -> Result<Response, PageError> {
    let done = async {
        allow(&viewer, Action::Administer, Resource::Repository(&name))?;
        let id = id.parse().map_err(|_| not_found("webhook"))?;
        web.forge().remove_webhook(&name, id, viewer.name()).await?;
        Ok(Redirect::to(&format!("/news/{name}/settings")).into_response())
    };
    done.await.map_err(as_seen_by(&viewer))
}
