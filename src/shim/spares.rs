//! How many shims are forked ahead of need, and when. Pure: who calls it forks and reaps.
//!
//! A few are there as long as the launcher is. Whenever the last of them gets an order, twice as many are wanted, so that
//! a burst of starts finds as many ready as the one before has taken; those that nobody needed for a while go by
//! themselves. New ones are forked once no order has come for a moment, which is the longer the more have come one after
//! the other: meanwhile the processor is the agents'. Only if there is none at all, one is forked at once.

use std::time::Duration;

use rustix::process::Pid;

use crate::clock::Timestamp;

/// How many there are at least.
const LEAST: usize = 2;
/// How many there are at most.
const MOST: usize = 16;
/// How long no other order has to have come after one, before more are forked.
const CALM: Duration = Duration::from_millis(5);
/// Orders of a burst that each make that longer by as much.
const MOST_CALMS: u32 = 10;

/// The shims of one launcher that wait for an order, and how many have one.
#[derive(Debug)]
pub(super) struct Spares {
    waiting: Vec<Pid>,
    wanted: usize,
    /// Those that have an order and have not ended.
    busy: usize,
    /// Orders that came one after the other, at most [`MOST_CALMS`].
    burst: u32,
    calm_at: Timestamp,
}

impl Spares {
    /// None, at this time.
    pub(super) fn new(now: Timestamp) -> Self {
        Self { waiting: Vec::new(), wanted: LEAST, busy: 0, burst: 0, calm_at: now }
    }

    /// Whether none waits for an order.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether any has an order.
    pub(super) fn has_busy(&self) -> bool {
        self.busy > 0
    }

    /// When another is to be forked; `None` if there are enough.
    pub(super) fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let at = if self.is_empty() { now } else { self.calm_at };
        (self.waiting.len() < self.wanted).then_some(at)
    }

    /// Whether the one that is forked next stays however long no order comes.
    pub(super) fn next_stays(&self) -> bool {
        self.waiting.len() < LEAST
    }

    /// Notes one that was forked.
    pub(super) fn forked(&mut self, spare: Pid) {
        self.waiting.push(spare);
    }

    /// Notes that one has an order.
    pub(super) fn took_order(&mut self, spare: Pid, now: Timestamp) {
        self.waiting.retain(|waiting| *waiting != spare);
        self.busy += 1;
        self.burst = if now >= self.calm_at { 1 } else { MOST_CALMS.min(self.burst + 1) };
        self.calm_at = now + CALM * self.burst;
        if self.is_empty() {
            self.wanted = MOST.min(self.wanted * 2);
        }
    }

    /// Notes the end of a process that was one.
    pub(super) fn ended(&mut self, pid: Pid) {
        let before = self.waiting.len();
        self.waiting.retain(|waiting| *waiting != pid);
        if self.waiting.len() == before {
            self.busy = self.busy.saturating_sub(1);
        } else {
            self.wanted = LEAST.max(self.waiting.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_micros(1_000_000);

    fn pid(number: usize) -> Pid {
        Pid::from_raw(i32::try_from(number).unwrap()).unwrap()
    }

    /// Forks as many as are wanted, and returns how many those are.
    fn fill(spares: &mut Spares, first: usize, now: Timestamp) -> usize {
        (0..).take_while(|count| spares.next(now).is_some_and(|at| at <= now) && fork(spares, first + count)).count()
    }

    fn fork(spares: &mut Spares, number: usize) -> bool {
        spares.forked(pid(number));
        true
    }

    #[test]
    fn a_few_are_there_from_the_beginning_and_stay() {
        let mut spares = Spares::new(START);
        assert!(spares.next_stays());
        assert_eq!(fill(&mut spares, 1, START), LEAST);
        assert_eq!((spares.next(START), spares.next_stays()), (None, false));
    }

    #[test]
    fn more_are_forked_once_no_order_comes_and_one_at_once_if_there_is_none() {
        let mut spares = Spares::new(START);
        fill(&mut spares, 1, START);
        spares.took_order(pid(1), START);
        assert_eq!(spares.next(START), Some(START + CALM));
        spares.took_order(pid(2), START);
        assert_eq!(spares.next(START), Some(START));
        assert_eq!(fill(&mut spares, 3, START), 1);
        assert_eq!(spares.next(START), Some(START + CALM * 2));
    }

    #[test]
    fn after_a_burst_more_are_forked_later_than_after_one_order() {
        let mut spares = Spares::new(START);
        (1..=20).for_each(|number| spares.forked(pid(number)));
        let mut calm_after = |number, at| {
            spares.took_order(pid(number), at);
            spares.calm_at.saturating_since(at)
        };
        assert_eq!(calm_after(1, START), CALM);
        assert_eq!(calm_after(2, START + CALM), CALM, "nothing came for as long");
        assert_eq!(calm_after(3, START + CALM), CALM * 2);
        let longest = (4..=19).map(|number| calm_after(number, START + CALM)).max();
        assert_eq!(longest, Some(CALM * MOST_CALMS));
        assert_eq!(calm_after(20, START + CALM * 100), CALM);
    }

    #[test]
    fn a_burst_makes_room_for_the_next_up_to_a_bound() {
        let mut spares = Spares::new(START);
        for round in 1..=6 {
            let wanted = fill(&mut spares, round * 100, START + CALM * 100);
            assert_eq!(wanted, MOST.min(LEAST << (round - 1)));
            (0..wanted).for_each(|number| spares.took_order(pid(round * 100 + number), START));
        }
    }

    #[test]
    fn those_that_nobody_needs_are_not_replaced_and_the_last_ones_are() {
        let mut spares = Spares::new(START);
        fill(&mut spares, 1, START);
        (1..=LEAST).for_each(|number| spares.took_order(pid(number), START));
        assert_eq!(fill(&mut spares, 10, START + CALM * MOST_CALMS), LEAST * 2);
        spares.ended(pid(10));
        assert_eq!(spares.next(START + CALM * MOST_CALMS), None);
        (11..10 + LEAST * 2).for_each(|number| spares.ended(pid(number)));
        assert!(spares.is_empty());
        assert_eq!(fill(&mut spares, 20, START + CALM * MOST_CALMS), LEAST);
    }

    #[test]
    fn who_has_an_order_is_busy_until_its_end() {
        let mut spares = Spares::new(START);
        fill(&mut spares, 1, START);
        spares.took_order(pid(1), START);
        assert!(spares.has_busy());
        spares.ended(pid(1));
        assert!(!spares.has_busy());
    }
}
