//! `POST /v1/console/session`: signs an operator in at the console.

use axum::http::header::SET_COOKIE;
use axum::http::request::Parts;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::credential::throttle::{Account, Proof};
use crate::http::App;
use crate::http::call::Call;
use crate::http::caller::{self, Caller, Shown};
use crate::http::code::Code;
use crate::http::cookie::{CONSOLE, Keep};
use crate::http::error::Refusal;
use crate::http::operation::{Answer, Body, Content, Header, Operation, Tag, schema_of};
use crate::http::rate_limit;
use crate::http::v1::secret::Secret;
use crate::http::v1::{no_content, object};
use crate::principal::{Operator, Principal};
use crate::store::{Action, ConsoleSession, StoreError};
use crate::token::TokenHash;

pub(in crate::http) static OPERATION: Operation = Operation {
    id: "signIn",
    tag: Tag::Operators,
    summary: "Sign in at the console",
    description: "Takes an operator's token and sets the console's cookie, which may do what the token may. It ends after \
                  `console.idle_timeout` without use, after `console.lifetime` in any case, and with the token. With TLS \
                  the cookie is called `__Host-frontdesk`, without `frontdesk-console`. With `console.enabled = false` \
                  there is no signing in.",
    query: None,
    headers: &[],
    body: Some(Body { required: true, contents: &[Content::json(schema_of::<SignIn>)] }),
    answers: &[Answer {
        status: 204,
        description: "Signed in.",
        contents: &[],
        headers: &[Header::text("Set-Cookie", "The console's cookie.")],
    }],
    problems: &[Code::NotFound],
};

/// What signs an operator in.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct SignIn {
    /// An operator's token.
    token: Secret,
}

pub(in crate::http) async fn handle(Call { app, admitted, parts, body, .. }: Call) -> Response {
    let wanted = object::<SignIn>(&app, &parts, body).await;
    if !app.config().console.enabled {
        return Refusal::NotFound.problem();
    }
    if caller::is_cross_site(&parts) {
        return Refusal::CrossSite.problem();
    }
    match wanted {
        Ok(SignIn { token }) => answer(&app, &admitted.caller, &parts, &token).await,
        Err(refusal) => refusal.problem(),
    }
}

async fn answer(app: &App, caller: &Caller, parts: &Parts, token: &Secret) -> Response {
    let account = account(app, token.expose());
    let mut answer = match sign_in(app, caller, parts, token, &account).await {
        Ok(secret) => {
            let mut response = no_content();
            response.headers_mut().insert(SET_COOKIE, CONSOLE.set(caller.peer, &secret, Keep::UntilClosed));
            response
        }
        Err(refusal) => refusal.problem(),
    };
    let sender = caller.peer.sender().with_proof(proof(app, token.expose()));
    let quotas = app.gate.quotas(Account::operator(&account), sender, app.clock.now());
    rate_limit::write(answer.headers_mut(), &quotas);
    answer
}

/// Whom the throttle counts. A token that this desk has made counts for itself: who invents some slows nobody who has
/// one.
fn account(app: &App, token: &str) -> String {
    let claimed = app.store.desk().token_key.read_operator(token);
    claimed.map_or("unknown".to_owned(), |claimed| claimed.token.to_string())
}

/// A token that carries this desk's tag proves that it is no stranger's guess: what others behind the same address fail
/// at holds no operator up.
fn proof(app: &App, token: &str) -> Option<Proof> {
    app.store.desk().token_key.read_operator(token).map(|claimed| Proof(claimed.hash.0))
}

/// The secret of a new session at the console.
async fn sign_in(app: &App, caller: &Caller, parts: &Parts, token: &Secret, account: &str) -> Result<String, Refusal> {
    let operator = check(app, caller, token.expose(), account).await?;
    let id = operator.token;
    let signed_in =
        Caller { principal: Principal::Operator(operator), peer: caller.peer, shown: Shown::OperatorToken(id) };
    app.audit(&signed_in, Action::SignedIn, None, "").await?;
    if let Some(before) = CONSOLE.read(&parts.headers, caller.peer) {
        app.store.end_console_session(TokenHash::of(before.as_bytes())).await?;
    }
    let secret = URL_SAFE_NO_PAD.encode(crate::random::bytes::<32>());
    let now = app.clock.now();
    let session = ConsoleSession { secret: TokenHash::of(secret.as_bytes()), token: id, opened: now, seen: now };
    app.store.add_console_session(session, now - app.config().console.idle_timeout).await.map_err(not_opened)?;
    Ok(secret)
}

fn not_opened(error: StoreError) -> Refusal {
    match error {
        // Its token was revoked, or has gone, since it was checked.
        StoreError::Conflict | StoreError::Missing => Refusal::OperatorRequired,
        StoreError::Busy
        | StoreError::Unavailable(_)
        | StoreError::Full
        | StoreError::Corrupt(_)
        | StoreError::SetAside(_)
        | StoreError::Malformed(_)
        | StoreError::Unsupported(_) => error.into(),
    }
}

/// Whose token it is, unless too many attempts have failed lately.
async fn check(app: &App, caller: &Caller, token: &str, account: &str) -> Result<Operator, Refusal> {
    let patience = app.config().credential.timeout;
    let sender = caller.peer.sender().with_proof(proof(app, token));
    let attempt = app.gate.admit(Account::operator(account), sender, patience, || app.clock.now()).await;
    let attempt = attempt.inspect_err(|refused| app.audit_not_admitted(refused, caller.peer, None))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_is_revoked_while_somebody_signs_in_with_it_is_refused_as_one_revoked_before() {
        for error in [StoreError::Conflict, StoreError::Missing] {
            assert_eq!(not_opened(error).problem().status(), axum::http::StatusCode::UNAUTHORIZED);
        }
    }
}
