//! `DELETE /v1/sessions/{id}`: ends a session.

use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::http::App;
use crate::http::access::Admitted;
use crate::http::call::Call;
use crate::http::caller::Caller;
use crate::http::code::Code;
use crate::http::error::Refusal;
use crate::http::operation::{Answer, Content, Operation, Tag, schema_of};
use crate::http::v1::query;
use crate::id::SessionId;
use crate::principal::Principal;
use crate::session::{Phase, Reason};
use crate::store::{Action, AuditEntry, GIVEN_UP};

use super::view::SessionView;

pub(in crate::http) static OPERATION: Operation = Operation {
    id: "stopSession",
    tag: Tag::Sessions,
    summary: "Stop a session",
    description: "The server asks the agent to end, and kills it after the persona's `stop_grace`. With `force` it \
                  kills the agent at once, also while the store takes no changes. In that case the answer is 503, \
                  its detail says that the agent was killed, and the server stores the session's end as soon as it \
                  can. Repeated, the answer is the same, and the first reason stays. Only an \
                  operator can stop a session whose record is damaged, with `force`. That gives it up: the server kills \
                  its agent, moves what can be read of its record to the history as failed, and frees its customer.",
    query: Some(schema_of::<Query>),
    headers: &[],
    body: None,
    answers: &[
        Answer {
            status: 200,
            description: "It has ended.",
            contents: &[Content::json(schema_of::<SessionView>)],
            headers: &[],
        },
        Answer {
            status: 202,
            description: "It is ending: follow it with `until=ENDED`.",
            contents: &[Content::json(schema_of::<SessionView>)],
            headers: &[],
        },
    ],
    problems: &[Code::InvalidRequest, Code::WrongPhase, Code::SessionSetAside],
};

/// How to stop it.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Query {
    /// Kill the agent at once.
    #[serde(default)]
    pub force: bool,
}

pub(in crate::http) async fn handle(Call { app, admitted, parts, .. }: Call) -> Response {
    stop(&app, &admitted, &parts).await.unwrap_or_else(|refusal| refusal.problem())
}

async fn stop(app: &App, admitted: &Admitted, parts: &Parts) -> Result<Response, Refusal> {
    let Query { force } = query(parts)?;
    if let Some(id) = admitted.set_aside() {
        return give_up(app, admitted, id, force).await;
    }
    let record = &admitted.session()?.record;
    let action = if force { Action::SessionKilled } else { Action::SessionStopped };
    let note = app.audit_entry(&admitted.caller, action, Some(record), "");
    let record = app.registry.stop(record.id, force, reason(&admitted.caller), Some(&note)).await?;
    let status = if record.phase.is_live() { StatusCode::ACCEPTED } else { StatusCode::OK };
    Ok(SessionView::of(app, &record, &admitted.caller).render().answer(status))
}

/// Gives up a session whose record is damaged.
async fn give_up(app: &App, admitted: &Admitted, id: SessionId, force: bool) -> Result<Response, Refusal> {
    if !admitted.is_operator() {
        return Err(Refusal::SetAside);
    }
    if !force {
        return Err(Refusal::WrongPhase("Its record is damaged; only with `force` is it given up."));
    }
    let caller = &admitted.caller;
    let note = app.audit_entry(caller, Action::SessionKilled, None, GIVEN_UP);
    let note = AuditEntry { session: Some(id), ..note };
    let reason = Reason::new(format!("its record was damaged; {}", reason(caller).sentence()));
    let record = app.registry.give_up(id, reason, note).await?;
    Ok(SessionView::of(app, &record, caller).render().answer(StatusCode::OK))
}

/// Why a session ends that this caller stops.
pub(super) fn reason(caller: &Caller) -> Reason {
    match &caller.principal {
        Principal::Operator(operator) => Reason::new(format!("stopped by the operator {}", operator.name)),
        Principal::Session(_) | Principal::Nobody => Reason::new("stopped by its customer"),
    }
}

/// Whether a stop changes anything for a session in this phase.
pub(super) fn is_to_stop(phase: &Phase, force: bool, now: Timestamp) -> bool {
    match phase {
        Phase::Pending { .. } | Phase::Starting { .. } | Phase::Running { .. } => true,
        Phase::Stopping { deadline, .. } => force && *deadline > now,
        Phase::Ended { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Epoch;
    use crate::session::{Ending, Outcome};

    #[test]
    fn a_session_that_is_ending_is_stopped_again_only_by_force_and_only_once() {
        let ending = Ending { outcome: Outcome::Stopped, reason: Reason::new("") };
        let deadline = Timestamp::from_micros(10);
        let phase = Phase::Stopping { epoch: Epoch(1), deadline, ending };
        let is_to_stop = |force, now| is_to_stop(&phase, force, Timestamp::from_micros(now));
        assert!(!is_to_stop(false, 0) && is_to_stop(true, 0) && !is_to_stop(true, 10));
    }
}
