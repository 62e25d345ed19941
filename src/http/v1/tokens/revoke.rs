//! `DELETE /v1/tokens/{id}`: revokes an operator's token.

use axum::http::request::Parts;
use axum::response::Response;

use crate::http::App;
use crate::http::call::{Call, path_part};
use crate::http::caller::Caller;
use crate::http::code::Code;
use crate::http::error::Refusal;
use crate::http::operation::{Answer, Operation, Tag};
use crate::http::routes::Route;
use crate::http::v1::no_content;
use crate::principal::OperatorTokenId;
use crate::store::Action;

pub(in crate::http) static OPERATION: Operation = Operation {
    id: "revokeToken",
    tag: Tag::Operators,
    summary: "Revoke an operator's token",
    description: "The token stops working at once, and everybody who signed in at the console with it is signed out. \
                  Repeated, the answer is the same.",
    query: None,
    headers: &[],
    body: None,
    answers: &[Answer { status: 204, description: "It is revoked.", contents: &[], headers: &[] }],
    problems: &[Code::TokenNotFound],
};

pub(in crate::http) async fn handle(Call { app, route, admitted, parts, .. }: Call) -> Response {
    match revoke(&app, &admitted.caller, route, &parts).await {
        Ok(()) => no_content(),
        Err(refusal) => refusal.problem(),
    }
}

async fn revoke(app: &App, caller: &Caller, route: &Route, parts: &Parts) -> Result<(), Refusal> {
    let id = path_part(route, parts, "id").ok().and_then(|id| id.parse::<OperatorTokenId>().ok());
    let token = app.store.operator_token(id.ok_or(Refusal::NoSuchToken)?).await?.ok_or(Refusal::NoSuchToken)?;
    if token.revoked.is_none() {
        app.audit(caller, Action::TokenRevoked, None, &token.name).await?;
        app.store.revoke_operator_token(token.id, app.clock.wall()).await?;
        tracing::info!(token.id = %token.id, "operator's token revoked");
    }
    Ok(())
}
