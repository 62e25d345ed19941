//! What pages refer to: the style sheet, the scripts, the icon. All are in the binary.
//!
//! Their address has a hash of all of them in it, so that a browser keeps them for ever and never has old ones.

use std::sync::{Arc, LazyLock};

use axum::extract::{RawPathParams, Request, State};
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::response::Response;

use crate::http::error::Refusal;
use crate::http::{App, body};

struct Asset {
    name: &'static str,
    content_type: &'static str,
    text: &'static str,
}

const SCRIPT: &str = "text/javascript; charset=utf-8";

static ASSETS: [Asset; 6] = [
    Asset { name: "style.css", content_type: "text/css; charset=utf-8", text: include_str!("style.css") },
    Asset { name: "icon.svg", content_type: "image/svg+xml", text: include_str!("icon.svg") },
    Asset { name: "console.js", content_type: SCRIPT, text: include_str!("console.js") },
    Asset { name: "live.js", content_type: SCRIPT, text: include_str!("live.js") },
    Asset { name: "acts.js", content_type: SCRIPT, text: include_str!("acts.js") },
    Asset { name: "session.js", content_type: SCRIPT, text: include_str!("session.js") },
];

/// What tells these assets from those of another version.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let mut hasher = blake3::Hasher::new();
    for asset in &ASSETS {
        hasher.update(asset.text.as_bytes());
    }
    hasher.finalize().to_hex()[..12].to_owned()
});

/// Where an asset is.
pub(super) fn path(name: &str) -> String {
    format!("/console/assets/{}/{name}", *VERSION)
}

pub(in crate::http) async fn handle(State(_): State<Arc<App>>, params: RawPathParams, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    body::discard(&parts, body).await;
    let param = |wanted: &str| params.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value);
    let Some(asset) = ASSETS.iter().find(|asset| Some(asset.name) == param("name")) else {
        return Refusal::NotFound.problem();
    };
    let keep =
        if param("version") == Some(VERSION.as_str()) { "public, max-age=31536000, immutable" } else { "no-cache" };
    let mut response = Response::new(asset.text.into());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(asset.content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(keep));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
