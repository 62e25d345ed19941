//! What pages are made of: texts inside the binary, with the headers that keep a browser from doing more with them than
//! they are for.

use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY};
use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use bytes::Bytes;

pub(super) const HTML: &str = "text/html; charset=utf-8";
pub(super) const STYLE: &str = "text/css; charset=utf-8";
pub(super) const SCRIPT: &str = "text/javascript; charset=utf-8";
pub(super) const SVG: &str = "image/svg+xml";

/// What a page may do. None takes anything from elsewhere, sends a form elsewhere or may be shown inside another page.
#[derive(Clone, Copy)]
pub(super) enum Policy {
    /// It is only looked at.
    WithoutScript,
    /// It has scripts, in files of their own, and calls this server.
    WithScript,
    /// The same with forms that lead to other pages of this server.
    WithForms,
}

/// Answers with such a text.
pub(super) fn asset(text: Bytes, content_type: &'static str, policy: Policy) -> Response {
    let mut response = Response::new(text.into());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    let opener = HeaderName::from_static("cross-origin-opener-policy");
    headers.insert(opener, HeaderValue::from_static("same-origin"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy.directives()));
    response
}

impl Policy {
    const fn directives(self) -> &'static str {
        match self {
            Self::WithoutScript => {
                "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
            }
            Self::WithScript => {
                "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                 base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
            }
            Self::WithForms => {
                "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                 base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'"
            }
        }
    }
}
