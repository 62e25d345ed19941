//! `/v1`: what the seed lacks. Lower-case JSON, problems (RFC 9457) for refusals, every call safe to send again.

use std::future::Future;

use axum::body::Body;
use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use tokio::sync::oneshot;

use super::App;
use super::error::Refusal;
use super::input;

pub(super) mod audit;
pub(super) mod console;
pub(super) mod customers;
pub(super) mod nodes;
mod page;
pub(super) mod personas;
mod secret;
pub(super) mod sessions;
pub(super) mod tokens;
mod wait;

/// An answer in JSON. Sessions change from call to call, so nobody keeps it.
fn json(status: StatusCode, value: &impl Serialize) -> Response {
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

/// An answer that has nothing more to say.
fn no_content() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A call's body, which is a JSON object.
async fn object<T: DeserializeOwned + Send + 'static>(app: &App, parts: &Parts, body: Body) -> Result<T, Refusal> {
    let body = input::whole_body(app, parts, body).await?;
    input::parse(body, |body| input::read(&body.bytes)).await
}

/// A variable part of the path, decoded.
async fn path_part(parts: &mut Parts, name: &str) -> Result<String, Refusal> {
    let params = RawPathParams::from_request_parts(parts, &()).await.ok();
    let part = params.and_then(|params| Some(params.iter().find(|(known, _)| *known == name)?.1.to_owned()));
    part.ok_or_else(|| Refusal::Invalid(format!("The {name} in the path is not percent-encoded UTF-8.")))
}

/// Reads a member that may be missing, but is never null.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Does work that must not end half-way because its caller has hung up.
async fn to_its_end<T: Send + 'static>(
    app: &App,
    work: impl Future<Output = Result<T, Refusal>> + Send + 'static,
) -> Result<T, Refusal> {
    let (tell, outcome) = oneshot::channel();
    app.tasks.spawn(async move {
        // Nobody listens once the client has hung up.
        let _ = tell.send(work.await);
    });
    outcome.await.unwrap_or(Err(Refusal::NotReady("The server is shutting down.")))
}
