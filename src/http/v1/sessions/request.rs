//! `POST /v1/sessions/{id}/requests`: hands a request to the session's agent and answers with the agent's answer, or with
//! a stream of its parts.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::http::request::Parts as Head;
use axum::response::Response;
use bytes::{BufMut, Bytes, BytesMut};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::agent::CallError;
use crate::http::App;
use crate::http::access::Admitted;
use crate::http::body::{self, Body, Unread};
use crate::http::call::Call;
use crate::http::code::Code;
use crate::http::error::Refusal;
use crate::http::input::{idempotency_key, parse, read_body};
use crate::http::operation::{self, Answer, Content, Header, Operation, Tag, schema_of};
use crate::http::server_timing::Timing;
use crate::http::v1::stream::{Gone, HEARTBEAT, Writer, accepts, event_schema};
use crate::http::v1::{json_body, json_text};
use crate::id::SessionId;
use crate::session::{Part, Parts, RelayError};
use crate::store::{Action, RequestKey};

pub(in crate::http) static OPERATION: Operation = Operation {
    id: "sendRequest",
    tag: Tag::Sessions,
    summary: "Ask a session's agent",
    description: "Hands the request to the agent and waits for its answer. With an `Idempotency-Key` the agent gets \
                  the request at most once, however often it is sent, and each repetition gets the same answer.\n\nWith `Accept: \
                  text/event-stream` the answer comes in parts: an event `output` for each that the agent sends ahead of \
                  its answer, `gap` where some may be missing because the session's events had to make room, and at last `response`, with the same data as the body would have, or `problem`. A comment \
                  comes every 15 seconds. Without a key, hanging up cancels the request.",
    query: None,
    headers: &[Header::idempotency_key("Names this request, so that it can be sent again: 1 to 255 bytes.")],
    body: Some(operation::Body { required: true, contents: &[Content::json(schema_of::<AgentRequest>)] }),
    answers: &[Answer {
        status: 200,
        description: "The agent's answer.",
        contents: &[
            Content::json(schema_of::<AgentResponse>),
            Content { media_type: "text/event-stream", schema: stream },
        ],
        headers: &[Timing::HEADER],
    }],
    problems: &[
        Code::WrongPhase,
        Code::IdempotencyKeyReused,
        Code::AgentError,
        Code::AgentRestarting,
        Code::AgentTimeout,
    ],
};

fn stream(_: &mut SchemaGenerator) -> Schema {
    event_schema(["output", "response", "problem"].into_iter())
}

/// A request to the agent.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(expecting = "an object with request")]
pub struct AgentRequest<'a> {
    /// What the agent is asked: any JSON, handed on as the bytes that came.
    #[serde(borrow)]
    #[schemars(with = "Value")]
    pub request: &'a RawValue,
}

/// The agent's answer.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct AgentResponse {
    /// Any JSON, as the agent wrote it.
    #[schemars(with = "Value")]
    pub response: Box<RawValue>,
}

/// A request on its way to the agent.
struct Asked {
    request: Bytes,
    key: Option<RequestKey>,
    /// What the request is a part of; held until the agent has answered.
    body: Body,
}

pub(in crate::http) async fn handle(Call { app, admitted, parts: head, body, .. }: Call) -> Response {
    ask(&app, &admitted, &head, body).await.unwrap_or_else(|refusal| refusal.problem())
}

async fn ask(app: &Arc<App>, admitted: &Admitted, head: &Head, body: Unread) -> Result<Response, Refusal> {
    let key = match idempotency_key(&head.headers) {
        Ok(key) => key,
        Err(refusal) => {
            body::discard(head, body).await;
            return Err(refusal);
        }
    };
    let call = parse(json_body(app, head, body).await?, move |body| {
        let asked: AgentRequest<'_> = read_body(&body)?;
        let request = body.bytes.slice_ref(asked.request.get().as_bytes());
        Ok(Asked { request, key, body })
    });
    let (call, record) = (call.await?, &admitted.session()?.record);
    let id = record.id;
    // Customers ask too often for entries of each.
    if admitted.is_operator() {
        app.audit(&admitted.caller, Action::SessionRequested, Some(record), "").await?;
    }
    if accepts(&head.headers, "text/event-stream") {
        return Ok(stream_answer(app, id, call));
    }
    let mut timing = Timing::begin(&*app.clock);
    let answer = match call.key {
        Some(key) => app.registry.relay_once(id, key, call.request).await,
        None => app.registry.relay(id, &call.request).await,
    };
    drop(call.body);
    timing.end("agent");
    let mut answered = json_text(StatusCode::OK, response(&answer.map_err(refused)?));
    timing.write(&mut answered);
    Ok(answered)
}

/// Answers with the parts of the answer as they come.
fn stream_answer(app: &Arc<App>, id: SessionId, asked: Asked) -> Response {
    let (writer, answer) = Writer::of_events();
    let Asked { request, key, body } = asked;
    let parts = app.registry.relay_parts(id, request, key);
    app.tasks.spawn(async move {
        // Nobody is there to be told, once the reader has gone.
        let _ = hand_on(parts, writer).await;
        drop(body);
    });
    answer
}

async fn hand_on(mut parts: Parts, mut writer: Writer) -> Result<(), Gone> {
    loop {
        tokio::select! {
            biased;
            () = writer.gone() => return Err(Gone),
            part = parts.next() => match part {
                Some(Part::Output(output)) => writer.event("output", &output).await?,
                Some(Part::Gap) => writer.event("gap", &Bytes::from_static(b"{}")).await?,
                Some(Part::Answer(Ok(answer))) => return writer.event("response", &response(&answer)).await,
                Some(Part::Answer(Err(error))) => return writer.problem(&refused(error)).await,
                None => return writer.problem(&Refusal::Failed).await,
            },
            () = tokio::time::sleep(HEARTBEAT) => writer.beat().await?,
        }
    }
}

fn response(answer: &[u8]) -> Bytes {
    let mut text = BytesMut::with_capacity(answer.len() + 16);
    text.put_slice(br#"{"response":"#);
    text.put_slice(answer);
    text.put_u8(b'}');
    text.freeze()
}

fn refused(error: RelayError) -> Refusal {
    match error {
        RelayError::NotRunning | RelayError::Call(CallError::Finished) => Refusal::WrongPhase(
            "The session is not running: initialise one that is pending, wait for one that is starting; one that is \
             stopping or has ended takes no requests.",
        ),
        RelayError::Restarting { .. }
        | RelayError::AnswerDropped
        | RelayError::Call(_)
        | RelayError::KeyReused
        | RelayError::Store(_) => error.into(),
    }
}
