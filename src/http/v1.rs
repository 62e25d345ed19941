//! `/v1`: what the seed lacks. Lower-case JSON, problems (RFC 9457) for refusals, every call safe to send again.

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::App;
use super::body::{self, Body};
use super::error::Refusal;
use super::input::{media_type, refuse_encoding};

pub(super) mod all_events;
pub mod event;
pub mod sessions;
mod stream;
pub mod wait;

/// An answer in JSON. Sessions change from call to call, so nobody keeps it.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    let text = serde_json::to_vec(value).expect("an answer has string keys only and serialises");
    json_text(status, text.into())
}

/// The same of what is text already.
fn json_text(status: StatusCode, text: Bytes) -> Response {
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Refuses a body that is not said to be JSON.
fn expect_json(parts: &Parts) -> Result<(), Refusal> {
    refuse_encoding(&parts.headers)?;
    match media_type(&parts.headers) {
        Some(json) if json.eq_ignore_ascii_case("application/json") => Ok(()),
        Some(_) | None => Err(Refusal::UnsupportedContentType("The Content-Type must be application/json.")),
    }
}

/// Reads a body of JSON whole. One that is refused unread is thrown away, so that the connection stays usable.
async fn json_body(app: &App, parts: &Parts, body: axum::body::Body) -> Result<Body, Refusal> {
    if let Err(refusal) = expect_json(parts) {
        body::discard(parts, body).await;
        return Err(refusal);
    }
    Ok(app.bodies.read(parts, body).await?)
}

/// The parameters of the query.
fn query<T: DeserializeOwned>(parts: &Parts) -> Result<T, Refusal> {
    serde_urlencoded::from_str(parts.uri.query().unwrap_or_default())
        .map_err(|error| Refusal::Invalid(format!("The query is not as it must be: {error}.")))
}
