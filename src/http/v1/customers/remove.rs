//! `DELETE /v1/customers/{email}`: removes a customer and stops its session.

use std::sync::Arc;

use axum::response::Response;

use crate::credential::embedded::CustomerError;
use crate::credential::{InForce, Verifier};
use crate::customer::{self, RemoveError};
use crate::http::App;
use crate::http::call::{Call, path_part};
use crate::http::caller::Caller;
use crate::http::code::Code;
use crate::http::error::Refusal;
use crate::http::operation::{Answer, Operation, Tag};
use crate::http::v1::no_content;
use crate::session::{Reason, SessionRecord};
use crate::store::Action;

pub(in crate::http) static OPERATION: Operation = Operation {
    id: "removeCustomer",
    tag: Tag::Customers,
    summary: "Remove a customer",
    description: "The server stops the customer's session and kills its agent. While a remote credential server \
                  decides, a session belongs to that server's customer and goes on. The call is safe to send again: \
                  the answer is the same if there is no such customer.",
    query: None,
    headers: &[],
    body: None,
    answers: &[Answer { status: 204, description: "There is no such customer any more.", contents: &[], headers: &[] }],
    problems: &[Code::InvalidRequest],
};

pub(in crate::http) async fn handle(Call { app, route, admitted, parts, .. }: Call) -> Response {
    let email = match path_part(route, &parts, "email") {
        Ok(email) => email,
        Err(refusal) => return refusal.problem(),
    };
    let removal = remove(Arc::clone(&app), admitted.caller, email);
    match app.tasks.carry_out(removal).await {
        Ok(()) => no_content(),
        Err(refusal) => refusal.problem(),
    }
}

async fn remove(app: Arc<App>, caller: Caller, email: String) -> Result<(), Refusal> {
    let stop = async |record: &SessionRecord, why: &str| {
        app.registry.stop(record.id, true, Reason::new(why), None).await.map(drop)
    };
    match app.embedded.customer(&email).await {
        Ok(customer) => app.audit_of_customer(&caller, Action::CustomerRemoved, customer.key).await?,
        Err(CustomerError::Unknown) => {}
        Err(error) => return Err(error.into()),
    }
    let removed = match app.verifiers.in_force() {
        InForce::Embedded(embedded) => match customer::remove(&*app.store, &embedded, &email, stop).await {
            // An earlier removal may not have come to the session.
            Err(RemoveError::Customer(CustomerError::Unknown)) => {
                customer::stop_session_of_removed(&*app.store, &embedded.key(&email), stop).await
            }
            removed => removed,
        },
        // A live session is that of the remote server's customer, who is not ours to judge.
        InForce::Remote(..) => customer::remove_account(&app.embedded, &email).await.map(|_| false),
    };
    match removed {
        Ok(_) | Err(RemoveError::Customer(CustomerError::Unknown)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
