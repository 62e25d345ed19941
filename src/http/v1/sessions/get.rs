//! `GET /v1/sessions/{id}`: a session as it is, or as it is once it has changed.

use axum::http::header::IF_NONE_MATCH;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::http::App;
use crate::http::access::Admitted;
use crate::http::call::Call;
use crate::http::code::Code;
use crate::http::error::Refusal;
use crate::http::operation::{Answer, Content, Header, Operation, Tag, schema_of};
use crate::http::v1::query;
use crate::http::v1::wait::Wait;
use crate::session::{PhaseName, SessionRecord};

use super::view::SessionView;

pub(in crate::http) static OPERATION: Operation = Operation {
    id: "getSession",
    tag: Tag::Sessions,
    summary: "See a session",
    description: "With `wait`, the answer comes once the session has reached the phase `until`. Without `until` it \
                  comes once the session differs from `If-None-Match`. It comes after that time in any case.",
    query: Some(schema_of::<Query>),
    headers: &[Header::text("If-None-Match", "The ETag of what the caller knows already.")],
    body: None,
    answers: &[
        Answer {
            status: 200,
            description: "The session.",
            contents: &[Content::json(schema_of::<SessionView>)],
            headers: &[Header::text("ETag", "Changes with every change of the answer.")],
        },
        Answer {
            status: 304,
            description: "It is as `If-None-Match` names it.",
            contents: &[],
            headers: &[Header::text("ETag", "As in 200.")],
        },
    ],
    problems: &[Code::InvalidRequest],
};

/// What to wait for.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Query {
    /// How long to wait at most, such as `30s`; 5 minutes at most.
    pub wait: Option<Wait>,
    /// The phase to wait for.
    pub until: Option<PhaseName>,
}

pub(in crate::http) async fn handle(Call { app, admitted, parts, .. }: Call) -> Response {
    see(&app, &admitted, &parts).await.unwrap_or_else(|refusal| refusal.problem())
}

async fn see(app: &App, admitted: &Admitted, parts: &Parts) -> Result<Response, Refusal> {
    let query: Query = query(parts)?;
    let known: Vec<&str> = tags(&parts.headers).collect();
    let session = admitted.session()?;
    let shown = match query.wait {
        None => SessionView::of(app, &session.record, &admitted.caller).render(),
        Some(Wait(patience)) => {
            let is_there = |record: &SessionRecord| match query.until {
                Some(until) => record.phase.kind().has_reached(until),
                // What changes without a step of the session is not waited for, but told to who asks.
                None => !SessionView::of(app, record, &admitted.caller).render().is_among(&known),
            };
            let record = app.registry.wait_until(session.record.id, patience, is_there).await?;
            SessionView::of(app, &record, &admitted.caller).render()
        }
    };
    let is_known = query.until.is_none() && shown.is_among(&known);
    Ok(if is_known { shown.not_modified() } else { shown.answer(StatusCode::OK) })
}

/// The tags that the caller knows.
fn tags(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(IF_NONE_MATCH).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim)
}
