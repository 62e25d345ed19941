//! The node's room for agents: at most so many sessions with an agent at once.
//!
//! A server that takes up more agents than it may have lets them run, and has that much less room until as many have
//! ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Room for agents. Cloning shares it.
#[derive(Clone, Debug)]
pub(in crate::session) struct Room {
    most: Arc<AtomicUsize>,
    places: Arc<Semaphore>,
    /// Agents that run beyond the bound.
    debt: Arc<AtomicUsize>,
}

/// Room for one agent, given back when this value goes.
#[derive(Debug)]
pub(in crate::session) struct Place {
    room: Room,
    /// Nothing for an agent beyond the bound.
    permit: Option<OwnedSemaphorePermit>,
}

impl Room {
    /// Room for so many.
    pub(super) fn new(most: usize) -> Self {
        Self { most: Arc::new(AtomicUsize::new(most)), places: Arc::new(Semaphore::new(most)), debt: Arc::default() }
    }

    /// For how many there is room, whether or not it is taken.
    pub(super) fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }

    /// Makes room for so many instead. Agents beyond it run on.
    pub(super) fn resize(&self, most: usize) {
        let before = self.most.swap(most, Ordering::SeqCst);
        // Owed first: a place that is given back meanwhile pays, and is lent to nobody.
        let lost = before.saturating_sub(most);
        self.debt.fetch_add(lost, Ordering::SeqCst);
        self.add(self.places.forget_permits(lost));
        self.add(most.saturating_sub(before));
    }

    /// Makes so many more places, as far as they are not owed.
    fn add(&self, places: usize) {
        let repay = |debt: usize| Some(debt.saturating_sub(places));
        let debt = self.debt.fetch_update(Ordering::SeqCst, Ordering::SeqCst, repay).unwrap_or_default();
        self.places.add_permits(places - debt.min(places));
    }

    /// A place, if one is free.
    pub(super) fn try_enter(&self) -> Option<Place> {
        let permit = Arc::clone(&self.places).try_acquire_owned().ok()?;
        Some(Place { room: self.clone(), permit: Some(permit) })
    }

    /// A place as soon as one is free, in the order of the calls.
    pub(super) async fn enter(&self) -> Option<Place> {
        let permit = Arc::clone(&self.places).acquire_owned().await.ok()?;
        Some(Place { room: self.clone(), permit: Some(permit) })
    }

    /// A place for an agent that is there already, whether or not one is free.
    pub(super) fn make_do(&self) -> Place {
        self.try_enter().unwrap_or_else(|| {
            self.debt.fetch_add(1, Ordering::SeqCst);
            Place { room: self.clone(), permit: None }
        })
    }

    /// How many agents there are, those beyond the bound among them.
    pub(super) fn taken(&self) -> usize {
        self.most().saturating_sub(self.places.available_permits()) + self.debt.load(Ordering::SeqCst)
    }

    /// Whether no place is free.
    pub(super) fn is_full(&self) -> bool {
        self.places.available_permits() == 0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let repay = |debt: usize| debt.checked_sub(1);
        let has_repaid = self.room.debt.fetch_update(Ordering::SeqCst, Ordering::SeqCst, repay).is_ok();
        let permit = self.permit.take();
        match (permit, has_repaid) {
            (Some(permit), true) => permit.forget(),
            (Some(permit), false) => drop(permit),
            (None, true) => {}
            // Another one's place has paid for this agent, and is free now.
            (None, false) => self.room.places.add_permits(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_when_it_is_given_back() {
        let room = Room::new(1);
        let place = room.try_enter().unwrap();
        assert!(room.is_full() && room.try_enter().is_none());
        drop(place);
        assert!(room.try_enter().is_some());
    }

    #[test]
    fn less_room_lets_those_run_who_are_there_and_more_room_is_there_at_once() {
        let room = Room::new(3);
        let mut places: Vec<_> = (0..3).map(|_| room.try_enter().unwrap()).collect();
        room.resize(1);
        assert_eq!((room.taken(), room.is_full()), (3, true));
        places.truncate(1);
        assert_eq!((room.taken(), room.is_full()), (1, true));
        room.resize(4);
        assert_eq!((room.taken(), room.most()), (1, 4));
        places.extend(std::iter::from_fn(|| room.try_enter()));
        assert_eq!(places.len(), 4);
        room.resize(2);
        room.resize(3);
        assert_eq!(room.taken(), 4);
        places.clear();
        assert_eq!((room.taken(), std::iter::from_fn(|| room.try_enter()).collect::<Vec<_>>().len()), (0, 3));
    }

    #[test]
    fn who_is_beyond_the_bound_leaves_no_room_until_as_many_have_gone() {
        let room = Room::new(2);
        let mut places: Vec<_> = (0..4).map(|_| room.make_do()).collect();
        assert_eq!(room.taken(), 4);
        for _ in 0..2 {
            places.remove(0);
            assert!(room.is_full());
        }
        places.remove(0);
        assert!(!room.is_full());
        assert_eq!(room.taken(), 1);
        places.clear();
        let free: Vec<_> = std::iter::from_fn(|| room.try_enter()).collect();
        assert_eq!(free.len(), 2);
    }
}
