//! The places of live sessions, one a customer, found by the customer. A part of all: each has its own lock.
//!
//! A place has a number, by which whatever else knows of sessions names it in four bytes. Places are made some at a time
//! and never moved, so that many of them cost no more than they hold; one that is free is given to the next.

use std::sync::Arc;

use hashbrown::HashTable;

use crate::id::SessionId;
use crate::store::{Glance, Stored};

use super::kept::{Kept, Personas};

/// How many places are made at a time.
const AT_A_TIME: usize = 64;

/// Some of the places.
#[derive(Debug, Default)]
pub(super) struct Places {
    by_customer: HashTable<u32>,
    slots: Vec<Vec<Option<Kept>>>,
    free: Vec<u32>,
    personas: Personas,
}

impl Places {
    /// The place of the customer's live session; `hash` is that of the customer.
    pub(super) fn find(&self, hash: u64, customer: &str) -> Option<u32> {
        self.by_customer.find(hash, |slot| self.is_of(*slot, customer)).copied()
    }

    /// The session in a place.
    pub(super) fn get(&self, slot: u32) -> Option<&Kept> {
        let (row, column) = position(slot);
        self.slots.get(row)?.get(column)?.as_ref()
    }

    /// The session in a place, whole.
    pub(super) fn whole(&self, slot: u32) -> Option<Arc<Stored>> {
        Some(self.get(slot)?.whole(&self.personas))
    }

    /// Puts a live session in the place of its customer, where its older form may be. `hash_of` hashes a customer.
    pub(super) fn put(&mut self, hash: u64, stored: Stored, hash_of: impl Fn(&str) -> u64) -> u32 {
        let found = self.find(hash, stored.record.customer.as_str());
        let kept = Kept::new(stored, &mut self.personas);
        if let Some(slot) = found {
            *self.slot(slot) = Some(kept);
            return slot;
        }
        let slot = self.free_slot();
        *self.slot(slot) = Some(kept);
        let slots = &self.slots;
        self.by_customer.insert_unique(hash, slot, |slot| {
            let (row, column) = position(*slot);
            slots[row][column].as_ref().map_or(0, |kept| hash_of(kept.customer()))
        });
        slot
    }

    /// Frees the place of the customer's session, if that is this one.
    pub(super) fn free(&mut self, hash: u64, customer: &str, session: SessionId) -> Option<u32> {
        let slot = self.find(hash, customer)?;
        self.get(slot).filter(|kept| kept.id() == session)?;
        if let Ok(entry) = self.by_customer.find_entry(hash, |other| *other == slot) {
            entry.remove();
        }
        *self.slot(slot) = None;
        self.free.push(slot);
        Some(slot)
    }

    /// Makes room for so many sessions.
    pub(super) fn reserve(&mut self, sessions: usize) {
        // An empty table has nothing to hash.
        self.by_customer.reserve(sessions, |_| 0);
    }

    /// The sessions, each with its place.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Kept)> {
        self.by_customer.iter().filter_map(|slot| Some((*slot, self.get(*slot)?)))
    }

    /// The sessions that are wanted, each with its place.
    pub(super) fn wanted(&self, wanted: impl Fn(&Glance<'_>) -> bool) -> impl Iterator<Item = (u32, &Kept)> {
        self.iter().filter(move |(_, kept)| kept.is_wanted(&self.personas, &wanted))
    }

    fn is_of(&self, slot: u32, customer: &str) -> bool {
        self.get(slot).is_some_and(|kept| kept.customer() == customer)
    }

    fn slot(&mut self, slot: u32) -> &mut Option<Kept> {
        let (row, column) = position(slot);
        &mut self.slots[row][column]
    }

    fn free_slot(&mut self) -> u32 {
        if let Some(slot) = self.free.pop() {
            return slot;
        }
        if self.slots.last().is_none_or(|row| row.len() == AT_A_TIME) {
            self.slots.push(Vec::with_capacity(AT_A_TIME));
        }
        let before = (self.slots.len() - 1) * AT_A_TIME;
        let row = self.slots.last_mut().expect("a row was added if there was none");
        row.push(None);
        u32::try_from(before + row.len() - 1).expect("four thousand million sessions need more memory than there is")
    }
}

fn position(slot: u32) -> (usize, usize) {
    (slot as usize / AT_A_TIME, slot as usize % AT_A_TIME)
}
