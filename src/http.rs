//! The HTTP interface: the seed's five endpoints, the first of `/v1`, and whether the server is there.
//!
//! ```text
//! connection (server) ──> router ──> seed, sessions ──> credential, session, store
//! ```
//!
//! Handlers read and check a request, ask the domain, and answer; they hold no work half done, so that a client that
//! hangs up leaves nothing behind but the check of its password, which ends by itself. Status codes are
//! decided in [`error`] alone.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{delete, get, post, put};

use crate::clock::Clock;
use crate::config::Config;
use crate::credential::Verifiers;
use crate::credential::gate::Gate;
use crate::events::EventLog;
use crate::session::Registry;
use crate::shutdown::Tasks;
use crate::store::Store;

pub mod auth;
pub mod body;
pub mod error;
pub mod forwarded;
mod health;
pub mod rate_limit;
mod seed;
mod sessions;

use body::Bodies;
use error::Refusal;

/// What every handler may use.
pub struct App {
    /// The configuration, fixed while the server runs.
    pub config: Config,
    /// The source of time.
    pub clock: Arc<dyn Clock>,
    /// Where sessions are kept.
    pub store: Arc<dyn Store>,
    /// What agents have said.
    pub events: EventLog,
    /// The sessions of this node.
    pub registry: Registry,
    /// Who decides about credentials.
    pub verifiers: Verifiers,
    /// Slows guessing.
    pub gate: Gate,
    /// The memory of all bodies in flight.
    pub bodies: Bodies,
    /// Tells whether the server is shutting down.
    pub tasks: Tasks,
}

/// Builds the routes.
pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/requestSessionCreation", post(seed::create::handle))
        .route("/initializeSession", post(seed::initialise::handle))
        .route("/handleSessionRequests", put(seed::relay::handle))
        .route("/serverRunning", get(seed::running))
        .route("/sessionSTATUS", get(seed::status::handle))
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/v1/sessions/{id}", delete(sessions::stop))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(app)
}

async fn not_found(State(_): State<Arc<App>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    body::discard(&parts, body).await;
    Refusal::NotFound.answer(parts.uri.path())
}

async fn method_not_allowed(State(_): State<Arc<App>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    body::discard(&parts, body).await;
    Refusal::MethodNotAllowed.answer(parts.uri.path())
}
