//! What the index shows: the places of live sessions, and what finds them otherwise.
//!
//! Only the writer changes it. Locks are taken in this order, and none of them across anything else: ids, places.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use arc_swap::ArcSwap;
use hashbrown::HashTable;
use parking_lot::{Mutex, MutexGuard};

use crate::clock::Timestamp;
use crate::id::{CustomerKey, SessionId};
use crate::session::{Census, Phase, SessionRecord};
use crate::store::{Glance, Stored};

use super::kept::pending_deadline;
use super::places::Places;
use super::set_aside::SetAside;
use super::{PARTS, part_of, share_of};

/// The tables of one index.
#[derive(Debug)]
pub(super) struct Tables {
    places: Vec<Mutex<Places>>,
    ids: Vec<Mutex<HashTable<Known>>>,
    deadlines: Mutex<BTreeSet<(Timestamp, Place)>>,
    /// Pending sessions whose last start has failed.
    unstarted: Mutex<BTreeSet<SessionId>>,
    census: Mutex<Census>,
    /// Sessions of the file that can't be read.
    pub(super) set_aside: ArcSwap<SetAside>,
    hasher: RandomState,
}

/// Which place of all: its part, and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place(u32);

/// Where the session with an id is, if that is what the place says, too.
#[derive(Debug)]
struct Known {
    /// Half of the id's hash: enough to grow a table without a look at the places.
    hash: u32,
    place: Place,
}

impl Tables {
    pub(super) fn new(hasher: RandomState) -> Self {
        Self {
            places: (0..PARTS).map(|_| Mutex::default()).collect(),
            ids: (0..PARTS).map(|_| Mutex::default()).collect(),
            deadlines: Mutex::default(),
            unstarted: Mutex::default(),
            census: Mutex::default(),
            set_aside: ArcSwap::default(),
            hasher,
        }
    }

    /// The live session of a customer with this hash.
    pub(super) fn by_customer(&self, hash: u64, customer: &CustomerKey) -> Option<Arc<Stored>> {
        let places = self.places[part_of(hash)].lock();
        places.whole(places.find(hash, customer.as_str())?)
    }

    pub(super) fn has_customer(&self, customer: &CustomerKey) -> bool {
        let hash = self.hash(customer);
        self.places[part_of(hash)].lock().find(hash, customer.as_str()).is_some()
    }

    /// The live session with this id.
    pub(super) fn by_id(&self, id: SessionId) -> Option<Arc<Stored>> {
        let (part, hash) = self.ids_part(id);
        let places = part.iter_hash(spread(hash)).filter(|known| known.hash == hash);
        places.filter_map(|known| self.whole(known.place, id)).next()
    }

    /// Shows a stored session in its place: puts it there, replaces its older form, or takes an ended one out.
    pub(super) fn show(&self, stored: Stored) {
        let before = self.by_id(stored.record.id);
        let before = before.as_deref().map(|stored| &stored.record);
        self.recount(before, &stored.record);
        let old = before.and_then(pending_deadline);
        if stored.record.phase.is_live() {
            let new = pending_deadline(&stored.record);
            let place = self.put(stored, before.is_none());
            self.move_deadline(place, old, new);
        } else if before.is_some()
            && let Some(place) = self.take_out(&stored.record)
        {
            self.move_deadline(place, old, None);
        }
    }

    /// Adds a live session that a file holds; fails with the one that its customer has already. Its deadline is for
    /// [`Tables::order_deadlines`].
    pub(super) fn add_found(&self, stored: Stored) -> Result<(), (SessionId, SessionId)> {
        let customer = &stored.record.customer;
        if let Some(other) = self.by_customer(self.hash(customer), customer) {
            return Err((other.record.id, stored.record.id));
        }
        self.recount(None, &stored.record);
        self.put(stored, true);
        Ok(())
    }

    /// Orders the deadlines of what was added by [`Tables::add_found`], all at once.
    pub(super) fn order_deadlines(&self) {
        let mut all = Vec::new();
        for (part, places) in self.places.iter().enumerate() {
            let places = places.lock();
            all.extend(places.iter().filter_map(|(slot, kept)| Some((kept.deadline()?, Place::new(part, slot)))));
        }
        *self.deadlines.lock() = all.into_iter().collect();
    }

    /// Makes room for this many live sessions.
    pub(super) fn reserve(&self, sessions: usize) {
        for (part, (places, ids)) in self.places.iter().zip(&self.ids).enumerate() {
            let share = (sessions as f64 * share_of(part)) as usize;
            // The parts fill by chance, and not exactly so.
            let room = share + share / 32;
            places.lock().reserve(room);
            ids.lock().reserve(room, |known| spread(known.hash));
        }
    }

    /// Up to `most` pending sessions whose deadline is not after `now`, the longest overdue first.
    pub(super) fn overdue(&self, now: Timestamp, most: usize) -> Vec<SessionId> {
        let deadlines = self.deadlines.lock();
        let due: Vec<_> = deadlines.iter().take_while(|(deadline, _)| *deadline <= now).take(most).copied().collect();
        drop(deadlines);
        // What has been given to another session since is not due any more.
        let id = |(deadline, place): (Timestamp, Place)| {
            let places = self.places[place.part()].lock();
            places.get(place.slot()).filter(|kept| kept.deadline() == Some(deadline)).map(super::kept::Kept::id)
        };
        due.into_iter().filter_map(id).collect()
    }

    /// Up to `most` pending sessions whose last start has failed, the oldest first.
    pub(super) fn unstarted(&self, most: usize) -> Vec<Arc<Stored>> {
        let ids: Vec<_> = self.unstarted.lock().iter().take(most).copied().collect();
        ids.into_iter().filter_map(|id| self.by_id(id)).collect()
    }

    /// How many live sessions there are in each phase.
    pub(super) fn census(&self) -> Census {
        *self.census.lock()
    }

    /// Up to `most` live sessions that are wanted, the youngest first. It looks at all of them, a part at a time, and
    /// holds on to few more than it returns: an order that is kept would cost every session memory, and every creation
    /// time.
    pub(super) fn youngest(&self, most: usize, wanted: impl Fn(&Glance<'_>) -> bool) -> Vec<Arc<Stored>> {
        let mut found: Vec<Arc<Stored>> = Vec::new();
        for places in &self.places {
            // Once there are enough, only younger ones are worth holding.
            let bound = found.get(most.wrapping_sub(1)).map(|stored| stored.record.id);
            let is_worth_it = |glance: &Glance<'_>| bound.is_none_or(|bound| glance.id > bound) && wanted(glance);
            let places = places.lock();
            let mut youngest: Vec<_> = places.wanted(is_worth_it).map(|(slot, kept)| (kept.id(), slot)).collect();
            youngest.sort_unstable_by_key(|(id, _)| Reverse(*id));
            let youngest = youngest.into_iter().take(most);
            found.extend(youngest.filter_map(|(_, slot)| places.whole(slot)));
            drop(places);
            found.sort_unstable_by_key(|stored| Reverse(stored.record.id));
            found.truncate(most);
        }
        found
    }

    /// Every live session that is wanted, in no order.
    pub(super) fn wanted(&self, wanted: impl Fn(&Glance<'_>) -> bool) -> Vec<Arc<Stored>> {
        let mut found = Vec::new();
        for places in &self.places {
            let places = places.lock();
            let slots: Vec<_> = places.wanted(&wanted).map(|(slot, _)| slot).collect();
            found.extend(slots.into_iter().filter_map(|slot| places.whole(slot)));
        }
        found
    }

    /// Puts a live session in its place; `is_new` if its id is not known yet.
    fn put(&self, stored: Stored, is_new: bool) -> Place {
        let id = stored.record.id;
        let hash = self.hash(&stored.record.customer);
        let part = part_of(hash);
        let slot = self.places[part].lock().put(hash, stored, |customer| self.hasher.hash_one(customer));
        let place = Place::new(part, slot);
        if is_new {
            let (mut ids, hash) = self.ids_part(id);
            ids.insert_unique(spread(hash), Known { hash, place }, |known| spread(known.hash));
        }
        place
    }

    fn take_out(&self, record: &SessionRecord) -> Option<Place> {
        let hash = self.hash(&record.customer);
        let part = part_of(hash);
        let slot = self.places[part].lock().free(hash, record.customer.as_str(), record.id)?;
        let place = Place::new(part, slot);
        let (mut ids, hash) = self.ids_part(record.id);
        if let Ok(entry) = ids.find_entry(spread(hash), |known| known.hash == hash && known.place == place) {
            entry.remove();
        }
        Some(place)
    }

    fn move_deadline(&self, place: Place, old: Option<Timestamp>, new: Option<Timestamp>) {
        if old == new {
            return;
        }
        let mut deadlines = self.deadlines.lock();
        if let Some(deadline) = old {
            deadlines.remove(&(deadline, place));
        }
        if let Some(deadline) = new {
            deadlines.insert((deadline, place));
        }
    }

    /// Counts a session in its place. Only the writer moves sessions, and each record that it shows takes the place of
    /// the one that was counted before, so that the counts can't drift.
    fn recount(&self, before: Option<&SessionRecord>, after: &SessionRecord) {
        let mut census = self.census.lock();
        if let Some(before) = before {
            census.remove(&before.phase);
        }
        census.add(&after.phase);
        drop(census);
        match (before.is_some_and(has_failed_to_start), has_failed_to_start(after)) {
            (false, true) => {
                self.unstarted.lock().insert(after.id);
            }
            (true, false) => {
                self.unstarted.lock().remove(&after.id);
            }
            (true, true) | (false, false) => {}
        }
    }

    fn whole(&self, place: Place, id: SessionId) -> Option<Arc<Stored>> {
        let places = self.places[place.part()].lock();
        places.get(place.slot()).filter(|kept| kept.id() == id)?;
        places.whole(place.slot())
    }

    fn hash(&self, customer: &CustomerKey) -> u64 {
        self.hasher.hash_one(customer.as_str())
    }

    fn ids_part(&self, id: SessionId) -> (MutexGuard<'_, HashTable<Known>>, u32) {
        let hash = self.hasher.hash_one(id);
        (self.ids[part_of(hash)].lock(), low_half(hash))
    }
}

impl Place {
    fn new(part: usize, slot: u32) -> Self {
        // There are few parts.
        Self(slot * PARTS as u32 + part as u32)
    }

    fn part(self) -> usize {
        self.0 as usize % PARTS
    }

    fn slot(self) -> u32 {
        self.0 / PARTS as u32
    }
}

fn low_half(hash: u64) -> u32 {
    (hash & u64::from(u32::MAX)) as u32
}

/// A whole hash again, of which a table uses the low and the highest bits (Knuth's multiplicative hashing).
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

fn has_failed_to_start(record: &SessionRecord) -> bool {
    matches!(record.phase, Phase::Pending { failed_starts: 1.., .. })
}
