//! `POST /initializeSession`: starts the agent of the customer's pending session.

use std::borrow::Cow;

use axum::http::request::Parts;
use axum::response::Response;
use bytes::Bytes;
use serde::Deserialize;

use crate::credential::Verifier;
use crate::http::App;
use crate::http::auth::{Peer, bearer};
use crate::http::body::Body;
use crate::http::call::Call;
use crate::http::error::Refusal;
use crate::http::input::{check_email, parse, read_body, whole_body};
use crate::http::server_timing::Timing;
use crate::session::InitialiseError;

use super::ok;

pub(in crate::http) async fn handle(Call { app, admitted, parts, body, .. }: Call) -> Response {
    let body = match whole_body(&app, &parts, body).await {
        Ok(body) => body,
        Err(refusal) => return refusal.seed(),
    };
    let mut timing = Timing::begin(&*app.clock);
    match initialise(&app, admitted.caller.peer, &parts, body).await {
        Ok(()) => {
            timing.end("agent");
            let mut response = ok(Bytes::from_static(br#"{"MESSAGE":"SESSION_INITIALIZED"}"#));
            timing.write(&mut response);
            response
        }
        Err(refusal) => refusal.seed(),
    }
}

async fn initialise(app: &App, peer: Peer, parts: &Parts, body: Body) -> Result<(), Refusal> {
    let (email, token) = parse(body, |body| {
        let wire: Wire<'_> = read_body(&body)?;
        check_email(&wire.email)?;
        Ok((wire.email.into_owned(), wire.token.map(Cow::into_owned)))
    })
    .await?;
    let key = app.verifiers.in_force().key(&email);
    let token = bearer(&parts.headers).or(token.as_deref());
    let customer = if token.is_some() || !app.is_tokenless(peer, parts) {
        let opened = app.session_of_customer(token, &email, &key).await?;
        // A token opens its own session: an earlier one's does not start what came after.
        if !opened.record.phase.is_live() {
            return Err(Refusal::NoSessionPending);
        }
        opened.record.customer.clone()
    } else {
        key
    };
    app.registry.initialise(&customer).await.map_err(|error| {
        if let InitialiseError::StartFailed(reason) = &error {
            tracing::warn!(customer = %customer, reason = reason.in_full(), "session not started");
        }
        error.into()
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "UPPERCASE", expecting = "an object with EMAIL")]
struct Wire<'a> {
    #[serde(borrow)]
    email: Cow<'a, str>,
    #[serde(borrow)]
    token: Option<Cow<'a, str>>,
}
