//! A call that was let in, as its handler gets it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::http::request::Parts;
use axum::response::Response;

use super::App;
use super::access::Admitted;
use super::body::Unread;
use super::error::Refusal;
use super::routes::Route;

/// An answer that is being made.
pub type Reply = Pin<Box<dyn Future<Output = Response> + Send>>;

/// What answers the calls of a route.
pub type Handler = fn(Call) -> Reply;

/// An answer that is there already.
pub(super) fn ready(answer: Response) -> Reply {
    Box::pin(std::future::ready(answer))
}

/// A call that was let in. Handlers take out of it what they need.
pub struct Call {
    /// What every handler may use.
    pub(super) app: Arc<App>,
    /// What was called.
    pub(super) route: &'static Route,
    /// Who calls, and what it is about.
    pub(super) admitted: Admitted,
    /// The head of the request.
    pub(super) parts: Parts,
    /// Its body, which has not been read; an empty one if the route takes none.
    pub(super) body: Unread,
}

/// A variable part of the path, decoded.
///
/// # Errors
/// [`Refusal::Invalid`] if that is no UTF-8.
pub(super) fn path_part(route: &Route, parts: &Parts, name: &str) -> Result<String, Refusal> {
    let part = route.part(parts.uri.path(), name).map(String::from);
    part.ok_or_else(|| Refusal::Invalid(format!("The {name} in the path is not percent-encoded UTF-8.")))
}
