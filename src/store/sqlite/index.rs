//! The live sessions in memory: answers status without touching the disk, and is where a customer's place is claimed.
//!
//! ```text
//!   claim ───> claims            one for each creation that is being written
//!   show ────> tables ─┬ places  of customers, with the sessions themselves
//!   by .. ───>         ├ ids, deadlines: which place
//!                      └ census
//! ```
//!
//! A claim is taken before a creation is written and resolved by the writer after the commit, so that of many
//! creations at once one is written and the others wait for it. The index changes after the commit and before the
//! answer: what it shows is durable, and who was answered sees what was promised.
//!
//! Tables are split by hash, each part under a lock that is held for a lookup only, never across the disk. There may be a
//! million sessions that wait, so that of each only what tells it from the others is kept, and made whole for who asks.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;

use crate::clock::Timestamp;
use crate::id::{CustomerKey, SessionId};
use crate::session::Census;
use crate::store::{Glance, StoreError, Stored};

mod claims;
mod kept;
mod places;
mod set_aside;
mod tables;

pub(super) use claims::{Claim, ClaimOutcome};
use claims::{Claimed, Claims};
pub(super) use set_aside::SetAside;
use tables::Tables;

const PARTS: usize = 64;

/// The index of one store.
#[derive(Debug)]
pub(super) struct Index {
    tables: ArcSwap<Tables>,
    claims: Claims,
    claimed: AtomicU64,
    hasher: RandomState,
}

impl Index {
    pub(super) fn new() -> Self {
        Self::with(RandomState::new())
    }

    fn with(hasher: RandomState) -> Self {
        Self {
            tables: ArcSwap::from_pointee(Tables::new(hasher.clone())),
            claims: Claims::new(),
            claimed: AtomicU64::new(0),
            hasher,
        }
    }

    /// Claims the customer's place for a creation.
    pub(super) fn claim(self: &Arc<Self>, customer: &CustomerKey) -> ClaimOutcome {
        let hash = self.hash(customer);
        let mut claims = self.claims.part(hash);
        if let Some(claimed) = claims.find_mut(hash, |claimed| claimed.customer() == customer) {
            return ClaimOutcome::Wait(claimed.wait());
        }
        // Under the lock of the claims: a session is shown before its claim ends, so that one of both is found.
        if let Some(stored) = self.tables.load().by_customer(hash, customer) {
            return ClaimOutcome::Live(stored);
        }
        let number = self.claimed.fetch_add(1, Ordering::Relaxed);
        claims.insert_unique(hash, Claimed::new(customer.clone(), number), |claimed| self.hash(claimed.customer()));
        ClaimOutcome::Won(Claim::new(Arc::clone(self), customer.clone(), number))
    }

    /// The customer's live session.
    pub(super) fn by_customer(&self, customer: &CustomerKey) -> Option<Arc<Stored>> {
        self.tables.load().by_customer(self.hash(customer), customer)
    }

    /// The live session with this id.
    pub(super) fn by_id(&self, id: SessionId) -> Option<Arc<Stored>> {
        self.tables.load().by_id(id)
    }

    /// Shows a stored session in its place: inserts it, replaces its older form, or takes an ended one out.
    pub(super) fn show(&self, stored: Stored) {
        let customer = stored.record.phase.is_live().then(|| stored.record.customer.clone());
        self.tables.load().show(stored);
        if let Some(customer) = customer {
            // Dropping the claim's waiters wakes them: they look again and find the session.
            self.claims.settle(self.hash(&customer), &customer);
        }
    }

    /// Makes room for this many live sessions.
    pub(super) fn reserve(&self, sessions: usize) {
        self.tables.load().reserve(sessions);
    }

    /// Adds the sessions that a file holds, to an index that nobody uses yet: what [`Index::show`] does one by one.
    ///
    /// Fails with the two sessions if a customer has two.
    pub(super) fn add_found(&self, stored: Stored) -> Result<(), (SessionId, SessionId)> {
        if stored.record.phase.is_live() { self.tables.load().add_found(stored) } else { Ok(()) }
    }

    /// Tells which sessions of the file can't be read, to an index that nobody uses yet.
    pub(super) fn set_aside(&self, set_aside: SetAside) {
        self.tables.load().set_aside.store(Arc::new(set_aside));
    }

    /// Fails if this is a session that was set aside.
    pub(super) fn check_session(&self, id: SessionId) -> Result<(), StoreError> {
        refused(self.tables.load().set_aside.load().named(id))
    }

    /// Fails if a session of this customer was set aside.
    pub(super) fn check_customer(&self, customer: &CustomerKey) -> Result<(), StoreError> {
        refused(self.tables.load().set_aside.load().of(customer))
    }

    /// Fails if a session was set aside that has this customer's place, or may have it.
    pub(super) fn check_place(&self, customer: &CustomerKey) -> Result<(), StoreError> {
        refused(self.tables.load().set_aside.load().may_be_of(customer))
    }

    /// Whether this is a session that was set aside, or one that is not known while there may be such that can't be named.
    pub(super) fn is_set_aside(&self, id: SessionId) -> bool {
        let tables = self.tables.load();
        let set_aside = tables.set_aside.load();
        set_aside.named(id).is_some() || set_aside.has_nameless() && tables.by_id(id).is_none()
    }

    /// Forgets a session that was set aside and is given up: its customer's place is free.
    pub(super) fn given_up(&self, id: SessionId) {
        self.tables.load().set_aside.rcu(|set_aside| {
            let mut rest = SetAside::clone(set_aside);
            rest.remove(id);
            rest
        });
    }

    /// Orders the deadlines of what was added by [`Index::add_found`], all at once.
    pub(super) fn order_deadlines(&self) {
        self.tables.load().order_deadlines();
    }

    /// Up to `most` pending sessions whose deadline is not after `now`, the longest overdue first.
    pub(super) fn overdue(&self, now: Timestamp, most: usize) -> Vec<SessionId> {
        self.tables.load().overdue(now, most)
    }

    /// Up to `most` pending sessions whose last start has failed, the oldest first.
    pub(super) fn unstarted(&self, most: usize) -> Vec<Arc<Stored>> {
        self.tables.load().unstarted(most)
    }

    /// How many live sessions there are in each phase.
    pub(super) fn census(&self) -> Census {
        self.tables.load().census()
    }

    /// Up to `most` live sessions that are wanted, the youngest first.
    pub(super) fn youngest(&self, most: usize, wanted: impl Fn(&Glance<'_>) -> bool) -> Vec<Arc<Stored>> {
        self.tables.load().youngest(most, wanted)
    }

    /// Every live session that is wanted, in no order.
    pub(super) fn wanted(&self, wanted: impl Fn(&Glance<'_>) -> bool) -> Vec<Arc<Stored>> {
        self.tables.load().wanted(wanted)
    }

    /// An empty index, to be filled and then given to [`Index::replace`].
    pub(super) fn empty_twin(&self) -> Self {
        Self::with(self.hasher.clone())
    }

    /// Takes over what its twin shows, so that no reader ever finds the index half filled. A claim goes on, unless
    /// a session turned out to have its place, or may have it: that creation fails when the writer comes to it.
    pub(super) fn replace(&self, found: &Self) {
        let found = found.tables.load_full();
        self.tables.store(Arc::clone(&found));
        let set_aside = found.set_aside.load_full();
        self.claims.settle_all(|customer| found.has_customer(customer) || set_aside.may_be_of(customer).is_some());
    }

    fn hash(&self, customer: &CustomerKey) -> u64 {
        self.hasher.hash_one(customer.as_str())
    }
}

fn refused(why: Option<String>) -> Result<(), StoreError> {
    why.map_or(Ok(()), |why| Err(StoreError::SetAside(why)))
}

/// The part of a hash. Parts are of unequal sizes, the largest twice the smallest: a table doubles when it grows, and so they
/// don't all grow at once, nor are all half empty afterwards.
fn part_of(hash: u64) -> usize {
    // The table inside the part uses the low and the highest bits of the same hash.
    let fraction = f64::from((hash >> 24) as u32) / f64::from(u32::MAX);
    (((1.0 + fraction).log2() * PARTS as f64) as usize).min(PARTS - 1)
}

/// Which share of all a part has.
fn share_of(part: usize) -> f64 {
    let beginning = |part: usize| (part as f64 / PARTS as f64).exp2();
    beginning(part + 1) - beginning(part)
}

#[cfg(test)]
mod tests;
