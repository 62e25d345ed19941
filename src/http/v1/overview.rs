//! `GET /v1/overview`: how the server is, at one look.

use axum::http::StatusCode;
use axum::response::Response;

use crate::http::App;
use crate::http::call::Call;
use crate::http::error::Refusal;
use crate::http::operation::{Answer, Content, Operation, Tag, schema_of};

use super::json;

mod hour;
pub(in crate::http) mod machine;
mod troubled;
pub mod view;

pub use view::OverviewView;

pub(in crate::http) static OPERATION: Operation = Operation {
    id: "getOverview",
    tag: Tag::Server,
    summary: "How the server is",
    description: "The server's readiness, live sessions by phase, the last hour minute by minute, the credential \
                  server, disk and memory, and sessions in trouble, the worst first. The call costs the same however \
                  many sessions there are. The counts \
                  of the last hour are in memory: they begin with the server, and `since` says when that was.",
    query: None,
    headers: &[],
    body: None,
    answers: &[Answer {
        status: 200,
        description: "At this moment.",
        contents: &[Content::json(schema_of::<OverviewView>)],
        headers: &[],
    }],
    problems: &[],
};

pub(in crate::http) async fn handle(Call { app, .. }: Call) -> Response {
    match OverviewView::of(&app).await {
        Ok(view) => json(StatusCode::OK, &view),
        Err(refusal) => refusal.problem(),
    }
}

impl OverviewView {
    /// How the server is now.
    ///
    /// # Errors
    /// What the store failed with.
    pub async fn of(app: &App) -> Result<Self, Refusal> {
        let (now, history) = (app.sampler.now(), app.sampler.history());
        let (disk, memory) = machine::look(&app.paths).await;
        Ok(Self {
            at: now.wall.to_string(),
            ready: app.checks(),
            sessions: view::PhasesView::from(now.census),
            agents: view::AgentsView::of(app),
            queue: view::QueueView::of(app),
            last_hour: hour::view(&history, &now, &app.metrics),
            credential_server: view::CredentialServerView::of(app),
            disk,
            memory,
            troubled: troubled::view(app, &history, &now).await?,
        })
    }
}
