//! `GET /sessionSTATUS?message={"PERSONA_TYPE":..,"EMAIL":..}`: what the customer's session of that persona is doing.

use std::borrow::Cow;

use axum::http::request::Parts;
use axum::response::Response;
use bytes::Bytes;
use percent_encoding::percent_decode;
use serde::Deserialize;

use crate::credential::Verifier;
use crate::http::App;
use crate::http::auth::{Peer, bearer};
use crate::http::call::Call;
use crate::http::error::Refusal;
use crate::http::input::{check_email, read};
use crate::session::Start;
use crate::session::{Phase, SessionRecord};

use super::ok;

pub(in crate::http) async fn handle(Call { app, admitted, parts, .. }: Call) -> Response {
    match status(&app, admitted.caller.peer, &parts).await {
        Ok(text) => ok(Bytes::from_static(text)),
        Err(refusal) => refusal.seed(),
    }
}

async fn status(app: &App, peer: Peer, parts: &Parts) -> Result<&'static [u8], Refusal> {
    let message = message(parts.uri.query().unwrap_or_default())?;
    let wire: Wire<'_> = read(&message)?;
    check_email(&wire.email)?;
    if app.registry.persona(&wire.persona_type).is_none() {
        return Err(Refusal::Invalid("PERSONA_TYPE is not a persona of this server.".into()));
    }
    let key = app.verifiers.in_force().key(&wire.email);
    let token = bearer(&parts.headers);
    let stored = if token.is_some() || !app.is_tokenless(peer, parts) {
        // A token tells of its own session: an earlier one's, of nothing that came after.
        Some(app.session_of_customer(token, &wire.email, &key).await?)
    } else {
        app.store.live(&key).await?
    };
    Ok(match stored {
        Some(stored) if *stored.record.persona == *wire.persona_type => words(&stored.record),
        Some(_) | None => br#"{"MESSAGE":"IDLE"}"#,
    })
}

fn words(record: &SessionRecord) -> &'static [u8] {
    match &record.phase {
        Phase::Pending { .. } | Phase::Starting { start: Start::First { .. }, .. } => br#"{"MESSAGE":"PENDING"}"#,
        Phase::Starting { start: Start::Restart { .. } | Start::Replacement { .. }, .. }
        | Phase::Running { .. }
        | Phase::Stopping { .. } => br#"{"MESSAGE":"RUNNING"}"#,
        Phase::Ended { .. } => br#"{"MESSAGE":"IDLE"}"#,
    }
}

/// The parameter `message`, decoded: percent-encoded or as a form writes it, `+` for a space.
fn message(query: &str) -> Result<Cow<'_, [u8]>, Refusal> {
    let value = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("message="))
        .ok_or_else(|| Refusal::Invalid("The parameter `message` is missing.".into()))?;
    if value.contains('+') {
        let spaced = value.replace('+', " ");
        return Ok(Cow::Owned(percent_decode(spaced.as_bytes()).collect()));
    }
    Ok(percent_decode(value.as_bytes()).into())
}

#[derive(Deserialize)]
#[serde(rename_all = "UPPERCASE", expecting = "an object with PERSONA_TYPE and EMAIL")]
struct Wire<'a> {
    #[serde(borrow)]
    persona_type: Cow<'a, str>,
    #[serde(borrow)]
    email: Cow<'a, str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_is_decoded_in_every_way_that_clients_encode_it() {
        for query in [
            "message=%7B%22a%20b%22%3A1%7D",
            "message=%7B%22a+b%22%3A1%7D",
            "x=1&message={%22a%20b%22:1}",
            "message={%22a+b%22:1}&message=second",
        ] {
            assert_eq!(message(query).unwrap().as_ref(), br#"{"a b":1}"#, "{query}");
        }
        assert!(message("massage=1").is_err());
    }
}
