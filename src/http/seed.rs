//! The seed's five endpoints: upper-case keys, `MESSAGE` always there, clients unchanged. docs/SEED.md is their page.

use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::Response;
use bytes::Bytes;

use super::call::Call;

pub(super) mod create;
pub(super) mod initialise;
pub(super) mod relay;
pub(super) mod status;

pub(super) fn running(_: Call) -> Response {
    ok(Bytes::from_static(br#"{"MESSAGE":"SERVER_RUNNING"}"#))
}

fn ok(text: Bytes) -> Response {
    let mut response = Response::new(text.into());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
