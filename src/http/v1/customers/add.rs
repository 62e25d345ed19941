//! `POST /v1/customers`: adds a customer.

use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::Response;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::credential::embedded::CustomerError;
use crate::credential::password::{FEWEST_CHARACTERS, MOST_BYTES};
use crate::credential::{Credentials, Verdict, Verifier};
use crate::http::App;
use crate::http::call::Call;
use crate::http::caller::Caller;
use crate::http::code::Code;
use crate::http::error::Refusal;
use crate::http::operation::{Answer, Body, Content, Header, Operation, Tag, schema_of};
use crate::http::rate_limit;
use crate::http::v1::secret::Secret;
use crate::http::v1::{json, object};
use crate::store::{Action, Customer};

use super::view::{CustomerView, location};

pub(in crate::http) static OPERATION: Operation = Operation {
    id: "addCustomer",
    tag: Tag::Customers,
    summary: "Add a customer",
    description: "Safe to send again with the same email and password: the answer is the same. Emails that differ \
                  only in case, surrounding space or composed accents are one customer's.",
    query: None,
    headers: &[],
    body: Some(Body { required: true, contents: &[Content::json(schema_of::<NewCustomer>)] }),
    answers: &[Answer {
        status: 201,
        description: "The customer is there.",
        contents: &[Content::json(schema_of::<CustomerView>)],
        headers: &[Header::text("Location", "Where the customer is found.")],
    }],
    problems: &[Code::CustomerExists, Code::PasswordRefused, Code::TooManyAttempts],
};

/// A customer to be.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct NewCustomer {
    /// The email.
    #[schemars(
        length(min = 1, max = 320),
        regex(
            pattern = r"^[^\u0000-\u001f\u007f-\u009f]*[^\s\u0000-\u001f\u007f-\u009f][^\u0000-\u001f\u007f-\u009f]*$"
        )
    )]
    pub email: String,
    /// The password.
    #[schemars(length(min = FEWEST_CHARACTERS, max = MOST_BYTES))]
    pub password: Secret,
}

pub(in crate::http) async fn handle(Call { app, admitted, parts, body, .. }: Call) -> Response {
    let new = match object::<NewCustomer>(&app, &parts, body).await {
        Ok(new) => new,
        Err(refusal) => return refusal.problem(),
    };
    let key = app.embedded.key(&new.email);
    let mut answer = match add(&app, &admitted.caller, new).await {
        Ok(customer) => {
            let mut response = json(StatusCode::CREATED, &CustomerView::from(&customer));
            response.headers_mut().insert(LOCATION, location(&customer.email));
            response
        }
        Err(refusal) => refusal.problem(),
    };
    let quotas = app.gate.quotas(&key, admitted.caller.peer.sender(), app.clock.now());
    rate_limit::write(answer.headers_mut(), &quotas);
    answer
}

async fn add(app: &App, caller: &Caller, new: NewCustomer) -> Result<Customer, Refusal> {
    let NewCustomer { email, password } = new;
    app.embedded.check_new(&email, &password.0).await?;
    match app.embedded.customer(&email).await {
        Ok(existing) => return as_before(app, caller, existing, &email, &password).await,
        Err(CustomerError::Unknown) => {}
        Err(error) => return Err(error.into()),
    }
    app.audit_of_customer(caller, Action::CustomerAdded, app.embedded.key(&email)).await?;
    match app.embedded.add(&email, password.0.clone()).await {
        Ok(customer) => {
            tracing::info!(customer = %customer.key, "customer added");
            Ok(customer)
        }
        // The same call came at the same time, or another one for the same email.
        Err(CustomerError::Exists { .. }) => {
            let existing = app.embedded.customer(&email).await?;
            as_before(app, caller, existing, &email, &password).await
        }
        Err(error) => Err(error.into()),
    }
}

/// The customer that is there, if this very call has made it. A password is compared as one at a sign-in is, so that
/// nobody who may add customers guesses theirs.
async fn as_before(
    app: &App,
    caller: &Caller,
    existing: Customer,
    email: &str,
    password: &Secret,
) -> Result<Customer, Refusal> {
    if existing.email != email.trim() {
        return Err(Refusal::CustomerExists);
    }
    let patience = app.config().credential.timeout;
    let sender = caller.peer.sender();
    let attempt = app.gate.admit(&existing.key, sender, patience, || app.clock.now()).await;
    let noted = |refused: &_| app.audit_not_admitted(refused, caller.peer, Some(&existing.key));
    let attempt = attempt.inspect_err(noted)?;
    let credentials = Credentials { email, password: password.expose(), persona: "" };
    match app.embedded.verify(credentials).await {
        Ok(Verdict::Accepted(_)) => {
            attempt.succeeded(app.clock.now());
            Ok(existing)
        }
        Ok(Verdict::Refused) => {
            attempt.refused(app.clock.now());
            Err(Refusal::CustomerExists)
        }
        Err(error) => {
            attempt.failed_to_check();
            Err(error.into())
        }
    }
}
