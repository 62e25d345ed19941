//! Chance that is the same for the same seed (`SplitMix64`).

use std::time::Duration;

/// A sequence of random numbers.
#[derive(Debug)]
pub(super) struct Dice {
    state: u64,
}

impl Dice {
    /// Begins at the seed.
    pub(super) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// Another sequence, which this one determines.
    pub(super) fn split(&mut self) -> Self {
        Self::new(self.next())
    }

    /// A number below `bound`, which must not be zero.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        let number = self.next() % (bound as u64);
        usize::try_from(number).expect("it is below a usize")
    }

    /// True so many times out of a hundred.
    pub(super) fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    /// One of them; nothing if there is none.
    pub(super) fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        if of.is_empty() { None } else { of.get(self.below(of.len())) }
    }

    /// Puts them into any order (Fisher and Yates).
    pub(super) fn shuffle<T>(&mut self, all: &mut [T]) {
        for last in (1..all.len()).rev() {
            all.swap(last, self.below(last + 1));
        }
    }

    /// A time between two numbers of milliseconds.
    pub(super) fn millis(&mut self, from: usize, to: usize) -> Duration {
        Duration::from_millis((from + self.below(to - from + 1)) as u64)
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers_and_another_gives_others() {
        let numbers = |seed| {
            let mut dice = Dice::new(seed);
            (0..20).map(|_| dice.below(1_000)).collect::<Vec<_>>()
        };
        assert_eq!(numbers(7), numbers(7));
        assert_ne!(numbers(7), numbers(8));
    }

    #[test]
    fn a_shuffle_loses_nothing_and_comes_to_every_order() {
        let mut dice = Dice::new(2);
        let orders: std::collections::HashSet<_> = (0..200)
            .map(|_| {
                let mut all = [1, 2, 3];
                dice.shuffle(&mut all);
                all
            })
            .collect();
        assert_eq!(orders.len(), 6);
    }

    #[test]
    fn every_number_below_the_bound_comes_up_and_none_above() {
        let mut dice = Dice::new(1);
        let mut seen = [false; 6];
        for _ in 0..200 {
            seen[dice.below(6)] = true;
        }
        assert_eq!(seen, [true; 6]);
    }
}
