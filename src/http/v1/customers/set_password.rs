//! `PUT /v1/customers/{email}/password`: replaces a customer's password.

use std::sync::Arc;

use axum::response::Response;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::credential::password::{FEWEST_CHARACTERS, MOST_BYTES};
use crate::customer;
use crate::http::App;
use crate::http::call::{Call, path_part};
use crate::http::caller::Caller;
use crate::http::code::Code;
use crate::http::error::Refusal;
use crate::http::operation::{Answer, Body, Content, Operation, Tag, schema_of};
use crate::http::v1::secret::Secret;
use crate::http::v1::{no_content, object};
use crate::store::Action;

pub(in crate::http) static OPERATION: Operation = Operation {
    id: "setCustomerPassword",
    tag: Tag::Customers,
    summary: "Set a customer's password",
    description: "The old password no longer works, and failed attempts no longer count. A live session goes on, but all \
                  of its tokens are revoked: the customer gets a new one by asking for a session with the new \
                  password. With `sign_out` false the tokens stay valid.",
    query: None,
    headers: &[],
    body: Some(Body { required: true, contents: &[Content::json(schema_of::<NewPassword>)] }),
    answers: &[Answer { status: 204, description: "It is the password.", contents: &[], headers: &[] }],
    problems: &[Code::CustomerNotFound, Code::PasswordRefused],
};

/// A password to be.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct NewPassword {
    /// The new password.
    #[schemars(length(min = FEWEST_CHARACTERS, max = MOST_BYTES))]
    pub password: Secret,
    /// Whether the tokens of a live session are revoked.
    #[serde(default = "yes")]
    pub sign_out: bool,
}

const fn yes() -> bool {
    true
}

pub(in crate::http) async fn handle(Call { app, route, admitted, parts, body, .. }: Call) -> Response {
    let email = path_part(route, &parts, "email");
    let new = object::<NewPassword>(&app, &parts, body).await;
    let (email, new) = match (email, new) {
        (Ok(email), Ok(new)) => (email, new),
        (Err(refusal), _) | (_, Err(refusal)) => return refusal.problem(),
    };
    match app.tasks.carry_out(set(Arc::clone(&app), admitted.caller, email, new)).await {
        Ok(()) => no_content(),
        Err(refusal) => refusal.problem(),
    }
}

async fn set(app: Arc<App>, caller: Caller, email: String, new: NewPassword) -> Result<(), Refusal> {
    app.embedded.check_password(&email, &new.password.0).await?;
    let customer = app.embedded.customer(&email).await?;
    app.audit_of_customer(&caller, Action::PasswordChanged, customer.key.clone()).await?;
    app.embedded.set_password(&email, new.password.0).await?;
    app.gate.forgive(&customer.key, app.clock.now());
    tracing::info!(customer = %customer.key, "password changed");
    if new.sign_out {
        customer::sign_out(&*app.store, &customer.key, |_| None).await?;
    }
    Ok(())
}
