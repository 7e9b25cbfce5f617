//! A list in parts: each answer says where the next part begins.
//!
//! Invariant: a part begins after the last row of the one before, so that rows which come or go meanwhile neither double nor hide
//! others. What `after` looks like is the route's own; it is to be sent back as it came.

use axum::Json;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use crate::web::error::{ApiError, WebError};
use crate::web::extract::Query;

const ROWS_DEFAULT: u32 = 50;
const ROWS_MAX: u32 = 200;

/// Which part of a list is wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct PageQuery {
    /// `next` of the part before; without it, the first part.
    after: Option<String>,
    /// How many rows at most: 1 to 200, 50 without it.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
}

/// A part of a list.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Page<T> {
    /// The rows.
    items: Vec<T>,
    /// What `after` is to be for the next part; `null` when this is the last one. The `Link` header says the same.
    next: Option<String>,
}

/// A request for a part of a list.
pub(super) struct Paged {
    after: Option<String>,
    limit: u32,
    uri: Uri,
}

impl<S: Send + Sync> FromRequestParts<S> for Paged {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Paged, ApiError> {
        let Query(PageQuery { after, limit }) = Query::from_request_parts(parts, state).await?;
        let limit = limit.unwrap_or(ROWS_DEFAULT);
        if !(1..=ROWS_MAX).contains(&limit) {
            return Err(WebError::bad_request(format!("`limit` is 1 to {ROWS_MAX}")).into());
        }
        Ok(Paged { after: after.filter(|after| !after.is_empty()), limit, uri: parts.uri.clone() })
    }
}

impl Paged {
    /// How many rows to read: one more than are sent tells that there are more.
    pub(super) fn rows(&self) -> u32 {
        self.limit + 1
    }

    /// Where the part begins, as text.
    pub(super) fn after(&self) -> Option<&str> {
        self.after.as_deref()
    }

    /// Where the part begins, as a number.
    pub(super) fn after_number(&self) -> Result<Option<i64>, WebError> {
        self.after().map(|after| after.parse().map_err(|_| unknown_place())).transpose()
    }

    /// Where the part begins, as two numbers.
    pub(super) fn after_numbers(&self) -> Result<Option<(i64, i64)>, WebError> {
        let parse = |after: &str| {
            let (one, two) = after.split_once('.')?;
            Some((one.parse().ok()?, two.parse().ok()?))
        };
        self.after().map(|after| parse(after).ok_or_else(unknown_place)).transpose()
    }

    /// Answers with the rows, of which there may be one too many, and where the next part begins.
    pub(super) fn answer<T>(self, mut items: Vec<T>, place: impl Fn(&T) -> String) -> PageAnswer<T> {
        let has_more = items.len() > self.limit as usize;
        items.truncate(self.limit as usize);
        let next = items.last().filter(|_| has_more).map(place);
        let link = next.as_ref().map(|next| link(&self.uri, next));
        PageAnswer { page: Page { items, next }, link }
    }
}

fn unknown_place() -> WebError {
    WebError::bad_request("`after` is not the `next` of another part of this list")
}

fn link(uri: &Uri, next: &str) -> String {
    let others = uri.query().unwrap_or_default().split('&');
    let others = others.filter(|pair| !pair.is_empty() && pair.split('=').next() != Some("after"));
    let mut query: String = others.map(|pair| format!("{pair}&")).collect();
    query.push_str("after=");
    query.push_str(&percent_encoded(next));
    format!("<{}?{query}>; rel=\"next\"", uri.path())
}

/// Writes text so that it can stand in a query or a header.
pub(super) fn percent_encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// A part of a list, to be sent.
pub(super) struct PageAnswer<T> {
    page: Page<T>,
    link: Option<String>,
}

impl<T: Serialize> IntoResponse for PageAnswer<T> {
    fn into_response(self) -> Response {
        let mut response = Json(self.page).into_response();
        if let Some(link) = self.link.and_then(|link| HeaderValue::from_str(&link).ok()) {
            response.headers_mut().insert(header::LINK, link);
        }
        response
    }
}
