//! `/v1/sessions/{id}/cookie`: the cookie by which a browser's `EventSource` follows a session.

use axum::http::HeaderValue;
use axum::http::header::SET_COOKIE;
use axum::http::request::Parts;
use axum::response::Response;

use crate::http::App;
use crate::http::access::Admitted;
use crate::http::call::Call;
use crate::http::caller::{self, Shown};
use crate::http::error::Refusal;
use crate::http::operation::{Answer, Header, Operation, Tag};
use crate::http::session_cookie::{following, leaving};
use crate::http::v1::no_content;
use crate::id::SessionId;
use crate::token::TokenHash;

pub(in crate::http) static SET_OPERATION: Operation = Operation {
    id: "setSessionCookie",
    tag: Tag::Events,
    summary: "Let a browser follow a session",
    description: "Sets an HttpOnly cookie with which an EventSource of a page of this server can follow the session's \
                  events. It opens nothing else, and ends with the token that asks for it, with the browser, or when \
                  the page signs out. Repeated, the same. With TLS the cookie is called `__Host-frontdesk-session`, \
                  without `frontdesk-session`.",
    query: None,
    headers: &[],
    body: None,
    answers: &[Answer {
        status: 204,
        description: "The browser may follow the session.",
        contents: &[],
        headers: &[Header::text("Set-Cookie", "The cookie.")],
    }],
    problems: &[],
};

pub(in crate::http) static REMOVE_OPERATION: Operation = Operation {
    id: "removeSessionCookie",
    tag: Tag::Events,
    summary: "End a browser's following of a session",
    description: "Takes the session out of the browser's cookie. Repeated, the same.",
    query: None,
    headers: &[],
    body: None,
    answers: &[Answer {
        status: 204,
        description: "The browser no longer follows the session.",
        contents: &[],
        headers: &[Header::text("Set-Cookie", "The cookie without the session.")],
    }],
    problems: &[],
};

pub(in crate::http) fn set(Call { app, admitted, parts, .. }: Call) -> Response {
    let peer = admitted.caller.peer;
    match own_token(&app, &admitted, &parts) {
        Ok((id, token)) => answer(following(&app, &parts, peer, id, &token)),
        Err(refusal) => refusal.problem(),
    }
}

pub(in crate::http) fn remove(Call { app, admitted, parts, .. }: Call) -> Response {
    let peer = admitted.caller.peer;
    match own_token(&app, &admitted, &parts) {
        Ok((id, _)) => answer(leaving(&app, &parts, peer, id)),
        Err(refusal) => refusal.problem(),
    }
}

/// The session and the token with which no page but one of ours asks.
fn own_token(app: &App, admitted: &Admitted, parts: &Parts) -> Result<(SessionId, TokenHash), Refusal> {
    if caller::is_cross_site(parts) {
        return Err(Refusal::CrossSite);
    }
    if !app.is_our_host(admitted.caller.peer, parts) {
        return Err(Refusal::UnknownHost);
    }
    match admitted.caller.shown {
        Shown::SessionToken(id, token) => Ok((id, token)),
        Shown::Nothing | Shown::OperatorToken(_) | Shown::Cookie(_) => Err(Refusal::TokenRequired),
    }
}

fn answer(cookie: HeaderValue) -> Response {
    let mut answer = no_content();
    answer.headers_mut().insert(SET_COOKIE, cookie);
    answer
}
