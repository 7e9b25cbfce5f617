//! The description of the API, in OpenAPI, as it is served and as it is committed (docs/openapi.json).
//!
//! Invariant: it is made from the routes that are served; what all of them share (how to sign in, how a refusal looks) is added
//! here, once.

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use sha2::{Digest as _, Sha256};
use utoipa::PartialSchema as _;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, InfoBuilder, OpenApi, PathItem, Ref, RefOr, Response as Described,
    ResponseBuilder, SecurityRequirement, Tag,
};

use crate::web::error::ErrorBody;

const TITLE: &str = "pika-news";
/// Grows when a route is taken away or changes its meaning; new routes and new fields leave it as it is.
const VERSION: &str = "1";

/// Every status that a refusal may have, with its codes.
const REFUSALS: &[(StatusCode, &str)] = &[
    (StatusCode::BAD_REQUEST, "`bad_request`"),
    (StatusCode::UNAUTHORIZED, "`unauthenticated`"),
    (StatusCode::FORBIDDEN, "`forbidden`, `cross_site`"),
    (StatusCode::NOT_FOUND, "`not_found`"),
    (StatusCode::METHOD_NOT_ALLOWED, "`method_not_allowed`"),
    (StatusCode::CONFLICT, "`conflict`, `stale_head`, `merge_conflict`"),
    (StatusCode::GONE, "`gone`"),
    (StatusCode::RANGE_NOT_SATISFIABLE, "`range_not_satisfiable`"),
    (StatusCode::UNPROCESSABLE_ENTITY, "`too_large`"),
    (StatusCode::TOO_MANY_REQUESTS, "`too_many_requests`"),
    (StatusCode::INTERNAL_SERVER_ERROR, "`internal`"),
    (StatusCode::BAD_GATEWAY, "`provider_unreachable`"),
    (StatusCode::SERVICE_UNAVAILABLE, "`busy`, `draining`"),
];

/// What an operation may refuse with, by its method and path.
fn refusals(method: &str, path: &str) -> Vec<StatusCode> {
    use StatusCode as Status;
    let mut statuses = vec![
        Status::BAD_REQUEST,
        Status::UNAUTHORIZED,
        Status::FORBIDDEN,
        Status::NOT_FOUND,
        Status::INTERNAL_SERVER_ERROR,
        Status::SERVICE_UNAVAILABLE,
    ];
    if method != "get" {
        statuses.push(Status::CONFLICT);
    }
    if path.contains("/events") {
        statuses.push(Status::GONE);
    }
    if path.ends_with("/raw") || path.contains("/artifacts/") {
        statuses.push(Status::RANGE_NOT_SATISFIABLE);
    }
    if path.contains("/tutorial") || path.ends_with("/interdiff") {
        statuses.push(Status::UNPROCESSABLE_ENTITY);
    }
    statuses
}

/// The document, ready to be sent.
#[derive(Clone)]
pub(super) struct Document {
    text: &'static str,
    tag: String,
}

impl Document {
    pub(super) fn of(described: OpenApi) -> Document {
        // Made at most a few times in the life of a process: once for each router.
        let text: &'static str = Box::leak(text(described).into_boxed_str());
        let digest = Sha256::digest(text.as_bytes());
        let tag: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Document { text, tag: format!("\"{tag}\"") }
    }

    /// Sends it to whoever asks: it says nothing of this forge but its version.
    pub(super) fn answer(&self, headers: &HeaderMap) -> Response {
        let known = headers.get(header::IF_NONE_MATCH).and_then(|tag| tag.to_str().ok());
        let caching = [(header::ETAG, self.tag.as_str()), (header::CACHE_CONTROL, "no-cache")];
        if known == Some(&self.tag) {
            return (StatusCode::NOT_MODIFIED, caching).into_response();
        }
        ((caching), [(header::CONTENT_TYPE, "application/json")], self.text).into_response()
    }
}

/// The document as text; what is committed is compared with it.
pub(super) fn text(mut document: OpenApi) -> String {
    document.info = InfoBuilder::new()
        .title(TITLE)
        .version(VERSION)
        .description(Some(
            "The forge's API. docs/formats/api.md says what lists, events and refusals have in common; unknown fields \
             are to be ignored.",
        ))
        .build();
    document.tags = Some(tags());
    let mut components = ComponentsBuilder::from(document.components.take().unwrap_or_default());
    components = components
        .schema("Problem", ErrorBody::schema())
        .security_scheme(
            "token",
            SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build()),
        )
        .security_scheme("session", SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::new("pika_session"))));
    for (status, codes) in REFUSALS {
        components = components.response(response_name(*status), refusal(codes));
    }
    document.components = Some(components.build());
    let nothing: [&str; 0] = [];
    document.security =
        Some(vec![SecurityRequirement::new("token", nothing), SecurityRequirement::new("session", nothing)]);
    let paths = std::mem::take(&mut document.paths.paths);
    for (path, mut item) in paths {
        for (method, operation) in operations(&mut item) {
            operation.operation_id = Some(operation_id(method, &path));
            for response in operation.responses.responses.values_mut() {
                // OpenAPI 3.1 wants one, however plain the answer is.
                if let RefOr::T(response) = response
                    && response.description.is_empty()
                {
                    "What was asked for".clone_into(&mut response.description);
                }
            }
            for status in refusals(method, &path) {
                let reference = Ref::from_response_name(response_name(status));
                operation
                    .responses
                    .responses
                    .entry(status.as_str().to_owned())
                    .or_insert(RefOr::Ref(reference));
            }
        }
        document.paths.paths.insert(path.replace("{*", "{"), item);
    }
    let mut text = document.to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

fn tags() -> Vec<Tag> {
    ["repositories", "branches", "lanes", "runs", "events", "tutorials", "secrets", "webhooks", "people"]
        .map(Tag::new)
        .into()
}

fn operations(item: &mut PathItem) -> Vec<(&'static str, &mut Operation)> {
    let all = [
        ("get", item.get.as_mut()),
        ("put", item.put.as_mut()),
        ("post", item.post.as_mut()),
        ("delete", item.delete.as_mut()),
    ];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation?))).collect()
}

/// A name for an operation that stays as long as its path: `get_forge_branch_logs`.
fn operation_id(method: &str, path: &str) -> String {
    let words = path.trim_start_matches("/news/api/").split('/');
    let words = words.map(|word| match word.strip_prefix('{') {
        Some(parameter) => format!("by_{}", parameter.trim_start_matches('*').trim_end_matches('}')),
        None => word.replace('-', "_"),
    });
    format!("{method}_{}", words.collect::<Vec<_>>().join("_"))
}

fn response_name(status: StatusCode) -> String {
    format!("Refused{}", status.as_str())
}

fn refusal(codes: &str) -> Described {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    ResponseBuilder::new()
        .description(format!("Refused, with the code {codes}"))
        .content("application/json", content)
        .build()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::web::code::Code;

    #[test]
    fn the_committed_document_is_that_of_the_routes() {
        let made = text(super::super::described().split_for_parts().1);
        let committed = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
        if std::env::var_os("UPDATE_OPENAPI").is_some() {
            std::fs::write(committed, &made).unwrap();
        }
        let found = std::fs::read_to_string(committed).unwrap_or_default();
        assert!(
            found == made,
            "docs/openapi.json is out of date; run `UPDATE_OPENAPI=1 cargo test -p pika-news the_committed_document` and \
             look at what changed"
        );
    }

    #[test]
    fn every_code_is_documented_with_its_status() {
        for code in Code::ALL {
            let documented = REFUSALS.iter().find(|(status, _)| *status == code.status());
            let words = documented.map_or("", |(_, words)| words);
            assert!(words.contains(&format!("`{}`", code.as_str())), "{} is missing", code.as_str());
        }
    }

    #[test]
    fn an_operation_has_a_name_of_its_own() {
        let document: serde_json::Value =
            serde_json::from_str(&text(super::super::described().split_for_parts().1)).unwrap();
        let mut names = BTreeSet::new();
        for item in document["paths"].as_object().unwrap().values() {
            for operation in item.as_object().unwrap().values().filter(|value| value.is_object()) {
                let name = operation["operationId"].as_str().unwrap().to_owned();
                assert!(names.insert(name.clone()), "{name} is there twice");
                assert!(operation["summary"].is_string(), "{name} says nothing of itself");
            }
        }
        assert!(names.len() > 60, "{names:?}");
    }
}
