//! `DELETE /v1/console/session`: signs an operator out of the console.

use axum::http::header::SET_COOKIE;
use axum::http::request::Parts;
use axum::response::Response;

use crate::http::App;
use crate::http::auth::Peer;
use crate::http::call::Call;
use crate::http::caller::{self, Caller, Shown};
use crate::http::code::Code;
use crate::http::cookie::CONSOLE;
use crate::http::error::Refusal;
use crate::http::operation::{Answer, Header, Operation, Tag};
use crate::http::v1::no_content;
use crate::principal::Principal;
use crate::store::Action;
use crate::token::TokenHash;

pub(in crate::http) static OPERATION: Operation = Operation {
    id: "signOut",
    tag: Tag::Operators,
    summary: "Sign out of the console",
    description: "The cookie stops working, and the browser drops it. Repeated, the answer is the same.",
    query: None,
    headers: &[],
    body: None,
    answers: &[Answer {
        status: 204,
        description: "Nobody is signed in by this cookie.",
        contents: &[],
        headers: &[Header::text("Set-Cookie", "The console's cookie, ended.")],
    }],
    problems: &[Code::CrossSiteRequest, Code::ServerError, Code::ServerBusy, Code::NotReady],
};

pub(in crate::http) async fn handle(Call { app, admitted, parts, .. }: Call) -> Response {
    let peer = admitted.caller.peer;
    match sign_out(&app, peer, &parts).await {
        Ok(()) => {
            let mut response = no_content();
            response.headers_mut().insert(SET_COOKIE, CONSOLE.end(peer));
            response
        }
        Err(refusal) => refusal.problem(),
    }
}

async fn sign_out(app: &App, peer: Peer, parts: &Parts) -> Result<(), Refusal> {
    if caller::is_cross_site(parts) {
        return Err(Refusal::CrossSite);
    }
    let Some(secret) = CONSOLE.read(&parts.headers, peer) else { return Ok(()) };
    let secret = TokenHash::of(secret.as_bytes());
    match app.signed_in(secret).await {
        Ok((_, operator)) => {
            let caller = Caller { principal: Principal::Operator(operator), peer, shown: Shown::Cookie(secret) };
            app.audit(&caller, Action::SignedOut, None, "").await?;
            Ok(app.store.end_console_session(secret).await?)
        }
        Err(Refusal::TokenRequired) => Ok(()),
        Err(refusal) => Err(refusal),
    }
}
