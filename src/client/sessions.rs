//! What a customer does: with the password, and then with the session's token. Operators with the scope may do the rest.

use std::time::Duration;

use bytes::Bytes;
use hyper::{Method, StatusCode};
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::http::error::Problem;
use crate::http::v1::sessions::request::{AgentRequest, AgentResponse};
use crate::http::v1::sessions::{get, initialise, stop};
use crate::http::v1::wait::Wait;
use crate::id::SessionId;
use crate::session::PhaseName;

use super::call::{Call, read};
use super::error::{Failed, Tried};
use super::{AnswerInParts, Client, ClientError, CreatedView, Events, IdempotencyKey, NewSession, SessionView};

/// How long an agent may take to answer, or data of any size to be sent. The server has limits of its own.
const LONG: Duration = Duration::from_hours(1);

/// What came of a creation.
pub enum Creation {
    /// The session is there.
    Created(CreatedView),
    /// The customer has a live session already, and the password was good.
    AlreadyRunning {
        /// That session.
        session: SessionId,
        /// A fresh token of it.
        token: String,
    },
}

impl Client {
    /// Requests a session.
    ///
    /// # Errors
    /// See [`ClientError`]; so for every method.
    pub async fn create_session(
        &self,
        new: &NewSession<'_>,
        key: Option<IdempotencyKey>,
    ) -> Result<Creation, ClientError> {
        let call = Call::new(Method::POST, "/v1/sessions").json(new).under(key).expects(StatusCode::CONFLICT);
        let answer = self.call(&call).await?;
        if answer.status() != StatusCode::CONFLICT {
            return read(&answer).map(Creation::Created);
        }
        match read(&answer)? {
            Problem { session: Some(session), token: Some(token), .. } => {
                Ok(Creation::AlreadyRunning { session, token })
            }
            Problem { .. } => Err(Failed::of(&answer).after(Tried::ONCE)),
        }
    }

    /// Replaces the data of a pending session. `data` is a JSON object.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn put_data(&self, id: SessionId, data: Bytes) -> Result<(), ClientError> {
        let call = Call::new(Method::PUT, format!("/v1/sessions/{id}/data")).body(data).waits(LONG);
        self.call(&call).await.map(drop)
    }

    /// Starts a session's agent, or joins a start that is under way, and waits until it is ready, five minutes at most.
    /// If it is not ready by then, the session's phase says so: ask again.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn initialize(&self, id: SessionId, wait: Duration) -> Result<SessionView, ClientError> {
        let query = initialise::Query { wait: Some(Wait::at_most(wait)) };
        let call = Call::new(Method::POST, format!("/v1/sessions/{id}/initialize")).query(&query);
        self.json(&call.repeatable().waits(wait)).await
    }

    /// A session as it is.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn session(&self, id: SessionId) -> Result<SessionView, ClientError> {
        self.json(&Call::new(Method::GET, format!("/v1/sessions/{id}"))).await
    }

    /// A session once it is in a phase or past it, or as it is after `patience`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn wait_for(
        &self,
        id: SessionId,
        phase: PhaseName,
        patience: Duration,
    ) -> Result<SessionView, ClientError> {
        let began = Instant::now();
        loop {
            let left = patience.saturating_sub(began.elapsed());
            let query = get::Query { wait: Some(Wait::at_most(left)), until: Some(phase) };
            let call = Call::new(Method::GET, format!("/v1/sessions/{id}")).query(&query).waits(left);
            let session: SessionView = self.json(&call).await?;
            if session.phase.has_reached(phase) || left.is_zero() {
                return Ok(session);
            }
        }
    }

    /// Asks a session's agent, and returns its answer as it wrote it.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn ask(
        &self,
        id: SessionId,
        request: &RawValue,
        key: Option<IdempotencyKey>,
    ) -> Result<Box<RawValue>, ClientError> {
        let AgentResponse { response } = self.json(&asking(id, request, key)).await?;
        Ok(response)
    }

    /// Asks a session's agent, and hands out the parts of its answer as they come. Nothing is sent before the first
    /// [`AnswerInParts::next`].
    pub fn ask_in_parts(&self, id: SessionId, request: &RawValue, key: Option<IdempotencyKey>) -> AnswerInParts {
        AnswerInParts::new(self.clone(), asking(id, request, key).accept("text/event-stream"))
    }

    /// Ends a session; with `force` its agent is killed at once. The session's phase says whether it has ended.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn stop(&self, id: SessionId, force: bool) -> Result<SessionView, ClientError> {
        let call = Call::new(Method::DELETE, format!("/v1/sessions/{id}")).query(&stop::Query { force });
        self.json(&call).await
    }

    /// A session's events after this number, zero for all. Nothing is sent before the first [`Events::next`].
    pub fn events(&self, id: SessionId, after: u64) -> Events {
        Events::new(self.clone(), id, after)
    }
}

fn asking(id: SessionId, request: &RawValue, key: Option<IdempotencyKey>) -> Call {
    let call = Call::new(Method::POST, format!("/v1/sessions/{id}/requests"));
    call.json(&AgentRequest { request }).under(key).waits(LONG)
}
