//! The seed's five endpoints: upper-case keys, `MESSAGE` always there, clients unchanged. docs/SEED.md is their page.

use axum::extract::Request;
use axum::http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use bytes::Bytes;

use super::App;
use super::body::{self, Body};
use super::error::Refusal;

pub(super) mod create;
pub(super) mod initialise;
pub(super) mod relay;
pub(super) mod status;

/// Bodies above this are parsed off the async threads, where they keep nobody waiting.
const LARGEST_PARSED_INLINE_BYTES: usize = 128 << 10;

pub(super) async fn running(request: Request) -> Response {
    let (parts, body) = request.into_parts();
    body::discard(&parts, body).await;
    ok(Bytes::from_static(br#"{"MESSAGE":"SERVER_RUNNING"}"#))
}

fn ok(text: Bytes) -> Response {
    let mut response = Response::new(text.into());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Reads a call's body whole. One that is refused unread is thrown away, so that the connection stays usable.
async fn whole_body(app: &App, parts: &Parts, body: axum::body::Body) -> Result<Body, Refusal> {
    if let Err(refusal) = refuse_encoding(&parts.headers) {
        body::discard(parts, body).await;
        return Err(refusal);
    }
    Ok(app.bodies.read(parts, body).await?)
}

fn refuse_encoding(headers: &HeaderMap) -> Result<(), Refusal> {
    if headers.contains_key(CONTENT_ENCODING) {
        return Err(Refusal::UnsupportedContentType("A Content-Encoding is not taken; send the body as it is."));
    }
    Ok(())
}

/// Parses a body where its size says: here if it is small, off the async threads if not.
///
/// The work gets the body with its share of the memory, which is thus held even after the client has gone.
async fn parse<T: Send + 'static>(
    body: Body,
    work: impl FnOnce(Body) -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    if body.bytes.len() <= LARGEST_PARSED_INLINE_BYTES {
        return work(body);
    }
    let parsed = tokio::task::spawn_blocking(move || work(body)).await;
    parsed.unwrap_or_else(|error| {
        tracing::error!(error = %error, "parsing a body panicked");
        Err(Refusal::CreationFailed("The server failed; its log says why."))
    })
}

/// Reads a JSON object out of checked text; an error says what is wrong with it.
fn read<'a, T: serde::Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Refusal> {
    crate::json::check(bytes).map_err(|error| invalid("The body is not the JSON it must be", &error.to_string()))?;
    // serde would also read the object's values from an array.
    if !bytes.trim_ascii_start().starts_with(b"{") {
        return Err(Refusal::Invalid("The body must be a JSON object.".into()));
    }
    serde_json::from_slice(bytes).map_err(|error| invalid("The body is not as it must be", &words(&error)))
}

/// What serde says, without the place, which means nothing to whoever built the object in memory, and without the value
/// that it found, which may be a password.
fn words(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = text.rfind(" at line ").map_or(&*text, |end| &text[..end]);
    match text.rfind(", expected ") {
        Some(expected) if text.starts_with("invalid ") => {
            let kind = text.split([' ', ',']).nth(2).unwrap_or_default();
            format!("a value is of the wrong type ({kind}), {}", &text[expected + 2..])
        }
        Some(_) | None => text.to_owned(),
    }
}

fn invalid(what: &str, why: &str) -> Refusal {
    Refusal::Invalid(format!("{what}: {why}."))
}

fn not_empty(email: &str) -> Result<(), Refusal> {
    const MOST_BYTES: usize = 64 << 10;
    if email.is_empty() || email.len() > MOST_BYTES {
        return Err(Refusal::Invalid("EMAIL must have 1 to 65536 bytes.".into()));
    }
    Ok(())
}
