//! `POST /v1/sessions`: checks a customer's credentials and admits a session.

use std::borrow::Cow;

use axum::http::header::LOCATION;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::http::body::{self, Body};
use crate::http::call::Call;
use crate::http::code::Code;
use crate::http::creation::known_customer::Shown;
use crate::http::creation::login::Login;
use crate::http::creation::{Created, Creation, Opened, create};
use crate::http::error::Refusal;
use crate::http::input::{MOST_EMAIL_CHARACTERS, check_email_length, idempotency_key, parse, read_body};
use crate::http::operation::{self, Answer, Content, Header, Operation, Tag, schema_of};
use crate::http::server_timing::Timing;
use crate::http::v1::{json, json_body};
use crate::id::SessionId;
use crate::session::CreationKey;
use crate::store::RequestKey;

pub(in crate::http) static OPERATION: Operation = Operation {
    id: "createSession",
    tag: Tag::Sessions,
    summary: "Request a session",
    description: "The new session waits to be initialised. A customer has one live session at a time. A call for a \
                  second one, with the good password, gets the first one's id and a fresh token. A repeated call \
                  with the same `Idempotency-Key`, which belongs to the customer, gets the first answer again and \
                  creates nothing, also after the session has ended.\n\nThe token of the customer's live session, sent as a \
                  bearer beside the password, keeps the guesses of strangers from holding the customer up. A page of \
                  this server gets a device cookie that does the same.",
    query: None,
    headers: &[Header::idempotency_key("Names this call, so that it can be sent again: 1 to 255 bytes.")],
    body: Some(operation::Body { required: true, contents: &[Content::json(schema_of::<NewSession>)] }),
    answers: &[Answer {
        status: 201,
        description: "The session is there.",
        contents: &[Content::json(schema_of::<CreatedView>)],
        headers: &[
            Header::text("Location", "The session's path."),
            Header::text("RateLimit-Policy", "How many failed attempts to sign in are taken, and in how many seconds."),
            Timing::HEADER,
            Header::text("RateLimit", "How many of them are left, and in how many seconds all of them will be."),
        ],
    }],
    problems: &[Code::SessionAlreadyRunning, Code::IdempotencyKeyReused, Code::SessionCreationFailed],
};

/// A request for a session.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(expecting = "an object with email, password, persona and data")]
pub struct NewSession<'a> {
    /// The customer's email.
    #[serde(borrow)]
    #[schemars(length(min = 1, max = MOST_EMAIL_CHARACTERS))]
    pub email: Cow<'a, str>,
    /// The customer's password.
    #[serde(borrow)]
    pub password: Cow<'a, str>,
    /// The persona's name.
    #[serde(borrow)]
    pub persona: Cow<'a, str>,
    /// What the agent is to know: any JSON object, handed on as the bytes that came.
    #[serde(default, borrow, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Map<String, serde_json::Value>>", extend("type" = "object", "default" = {}))]
    pub data: Option<&'a RawValue>,
}

/// A `null` is a value here, and no object.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// A session that was created. Nothing of it ever changes.
#[derive(Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "CreatedSession")]
pub struct CreatedView {
    /// Its id, a `UUIDv7`.
    pub id: SessionId,
    /// Its customer's email, as the customer wrote it.
    pub email: String,
    /// The persona.
    pub persona: String,
    /// When it was requested, in RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub created: String,
    /// Opens the session: `Authorization: Bearer TOKEN`. At most four of a session are valid; the oldest goes first.
    pub token: String,
}

pub(in crate::http) async fn handle(Call { app, admitted, parts, body, .. }: Call) -> Response {
    let key = match idempotency_key(&parts.headers) {
        Ok(key) => key,
        Err(refusal) => {
            body::discard(&parts, body).await;
            return refusal.problem();
        }
    };
    let creation = match json_body(&app, &parts, body).await {
        Ok(body) => parse(body, move |body| read_creation(body, key)).await,
        Err(refusal) => Err(refusal),
    };
    match creation {
        Ok(creation) => {
            let peer = admitted.caller.peer;
            create(&app, peer, Shown::new(&parts, peer), creation, answer).await
        }
        Err(refusal) => refusal.problem(),
    }
}

fn answer(created: Result<Created, Refusal>) -> Response {
    match created {
        Ok(Created::Opened(opened)) => answer_created(opened),
        Ok(Created::AlreadyLive(Opened { record, token })) => {
            Refusal::SessionAlreadyRunning.problem_with(record.id, token)
        }
        Ok(Created::UnknownPersona) => Refusal::Invalid("`persona` is not a persona of this server.".into()).problem(),
        Err(refusal) => refusal.problem(),
    }
}

fn answer_created(Opened { record, token }: Opened) -> Response {
    let view = CreatedView {
        id: record.id,
        email: record.email().to_owned(),
        persona: record.persona.to_string(),
        created: record.created.to_string(),
        token,
    };
    let mut response = json(StatusCode::CREATED, &view);
    let path = HeaderValue::from_str(&format!("/v1/sessions/{}", view.id)).expect("an id is plain ASCII");
    response.headers_mut().insert(LOCATION, path);
    response
}

fn read_creation(mut body: Body, key: Option<RequestKey>) -> Result<Creation, Refusal> {
    let new: NewSession<'_> = read_body(&body)?;
    check_email_length(&new.email, MOST_EMAIL_CHARACTERS)?;
    let data = match new.data {
        Some(data) if !data.get().starts_with('{') => {
            return Err(Refusal::Invalid("`data` must be an object.".into()));
        }
        Some(data) => body.bytes.slice_ref(data.get().as_bytes()),
        None => Bytes::from_static(b"{}"),
    };
    let key = key.map(|key| CreationKey { key: *key.as_bytes(), digest: digest(&new.persona, &data) });
    let login = Login {
        email: new.email.into_owned(),
        password: SecretString::from(&*new.password),
        persona: new.persona.into_owned(),
    };
    body.charge(login.extra_bytes())?;
    Ok(Creation { login, data, key, body })
}

/// What is asked for, hashed.
fn digest(persona: &str, data: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    // The length keeps the end of the one from being taken for the beginning of the other.
    hasher.update(&(persona.len() as u64).to_le_bytes()).update(persona.as_bytes()).update(data);
    *hasher.finalize().as_bytes()
}
