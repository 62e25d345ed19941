//! Live sessions whose rows can't be read.
//!
//! Such a session is neither live nor over: its row stays as it is and its agent is left alone until somebody mends the
//! store. Its customer gets no other session, unless the customer can't be read either: then nothing keeps the place.
//! Where no session can be named, every session that is not known may be one.

use std::collections::HashMap;

use crate::id::{CustomerKey, SessionId};

/// The sessions that one reading of the file has set aside.
#[derive(Debug, Default)]
pub(in crate::store::sqlite) struct SetAside {
    sessions: HashMap<SessionId, String>,
    customers: HashMap<CustomerKey, SessionId>,
    has_unknown: bool,
}

impl SetAside {
    /// Sets a row aside, of which so much can be read; says what it is.
    pub(in crate::store::sqlite) fn add(
        &mut self,
        id: Option<SessionId>,
        customer: Option<CustomerKey>,
        why: &str,
    ) -> String {
        let Some(id) = id else {
            self.has_unknown = true;
            return format!("a live session that can't be named: {why}");
        };
        if let Some(customer) = customer {
            self.customers.insert(customer, id);
        }
        self.sessions.insert(id, why.to_owned());
        format!("session {id}: {why}")
    }

    /// What is wrong with this session, if it was set aside.
    pub(super) fn session(&self, id: SessionId) -> Option<String> {
        self.sessions.get(&id).map(|why| format!("session {id}: {why}"))
    }

    /// What is wrong with the session of this customer, if that was set aside.
    pub(super) fn customer(&self, customer: &CustomerKey) -> Option<String> {
        self.session(*self.customers.get(customer)?)
    }

    /// Whether a session that is not known may have been set aside without a name.
    pub(super) fn has_unknown(&self) -> bool {
        self.has_unknown
    }
}
