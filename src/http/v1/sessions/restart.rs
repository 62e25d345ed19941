//! `POST /v1/sessions/{id}/restart`: has a session go on with another agent.

use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::http::App;
use crate::http::access::Admitted;
use crate::http::call::Call;
use crate::http::caller::Caller;
use crate::http::code::Code;
use crate::http::error::Refusal;
use crate::http::operation::{Answer, Content, Operation, Tag, schema_of};
use crate::http::v1::query;
use crate::id::Epoch;
use crate::principal::Principal;
use crate::session::{PhaseName, Reason};
use crate::store::Action;

use super::view::SessionView;

pub(in crate::http) static OPERATION: Operation = Operation {
    id: "restartSession",
    tag: Tag::Sessions,
    summary: "Restart a session's agent",
    description: "The server asks the agent to end, and kills it after the persona's `stop_grace`. Then it starts \
                  the next one at once. That is not counted as a failure. Requests meanwhile get `agent_restarting`. \
                  A session that waits to start its agent again waits no longer. Name the `epoch` that you see, and \
                  the call is safe to send again: the server leaves a session with a later agent as it is.",
    query: Some(schema_of::<Query>),
    headers: &[],
    body: None,
    answers: &[
        Answer {
            status: 200,
            description: "It runs with a later agent already.",
            contents: &[Content::json(schema_of::<SessionView>)],
            headers: &[],
        },
        Answer {
            status: 202,
            description: "It is starting again: follow it with `until=RUNNING`.",
            contents: &[Content::json(schema_of::<SessionView>)],
            headers: &[],
        },
    ],
    problems: &[Code::InvalidRequest, Code::WrongPhase],
};

/// Which agent is to go.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Query {
    /// The epoch of the agent that is to be replaced; whichever there is, if nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = u32::MAX))]
    pub epoch: Option<u32>,
}

pub(in crate::http) async fn handle(Call { app, admitted, parts, .. }: Call) -> Response {
    restart(&app, &admitted, &parts).await.unwrap_or_else(|refusal| refusal.problem())
}

async fn restart(app: &App, admitted: &Admitted, parts: &Parts) -> Result<Response, Refusal> {
    let Query { epoch } = query(parts)?;
    let record = &admitted.session()?.record;
    let note = app.audit_entry(&admitted.caller, Action::SessionRestarted, Some(record), "");
    let record = app.registry.restart(record.id, epoch.map(Epoch), reason(&admitted.caller), note).await?;
    let is_done = record.phase.kind() == PhaseName::Running;
    let status = if is_done { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok(SessionView::of(app, &record, &admitted.caller).render().answer(status))
}

/// Why a session starts again that this caller restarts.
fn reason(caller: &Caller) -> Reason {
    match &caller.principal {
        Principal::Operator(operator) => Reason::new(format!("restarted by the operator {}", operator.name)),
        Principal::Session(_) | Principal::Nobody => Reason::new("restarted"),
    }
}
