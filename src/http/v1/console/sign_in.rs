//! `POST /v1/console/session`: signs an operator in at the console.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::SET_COOKIE;
use axum::http::request::Parts;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::http::App;
use crate::http::access::Admitted;
use crate::http::caller::{self, Caller, Shown};
use crate::http::error::Refusal;
use crate::http::operation::{Answer, Body, Content, Header, Operation, Tag, schema_of};
use crate::http::v1::secret::Secret;
use crate::http::v1::{no_content, object};
use crate::principal::{Operator, Principal};
use crate::store::{Action, ConsoleSession};
use crate::token::TokenHash;

use super::cookie;

pub(in crate::http) static OPERATION: Operation = Operation {
    id: "signIn",
    tag: Tag::Operators,
    summary: "Sign in at the console",
    description: "Takes an operator's token and sets the console's cookie, which may do what the token may. It ends after \
                  `console.idle_timeout` without use, after `console.lifetime` in any case, and with the token. With TLS \
                  the cookie is called `__Host-frontdesk`, without `frontdesk-console`.",
    query: None,
    headers: &[],
    body: Some(Body { required: true, contents: &[Content::json(schema_of::<SignIn>)] }),
    answers: &[Answer {
        status: 204,
        description: "Signed in.",
        contents: &[],
        headers: &[Header::text("Set-Cookie", "The console's cookie.")],
    }],
    problems: &[],
};

/// What signs an operator in.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct SignIn {
    /// An operator's token.
    token: Secret,
}

pub(in crate::http) async fn handle(State(app): State<Arc<App>>, admitted: Admitted, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let wanted = object::<SignIn>(&app, &parts, body).await;
    if caller::is_cross_site(&parts) {
        return Refusal::CrossSite.problem();
    }
    let signed_in = match wanted {
        Ok(SignIn { token }) => sign_in(&app, &admitted.caller, &parts, &token).await,
        Err(refusal) => Err(refusal),
    };
    match signed_in {
        Ok(secret) => {
            let mut response = no_content();
            response.headers_mut().insert(SET_COOKIE, cookie(admitted.caller.peer, &secret));
            response
        }
        Err(refusal) => refusal.problem(),
    }
}

/// The secret of a new session at the console.
async fn sign_in(app: &App, caller: &Caller, parts: &Parts, token: &Secret) -> Result<String, Refusal> {
    let operator = check(app, caller, token.expose()).await?;
    let id = operator.token;
    let signed_in =
        Caller { principal: Principal::Operator(operator), peer: caller.peer, shown: Shown::OperatorToken(id) };
    app.audit(&signed_in, Action::SignedIn, None, "").await?;
    if let Some(before) = caller::cookie(&parts.headers, caller.peer) {
        app.store.end_console_session(TokenHash::of(before.as_bytes())).await?;
    }
    let secret = URL_SAFE_NO_PAD.encode(crate::random::bytes::<32>());
    let now = app.clock.now();
    let session = ConsoleSession { secret: TokenHash::of(secret.as_bytes()), token: id, opened: now, seen: now };
    app.store.add_console_session(session, now - app.config.console.idle_timeout).await?;
    Ok(secret)
}

/// Whose token it is, unless too many attempts have failed lately.
async fn check(app: &App, caller: &Caller, token: &str) -> Result<Operator, Refusal> {
    // One that this desk has made counts for itself: who invents some slows nobody who has one.
    let claimed = app.store.desk().token_key.read_operator(token);
    let account = claimed.map_or("an operator".to_owned(), |claimed| format!("operator {}", claimed.token));
    let patience = app.config.credential.timeout;
    let attempt = app.gate.admit(&account, caller.peer.sender(), patience, || app.clock.now()).await?;
    match app.operator_of(token).await {
        Ok(operator) => {
            attempt.succeeded(app.clock.now());
            Ok(operator)
        }
        Err(Refusal::TokenRequired) => {
            attempt.refused(app.clock.now());
            tracing::info!(peer = %caller.peer.client, "sign-in at the console refused");
            app.audit(caller, Action::TokenRefused, None, "at the console's sign-in").await?;
            Err(Refusal::OperatorRequired)
        }
        Err(refusal) => {
            attempt.failed_to_check();
            Err(refusal)
        }
    }
}
