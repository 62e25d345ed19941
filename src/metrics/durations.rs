//! How long something took: counts by duration, and the quantiles that follow from them. Pure.

use std::time::Duration;

use super::tally::Counter;

/// Upper bounds for what people wait for: six to each power of ten, so that a quantile is right within a quarter or so.
pub const FINE: &[Duration] = &[
    millis(1),
    micros(1_500),
    millis(2),
    millis(3),
    millis(5),
    millis(7),
    millis(10),
    millis(15),
    millis(20),
    millis(30),
    millis(50),
    millis(70),
    millis(100),
    millis(150),
    millis(200),
    millis(300),
    millis(500),
    millis(700),
    millis(1_000),
    millis(1_500),
    millis(2_000),
    millis(3_000),
    millis(5_000),
    millis(7_000),
    millis(10_000),
    millis(15_000),
    millis(20_000),
    millis(30_000),
    millis(60_000),
    millis(120_000),
    millis(300_000),
];

/// Upper bounds for what a machine does: three to each power of ten.
pub const COARSE: &[Duration] = &[
    micros(100),
    micros(250),
    micros(500),
    millis(1),
    micros(2_500),
    millis(5),
    millis(10),
    millis(25),
    millis(50),
    millis(100),
    millis(250),
    millis(500),
    millis(1_000),
    millis(2_500),
    millis(5_000),
    millis(10_000),
    millis(30_000),
    millis(60_000),
];

/// Counts of durations between fixed bounds.
#[derive(Debug)]
pub struct Durations {
    bounds: &'static [Duration],
    /// How many were not longer than each bound and longer than the one before; the last, longer than all.
    counts: Box<[Counter]>,
    sum_micros: Counter,
}

impl Durations {
    /// Nothing yet, between these upper bounds.
    pub fn new(bounds: &'static [Duration]) -> Self {
        let counts = (0..=bounds.len()).map(|_| Counter::default()).collect();
        Self { bounds, counts, sum_micros: Counter::default() }
    }

    /// Counts one.
    pub fn record(&self, duration: Duration) {
        self.counts[self.bounds.partition_point(|bound| *bound < duration)].add_one();
        self.sum_micros.add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }

    /// The upper bounds.
    pub fn bounds(&self) -> &'static [Duration] {
        self.bounds
    }

    /// How many fell between each two bounds; the last number is of those beyond all.
    pub fn counts(&self) -> Vec<u64> {
        self.counts.iter().map(Counter::get).collect()
    }

    /// All of them together, in seconds.
    pub fn sum_seconds(&self) -> f64 {
        Duration::from_micros(self.sum_micros.get()).as_secs_f64()
    }
}

/// The duration that this share of them did not exceed, on a straight line between the two bounds around it; of what
/// exceeds all bounds only the last bound is known. `None` if there are none.
pub fn quantile(bounds: &[Duration], counts: &[u64], share: f64) -> Option<Duration> {
    let all: u64 = counts.iter().sum();
    if all == 0 {
        return None;
    }
    let wanted = share.clamp(0.0, 1.0) * all as f64;
    let mut below = 0;
    for (place, (bound, count)) in bounds.iter().zip(counts).enumerate() {
        let reached = below + count;
        if *count > 0 && reached as f64 >= wanted {
            let lower = place.checked_sub(1).map_or(Duration::ZERO, |place| bounds[place]);
            let part = (wanted - below as f64) / *count as f64;
            return Some(lower + (*bound - lower).mul_f64(part.clamp(0.0, 1.0)));
        }
        below = reached;
    }
    bounds.last().copied()
}

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const fn micros(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_duration_counts_under_the_first_bound_that_it_does_not_exceed() {
        const BOUNDS: &[Duration] = &[millis(10), millis(20)];
        let durations = Durations::new(BOUNDS);
        for duration in [millis(0), millis(10), micros(10_001), millis(20), millis(21), millis(9_000)] {
            durations.record(duration);
        }
        assert_eq!(durations.counts(), [2, 2, 2]);
        assert_eq!(durations.sum_seconds(), 9.061_001);
    }

    #[test]
    fn of_nothing_there_is_no_quantile_and_beyond_the_bounds_only_the_last_is_known() {
        let bounds = [millis(10), millis(20)];
        for (counts, share, expected) in [
            ([0, 0, 0], 0.5, None),
            ([4, 0, 0], 0.5, Some(millis(5))),
            ([4, 0, 0], 1.0, Some(millis(10))),
            ([1, 1, 0], 0.75, Some(millis(15))),
            ([0, 4, 0], 0.0, Some(millis(10))),
            ([1, 0, 9], 0.99, Some(millis(20))),
        ] {
            assert_eq!(quantile(&bounds, &counts, share), expected, "{counts:?} {share}");
        }
    }

    proptest! {
        #[test]
        fn a_quantile_lies_between_the_bounds_around_the_one_that_it_stands_for(
            mut taken in prop::collection::vec(0u64..400_000, 1..200), share in 0.01f64..1.0
        ) {
            let durations = Durations::new(FINE);
            for duration in &taken {
                durations.record(millis(*duration));
            }
            taken.sort_unstable();
            let rank = ((share * taken.len() as f64).ceil() as usize).clamp(1, taken.len());
            let exact = millis(taken[rank - 1]);
            let last = FINE[FINE.len() - 1];
            let place = FINE.partition_point(|bound| *bound < exact);
            let lower = place.checked_sub(1).map_or(Duration::ZERO, |place| FINE[place]);
            let upper = FINE.get(place).copied().unwrap_or(last);
            let found = quantile(FINE, &durations.counts(), share).unwrap();
            let slack = Duration::from_nanos(10);
            prop_assert!(found + slack >= lower.min(last) && found <= upper + slack, "{found:?} is not in {lower:?}..{upper:?}");
        }
    }
}
