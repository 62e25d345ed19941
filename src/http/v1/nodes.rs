//! `GET /v1/nodes`: the servers, of which there is one.

use axum::http::StatusCode;
use axum::response::Response;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::credential::InForce;
use crate::http::App;
use crate::http::call::Call;
use crate::http::operation::{Answer, Content, Operation, Tag, schema_of};
use crate::shim::proc;

use super::json;
use super::page::Page;

pub(in crate::http) static OPERATION: Operation = Operation {
    id: "listNodes",
    tag: Tag::Server,
    summary: "List nodes",
    description: "The servers, of which there is one, with its readiness and its load.",
    query: None,
    headers: &[],
    body: None,
    answers: &[Answer {
        status: 200,
        description: "All of them.",
        contents: &[Content::json(schema_of::<Page<NodeView>>)],
        headers: &[],
    }],
    problems: &[],
};

/// A server.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Node")]
pub struct NodeView {
    /// Its identity, which its store keeps.
    pub id: String,
    /// The version that runs.
    pub version: String,
    /// Where it listens: an address with a port, or `unix:` and the path of a socket.
    pub listen: String,
    /// Where the remote credential server is that it asks; absent while the embedded one decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential_server: Option<String>,
    /// Whether a service manager keeps the socket while the server restarts.
    #[serde(default)]
    pub socket_activated: bool,
    /// When it was started, in RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub started: String,
    /// For how long it has been running.
    pub uptime_seconds: f64,
    /// Whether it takes new work.
    pub ready: bool,
    /// Why it is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Live sessions.
    pub sessions_live: usize,
    /// Sessions with an agent, those included whose agent is being started.
    pub agents_running: usize,
    /// How many of these there may be.
    pub max_running: u32,
    /// Sessions that wait for the server to start them.
    pub queued: usize,
    /// Memory of the server's own process; absent if the system does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
}

pub(in crate::http) fn handle(Call { app, .. }: Call) -> Response {
    json(StatusCode::OK, &Page { items: vec![NodeView::of(&app)], next: None })
}

impl NodeView {
    /// One line for people: whether it is ready, and how much it has to do.
    pub fn in_words(&self) -> String {
        let state = self.reason.as_ref().map_or_else(|| "ready".to_owned(), |why| format!("not ready, {why}"));
        format!(
            "{state}: version {} on {}; live sessions: {}, agents: {} of {}, queued: {}",
            self.version, self.listen, self.sessions_live, self.agents_running, self.max_running, self.queued
        )
    }

    /// This server, as it is at the moment.
    pub fn of(app: &App) -> Self {
        let load = app.registry.load();
        let reason = if app.tasks.is_withdrawn() {
            Some("it is shutting down".to_owned())
        } else if app.registry.is_drained() {
            Some("it is being drained: it takes no new sessions and starts no agents".to_owned())
        } else {
            let ready = app.store.ready().and_then(|()| app.store.room()).and_then(|()| app.events.ready());
            ready.err().map(|error| error.to_string())
        };
        Self {
            id: app.store.desk().id.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            listen: app.presence.address.to_string(),
            credential_server: match app.verifiers.in_force() {
                InForce::Remote(_, address) => Some(address.to_string()),
                InForce::Embedded(_) => None,
            },
            socket_activated: app.presence.is_kept_by_manager,
            started: app.presence.started.to_string(),
            uptime_seconds: app.clock.now().saturating_since(app.presence.since).as_secs_f64(),
            ready: reason.is_none(),
            reason,
            sessions_live: app.store.live_count(),
            agents_running: load.running,
            max_running: app.config().limits.max_running,
            queued: load.queued,
            memory_bytes: proc::memory(std::process::id()).map(|memory| memory.own + memory.shared),
        }
    }
}
