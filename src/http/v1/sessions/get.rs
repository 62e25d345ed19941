//! `GET /v1/sessions/{id}`: a session as it is, or as it is once it has changed.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::http::App;
use crate::http::access::Admitted;
use crate::http::body;
use crate::http::code::Code;
use crate::http::error::Refusal;
use crate::http::operation::{Answer, Content, Header, Operation, Tag, schema_of};
use crate::http::v1::query;
use crate::http::v1::wait::Wait;
use crate::session::{PhaseName, SessionRecord};

use super::view::{SessionView, etag};

pub(in crate::http) static OPERATION: Operation = Operation {
    id: "getSession",
    tag: Tag::Sessions,
    summary: "See a session",
    description: "With `wait`, the answer comes once the session is in the phase `until` or past it, or, without \
                  `until`, once it is another than `If-None-Match` names; and after that time in any case.",
    query: Some(schema_of::<Query>),
    headers: &[Header::text("If-None-Match", "The ETag of what the caller knows already.")],
    body: None,
    answers: &[
        Answer {
            status: 200,
            description: "The session.",
            contents: &[Content::json(schema_of::<SessionView>)],
            headers: &[Header::text("ETag", "Changes with the session's revision.")],
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

pub(in crate::http) async fn handle(State(app): State<Arc<App>>, admitted: Admitted, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    body::discard(&parts, body).await;
    see(&app, &admitted, &parts).await.unwrap_or_else(|refusal| refusal.problem())
}

async fn see(app: &App, admitted: &Admitted, parts: &Parts) -> Result<Response, Refusal> {
    let query: Query = query(parts)?;
    let session = admitted.session()?;
    let is_there = |record: &SessionRecord| match query.until {
        Some(until) => record.phase.kind().has_reached(until),
        None => !knows(&parts.headers, record),
    };
    let patience = query.wait.map_or(Duration::ZERO, |wait| wait.0);
    let record = app.registry.wait_until(session.record.id, patience, is_there).await?;
    if query.until.is_none() && knows(&parts.headers, &record) {
        let mut response = Response::new(axum::body::Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response.headers_mut().insert(ETAG, etag(record.revision.0));
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        return Ok(response);
    }
    Ok(SessionView::of(app, &record).answer(StatusCode::OK))
}

/// Whether the caller has this revision already (RFC 9110, section 13.1.2).
fn knows(headers: &HeaderMap, record: &SessionRecord) -> bool {
    let tag = format!("\"{}\"", record.revision.0);
    let lines = headers.get_all(IF_NONE_MATCH).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|known| {
        let known = known.trim();
        known == "*" || known.trim_start_matches("W/") == tag
    })
}
