//! Which pages of other origins may call `/v1` (the Fetch standard's CORS protocol).
//!
//! Only origins of the allow-list, and only calls that show a password or a bearer: no answer ever allows credentials,
//! so that a browser keeps its cookies for this server to itself. The seed's paths, the pages and the calls that set or
//! use a cookie are left out. Without an allow-list, the default, nothing here adds a header.

use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::Response;

use super::App;

/// The headers of requests that our calls look at and that pages may not send without asking.
const TAKEN: &str = "authorization,content-type,idempotency-key,if-none-match,last-event-id";
/// The headers of our answers that pages of other origins could not read otherwise.
const EXPOSED: &str = "etag,location,ratelimit,ratelimit-policy,retry-after,server-timing,www-authenticate";
/// For how long a browser need not ask again, in seconds.
const REMEMBERED: &str = "600";

/// What the answer to a call of `/v1` says of origins.
pub(super) struct Cors {
    /// The origin of the page that calls, if it is on the list.
    allowed: Option<HeaderValue>,
}

impl Cors {
    /// Nothing if no page of another origin may make this call at all.
    pub(super) fn of(app: &App, parts: &Parts) -> Option<Self> {
        let config = app.config();
        let origins = &config.cors.origins;
        if origins.is_empty() || !is_open(parts.uri.path()) {
            return None;
        }
        let allowed = parts.headers.get(ORIGIN).filter(|origin| origins.iter().any(|known| *origin == known.as_str()));
        Some(Self { allowed: allowed.cloned() })
    }

    /// The answer to a browser that asks before it calls, if it may; `methods` are those of the path.
    pub(super) fn preflight(&self, parts: &Parts, methods: &HeaderValue) -> Option<Response> {
        let asks = parts.method == Method::OPTIONS && parts.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        self.allowed.as_ref().filter(|_| asks)?;
        let mut answer = Response::default();
        *answer.status_mut() = StatusCode::NO_CONTENT;
        let headers = answer.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods.clone());
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(TAKEN));
        headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(REMEMBERED));
        headers.append(VARY, HeaderValue::from_static("Access-Control-Request-Method, Access-Control-Request-Headers"));
        Some(answer)
    }

    /// Adds to an answer who may read it.
    pub(super) fn mark(self, answer: &mut Response) {
        let headers = answer.headers_mut();
        headers.append(VARY, HeaderValue::from_static("Origin"));
        if let Some(origin) = self.allowed {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
        }
    }
}

/// Whether pages of other origins may call a path: `/v1`, but for what cookies are for.
fn is_open(path: &str) -> bool {
    path.starts_with("/v1/") && !path.starts_with("/v1/console/") && !path.ends_with("/cookie")
}
