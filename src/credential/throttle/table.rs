//! A bounded table of buckets by keyed hash, and what it gives up when full.
//!
//! Owns its entries and their places: an entry with attempts in flight neither moves nor goes, so an attempt finds its
//! own by number. Has no lock of its own. Called by `throttle` only.

use std::time::Duration;

use hashbrown::HashTable;

use super::Quota;
use super::bucket::{Bucket, Limit, Room};
use crate::clock::Timestamp;

/// How many entries are looked at for one to give up when the table is full: the more, the better the choice, and the
/// longer the lock is held.
const LOOKS_WHEN_FULL: usize = 64;

/// How many entries are looked at for one that expired before the table grows: more than one, so that it stays as small
/// as what is in use.
const LOOKS_WHILE_GROWING: usize = 2;

/// The addresses that last succeeded for an account, latest first, as keyed hashes, of which zero is none; and how often
/// its failures were forgiven.
#[derive(Default)]
pub(super) struct Trusted {
    addresses: [u64; 8],
    amnesties: u32,
}

impl Trusted {
    pub(super) fn contains(&self, address: u64) -> bool {
        address != 0 && self.addresses.contains(&address)
    }

    /// Puts an address in front. Returns whether it was not there already.
    pub(super) fn insert(&mut self, address: u64) -> bool {
        let known = self.addresses.iter().position(|&known| known == address);
        if known == Some(0) {
            return false;
        }
        let until = known.unwrap_or(self.addresses.len() - 1);
        self.addresses[..=until].rotate_right(1);
        self.addresses[0] = address;
        true
    }

    /// All of them, the latest first.
    pub(super) fn addresses(&self) -> Vec<u64> {
        self.addresses.iter().copied().filter(|&address| address != 0).collect()
    }

    pub(super) fn amnesty(&mut self) {
        self.amnesties = self.amnesties.wrapping_add(1);
    }

    pub(super) fn amnesties(&self) -> u32 {
        self.amnesties
    }
}

/// What an entry holds besides its bucket.
pub(super) trait Extra: Default {
    /// Whether it is worth keeping when the bucket is not.
    fn is_precious(&self) -> bool;
}

impl Extra for () {
    fn is_precious(&self) -> bool {
        false
    }
}

impl Extra for Trusted {
    fn is_precious(&self) -> bool {
        // Without its number an amnesty would be undone.
        self.addresses[0] != 0 || self.amnesties != 0
    }
}

pub(super) struct Table<X> {
    limit: Limit,
    capacity: usize,
    /// The entries' places; the keys are hashes already.
    index: HashTable<u32>,
    entries: Vec<Entry<X>>,
    hand: usize,
}

struct Entry<X> {
    key: u64,
    /// Attempts in flight that know this place, whether or not the bucket counts them.
    users: u32,
    bucket: Bucket,
    extra: X,
}

/// How much is lost with an entry; the least goes first.
type Harm = (bool, Duration, Option<Timestamp>);

impl<X: Extra> Table<X> {
    pub(super) fn new(limit: Limit, capacity: usize) -> Self {
        Self { limit, capacity, index: HashTable::new(), entries: Vec::new(), hand: 0 }
    }

    /// Judges by another limit from here on.
    pub(super) fn set_limit(&mut self, limit: Limit) {
        self.limit = limit;
    }

    pub(super) fn find(&self, key: u64) -> Option<u32> {
        self.index.find(key, |&place| self.entries[place as usize].key == key).copied()
    }

    pub(super) fn room(&mut self, place: u32, now: Timestamp) -> Room {
        self.entries[place as usize].bucket.room(&self.limit, now)
    }

    /// What the bucket at `place`, or a fresh one, still lets through; None if the limit is off.
    pub(super) fn quota(&self, name: &'static str, place: Option<u32>, now: Timestamp) -> Option<Quota> {
        let (limit, window) = self.limit.policy()?;
        let bucket = place.map(|place| &self.entries[place as usize].bucket);
        let remaining = bucket.map_or(limit, |bucket| bucket.remaining(&self.limit, now));
        let full_after = bucket.map_or(Duration::ZERO, |bucket| bucket.weight(now));
        Some(Quota { name, limit, window, remaining, full_after })
    }

    /// How many failures the bucket at `place` counts.
    pub(super) fn failures(&self, place: u32, now: Timestamp) -> u32 {
        self.entries[place as usize].bucket.failures(&self.limit, now)
    }

    pub(super) fn forgive(&mut self, place: u32, now: Timestamp) {
        self.entries[place as usize].bucket.forgive(now);
    }

    pub(super) fn extra(&self, place: u32) -> &X {
        &self.entries[place as usize].extra
    }

    pub(super) fn extra_mut(&mut self, place: u32) -> &mut X {
        &mut self.entries[place as usize].extra
    }

    /// Holds the entry at `place`, or a new one, for an attempt; `counted` if it takes a place in the bucket.
    pub(super) fn enter(&mut self, place: Option<u32>, key: u64, counted: bool, now: Timestamp) -> u32 {
        let place = place.unwrap_or_else(|| self.insert(key, now));
        let entry = &mut self.entries[place as usize];
        entry.users += 1;
        if counted {
            entry.bucket.reserve();
        }
        place
    }

    /// The opposite of [`Self::enter`], with the same `counted`.
    pub(super) fn leave(&mut self, place: u32, counted: bool) {
        let entry = &mut self.entries[place as usize];
        entry.users -= 1;
        if counted {
            entry.bucket.release();
        }
    }

    pub(super) fn succeed(&mut self, place: u32, now: Timestamp) {
        self.entries[place as usize].bucket.succeed(&self.limit, now);
    }

    pub(super) fn touch(&mut self, place: u32, now: Timestamp) {
        self.entries[place as usize].bucket.touch(now);
    }

    pub(super) fn fail(&mut self, place: u32, now: Timestamp) {
        self.entries[place as usize].bucket.fail(&self.limit, now);
    }

    pub(super) fn fail_within_limit(&mut self, place: u32, now: Timestamp) {
        self.entries[place as usize].bucket.fail_within_limit(&self.limit, now);
    }

    fn insert(&mut self, key: u64, now: Timestamp) -> u32 {
        let entry = Entry { key, users: 0, bucket: Bucket::new(now), extra: X::default() };
        let place = match self.give_up_one(now) {
            Some(place) => {
                self.entries[place as usize] = entry;
                place
            }
            None => {
                self.entries.push(entry);
                (self.entries.len() - 1) as u32
            }
        };
        let entries = &self.entries;
        self.index.insert_unique(key, place, |&place| entries[place as usize].key);
        place
    }

    /// Frees the place of an expired entry or, in a full table, of the least harmful one. None if the table may grow,
    /// or must, because all that were looked at are in flight; those are bounded by the requests in progress.
    fn give_up_one(&mut self, now: Timestamp) -> Option<u32> {
        let full = self.entries.len() >= self.capacity;
        let looks = if full { LOOKS_WHEN_FULL } else { LOOKS_WHILE_GROWING };
        let mut least: Option<(Harm, usize)> = None;
        for _ in 0..looks.min(self.entries.len()) {
            self.hand = (self.hand + 1) % self.entries.len();
            let entry = &self.entries[self.hand];
            if entry.users > 0 {
                continue;
            }
            let expired = !entry.extra.is_precious() && entry.bucket.is_idle(&self.limit, now);
            if expired {
                return Some(self.forget(self.hand));
            }
            let harm = (entry.extra.is_precious(), entry.bucket.weight(now), entry.bucket.last_success());
            if full && least.as_ref().is_none_or(|(known, _)| harm < *known) {
                least = Some((harm, self.hand));
            }
        }
        least.map(|(_, place)| self.forget(place))
    }

    fn forget(&mut self, place: usize) -> u32 {
        let key = self.entries[place].key;
        if let Ok(found) = self.index.find_entry(key, |&other| other as usize == place) {
            found.remove();
        }
        place as u32
    }

    #[cfg(test)]
    pub(super) const ENTRY_BYTES: usize = size_of::<Entry<X>>();

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        assert_eq!(self.index.len(), self.entries.len());
        self.entries.len()
    }
}
