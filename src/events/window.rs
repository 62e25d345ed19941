//! Windows: how long a part of an answer waits for the next one. Pure.
//!
//! A session's window opens with an output and closes 50 ms later, or as soon as it holds enough. Who releases what a
//! window holds decides also when another event of the session ends it early.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::id::SessionId;

/// How long a window is open.
pub(super) const LENGTH: Duration = Duration::from_millis(50);
/// Items and bytes that close a window at once: an agent that says much is not held to one record every 50 ms.
const MOST_ITEMS: usize = 256;
const MOST_BYTES: usize = 256 << 10;

/// The open windows of all sessions, and what they hold.
#[derive(Debug)]
pub(super) struct Windows<T> {
    open: HashMap<SessionId, Window<T>>,
    /// When each one closes, the first one first. One that was closed early is still in here.
    closings: VecDeque<(Instant, SessionId)>,
}

#[derive(Debug)]
struct Window<T> {
    closes: Instant,
    bytes: usize,
    items: Vec<T>,
}

impl<T> Windows<T> {
    pub(super) fn new() -> Self {
        Self { open: HashMap::new(), closings: VecDeque::new() }
    }

    /// Puts an item of so many bytes into the session's window. Returns what it holds if that is enough.
    pub(super) fn hold(&mut self, session: SessionId, item: T, bytes: usize, now: Instant) -> Vec<T> {
        let window = self.open.entry(session).or_insert_with(|| {
            self.closings.push_back((now + LENGTH, session));
            Window { closes: now + LENGTH, bytes: 0, items: Vec::new() }
        });
        window.items.push(item);
        window.bytes += bytes;
        if window.items.len() >= MOST_ITEMS || window.bytes >= MOST_BYTES { self.close(session) } else { Vec::new() }
    }

    /// Closes the session's window, and returns what it held.
    pub(super) fn close(&mut self, session: SessionId) -> Vec<T> {
        self.open.remove(&session).map(|window| window.items).unwrap_or_default()
    }

    /// Closes a window whose time is over, and returns what it held; `None` if there is none.
    pub(super) fn close_due(&mut self, now: Instant) -> Option<Vec<T>> {
        self.next_closing().is_some_and(|closes| closes <= now).then_some(())?;
        let (_, session) = self.closings.pop_front()?;
        Some(self.close(session))
    }

    /// Closes every window, and returns what they held.
    pub(super) fn close_all(&mut self) -> Vec<T> {
        self.closings.clear();
        self.open.drain().flat_map(|(_, window)| window.items).collect()
    }

    /// When the next window closes.
    pub(super) fn next_closing(&mut self) -> Option<Instant> {
        while let Some((closes, session)) = self.closings.front() {
            if self.open.get(session).is_some_and(|window| window.closes == *closes) {
                return Some(*closes);
            }
            self.closings.pop_front();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::WallTime;

    #[test]
    fn a_window_closes_its_length_after_its_first_item() {
        let (mut windows, start) = (Windows::new(), start());
        assert!(windows.hold(id(1), "a", 1, start).is_empty());
        assert!(windows.hold(id(1), "b", 1, start + LENGTH / 2).is_empty());
        assert_eq!(windows.close_due(start + LENGTH - Duration::from_nanos(1)), None);
        assert_eq!(windows.close_due(start + LENGTH), Some(vec!["a", "b"]));
        assert_eq!(windows.close_due(start + LENGTH * 9), None);
    }

    #[test]
    fn a_window_that_was_closed_early_does_not_close_the_one_after_it() {
        let (mut windows, start) = (Windows::new(), start());
        windows.hold(id(1), "a", 1, start);
        assert_eq!(windows.close(id(1)), ["a"]);
        windows.hold(id(1), "b", 1, start + LENGTH / 2);
        windows.hold(id(2), "c", 1, start + LENGTH / 2);
        assert_eq!(windows.close_due(start + LENGTH), None);
        assert_eq!(windows.next_closing(), Some(start + LENGTH * 3 / 2));
        assert_eq!(windows.close_due(start + LENGTH * 2), Some(vec!["b"]));
        assert_eq!(windows.close_due(start + LENGTH * 2), Some(vec!["c"]));
    }

    #[test]
    fn a_window_that_holds_enough_closes_at_once() {
        let (mut windows, start) = (Windows::new(), start());
        assert_eq!(windows.hold(id(1), 0, MOST_BYTES, start), [0]);
        for n in 1..MOST_ITEMS {
            assert!(windows.hold(id(1), n, 1, start).is_empty());
        }
        assert_eq!(windows.hold(id(1), MOST_ITEMS, 1, start).len(), MOST_ITEMS);
        assert_eq!(windows.next_closing(), None);
    }

    #[expect(clippy::disallowed_methods, reason = "an instant has no other beginning")]
    fn start() -> Instant {
        Instant::now()
    }

    fn id(n: u8) -> SessionId {
        SessionId::new(WallTime::from_unix_millis(1), [n; 10])
    }
}
