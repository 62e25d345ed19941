//! What the audit says of calls.

use crate::credential::gate::NotAdmitted;
use crate::http::auth::Peer;
use crate::http::caller::Caller;
use crate::id::CustomerKey;
use crate::principal::Principal;
use crate::session::SessionRecord;
use crate::store::{Action, Actor, AuditEntry, AuditFilter, StoreError};

use super::App;

mod refused;
mod sign_ins;

pub use refused::{Refused, RefusedWriter};
pub use sign_ins::SignIns;

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
        self.store.note(self.audit_entry(caller, action, session, detail)).await
    }

    /// The same, if this caller has not done it to this session before: what can be repeated at will is noted once.
    ///
    /// # Errors
    /// As [`App::audit`].
    pub async fn audit_first(
        &self,
        caller: &Caller,
        action: Action,
        session: &SessionRecord,
    ) -> Result<(), StoreError> {
        /// More callers than one session ever has.
        const MOST: usize = 1_000;
        let filter = AuditFilter { session: Some(session.id), action: Some(action), ..AuditFilter::default() };
        let (noted, actor) = (self.store.audit(filter, MOST).await?, actor(&caller.principal));
        if noted.iter().any(|numbered| numbered.entry.actor == actor) {
            return Ok(());
        }
        self.audit(caller, action, Some(session), "").await
    }

    /// What the audit is to say of what a caller does.
    pub fn audit_entry(
        &self,
        caller: &Caller,
        action: Action,
        session: Option<&SessionRecord>,
        detail: &str,
    ) -> AuditEntry {
        AuditEntry {
            session: session.map(|record| record.id),
            customer: session.map(|record| record.customer.clone()),
            detail: detail.to_owned(),
            ..self.entry(actor(&caller.principal), action, caller.peer)
        }
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
        let entry = self.entry(actor(&caller.principal), action, caller.peer);
        self.store.note(AuditEntry { customer: Some(customer), ..entry }).await
    }

    /// The same of what a customer, by the password, does to the own account.
    ///
    /// # Errors
    /// As [`App::audit`].
    pub async fn audit_of_own_account(
        &self,
        peer: Peer,
        action: Action,
        customer: CustomerKey,
    ) -> Result<(), StoreError> {
        let entry = self.entry(Actor::Customer, action, peer);
        self.store.note(AuditEntry { customer: Some(customer), ..entry }).await
    }

    /// The same of a customer who signs in, by the password, to the own session. See [`SignIns`] for what becomes of many.
    ///
    /// # Errors
    /// As [`App::audit`].
    pub async fn audit_sign_in(&self, peer: Peer, session: &SessionRecord) -> Result<(), StoreError> {
        let Some(detail) = self.sign_ins.detail(session.id, peer.client, self.clock.now()) else { return Ok(()) };
        let (id, customer) = (Some(session.id), Some(session.customer.clone()));
        let entry = self.entry(Actor::Customer, Action::SessionTokenIssued, peer);
        self.store.note(AuditEntry { session: id, customer, detail, ..entry }).await
    }

    /// Notes an attempt that the throttle did not let through, soon; nothing of one that has only waited.
    pub fn audit_not_admitted(&self, refused: &NotAdmitted, peer: Peer, customer: Option<&CustomerKey>) {
        match refused {
            NotAdmitted::TooManyAttempts(_) => {
                self.audit_refused_credentials(peer, Action::CredentialsThrottled, customer);
            }
            NotAdmitted::WaitedInVain => {}
        }
    }

    /// Notes credentials that were refused, soon. See [`Refused`] for what becomes of many.
    pub fn audit_refused_credentials(&self, peer: Peer, action: Action, customer: Option<&CustomerKey>) {
        /// The longest email that any mail system takes (RFC 5321, section 4.5.3.1) is shorter.
        const LONGEST_BYTES: usize = 320;
        let entry = self.entry(Actor::Unknown, action, peer);
        self.refused.add(match customer {
            Some(customer) if customer.as_str().len() > LONGEST_BYTES => {
                AuditEntry { detail: format!("an email of {} bytes", customer.as_str().len()), ..entry }
            }
            customer => AuditEntry { customer: customer.cloned(), ..entry },
        });
    }

    /// Notes a call that was not let in because of its token, its cookie or its scopes, soon.
    pub fn audit_refused_call(&self, principal: &Principal, action: Action, peer: Peer, call: &str) {
        const LONGEST_BYTES: usize = 200;
        let detail = call[..call.floor_char_boundary(LONGEST_BYTES)].to_owned();
        self.refused.add(AuditEntry { detail, ..self.entry(actor(principal), action, peer) });
    }

    fn entry(&self, actor: Actor, action: Action, peer: Peer) -> AuditEntry {
        let from = Some(peer.client);
        AuditEntry { at: self.clock.wall(), actor, action, session: None, customer: None, from, detail: String::new() }
    }
}

fn actor(principal: &Principal) -> Actor {
    match principal {
        Principal::Nobody => Actor::Unknown,
        Principal::Session(_) => Actor::Customer,
        Principal::Operator(operator) => Actor::Operator(operator.name.clone()),
    }
}
