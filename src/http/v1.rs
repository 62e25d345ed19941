//! `/v1`: what the seed lacks. Lower-case JSON, problems (RFC 9457) for refusals, every call safe to send again.

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::Refusal;

pub(super) mod all_events;
pub mod event;
pub mod sessions;
mod stream;
pub mod wait;

/// An answer in JSON. Sessions change from call to call, so nobody keeps it.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    let text = serde_json::to_vec(value).expect("an answer has string keys only and serialises");
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The parameters of the query.
fn query<T: DeserializeOwned>(parts: &Parts) -> Result<T, Refusal> {
    serde_urlencoded::from_str(parts.uri.query().unwrap_or_default())
        .map_err(|error| Refusal::Invalid(format!("The query is not as it must be: {error}.")))
}
