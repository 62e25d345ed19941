//! `POST /requestSessionCreation`: checks the credentials and admits a session.

use std::borrow::Cow;

use axum::http::HeaderMap;
use axum::response::Response;
use bytes::Bytes;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::http::body::{self, Body};
use crate::http::call::Call;
use crate::http::code::Code;
use crate::http::creation::known_customer::Shown;
use crate::http::creation::login::Login;
use crate::http::creation::{Created, Creation, Opened, create};
use crate::http::error::Refusal;
use crate::http::input::{
    LARGEST_PARSED_INLINE_BYTES, check_email, invalid, media_type, parse, read_body, refuse_encoding,
};
use crate::low_priority;
use frontdesk_pickle::{self as pickle, PickleError};

use super::ok;

#[derive(Clone, Copy, PartialEq, Eq)]
enum ContentType {
    Json,
    Pickle,
}

pub(in crate::http) async fn handle(Call { app, admitted, parts, body, .. }: Call) -> Response {
    let content_type = match refuse_encoding(&parts.headers).and_then(|()| content_type(&parts.headers)) {
        Ok(content_type) => content_type,
        Err(refusal) => {
            body::discard(&parts, body).await;
            return refusal.seed();
        }
    };
    let body = match app.bodies.read(&parts, body).await {
        Ok(body) => body,
        Err(error) => return Refusal::from(error).seed(),
    };
    let most_bytes = app.bodies.most_bytes();
    let is_large_pickle = content_type == ContentType::Pickle && body.bytes.len() > LARGEST_PARSED_INLINE_BYTES;
    let turn = if is_large_pickle { Some(app.bodies.large_pickle(&body).await) } else { None };
    let parsed = parse(body, move |body| match turn {
        Some(_turn) => low_priority::run(|| read_creation(body, content_type, most_bytes)),
        None => read_creation(body, content_type, most_bytes),
    });
    let creation = match parsed.await {
        Ok(creation) => creation,
        Err(refusal) => return refusal.seed(),
    };
    let peer = admitted.caller.peer;
    create(&app, peer, Shown::new(&parts, peer), creation, answer).await
}

fn answer(created: Result<Created, Refusal>) -> Response {
    match created {
        Ok(Created::Opened(opened)) => ok(text("SESSION_CREATION_REQUEST_ACCEPTED", &opened)),
        Ok(Created::AlreadyLive(opened)) => {
            let mut response = ok(text("SESSION_ALREADY_RUNNING", &opened));
            *response.status_mut() = axum::http::StatusCode::BAD_REQUEST;
            response.extensions_mut().insert(Code::SessionAlreadyRunning);
            response
        }
        Ok(Created::UnknownPersona) => Refusal::Invalid("PERSONA_TYPE is not a persona of this server.".into()).seed(),
        Err(refusal) => refusal.seed(),
    }
}

fn text(message: &str, Opened { record, token }: &Opened) -> Bytes {
    // None of the three has a character that JSON escapes.
    format!(r#"{{"MESSAGE":"{message}","SESSION_ID":"{}","TOKEN":"{token}"}}"#, record.id).into()
}

fn read_creation(mut body: Body, content_type: ContentType, most_bytes: usize) -> Result<Creation, Refusal> {
    match content_type {
        ContentType::Json => from_json(body),
        ContentType::Pickle => {
            let limits = pickle::Limits { input_bytes: most_bytes, output_bytes: most_bytes, ..Default::default() };
            let pickle = body.bytes.clone();
            let mut memory = body.scratch();
            // A small pickle is decoded before its memory would matter.
            let is_small = pickle.len() <= LARGEST_PARSED_INLINE_BYTES;
            let mut reserve = |bytes| is_small || memory.hold(bytes);
            let measured = match pickle::decode(&pickle, &limits, &mut reserve) {
                Ok(measured) => measured,
                Err(PickleError::NoMemory) => return Err(memory.refusal(TOO_LARGE_TO_DECODE)),
                Err(error) => return Err(invalid("The body", &error.to_string())),
            };
            body.charge(measured.json_bytes())?;
            body.bytes = measured.write().into();
            drop((measured, memory));
            from_json(body)
        }
    }
}

const TOO_LARGE_TO_DECODE: &str =
    "Decoding the pickle takes more memory than this server has for one body; send less, or send JSON.";

fn from_json(mut body: Body) -> Result<Creation, Refusal> {
    #[derive(Deserialize)]
    #[serde(rename_all = "UPPERCASE", expecting = "an object with EMAIL, PASSWORD, PERSONA_TYPE and DATA")]
    struct Wire<'a> {
        #[serde(borrow)]
        email: Cow<'a, str>,
        #[serde(borrow)]
        password: Cow<'a, str>,
        #[serde(borrow)]
        persona_type: Cow<'a, str>,
        #[serde(borrow)]
        data: &'a RawValue,
    }
    let wire: Wire<'_> = read_body(&body)?;
    check_email(&wire.email)?;
    if !wire.data.get().starts_with('{') {
        return Err(Refusal::Invalid("DATA must be an object.".into()));
    }
    let login = Login {
        email: wire.email.into_owned(),
        password: SecretString::from(&*wire.password),
        persona: wire.persona_type.into_owned(),
    };
    let data = body.bytes.slice_ref(wire.data.get().as_bytes());
    body.charge(login.extra_bytes())?;
    Ok(Creation { login, data, key: None, body })
}

fn content_type(headers: &HeaderMap) -> Result<ContentType, Refusal> {
    match media_type(headers) {
        Some(json) if json.eq_ignore_ascii_case("application/json") => Ok(ContentType::Json),
        Some(pickle) if pickle.eq_ignore_ascii_case("application/bytes") => Ok(ContentType::Pickle),
        Some(_) | None => {
            Err(Refusal::UnsupportedContentType("The Content-Type must be application/json or application/bytes."))
        }
    }
}
