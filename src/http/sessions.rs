//! `/v1/sessions`: so far the end of one, with the session's token.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use serde::Serialize;

use crate::id::SessionId;
use crate::session::{Reason, SessionRecord};

use super::App;
use super::auth::bearer;
use super::body;
use super::error::Refusal;

/// A session as its customer sees it.
#[derive(Debug, Serialize)]
struct View<'a> {
    id: SessionId,
    persona: &'a str,
    phase: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    created: String,
}

/// `DELETE /v1/sessions/{id}`: stops the session; `?force=true` kills its agent at once. 202 while it is ending, 200
/// once it has; repeated, the same.
pub(super) async fn stop(State(app): State<Arc<App>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    body::discard(&parts, body).await;
    let query = parts.uri.query().unwrap_or_default();
    let force = query.split('&').any(|pair| pair == "force=true");
    let id = parts.uri.path().rsplit('/').next().and_then(|id| id.parse().ok());
    match stop_session(&app, id, bearer(&parts.headers), force).await {
        Ok(record) => answer(&record),
        Err(refusal) => refusal.problem(),
    }
}

async fn stop_session(
    app: &App,
    id: Option<SessionId>,
    token: Option<&str>,
    force: bool,
) -> Result<Arc<SessionRecord>, Refusal> {
    let stored = app.session_of(token).await?;
    if id != Some(stored.record.id) {
        return Err(Refusal::NoSuchSession);
    }
    Ok(app.registry.stop(stored.record.id, force, Reason::new("stopped by its customer")).await?)
}

fn answer(record: &SessionRecord) -> Response {
    let ending = record.phase.ending();
    let view = View {
        id: record.id,
        persona: &record.persona,
        phase: record.phase.name(),
        outcome: ending.map(|ending| ending.outcome.to_string()),
        reason: ending.map(|ending| ending.reason.as_str()),
        created: record.created.to_string(),
    };
    let text = serde_json::to_vec(&view).expect("a view has string keys only and serialises");
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = if record.phase.is_live() { StatusCode::ACCEPTED } else { StatusCode::OK };
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
