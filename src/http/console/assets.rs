//! What pages refer to: the style sheet, the scripts, the icon. All are in the binary.
//!
//! Their address has a hash of all of them in it, so that a browser keeps them for ever and never has old ones.

use std::sync::LazyLock;

use axum::http::HeaderValue;
use axum::http::header::CACHE_CONTROL;
use axum::response::Response;
use bytes::Bytes;

use crate::http::asset;
use crate::http::asset::{Policy, SCRIPT, STYLE, SVG};
use crate::http::call::Call;
use crate::http::error::Refusal;

struct File {
    name: &'static str,
    content_type: &'static str,
    text: &'static str,
}

static FILES: [File; 6] = [
    File { name: "style.css", content_type: STYLE, text: include_str!("style.css") },
    File { name: "icon.svg", content_type: SVG, text: include_str!("icon.svg") },
    File { name: "console.js", content_type: SCRIPT, text: include_str!("console.js") },
    File { name: "live.js", content_type: SCRIPT, text: include_str!("live.js") },
    File { name: "acts.js", content_type: SCRIPT, text: include_str!("acts.js") },
    File { name: "session.js", content_type: SCRIPT, text: include_str!("session.js") },
];

/// What tells these assets from those of another version.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let mut hasher = blake3::Hasher::new();
    for file in &FILES {
        hasher.update(file.text.as_bytes());
    }
    hasher.finalize().to_hex()[..12].to_owned()
});

/// Where an asset is.
pub(super) fn path(name: &str) -> String {
    format!("/console/assets/{}/{name}", *VERSION)
}

pub(in crate::http) fn handle(Call { route, parts, .. }: Call) -> Response {
    let param = |wanted: &str| route.part(parts.uri.path(), wanted);
    let Some(file) = param("name").and_then(|name| FILES.iter().find(|file| file.name == name)) else {
        return Refusal::NotFound.problem();
    };
    let keep = if param("version").as_deref() == Some(VERSION.as_str()) {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    let mut response = asset::asset(Bytes::from_static(file.text.as_bytes()), file.content_type, Policy::WithScript);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static(keep));
    response
}
