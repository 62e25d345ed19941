//! `PUT /handleSessionRequests`: hands a request to the session's agent and answers with the agent's answer.

use std::borrow::Cow;

use axum::http::request::Parts;
use axum::response::Response;
use bytes::{BufMut, Bytes, BytesMut};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::agent::Json;
use crate::credential::Verifier;
use crate::http::App;
use crate::http::auth::bearer;
use crate::http::body::Body;
use crate::http::call::Call;
use crate::http::error::Refusal;
use crate::http::input::{check_email, idempotency_key, parse, read_body, whole_body};
use crate::http::server_timing::Timing;

use super::ok;

pub(in crate::http) async fn handle(Call { app, parts, body, .. }: Call) -> Response {
    let body = match whole_body(&app, &parts, body).await {
        Ok(body) => body,
        Err(refusal) => return refusal.seed(),
    };
    if body.bytes.is_empty() {
        // The seed's placeholder.
        return ok(Bytes::from_static(b"null"));
    }
    let mut timing = Timing::begin(&*app.clock);
    match relay(&app, &parts, body).await {
        Ok(answer) => {
            timing.end("agent");
            let mut response = ok(handled(&answer));
            timing.write(&mut response);
            response
        }
        Err(refusal) => refusal.seed(),
    }
}

async fn relay(app: &App, parts: &Parts, body: Body) -> Result<Json, Refusal> {
    let relayed = parse(body, Relayed::read).await?;
    let key = app.verifiers.in_force().key(&relayed.email);
    let token = bearer(&parts.headers).or(relayed.token.as_deref());
    let stored = app.session_of_customer(token, &relayed.email, &key).await?;
    match idempotency_key(&parts.headers)? {
        Some(key) => Ok(app.registry.relay_once(stored.record.id, key, relayed.request).await?),
        None => Ok(app.registry.relay(stored.record.id, &relayed.request).await?),
    }
}

fn handled(answer: &[u8]) -> Bytes {
    let mut text = BytesMut::with_capacity(answer.len() + 48);
    text.put_slice(br#"{"MESSAGE":"REQUEST_HANDLED","RESPONSE":"#);
    text.put_slice(answer);
    text.put_u8(b'}');
    text.freeze()
}

struct Relayed {
    email: String,
    token: Option<String>,
    request: Bytes,
    /// What the request is a part of; held until the agent has answered.
    _body: Body,
}

impl Relayed {
    fn read(body: Body) -> Result<Self, Refusal> {
        #[derive(Deserialize)]
        #[serde(rename_all = "UPPERCASE", expecting = "an object with EMAIL and REQUEST")]
        struct Wire<'a> {
            #[serde(borrow)]
            email: Cow<'a, str>,
            #[serde(borrow)]
            token: Option<Cow<'a, str>>,
            #[serde(borrow)]
            request: &'a RawValue,
        }
        let wire: Wire<'_> = read_body(&body)?;
        check_email(&wire.email)?;
        let (email, token) = (wire.email.into_owned(), wire.token.map(Cow::into_owned));
        let request = body.bytes.slice_ref(wire.request.get().as_bytes());
        Ok(Self { email, token, request, _body: body })
    }
}
