//! Notes each request: a name that its answer and every line of the log about it carry, how it was answered, how long it took.
//!
//! Invariant: the name is ours. What a client or a proxy calls the request is not trusted, and is not taken over.

use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument as _;

use crate::metrics;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Goes around all routes.
pub async fn observe(request: Request, next: Next) -> Response {
    let start = Instant::now();
    let id = format!("{:08x}", getrandom::u32().unwrap_or_default());
    // Whoever asks invents the method, and each would be a series of its own.
    let method = match *request.method() {
        Method::GET
        | Method::HEAD
        | Method::POST
        | Method::PUT
        | Method::PATCH
        | Method::DELETE
        | Method::OPTIONS => request.method().as_str(),
        _ => "other",
    };
    let method = method.to_owned();
    // The pattern, never the path: it names no repository, and there are only so many.
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let span = tracing::info_span!("request", id, method, route);
    let mut response = next.run(request).instrument(span).await;
    metrics::request(&route, &method, response.status().as_u16(), start.elapsed());
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}
