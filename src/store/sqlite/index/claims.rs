//! Claims of customers' places by creations that are being written.

use std::sync::Arc;

use hashbrown::HashTable;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;

use crate::id::CustomerKey;
use crate::store::Stored;

use super::{Index, PARTS, part_of};

/// The claims of one index.
#[derive(Debug)]
pub(super) struct Claims {
    parts: Vec<Mutex<HashTable<Claimed>>>,
}

#[derive(Debug)]
pub(super) struct Claimed {
    customer: CustomerKey,
    number: u64,
    waiters: Vec<oneshot::Sender<()>>,
}

/// The answer to a claim.
#[derive(Debug)]
pub(in crate::store::sqlite) enum ClaimOutcome {
    /// The place is the caller's until it releases the claim or the session is inserted.
    Won(Claim),
    /// A live session has it.
    Live(Arc<Stored>),
    /// Another creation has claimed it; look again when this completes.
    Wait(oneshot::Receiver<()>),
}

/// A claimed place. Dropping it gives the place back.
#[derive(Debug)]
pub(in crate::store::sqlite) struct Claim {
    index: Arc<Index>,
    customer: CustomerKey,
    number: u64,
}

impl Claims {
    pub(super) fn new() -> Self {
        Self { parts: (0..PARTS).map(|_| Mutex::default()).collect() }
    }

    /// The claims among which one of a customer with this hash is.
    pub(super) fn part(&self, hash: u64) -> MutexGuard<'_, HashTable<Claimed>> {
        self.parts[part_of(hash)].lock()
    }

    /// Ends the claim of a customer, if there is one: who waits for it looks again.
    pub(super) fn settle(&self, hash: u64, customer: &CustomerKey) {
        if let Ok(entry) = self.part(hash).find_entry(hash, |claimed| claimed.customer == *customer) {
            entry.remove();
        }
    }

    /// Ends all claims of these customers.
    pub(super) fn settle_all(&self, is_settled: impl Fn(&CustomerKey) -> bool) {
        for part in &self.parts {
            part.lock().retain(|claimed| !is_settled(&claimed.customer));
        }
    }
}

impl Claimed {
    pub(super) fn new(customer: CustomerKey, number: u64) -> Self {
        Self { customer, number, waiters: Vec::new() }
    }

    pub(super) fn customer(&self) -> &CustomerKey {
        &self.customer
    }

    /// Completes when the claim is resolved.
    pub(super) fn wait(&mut self) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        self.waiters.push(sender);
        receiver
    }
}

impl Claim {
    pub(super) fn new(index: Arc<Index>, customer: CustomerKey, number: u64) -> Self {
        Self { index, customer, number }
    }

    /// Whether the place is still claimed by this: a store that was reopened may have found a session in it.
    pub(in crate::store::sqlite) fn holds(&self) -> bool {
        let hash = self.index.hash(&self.customer);
        self.index.claims.part(hash).find(hash, |claimed| self.is_mine(claimed)).is_some()
    }

    fn is_mine(&self, claimed: &Claimed) -> bool {
        claimed.number == self.number && claimed.customer == self.customer
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let hash = self.index.hash(&self.customer);
        let mut part = self.index.claims.part(hash);
        if let Ok(entry) = part.find_entry(hash, |claimed| self.is_mine(claimed)) {
            entry.remove();
        }
    }
}
