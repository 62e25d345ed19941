//! Live sessions whose rows can't be read.
//!
//! Such a session is neither live nor over: its row stays as it is and its agent is left alone until somebody mends the
//! store or gives the session up. Its customer gets no other session. Where nothing tells whose it is, it may be anybody's:
//! nobody is admitted who has no live session. Where no session can be named, every session that is not known may be one.

use std::collections::{BTreeSet, HashMap};

use crate::id::{CustomerKey, SessionId};

/// The sessions that one reading of the file has set aside.
#[derive(Clone, Debug, Default)]
pub(in crate::store::sqlite) struct SetAside {
    sessions: HashMap<SessionId, String>,
    /// What is wrong with sessions that can't be named.
    nameless: Vec<String>,
    /// Whose they are, as far as that is known; without a session, that of a nameless one.
    customers: HashMap<CustomerKey, Option<SessionId>>,
    /// Those of which nothing tells whose they are.
    ownerless: BTreeSet<SessionId>,
    has_ownerless_nameless: bool,
}

impl SetAside {
    /// Sets a row aside, of which so much is known; says what it is. `customers` are all that it may belong to, none if it may
    /// belong to anybody.
    pub(in crate::store::sqlite) fn add(
        &mut self,
        id: Option<SessionId>,
        customers: Vec<CustomerKey>,
        why: &str,
    ) -> String {
        let mut why = why.to_owned();
        if customers.is_empty() {
            why.push_str(" (its customer can't be read either, so nobody without a live session is admitted)");
            self.has_ownerless_nameless |= id.is_none();
            self.ownerless.extend(id);
        }
        self.customers.extend(customers.into_iter().map(|customer| (customer, id)));
        match id {
            Some(id) => {
                self.sessions.insert(id, why);
                self.named(id).unwrap_or_default()
            }
            None => {
                let what = format!("a live session that can't be named: {why}");
                self.nameless.push(what.clone());
                what
            }
        }
    }

    /// Forgets a session that was given up.
    pub(super) fn remove(&mut self, id: SessionId) {
        self.sessions.remove(&id);
        self.ownerless.remove(&id);
        self.customers.retain(|_, session| *session != Some(id));
    }

    /// What is wrong with this session, if it was set aside.
    pub(super) fn named(&self, id: SessionId) -> Option<String> {
        self.sessions.get(&id).map(|why| format!("session {id}: {why}"))
    }

    /// What is wrong with the session of this customer, if that was set aside.
    pub(super) fn of(&self, customer: &CustomerKey) -> Option<String> {
        match self.customers.get(customer)? {
            Some(id) => self.named(*id),
            None => self.nameless.first().cloned(),
        }
    }

    /// What is wrong with a session that is this customer's, or may be.
    pub(super) fn may_be_of(&self, customer: &CustomerKey) -> Option<String> {
        let ownerless = || self.ownerless.first().and_then(|id| self.named(*id));
        let nameless = || self.nameless.first().filter(|_| self.has_ownerless_nameless).cloned();
        self.of(customer).or_else(ownerless).or_else(nameless)
    }

    /// Whether a session that is not known may have been set aside without a name.
    pub(super) fn has_nameless(&self) -> bool {
        !self.nameless.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_that_may_be_anybodys_keeps_every_place_until_it_is_given_up() {
        let [ann, bob] = ["ann", "bob"].map(CustomerKey::new);
        let [of_ann, of_nobody] = [1, 2].map(|byte| SessionId::from_bytes([byte; 16]));
        let mut set_aside = SetAside::default();
        set_aside.add(Some(of_ann), vec![ann.clone()], "bad");
        assert!(set_aside.may_be_of(&ann).is_some() && set_aside.may_be_of(&bob).is_none());

        set_aside.add(Some(of_nobody), Vec::new(), "worse");
        assert!(set_aside.of(&bob).is_none(), "it is not known to be his");
        assert!(set_aside.may_be_of(&bob).unwrap().contains(&of_nobody.to_string()));

        set_aside.remove(of_nobody);
        assert!(set_aside.may_be_of(&bob).is_none() && set_aside.may_be_of(&ann).is_some());
        set_aside.remove(of_ann);
        assert!(set_aside.may_be_of(&ann).is_none() && set_aside.named(of_ann).is_none());
    }

    #[test]
    fn a_nameless_session_keeps_the_place_of_its_customer_alone_if_that_is_known() {
        let [ann, bob] = ["ann", "bob"].map(CustomerKey::new);
        let mut set_aside = SetAside::default();
        set_aside.add(None, vec![ann.clone()], "bad");
        assert!(set_aside.may_be_of(&ann).is_some() && set_aside.may_be_of(&bob).is_none());
        set_aside.add(None, Vec::new(), "worse");
        assert!(set_aside.may_be_of(&bob).is_some() && set_aside.has_nameless());
    }
}
