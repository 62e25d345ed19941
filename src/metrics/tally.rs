//! Numbers that only ever rise.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only ever rises.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn add_one(&self) {
        self.add(1);
    }

    /// So many more.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// Its value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counters that differ in one label, whose values are fixed from the start.
#[derive(Debug)]
pub struct Tally {
    counters: Box<[(Box<str>, Counter)]>,
}

impl Tally {
    /// A counter at zero for each value of the label.
    pub fn new(labels: impl IntoIterator<Item = impl Into<Box<str>>>) -> Self {
        Self { counters: labels.into_iter().map(|label| (label.into(), Counter::default())).collect() }
    }

    /// Counts one more of the value at this place; nothing of one that there is not.
    pub fn add_one(&self, place: usize) {
        if let Some((_, counter)) = self.counters.get(place) {
            counter.add_one();
        }
    }

    /// Each value of the label with its count.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.counters.iter().map(|(label, counter)| (&**label, counter.get()))
    }

    /// The counts, in the order of the labels.
    pub fn counts(&self) -> Vec<u64> {
        self.iter().map(|(_, count)| count).collect()
    }

    /// All of them together.
    pub fn sum(&self) -> u64 {
        self.iter().map(|(_, count)| count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_is_counted_by_itself_and_one_that_there_is_not_is_nowhere() {
        let tally = Tally::new(["good", "bad"]);
        for place in [0, 1, 1, 2] {
            tally.add_one(place);
        }
        assert_eq!(tally.iter().collect::<Vec<_>>(), [("good", 1), ("bad", 2)]);
        assert_eq!(tally.sum(), 3);
    }
}
