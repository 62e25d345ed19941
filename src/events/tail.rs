//! Tails: the newest events of a session that somebody follows, in memory once for all who do.
//!
//! A tail has no gaps and is bounded, alone and together with all others. Who is further behind than it reaches reads the
//! log; nobody is waited for.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};

use super::{Event, Kind};

/// Bytes that one tail holds, and all of them, counted as in [`cost`].
const TAIL_BYTES: usize = 1 << 20;
const WHOLE_BYTES: usize = 64 << 20;
/// Bytes from which on a chunk takes no more events: a reader may hold a few of them.
const CHUNK_BYTES: usize = 128 << 10;

/// Events of one session that became durable at one moment, without gaps.
#[derive(Debug)]
pub struct Chunk {
    /// At least one.
    events: Vec<Event>,
    drawn: OnceLock<Bytes>,
}

impl Chunk {
    /// Makes chunks of events that follow one another.
    pub(super) fn split(events: Vec<Event>) -> Vec<Self> {
        let (mut chunks, mut some, mut bytes) = (Vec::new(), Vec::new(), 0);
        for event in events {
            bytes += cost(&event);
            some.push(event);
            if bytes >= CHUNK_BYTES {
                chunks.push(Self { events: std::mem::take(&mut some), drawn: OnceLock::new() });
                bytes = 0;
            }
        }
        if !some.is_empty() {
            chunks.push(Self { events: some, drawn: OnceLock::new() });
        }
        chunks
    }

    /// The events, at least one, in the order of their numbers.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// The number of its last event.
    pub fn last(&self) -> u64 {
        self.events.last().map_or(0, |event| event.number)
    }

    /// Whether one of its events is a step of the session.
    pub fn has_step(&self) -> bool {
        self.events.iter().any(|event| event.kind == Kind::Transition)
    }

    /// What is sent of those of its events that follow the number `after`, which is that of the one before its first or of
    /// one of its own. Where it is all of them, `draw` makes it once for all readers; every reader must have the same.
    pub fn drawn(&self, after: u64, draw: impl FnOnce(&[Event]) -> Bytes) -> Bytes {
        let known = self.events.partition_point(|event| event.number <= after);
        if known == 0 { self.drawn.get_or_init(|| draw(&self.events)).clone() } else { draw(&self.events[known..]) }
    }

    fn first(&self) -> u64 {
        self.events.first().map_or(0, |event| event.number)
    }

    fn cost(&self) -> usize {
        self.events.iter().map(cost).sum()
    }
}

/// What an event counts: twice its body, which may be there as it is stored and as it is sent, and what belongs to it.
fn cost(event: &Event) -> usize {
    const BESIDE_BODIES: usize = 256;
    2 * event.body.len() + BESIDE_BODIES
}

/// The tail of one session.
#[derive(Debug)]
pub(super) struct Tail {
    chunks: Mutex<Chunks>,
    /// What all tails hold.
    whole: Arc<AtomicUsize>,
}

#[derive(Debug, Default)]
struct Chunks {
    in_order: VecDeque<Arc<Chunk>>,
    bytes: usize,
}

impl Tail {
    /// A tail that holds nothing yet, one of those that are counted in `whole`.
    pub(super) fn new(whole: Arc<AtomicUsize>) -> Self {
        Self { chunks: Mutex::default(), whole }
    }

    /// Adds what has become durable; what stands before a gap goes.
    pub(super) fn add(&self, chunk: Chunk) {
        let mut chunks = self.lock();
        if chunks.in_order.back().is_some_and(|newest| newest.last() + 1 != chunk.first()) {
            self.shorten(&mut chunks, 0);
        }
        let bytes = chunk.cost();
        self.shorten(&mut chunks, TAIL_BYTES.saturating_sub(bytes));
        if bytes > TAIL_BYTES || self.whole.load(Ordering::Relaxed) + bytes > WHOLE_BYTES {
            self.shorten(&mut chunks, 0);
            return;
        }
        chunks.bytes += bytes;
        self.whole.fetch_add(bytes, Ordering::Relaxed);
        chunks.in_order.push_back(Arc::new(chunk));
    }

    /// The chunk that has the event after this number; `None` if that is not here.
    pub(super) fn after(&self, number: u64) -> Option<Arc<Chunk>> {
        let chunks = self.lock();
        let place = chunks.in_order.partition_point(|chunk| chunk.last() <= number);
        chunks.in_order.get(place).filter(|chunk| chunk.first() <= number + 1).map(Arc::clone)
    }

    /// Gives up the oldest until no more than so many bytes are left.
    fn shorten(&self, chunks: &mut Chunks, most: usize) {
        while chunks.bytes > most
            && let Some(oldest) = chunks.in_order.pop_front()
        {
            chunks.bytes -= oldest.cost();
            self.whole.fetch_sub(oldest.cost(), Ordering::Relaxed);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Chunks> {
        self.chunks.lock()
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        let held = self.lock().bytes;
        self.whole.fetch_sub(held, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::WallTime;
    use crate::id::Epoch;

    #[test]
    fn who_is_in_reach_gets_what_follows_and_who_is_not_gets_nothing() {
        let tail = tail();
        add(&tail, 5..=7, 1);
        add(&tail, 8..=8, 1);
        assert_eq!(numbers(&tail, 4), [5, 6, 7]);
        assert_eq!(numbers(&tail, 6), [5, 6, 7]);
        assert_eq!(numbers(&tail, 7), [8]);
        for out_of_reach in [0, 3, 8, 9] {
            assert!(tail.after(out_of_reach).is_none(), "{out_of_reach}");
        }
    }

    #[test]
    fn a_tail_has_no_gaps() {
        let tail = tail();
        add(&tail, 2..=3, 1);
        add(&tail, 6..=6, 1);
        assert!(tail.after(1).is_none());
        assert_eq!(numbers(&tail, 5), [6]);
    }

    #[test]
    fn a_tail_is_bounded_and_the_newest_stay() {
        let tail = tail();
        for number in 2..=40 {
            add(&tail, number..=number, TAIL_BYTES / 20);
        }
        assert!(tail.after(1).is_none());
        assert_eq!(numbers(&tail, 39), [40]);
        assert!(tail.lock().bytes <= TAIL_BYTES);
        add(&tail, 41..=41, TAIL_BYTES);
        assert!(tail.after(39).is_none() && tail.after(40).is_none(), "what is too large is read out of the log");
    }

    #[test]
    fn all_tails_are_bounded_together_and_give_back_what_they_held() {
        let whole = Arc::new(AtomicUsize::new(WHOLE_BYTES - 1_000));
        let tail = Tail::new(Arc::clone(&whole));
        add(&tail, 2..=2, 1);
        add(&tail, 3..=3, 1_000);
        assert!(tail.after(1).is_none() && tail.after(2).is_none());
        add(&tail, 4..=4, 1);
        assert_eq!(numbers(&tail, 3), [4]);
        drop(tail);
        assert_eq!(whole.load(Ordering::Relaxed), WHOLE_BYTES - 1_000);
    }

    #[test]
    fn many_events_are_several_chunks_which_are_drawn_once() {
        let chunks = Chunk::split(events(2..=9, CHUNK_BYTES / 4));
        assert_eq!(chunks.len(), 4);
        assert!(chunks.iter().all(|chunk| chunk.events().len() == 2));
        let chunk = &chunks[0];
        assert_eq!(chunk.drawn(1, |events| events[0].body.slice(..1)), "x");
        assert_eq!(chunk.drawn(1, |_| unreachable!("it was drawn before")), "x");
        assert_eq!(chunk.drawn(2, |events| events[0].number.to_string().into()), "3");
    }

    fn tail() -> Tail {
        Tail::new(Arc::default())
    }

    fn add(tail: &Tail, numbers: std::ops::RangeInclusive<u64>, bytes: usize) {
        Chunk::split(events(numbers, bytes)).into_iter().for_each(|chunk| tail.add(chunk));
    }

    fn numbers(tail: &Tail, after: u64) -> Vec<u64> {
        tail.after(after).unwrap().events().iter().map(|event| event.number).collect()
    }

    fn events(numbers: std::ops::RangeInclusive<u64>, bytes: usize) -> Vec<Event> {
        let body = Bytes::from("x".repeat(bytes));
        let event = |number| Event {
            number,
            epoch: Epoch(1),
            kind: Kind::Event,
            at: WallTime::from_unix_millis(1),
            body: body.clone(),
        };
        numbers.map(event).collect()
    }
}
