//! One leaky bucket of failures, and the arithmetic of its limit.
//!
//! Knows neither accounts nor addresses nor tables. Called by `table` only.

use std::time::Duration;

use crate::clock::Timestamp;

/// How many more attempts in flight successes can earn.
const MAX_HEADROOM: u32 = 4_096;

/// How many failures a bucket takes, and how fast it leaks them.
#[derive(Clone, Copy)]
pub(super) struct Limit {
    failures: u32,
    window: Duration,
    /// The time in which one failure leaks away; zero if the limit is off, and failures then weigh nothing.
    each: Duration,
    /// The weight of failures above which nothing more is let in: one less than the limit.
    ceiling: Duration,
    /// How many attempts may be in flight at once whatever failed, as long as the limit is not reached.
    crowd: u32,
}

impl Limit {
    /// At most `failures` at once, all of which leak away in one `window`; zero for no limit.
    pub(super) fn new(failures: u32, window: Duration) -> Self {
        let each = match failures {
            0 => Duration::ZERO,
            // Rounded up to microseconds, the clock's unit, so that rounding never favours a guesser.
            1.. => Duration::from_micros((window.as_micros() as u64).div_ceil(u64::from(failures))),
        };
        Self { failures, window, each, ceiling: each * failures.saturating_sub(1), crowd: 0 }
    }

    /// The same, but lets `crowd` attempts be in flight at once until the limit is reached. All that fail count.
    pub(super) fn with_crowd(self, crowd: u32) -> Self {
        Self { crowd, ..self }
    }

    /// The most a bucket ever holds: twice its limit, and what a crowd may fail at once.
    fn brim(self) -> Duration {
        self.full() * 2 + self.each * self.crowd
    }

    /// How many failures at once, and the window in which they leak away. None if the limit is off.
    pub(super) fn policy(self) -> Option<(u32, Duration)> {
        (self.failures > 0).then_some((self.failures, self.window))
    }

    fn full(self) -> Duration {
        self.ceiling + self.each
    }
}

/// What a bucket says about one more attempt.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// It fits.
    Free,
    /// It fits unless those in flight fail.
    Full,
    /// Too many failures: it fits after this time, never zero.
    Spent(Duration),
}

/// Failures that leak away steadily, and attempts that may become failures. Absent and fresh buckets are alike.
pub(super) struct Bucket {
    /// When all failures have leaked away, if no more come; the weight of failures is the time until then.
    empty_at: Timestamp,
    last_success: Option<Timestamp>,
    in_flight: u32,
    headroom: u32,
}

impl Bucket {
    pub(super) fn new(now: Timestamp) -> Self {
        Self { empty_at: now, last_success: None, in_flight: 0, headroom: 0 }
    }

    pub(super) fn room(&mut self, limit: &Limit, now: Timestamp) -> Room {
        // Only a clock set back can put it further away; that must not lock anybody out for as long as it went back.
        if self.weight(now) > limit.brim() {
            self.empty_at = now + limit.full();
        }
        let weight = self.weight(now);
        if let Some(excess) = weight.checked_sub(limit.ceiling).filter(|excess| !excess.is_zero()) {
            return Room::Spent(excess);
        }
        if self.in_flight < limit.crowd {
            return Room::Free;
        }
        let reserved = weight + limit.each * self.in_flight;
        if reserved > limit.ceiling + limit.each * self.headroom(limit, now) { Room::Full } else { Room::Free }
    }

    /// How many more failures fit.
    pub(super) fn remaining(&self, limit: &Limit, now: Timestamp) -> u32 {
        let weight = self.weight(now);
        if weight.is_zero() {
            return limit.failures;
        }
        let left = limit.full().saturating_sub(weight);
        let failures = left.as_micros().checked_div(limit.each.as_micros()).unwrap_or_default();
        u32::try_from(failures).unwrap_or(u32::MAX)
    }

    /// How many failures have not leaked away.
    pub(super) fn failures(&self, limit: &Limit, now: Timestamp) -> u32 {
        let failures = self.weight(now).as_micros().div_ceil(limit.each.as_micros().max(1));
        u32::try_from(failures).unwrap_or(u32::MAX)
    }

    /// Forgets what failed; attempts in flight go on.
    pub(super) fn forgive(&mut self, now: Timestamp) {
        self.empty_at = now;
    }

    /// What still has to leak away.
    pub(super) fn weight(&self, now: Timestamp) -> Duration {
        self.empty_at.saturating_since(now)
    }

    pub(super) fn reserve(&mut self) {
        self.in_flight += 1;
    }

    pub(super) fn release(&mut self) {
        self.in_flight -= 1;
    }

    pub(super) fn succeed(&mut self, limit: &Limit, now: Timestamp) {
        self.headroom = (self.headroom(limit, now) + 1).min(MAX_HEADROOM);
        self.touch(now);
    }

    /// Notes a success that earns nothing.
    pub(super) fn touch(&mut self, now: Timestamp) {
        self.last_success = Some(now);
    }

    pub(super) fn fail(&mut self, limit: &Limit, now: Timestamp) {
        self.fill(limit, now, limit.brim());
    }

    /// Counts a failure, but never to more than the limit.
    pub(super) fn fail_within_limit(&mut self, limit: &Limit, now: Timestamp) {
        self.fill(limit, now, limit.full());
    }

    pub(super) fn last_success(&self) -> Option<Timestamp> {
        self.last_success
    }

    /// Whether it differs in nothing from a fresh one.
    pub(super) fn is_idle(&self, limit: &Limit, now: Timestamp) -> bool {
        self.in_flight == 0 && self.weight(now).is_zero() && self.headroom(limit, now) == 0
    }

    fn headroom(&self, limit: &Limit, now: Timestamp) -> u32 {
        let recent = self.last_success.is_some_and(|then| now.saturating_since(then) <= limit.window);
        if recent { self.headroom } else { 0 }
    }

    fn fill(&mut self, limit: &Limit, now: Timestamp, at_most: Duration) {
        self.headroom = 0;
        let filled = self.empty_at.max(now) + limit.each;
        self.empty_at = self.empty_at.max(filled.min(now + at_most));
    }
}
