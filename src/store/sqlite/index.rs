//! The live sessions in memory: answers status without touching the disk, and is where a customer's place is claimed.
//!
//! A claim is taken before a creation is written and resolved by the writer after the commit, so that of many
//! creations at once one is written and the others wait for it. The index changes after the commit and before the
//! answer: what it shows is durable, and who was answered sees what was promised.
//!
//! Tables are split by hash, each part under a lock that is held for a lookup only, never across the disk.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::HashTable;
use tokio::sync::oneshot;

use crate::clock::Timestamp;
use crate::id::{CustomerKey, SessionId};
use crate::session::{Census, Phase, SessionRecord};
use crate::store::Stored;

const PARTS: usize = 64;

/// The index of one store.
#[derive(Debug)]
pub(super) struct Index {
    customers: Vec<Mutex<HashTable<Place>>>,
    ids: Vec<Mutex<HashTable<Arc<Stored>>>>,
    deadlines: Mutex<BTreeSet<(Timestamp, SessionId)>>,
    /// Pending sessions whose last start has failed.
    unstarted: Mutex<BTreeSet<SessionId>>,
    census: Mutex<Census>,
    claims: AtomicU64,
    hasher: RandomState,
}

/// A customer's place: taken by a live session, or claimed by a creation that is being written.
#[derive(Debug)]
enum Place {
    Claimed(Box<Claimed>),
    Live(Arc<Stored>),
}

#[derive(Debug)]
struct Claimed {
    customer: CustomerKey,
    number: u64,
    waiters: Vec<oneshot::Sender<()>>,
}

/// The answer to a claim.
#[derive(Debug)]
pub(super) enum ClaimOutcome {
    /// The place is the caller's until it releases the claim or the session is inserted.
    Won(Claim),
    /// A live session has it.
    Live(Arc<Stored>),
    /// Another creation has claimed it; look again when this completes.
    Wait(oneshot::Receiver<()>),
}

/// A claimed place. Dropping it gives the place back.
#[derive(Debug)]
pub(super) struct Claim {
    index: Arc<Index>,
    customer: CustomerKey,
    number: u64,
}

impl Index {
    pub(super) fn new() -> Self {
        Self {
            customers: (0..PARTS).map(|_| Mutex::default()).collect(),
            ids: (0..PARTS).map(|_| Mutex::default()).collect(),
            deadlines: Mutex::default(),
            unstarted: Mutex::default(),
            census: Mutex::default(),
            claims: AtomicU64::new(0),
            hasher: RandomState::new(),
        }
    }

    /// Claims the customer's place for a creation.
    pub(super) fn claim(self: &Arc<Self>, customer: &CustomerKey) -> ClaimOutcome {
        let hash = self.hasher.hash_one(customer);
        let mut part = self.customers_part(hash);
        match part.find_mut(hash, |place| place.customer() == customer) {
            Some(Place::Live(stored)) => ClaimOutcome::Live(Arc::clone(stored)),
            Some(Place::Claimed(claimed)) => {
                let (sender, receiver) = oneshot::channel();
                claimed.waiters.push(sender);
                ClaimOutcome::Wait(receiver)
            }
            None => {
                let number = self.claims.fetch_add(1, Ordering::Relaxed);
                let claimed = Claimed { customer: customer.clone(), number, waiters: Vec::new() };
                part.insert_unique(hash, Place::Claimed(Box::new(claimed)), |place| {
                    self.hasher.hash_one(place.customer())
                });
                ClaimOutcome::Won(Claim { index: Arc::clone(self), customer: customer.clone(), number })
            }
        }
    }

    /// The customer's live session.
    pub(super) fn by_customer(&self, customer: &CustomerKey) -> Option<Arc<Stored>> {
        let hash = self.hasher.hash_one(customer);
        match self.customers_part(hash).find(hash, |place| place.customer() == customer) {
            Some(Place::Live(stored)) => Some(Arc::clone(stored)),
            Some(Place::Claimed(_)) | None => None,
        }
    }

    /// The live session with this id.
    pub(super) fn by_id(&self, id: SessionId) -> Option<Arc<Stored>> {
        let hash = self.hasher.hash_one(id);
        self.ids_part(hash).find(hash, |stored| stored.record.id == id).cloned()
    }

    /// Shows a stored session in its place: inserts it, replaces its older form, or takes an ended one out.
    pub(super) fn show(&self, stored: Stored) {
        let before = self.by_id(stored.record.id);
        let before = before.as_deref().map(|stored| &stored.record);
        self.move_deadline(before, &stored.record);
        self.recount(before, &stored.record);
        if stored.record.phase.is_live() {
            self.insert(Arc::new(stored));
        } else if before.is_some() {
            self.remove(&stored.record);
        }
    }

    /// Makes room for this many live sessions.
    pub(super) fn reserve(&self, sessions: usize) {
        // The parts fill evenly, but not exactly so.
        let each = sessions / PARTS + sessions / PARTS / 16;
        for part in &self.customers {
            lock(part).reserve(each, |place| self.hasher.hash_one(place.customer()));
        }
        for part in &self.ids {
            lock(part).reserve(each, |stored| self.hasher.hash_one(stored.record.id));
        }
    }

    /// Adds the sessions that a file holds, to an index that nobody uses yet: what [`Index::show`] does one by one.
    ///
    /// Fails with the two sessions if a customer has two.
    pub(super) fn add_found(&self, stored: Stored) -> Result<(), (SessionId, SessionId)> {
        if !stored.record.phase.is_live() {
            return Ok(());
        }
        let stored = Arc::new(stored);
        let hash = self.hasher.hash_one(&stored.record.customer);
        let mut part = self.customers_part(hash);
        if let Some(Place::Live(other)) = part.find(hash, |place| place.customer() == &stored.record.customer) {
            return Err((other.record.id, stored.record.id));
        }
        let place = Place::Live(Arc::clone(&stored));
        part.insert_unique(hash, place, |place| self.hasher.hash_one(place.customer()));
        drop(part);
        self.recount(None, &stored.record);
        let hash = self.hasher.hash_one(stored.record.id);
        self.ids_part(hash).insert_unique(hash, stored, |other| self.hasher.hash_one(other.record.id));
        Ok(())
    }

    /// Orders the deadlines of what was added by [`Index::add_found`], all at once.
    pub(super) fn order_deadlines(&self) {
        let due = |stored: &Arc<Stored>| Some((pending_deadline(&stored.record)?, stored.record.id));
        let all: Vec<_> =
            self.ids.iter().flat_map(|part| lock(part).iter().filter_map(due).collect::<Vec<_>>()).collect();
        *lock(&self.deadlines) = all.into_iter().collect();
    }

    /// Up to `most` pending sessions whose deadline is not after `now`, the longest overdue first.
    pub(super) fn overdue(&self, now: Timestamp, most: usize) -> Vec<SessionId> {
        let deadlines = lock(&self.deadlines);
        deadlines.iter().take_while(|(deadline, _)| *deadline <= now).take(most).map(|(_, id)| *id).collect()
    }

    /// Up to `most` pending sessions whose last start has failed, the oldest first.
    pub(super) fn unstarted(&self, most: usize) -> Vec<Arc<Stored>> {
        let ids: Vec<_> = lock(&self.unstarted).iter().take(most).copied().collect();
        ids.into_iter().filter_map(|id| self.by_id(id)).collect()
    }

    /// How many live sessions there are in each phase.
    pub(super) fn census(&self) -> Census {
        *lock(&self.census)
    }

    /// Up to `most` live sessions that match, the youngest first. It looks at all of them, a part at a time, and holds on
    /// to few more than it returns: an order that is kept would cost every session memory, and every creation time.
    pub(super) fn youngest(&self, most: usize, matches: impl Fn(&SessionRecord) -> bool) -> Vec<Arc<Stored>> {
        let mut found: Vec<Arc<Stored>> = Vec::new();
        for part in &self.ids {
            // Once there are enough, only younger ones are worth holding.
            let bound = found.get(most.wrapping_sub(1)).map(|stored| stored.record.id);
            let part = lock(part);
            let is_worth_it =
                |stored: &&Arc<Stored>| bound.is_none_or(|bound| stored.record.id > bound) && matches(&stored.record);
            found.extend(part.iter().filter(is_worth_it).cloned());
            drop(part);
            found.sort_unstable_by_key(|stored| Reverse(stored.record.id));
            found.truncate(most);
        }
        found
    }

    /// Every live session, in no order.
    pub(super) fn all(&self) -> Vec<Arc<Stored>> {
        self.ids.iter().flat_map(|part| lock(part).iter().cloned().collect::<Vec<_>>()).collect()
    }

    /// An empty index, to be filled and then given to [`Index::replace`].
    pub(super) fn empty_twin(&self) -> Self {
        Self { hasher: self.hasher.clone(), ..Self::new() }
    }

    /// Takes over what its twin shows, so that no reader ever finds the index half filled. A claim goes on, unless
    /// a session turned out to have its place: that creation fails when the writer comes to it.
    pub(super) fn replace(&self, found: &Self) {
        for (part, found) in self.customers.iter().zip(&found.customers) {
            let (mut part, mut found) = (lock(part), lock(found));
            std::mem::swap(&mut *part, &mut *found);
            for place in found.drain().filter(|place| matches!(place, Place::Claimed(_))) {
                let hash = self.hasher.hash_one(place.customer());
                if part.find(hash, |other| other.customer() == place.customer()).is_none() {
                    part.insert_unique(hash, place, |place| self.hasher.hash_one(place.customer()));
                }
            }
        }
        for (part, found) in self.ids.iter().zip(&found.ids) {
            std::mem::swap(&mut *lock(part), &mut *lock(found));
        }
        std::mem::swap(&mut *lock(&self.deadlines), &mut *lock(&found.deadlines));
        std::mem::swap(&mut *lock(&self.unstarted), &mut *lock(&found.unstarted));
        *lock(&self.census) = found.census();
    }

    fn insert(&self, stored: Arc<Stored>) {
        let hash = self.hasher.hash_one(stored.record.id);
        let mut ids = self.ids_part(hash);
        match ids.find_mut(hash, |other| other.record.id == stored.record.id) {
            Some(place) => *place = Arc::clone(&stored),
            None => {
                ids.insert_unique(hash, Arc::clone(&stored), |other| self.hasher.hash_one(other.record.id));
            }
        }
        drop(ids);
        let hash = self.hasher.hash_one(&stored.record.customer);
        let mut customers = self.customers_part(hash);
        match customers.find_mut(hash, |place| place.customer() == &stored.record.customer) {
            // Dropping the claim's waiters wakes them: they look again and find the session.
            Some(place) => *place = Place::Live(stored),
            None => {
                customers.insert_unique(hash, Place::Live(stored), |place| self.hasher.hash_one(place.customer()));
            }
        }
    }

    fn remove(&self, record: &SessionRecord) {
        let hash = self.hasher.hash_one(record.id);
        if let Ok(entry) = self.ids_part(hash).find_entry(hash, |other| other.record.id == record.id) {
            entry.remove();
        }
        let hash = self.hasher.hash_one(&record.customer);
        let mut customers = self.customers_part(hash);
        let of_session = |place: &Place| matches!(place, Place::Live(stored) if stored.record.id == record.id);
        if let Ok(entry) = customers.find_entry(hash, of_session) {
            entry.remove();
        }
    }

    fn move_deadline(&self, before: Option<&SessionRecord>, after: &SessionRecord) {
        let old = before.and_then(pending_deadline);
        let new = pending_deadline(after);
        if old == new {
            return;
        }
        let mut deadlines = lock(&self.deadlines);
        if let Some(deadline) = old {
            deadlines.remove(&(deadline, after.id));
        }
        if let Some(deadline) = new {
            deadlines.insert((deadline, after.id));
        }
    }

    /// Counts a session in its place. Only the writer moves sessions, and each record that it shows takes the place of
    /// the one that was counted before, so that the counts can't drift.
    fn recount(&self, before: Option<&SessionRecord>, after: &SessionRecord) {
        let mut census = lock(&self.census);
        if let Some(before) = before {
            census.remove(&before.phase);
        }
        census.add(&after.phase);
        drop(census);
        match (before.is_some_and(has_failed_to_start), has_failed_to_start(after)) {
            (false, true) => {
                lock(&self.unstarted).insert(after.id);
            }
            (true, false) => {
                lock(&self.unstarted).remove(&after.id);
            }
            (true, true) | (false, false) => {}
        }
    }

    fn customers_part(&self, hash: u64) -> MutexGuard<'_, HashTable<Place>> {
        lock(&self.customers[part_of(hash)])
    }

    fn ids_part(&self, hash: u64) -> MutexGuard<'_, HashTable<Arc<Stored>>> {
        lock(&self.ids[part_of(hash)])
    }
}

impl Claim {
    /// Whether the place is still claimed by this: a store that was reopened may have found a session in it.
    pub(super) fn holds(&self) -> bool {
        let hash = self.index.hasher.hash_one(&self.customer);
        self.index.customers_part(hash).find(hash, |place| self.is_mine(place)).is_some()
    }

    fn is_mine(&self, place: &Place) -> bool {
        matches!(place, Place::Claimed(claimed) if claimed.number == self.number && claimed.customer == self.customer)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let hash = self.index.hasher.hash_one(&self.customer);
        let mut part = self.index.customers_part(hash);
        if let Ok(entry) = part.find_entry(hash, |place| self.is_mine(place)) {
            entry.remove();
        }
    }
}

impl Place {
    fn customer(&self) -> &CustomerKey {
        match self {
            Self::Claimed(claimed) => &claimed.customer,
            Self::Live(stored) => &stored.record.customer,
        }
    }
}

fn pending_deadline(record: &SessionRecord) -> Option<Timestamp> {
    match &record.phase {
        Phase::Pending { deadline, .. } => Some(*deadline),
        Phase::Starting { .. } | Phase::Running { .. } | Phase::Stopping { .. } | Phase::Ended { .. } => None,
    }
}

fn has_failed_to_start(record: &SessionRecord) -> bool {
    matches!(record.phase, Phase::Pending { failed_starts: 1.., .. })
}

fn part_of(hash: u64) -> usize {
    // The table inside the part uses the low and the highest bits of the same hash.
    (hash >> 32) as usize % PARTS
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing under these locks panics half-way through a change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
