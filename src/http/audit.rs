//! What the audit says of calls.

use crate::http::caller::Caller;
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
        let actor = match &caller.principal {
            Principal::Nobody => Actor::Unknown,
            Principal::Session(_) => Actor::Customer,
            Principal::Operator(operator) => Actor::Operator(operator.name.clone()),
        };
        let entry = AuditEntry {
            at: self.clock.wall(),
            actor,
            action,
            session: session.map(|record| record.id),
            customer: session.map(|record| record.customer.clone()),
            from: Some(caller.peer.client),
            detail: detail.to_owned(),
        };
        self.store.note(entry).await
    }
}
