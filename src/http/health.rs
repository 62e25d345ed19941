//! Whether the server is there, and whether it can do its work: for whoever starts it and whoever sends it requests.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::Response;

use super::App;
use super::body;
use super::error::Refusal;

/// `GET /livez`: 200 as long as the process serves.
pub(super) async fn live(request: Request) -> Response {
    let (parts, body) = request.into_parts();
    body::discard(&parts, body).await;
    says(r#"{"status":"alive"}"#)
}

/// `GET /readyz`: 200 while new customers can be served, else 503 and a problem that says why not.
pub(super) async fn ready(State(app): State<Arc<App>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    body::discard(&parts, body).await;
    match app.readiness() {
        Ok(()) => says(r#"{"status":"ready"}"#),
        Err(refusal) => refusal.problem(),
    }
}

impl App {
    fn readiness(&self) -> Result<(), Refusal> {
        if self.tasks.is_withdrawn() {
            return Err(Refusal::NotReady("The server is shutting down."));
        }
        self.store.ready().map_err(|_| Refusal::NotReady("The store is unavailable."))?;
        self.events.ready().map_err(|_| Refusal::NotReady("The log of events is unavailable."))
    }
}

fn says(text: &'static str) -> Response {
    let mut response = Response::new(text.into());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
