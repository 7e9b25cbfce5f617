//! `GET /news/{repository}/badge.svg?branch=`: where a branch's head stands, as a small picture for other pages.
//!
//! Invariants: a public repository's is for everybody, another's for those who may read it; what a branch is called is text in
//! it, and nothing else.

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;

use crate::auth::{Action, Resource};
use crate::forge::state::HeadState;
use crate::web::Web;
use crate::web::error::PageError;
use crate::web::viewer::{Visitor, allow};

const LABEL_CHARS_MAX: usize = 40;
/// The width of a letter, more or less; the text is fitted to it.
const CHAR_WIDTH: usize = 7;
const CORP: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// Which branch.
#[derive(Debug, Deserialize)]
pub(super) struct BadgeQuery {
    /// Its name; the default branch without one.
    branch: Option<String>,
}

/// Draws the badge.
pub(super) async fn show(
    Visitor(viewer): Visitor,
    State(web): State<Web>,
    Path(repository): Path<String>,
    Query(query): Query<BadgeQuery>,
    headers: HeaderMap,
) -> Result<Response, PageError> {
    allow(&viewer, Action::Read, Resource::Repository(&repository))?;
    let state = web.forge().state_of_branch(&repository, query.branch.as_deref()).await?;
    let label: String = query.branch.as_deref().unwrap_or("pika").chars().take(LABEL_CHARS_MAX).collect();
    let (word, color) = look(state);
    let is_public = viewer.is_public(&repository);
    // Whoever keeps one asks each time whether it still is what it was: that is a few bytes.
    let cache = if is_public { "public, no-cache" } else { "private, no-cache" };
    // The label is in the address, and so is no part of what may have changed.
    let tag = format!("\"{}\"", word.replace(' ', "-"));
    let mut response =
        if headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            ([(header::CONTENT_TYPE, "image/svg+xml")], draw(&label, word, color)).into_response()
        };
    let own = response.headers_mut();
    if let Ok(tag) = tag.parse() {
        own.insert(header::ETAG, tag);
    }
    own.insert(header::CACHE_CONTROL, header::HeaderValue::from_static(cache));
    if is_public {
        // Other sites show it; that is what it is for.
        own.insert(CORP, header::HeaderValue::from_static("cross-origin"));
    }
    Ok(response)
}

fn look(state: Option<HeadState>) -> (&'static str, &'static str) {
    const GOOD: &str = "#1a7f37";
    const BAD: &str = "#b42318";
    const BUSY: &str = "#8a5a00";
    const QUIET: &str = "#57606a";
    match state {
        Some(HeadState::Passed) => ("passed", GOOD),
        Some(HeadState::Failed) => ("failed", BAD),
        Some(HeadState::ManifestError) => ("manifest error", BAD),
        Some(HeadState::Infra) => ("infrastructure error", BAD),
        Some(HeadState::Queued) => ("queued", BUSY),
        Some(HeadState::Running) => ("running", BUSY),
        Some(HeadState::Cancelled) => ("cancelled", QUIET),
        Some(HeadState::NoManifest | HeadState::NothingRequired) => ("nothing to run", QUIET),
        None => ("unknown", QUIET),
    }
}

fn draw(label: &str, word: &str, color: &str) -> String {
    let width = |text: &str| text.chars().count() * CHAR_WIDTH + 12;
    let (left, right) = (width(label), width(word));
    let (whole, label) = (left + right, escaped(label));
    let (left_text, right_text) = (left - 12, right - 12);
    let right_at = left + 6;
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{whole}" height="20" role="img" aria-label="{label}: {word}"><title>{label}: {word}</title><rect width="{whole}" height="20" rx="3" fill="#24292f"/><path d="M{left} 0h{right}v20H{left}z" fill="{color}"/><g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11"><text x="6" y="14" textLength="{left_text}">{label}</text><text x="{right_at}" y="14" textLength="{right_text}">{word}</text></g></svg>"##
    )
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // Not allowed in XML, not even escaped.
            character if character.is_control() || matches!(character, '\u{fffe}' | '\u{ffff}') => {
                escaped.push('\u{fffd}');
            }
            character => escaped.push(character),
        }
    }
    escaped
}
