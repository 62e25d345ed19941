//! `/v1`: what the seed lacks. Lower-case JSON, problems (RFC 9457) for refusals, every call safe to send again.

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

use super::App;
use super::body::{self, Body, Unread};
use super::error::Refusal;
use super::input::{self, media_type, refuse_encoding};

pub(super) mod all_events;
pub mod audit;
pub(super) mod console;
pub mod customers;
pub mod event;
pub mod nodes;
pub mod overview;
pub mod page;
pub(super) mod password;
pub mod personas;
pub mod secret;
pub mod sessions;
pub(super) mod stream;
mod streamed_event;
pub mod throttled;
pub mod tokens;
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
async fn json_body(app: &App, parts: &Parts, body: Unread) -> Result<Body, Refusal> {
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

/// An answer that has nothing more to say.
fn no_content() -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A call's body, which is a JSON object.
async fn object<T: DeserializeOwned + Send + 'static>(app: &App, parts: &Parts, body: Unread) -> Result<T, Refusal> {
    let body = json_body(app, parts, body).await?;
    input::parse(body, |body| input::read_body(&body)).await
}

/// Reads a member that may be missing, but is never null.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}
