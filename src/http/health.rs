//! Whether the server is there, and whether it can do its work: for whoever starts it and whoever sends it requests.

use std::borrow::Cow;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::App;
use super::body;
use super::code::Code;
use super::error::Refusal;
use super::operation::{Answer, Content, Operation, Tag, schema_of};
use super::v1::json;

pub(super) static LIVE: Operation = Operation {
    id: "getLiveness",
    tag: Tag::Server,
    summary: "Whether the server is there",
    description: "Answers as long as the process serves: whoever starts the server asks this.",
    query: None,
    headers: &[],
    body: None,
    answers: &[Answer {
        status: 200,
        description: "It is.",
        contents: &[Content::json(schema_of::<Health>)],
        headers: &[],
    }],
    problems: &[],
};

pub(super) static READY: Operation = Operation {
    id: "getReadiness",
    tag: Tag::Server,
    summary: "Whether the server can do its work",
    description: "Whoever sends customers here asks this. It goes off first of all when the server is told to stop.",
    query: None,
    headers: &[],
    body: None,
    answers: &[Answer {
        status: 200,
        description: "It can.",
        contents: &[Content::json(schema_of::<Health>)],
        headers: &[],
    }],
    problems: &[Code::NotReady],
};

/// How the server is.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Health {
    /// `alive` or `ready`.
    status: Cow<'static, str>,
}

/// `GET /livez`: 200 as long as the process serves.
pub(super) async fn live(request: Request) -> Response {
    let (parts, body) = request.into_parts();
    body::discard(&parts, body).await;
    json(StatusCode::OK, &Health { status: "alive".into() })
}

/// `GET /readyz`: 200 while new customers can be served, else 503 and a problem that says why not.
pub(super) async fn ready(State(app): State<Arc<App>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    body::discard(&parts, body).await;
    match app.readiness() {
        Ok(()) => json(StatusCode::OK, &Health { status: "ready".into() }),
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
