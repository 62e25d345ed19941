//! `PUT /v1/customers/{email}/disabled`: disables a customer and stops its session, or enables it again.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::credential::InForce;
use crate::customer;
use crate::http::App;
use crate::http::call::{Call, path_part};
use crate::http::caller::Caller;
use crate::http::code::Code;
use crate::http::error::Refusal;
use crate::http::operation::{Answer, Body, Content, Operation, Tag, schema_of};
use crate::http::v1::{json, object};
use crate::session::{Reason, SessionRecord};
use crate::store::{Action, Customer};

use super::view::CustomerView;

pub(in crate::http) static OPERATION: Operation = Operation {
    id: "disableCustomer",
    tag: Tag::Customers,
    summary: "Disable or enable a customer",
    description: "The server refuses a disabled customer's password like a wrong one, and stops the customer's \
                  session. While a remote credential server decides, a session belongs to that server's customer and \
                  goes on. Enabling restores the old password. Repeated, the answer is the same.",
    query: None,
    headers: &[],
    body: Some(Body { required: true, contents: &[Content::json(schema_of::<Disabled>)] }),
    answers: &[Answer {
        status: 200,
        description: "It is so.",
        contents: &[Content::json(schema_of::<CustomerView>)],
        headers: &[],
    }],
    problems: &[Code::CustomerNotFound],
};

/// Whether a customer is to be disabled.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "DisableCustomer")]
pub struct Disabled {
    /// Whether it is.
    pub disabled: bool,
}

pub(in crate::http) async fn handle(Call { app, route, admitted, parts, body, .. }: Call) -> Response {
    let email = path_part(route, &parts, "email");
    let wanted = object::<Disabled>(&app, &parts, body).await;
    let (email, wanted) = match (email, wanted) {
        (Ok(email), Ok(wanted)) => (email, wanted),
        (Err(refusal), _) | (_, Err(refusal)) => return refusal.problem(),
    };
    match app.tasks.carry_out(set(Arc::clone(&app), admitted.caller, email, wanted.disabled)).await {
        Ok(customer) => json(StatusCode::OK, &CustomerView::from(&customer)),
        Err(refusal) => refusal.problem(),
    }
}

async fn set(app: Arc<App>, caller: Caller, email: String, disabled: bool) -> Result<Customer, Refusal> {
    let customer = app.embedded.customer(&email).await?;
    if customer.disabled.is_some() != disabled {
        let action = if disabled { Action::CustomerDisabled } else { Action::CustomerEnabled };
        app.audit_of_customer(&caller, action, customer.key).await?;
    }
    match app.verifiers.in_force() {
        InForce::Embedded(embedded) => {
            let stop = async |record: &SessionRecord, why: &str| {
                app.registry.stop(record.id, false, Reason::new(why), None).await.map(drop)
            };
            customer::set_disabled(&*app.store, &embedded, &email, disabled, stop).await?;
        }
        // A live session is that of the remote server's customer, who is not ours to judge.
        InForce::Remote(..) => {
            app.embedded.set_disabled(&email, disabled).await?;
        }
    }
    Ok(app.embedded.customer(&email).await?)
}
