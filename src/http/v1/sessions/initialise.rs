//! `POST /v1/sessions/{id}/initialize`: starts a session's agent, or joins a start that is under way.

use std::time::Duration;

use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::http::App;
use crate::http::access::Admitted;
use crate::http::call::Call;
use crate::http::code::Code;
use crate::http::error::Refusal;
use crate::http::operation::{Answer, Content, Operation, Tag, schema_of};
use crate::http::server_timing::Timing;
use crate::http::v1::query;
use crate::http::v1::wait::Wait;
use crate::principal::Principal;
use crate::session::{InitialiseError, Initialised};
use crate::store::Action;

use super::view::SessionView;

pub(in crate::http) static OPERATION: Operation = Operation {
    id: "initializeSession",
    tag: Tag::Sessions,
    summary: "Start a session's agent",
    description: "Starts the agent of a pending session and waits until it is ready. Any number of callers may ask: \
                  all of them wait for the one start. The start goes on when a caller goes away or has waited long \
                  enough.",
    query: Some(schema_of::<Query>),
    headers: &[],
    body: None,
    answers: &[
        Answer {
            status: 200,
            description: "The agent is ready.",
            contents: &[Content::json(schema_of::<SessionView>)],
            headers: &[Timing::HEADER],
        },
        Answer {
            status: 202,
            description: "It is not ready yet: ask again, or follow the session with `until=RUNNING`.",
            contents: &[Content::json(schema_of::<SessionView>)],
            headers: &[],
        },
    ],
    problems: &[Code::InvalidRequest, Code::WrongPhase, Code::AgentNotStarted, Code::NoCapacity],
};

/// How long to wait.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Query {
    /// How long to wait at most, such as `30s`, which is the default; 5 minutes at most.
    pub wait: Option<Wait>,
}

const DEFAULT_WAIT: Duration = Duration::from_secs(30);

pub(in crate::http) async fn handle(Call { app, admitted, parts, .. }: Call) -> Response {
    initialise(&app, &admitted, &parts).await.unwrap_or_else(|refusal| refusal.problem())
}

async fn initialise(app: &App, admitted: &Admitted, parts: &Parts) -> Result<Response, Refusal> {
    let query: Query = query(parts)?;
    let record = &admitted.session()?.record;
    let note = app.audit_entry(&admitted.caller, Action::SessionInitialised, Some(record), "");
    let patience = query.wait.map_or(DEFAULT_WAIT, |wait| wait.0);
    let mut timing = Timing::begin(&*app.clock);
    match app.registry.initialise_session(record.id, patience, note).await {
        Ok(Initialised::Ready(record)) => {
            timing.end("agent");
            let mut answer = SessionView::of(app, &record, &admitted.caller).render().answer(StatusCode::OK);
            timing.write(&mut answer);
            Ok(answer)
        }
        Ok(Initialised::UnderWay(record)) => {
            Ok(SessionView::of(app, &record, &admitted.caller).render().answer(StatusCode::ACCEPTED))
        }
        Err(InitialiseError::StartFailed(reason)) => {
            tracing::warn!(session.id = %record.id, reason = reason.in_full(), "session not started");
            Err(Refusal::AgentNotStarted(match admitted.caller.principal {
                Principal::Operator(_) => reason.in_full(),
                Principal::Session(_) | Principal::Nobody => reason.to_string(),
            }))
        }
        Err(InitialiseError::NotPending) => {
            Err(Refusal::WrongPhase("A session that is stopping or has ended can't be initialised: create a new one."))
        }
        Err(
            error @ (InitialiseError::NoCapacity
            | InitialiseError::Drained
            | InitialiseError::Draining
            | InitialiseError::Store(_)),
        ) => Err(error.into()),
    }
}
