//! How the credential server is, as far as it was asked.

use parking_lot::Mutex;

use crate::clock::WallTime;

use super::durations::{self, Durations};
use super::tally::Counter;

/// What came of the checks of credentials.
#[derive(Debug)]
pub struct Checks {
    /// Those with a verdict, a yes or a no.
    pub decided: Counter,
    /// Those that came to none, for the credential server was away, slow or wrong.
    pub failed: Counter,
    /// How long they took, whatever came of them.
    pub durations: Durations,
    last: Mutex<Last>,
}

impl Default for Checks {
    fn default() -> Self {
        Self {
            decided: Counter::default(),
            failed: Counter::default(),
            durations: Durations::new(durations::COARSE),
            last: Mutex::default(),
        }
    }
}

/// The last checks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Last {
    /// Whether the last of all had a verdict; `None` if there was none.
    pub is_well: Option<bool>,
    /// When and why one failed last.
    pub failure: Option<(WallTime, Box<str>)>,
}

impl Checks {
    /// Counts a check that had a verdict.
    pub fn note_verdict(&self) {
        self.decided.add_one();
        self.last.lock().is_well = Some(true);
    }

    /// Counts a check that failed.
    pub fn note_failure(&self, at: WallTime, reason: &str) {
        self.failed.add_one();
        let last = Last { is_well: Some(false), failure: Some((at, reason.into())) };
        *self.last.lock() = last;
    }

    /// How the last ones were.
    pub fn last(&self) -> Last {
        self.last.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_check_says_how_the_server_is_and_the_last_failure_stays_known() {
        let checks = Checks::default();
        assert_eq!(checks.last(), Last::default());
        let failure = Some((WallTime::from_unix_millis(7), "it was away".into()));

        checks.note_failure(WallTime::from_unix_millis(7), "it was away");
        assert_eq!(checks.last(), Last { is_well: Some(false), failure: failure.clone() });

        checks.note_verdict();
        assert_eq!(checks.last(), Last { is_well: Some(true), failure });
        assert_eq!((checks.decided.get(), checks.failed.get()), (1, 1));
    }
}
