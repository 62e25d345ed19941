//! What a writer has written, and how long its disk took.

use std::time::Duration;

use super::durations::{self, Durations};
use super::tally::Counter;

/// What a writer has written.
#[derive(Debug)]
pub struct Writes {
    /// What was committed: changes, or events.
    pub written: Counter,
    /// Batches that could not be.
    pub failures: Counter,
    /// How long each batch took, from its beginning to its commit.
    pub commits: Durations,
}

impl Writes {
    /// Counts a batch of so many that was committed.
    pub fn note(&self, count: usize, took: Duration) {
        self.written.add(count as u64);
        self.commits.record(took);
    }
}

impl Default for Writes {
    fn default() -> Self {
        Self { written: Counter::default(), failures: Counter::default(), commits: Durations::new(durations::COARSE) }
    }
}
