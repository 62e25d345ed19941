//! What the audit says of calls.

use crate::http::caller::Caller;
use crate::id::{CustomerKey, SessionId};
use crate::principal::Principal;
use crate::session::SessionRecord;
use crate::store::{Action, Actor, AuditEntry, StoreError};

use super::App;

impl App {
    /// Notes what a caller is about to do; it is durable when this returns, so that nothing is done unnoticed.
    ///
    /// # Errors
    /// What the store said: then it is not to be done.
    pub async fn audit(
        &self,
        caller: &Caller,
        action: Action,
        session: Option<&SessionRecord>,
        detail: &str,
    ) -> Result<(), StoreError> {
        let customer = session.map(|record| record.customer.clone());
        self.note(caller, action, session.map(|record| record.id), customer, detail).await
    }

    /// The same of what is done to a customer.
    ///
    /// # Errors
    /// As [`App::audit`].
    pub async fn audit_of_customer(
        &self,
        caller: &Caller,
        action: Action,
        customer: CustomerKey,
    ) -> Result<(), StoreError> {
        self.note(caller, action, None, Some(customer), "").await
    }

    async fn note(
        &self,
        caller: &Caller,
        action: Action,
        session: Option<SessionId>,
        customer: Option<CustomerKey>,
        detail: &str,
    ) -> Result<(), StoreError> {
        let actor = match &caller.principal {
            Principal::Nobody => Actor::Unknown,
            Principal::Session(_) => Actor::Customer,
            Principal::Operator(operator) => Actor::Operator(operator.name.clone()),
        };
        let entry = AuditEntry {
            at: self.clock.wall(),
            actor,
            action,
            session,
            customer,
            from: Some(caller.peer.remote.ip()),
            detail: detail.to_owned(),
        };
        self.store.note(entry).await
    }
}
