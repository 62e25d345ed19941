//! The sessions that wait for the node to start them: those of personas with `auto_initialize`, in order of arrival.
//! Pure.

use std::collections::{BTreeSet, HashMap};

use crate::id::SessionId;

/// The queue. Ids sort by the time of the request, so that a session put back keeps its place.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: BTreeSet<SessionId>,
}

/// Where some of the waiting sessions stand, and what all of them wait for.
#[derive(Clone, Debug, Default)]
pub struct Places {
    places: HashMap<SessionId, usize>,
    length: usize,
    why: String,
}

impl Queue {
    /// Adds a session, if it is not there.
    pub(super) fn add(&mut self, session: SessionId) {
        self.waiting.insert(session);
    }

    /// Takes out one that starts, or that nobody waits for any more.
    pub(super) fn remove(&mut self, session: SessionId) {
        self.waiting.remove(&session);
    }

    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How many wait.
    pub(super) fn length(&self) -> usize {
        self.waiting.len()
    }

    /// Up to `most` that have waited longest, the longest first.
    pub(super) fn first(&self, most: usize) -> Vec<SessionId> {
        self.waiting.iter().take(most).copied().collect()
    }

    /// Where one stands, from 1; `None` if it does not wait.
    pub(super) fn place(&self, session: SessionId) -> Option<usize> {
        self.waiting.contains(&session).then(|| self.waiting.range(..=session).count())
    }

    /// Where those of these sessions stand that wait; `why` is what they wait for.
    pub(super) fn places(&self, mut sessions: Vec<SessionId>, why: String) -> Places {
        sessions.sort_unstable();
        let mut places = HashMap::new();
        let mut wanted = sessions.into_iter().peekable();
        for (session, place) in self.waiting.iter().zip(1..) {
            while wanted.next_if(|wanted| wanted < session).is_some() {}
            match wanted.next_if_eq(session) {
                Some(session) => drop(places.insert(session, place)),
                None if wanted.peek().is_none() => break,
                None => {}
            }
        }
        Places { places, length: self.length(), why }
    }
}

impl Places {
    /// The session's place and what it waits for, in words; `None` if it does not wait.
    pub fn of(&self, session: SessionId) -> Option<String> {
        let place = self.places.get(&session)?;
        Some(in_words(*place, self.length, &self.why))
    }
}

/// A place in the queue and what is waited for.
pub(super) fn in_words(place: usize, length: usize, why: &str) -> String {
    format!("place {place} of {length} in the queue: {why}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::WallTime;

    fn session(millis: i64) -> SessionId {
        SessionId::new(WallTime::from_unix_millis(millis), [0; 10])
    }

    #[test]
    fn the_first_to_come_is_the_first_to_go_and_one_put_back_keeps_its_place() {
        let mut queue = Queue::default();
        for millis in [2, 1, 3] {
            queue.add(session(millis));
        }
        assert_eq!(queue.first(2), [session(1), session(2)]);
        queue.remove(session(1));
        assert_eq!(queue.first(2), [session(2), session(3)]);
        queue.add(session(1));
        let places = queue.places([4, 3, 1].map(session).to_vec(), "no room".into());
        assert_eq!(places.of(session(1)).unwrap(), "place 1 of 3 in the queue: no room");
        assert_eq!(places.of(session(3)).unwrap(), "place 3 of 3 in the queue: no room");
        // The one is not asked for, the other does not wait.
        assert_eq!([2, 4].map(|millis| places.of(session(millis))), [None, None]);
        assert_eq!([1, 3, 4].map(|millis| queue.place(session(millis))), [Some(1), Some(3), None]);
    }

    #[test]
    fn one_that_nobody_waits_for_makes_room_for_those_behind() {
        let mut queue = Queue::default();
        for millis in [1, 2] {
            queue.add(session(millis));
        }
        queue.remove(session(1));
        assert_eq!(queue.first(2), [session(2)]);
        queue.remove(session(2));
        assert!(queue.is_empty());
    }
}
