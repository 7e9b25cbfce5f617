//! The style sheet, the script and the icon, embedded in the binary.
//!
//! Invariant: a URL names the content by its hash, so that a browser may keep it for ever.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use sha2::{Digest as _, Sha256};

struct Asset {
    name: &'static str,
    content_type: &'static str,
    content: &'static str,
    hash: String,
}

static ASSETS: LazyLock<[Asset; 3]> = LazyLock::new(|| {
    let asset = |name, content_type, content: &'static str| {
        let hash = Sha256::digest(content.as_bytes());
        let hash = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Asset { name, content_type, content, hash }
    };
    [
        asset("pika.css", "text/css; charset=utf-8", include_str!("../../static/pika.css")),
        asset("pika.js", "text/javascript; charset=utf-8", include_str!("../../static/pika.js")),
        asset("pika.svg", "image/svg+xml", include_str!("../../static/pika.svg")),
    ]
});

/// The style sheet's URL.
pub(crate) fn style_path() -> String {
    path(&ASSETS[0])
}

/// The script's URL.
pub(crate) fn script_path() -> String {
    path(&ASSETS[1])
}

/// The icon's URL.
pub(crate) fn icon_path() -> String {
    path(&ASSETS[2])
}

fn path(asset: &Asset) -> String {
    format!("/news/static/{}/{}", asset.hash, asset.name)
}

/// `GET /news/static/{hash}/{name}`
pub(super) async fn show(Path((hash, name)): Path<(String, String)>, headers: HeaderMap) -> Response {
    let Some(asset) = ASSETS.iter().find(|asset| asset.name == name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    // A page of an earlier version asks for an earlier hash; it gets what there is, but may not keep it.
    let cache = if hash == asset.hash { "public, max-age=31536000, immutable" } else { "no-cache" };
    let etag = format!("\"{}\"", asset.hash);
    let headers_out = [(header::CACHE_CONTROL, cache.to_owned()), (header::ETAG, etag.clone())];
    if headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == etag.as_bytes()) {
        return (StatusCode::NOT_MODIFIED, headers_out).into_response();
    }
    (headers_out, [(header::CONTENT_TYPE, asset.content_type)], asset.content).into_response()
}
