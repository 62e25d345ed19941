//! How fast an agent may write: a bucket of bytes that fills steadily and holds one second's worth. Pure.
//!
//! Nobody is cut off: who reads the agent's pipes reads no more than the bucket holds, and a pipe that is not read
//! makes the agent wait. Tiny amounts are not handed out, so that a slow agent costs no wake-up for each byte.

use std::time::Duration;

use crate::clock::Timestamp;

/// What one byte weighs: with the clock's unit of a microsecond, nothing is ever rounded.
const PER_BYTE: u128 = 1_000_000;
/// The smallest part of a second's worth that is handed out.
const SIPS: u64 = 20;

/// How much an agent may write at the moment.
#[derive(Debug)]
pub struct Rate {
    bucket: Option<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    bytes_a_second: u64,
    level: u128,
    at: Timestamp,
}

impl Rate {
    /// A full bucket for so many bytes a second; nothing for no limit.
    pub fn new(bytes_a_second: Option<u64>, now: Timestamp) -> Self {
        let full = |bytes: u64| Bucket { bytes_a_second: bytes, level: u128::from(bytes) * PER_BYTE, at: now };
        // A rate of nothing would never let anything pass.
        Self { bucket: bytes_a_second.map(|bytes| full(bytes.max(1))) }
    }

    /// How many bytes may be read now: zero, or enough to be worth a read.
    pub fn may_read(&self, now: Timestamp) -> usize {
        let Some(bucket) = &self.bucket else { return usize::MAX };
        let bytes = u64::try_from(bucket.level(now) / PER_BYTE).unwrap_or(u64::MAX);
        if bytes < bucket.sip() { 0 } else { usize::try_from(bytes).unwrap_or(usize::MAX) }
    }

    /// Notes that so many bytes were read.
    pub fn took(&mut self, now: Timestamp, bytes: usize) {
        let Some(bucket) = &mut self.bucket else { return };
        bucket.level = bucket.level(now).saturating_sub(bytes as u128 * PER_BYTE);
        bucket.at = bucket.at.max(now);
    }

    /// How long it is until [`Rate::may_read`] is not zero; zero if it is not so now.
    pub fn next(&self, now: Timestamp) -> Duration {
        let Some(bucket) = &self.bucket else { return Duration::ZERO };
        let missing = (u128::from(bucket.sip()) * PER_BYTE).saturating_sub(bucket.level(now));
        Duration::from_micros(u64::try_from(missing.div_ceil(u128::from(bucket.bytes_a_second))).unwrap_or(u64::MAX))
    }
}

impl Bucket {
    fn level(&self, now: Timestamp) -> u128 {
        let passed = now.saturating_since(self.at).as_micros();
        let full = u128::from(self.bytes_a_second) * PER_BYTE;
        full.min(self.level + passed.saturating_mul(u128::from(self.bytes_a_second)))
    }

    fn sip(&self) -> u64 {
        (self.bytes_a_second / SIPS).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: Timestamp = Timestamp::from_micros(1_000_000);

    fn after(micros: u64) -> Timestamp {
        START + Duration::from_micros(micros)
    }

    #[test]
    fn without_a_rate_everything_may_be_read() {
        let mut rate = Rate::new(None, START);
        rate.took(START, usize::MAX);
        assert_eq!((rate.may_read(START), rate.next(START)), (usize::MAX, Duration::ZERO));
    }

    #[test]
    fn one_second_is_there_at_once_and_the_rest_comes_steadily() {
        let mut rate = Rate::new(Some(1_000), START);
        assert_eq!((rate.may_read(START), rate.next(START)), (1_000, Duration::ZERO));
        rate.took(START, 1_000);
        assert_eq!(rate.may_read(START), 0);
        assert_eq!(rate.may_read(after(500_000)), 500);
        assert_eq!(rate.may_read(after(60_000_000)), 1_000);
    }

    #[test]
    fn what_is_hardly_anything_is_saved_up() {
        let mut rate = Rate::new(Some(1_000), START);
        rate.took(START, 1_000);
        assert_eq!(rate.next(START), Duration::from_millis(50));
        assert_eq!(rate.may_read(after(49_999)), 0);
        assert_eq!(rate.may_read(after(50_000)), 50);
    }

    #[test]
    fn a_clock_that_stands_still_or_goes_back_gives_nothing() {
        let mut rate = Rate::new(Some(1_000), after(1_000_000));
        rate.took(after(1_000_000), 1_000);
        rate.took(START, 0);
        assert_eq!(rate.may_read(START), 0);
        assert_eq!(rate.may_read(after(1_000_000)), 0);
    }

    proptest! {
        #[test]
        fn no_more_passes_than_one_second_and_the_time_since_allow(
            bytes_a_second in 1_u64..10_000_000_000,
            waits in proptest::collection::vec(0_u64..5_000_000, 1..50),
        ) {
            let mut rate = Rate::new(Some(bytes_a_second), START);
            let (mut passed, mut taken) = (0, 0_u128);
            for wait in waits {
                passed += wait;
                let bytes = rate.may_read(after(passed));
                rate.took(after(passed), bytes);
                taken += bytes as u128;
                prop_assert!(taken <= u128::from(bytes_a_second) * (1_000_000 + u128::from(passed)) / 1_000_000);
            }
        }

        #[test]
        fn after_the_time_that_is_said_something_may_be_read(bytes_a_second in 1_u64..10_000_000_000, taken: u32) {
            let mut rate = Rate::new(Some(bytes_a_second), START);
            rate.took(START, taken as usize);
            let next = rate.next(START);
            prop_assert_ne!(rate.may_read(START + next), 0);
        }
    }
}
