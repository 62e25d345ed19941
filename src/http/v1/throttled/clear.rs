//! `DELETE /v1/throttled/{email}`: forgets what failed for a customer.

use axum::http::request::Parts;
use axum::response::Response;

use crate::credential::Verifier;
use crate::http::App;
use crate::http::call::{Call, path_part};
use crate::http::caller::Caller;
use crate::http::code::Code;
use crate::http::error::Refusal;
use crate::http::operation::{Answer, Operation, Tag};
use crate::http::routes::Route;
use crate::http::v1::no_content;
use crate::store::Action;

pub(in crate::http) static OPERATION: Operation = Operation {
    id: "clearThrottled",
    tag: Tag::Customers,
    summary: "Let a customer try again",
    description: "Clears this customer's failed attempts from every address. An address's failures for all customers \
                  still count. The answer is the same if nothing had failed.",
    query: None,
    headers: &[],
    body: None,
    answers: &[Answer { status: 204, description: "Nothing counts.", contents: &[], headers: &[] }],
    problems: &[Code::InvalidRequest],
};

pub(in crate::http) async fn handle(Call { app, route, admitted, parts, .. }: Call) -> Response {
    match clear(&app, &admitted.caller, route, &parts).await {
        Ok(()) => no_content(),
        Err(refusal) => refusal.problem(),
    }
}

async fn clear(app: &App, caller: &Caller, route: &Route, parts: &Parts) -> Result<(), Refusal> {
    let email = path_part(route, parts, "email")?;
    // As whoever decides about passwords knows the customer.
    let key = app.verifiers.in_force().key(&email);
    app.audit_of_customer(caller, Action::ThrottleCleared, key.clone()).await?;
    app.gate.forgive(&key, app.clock.now());
    Ok(())
}
