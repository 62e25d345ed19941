//! A moment that is known or not: when the certificate ends.

use std::sync::atomic::{AtomicI64, Ordering};

/// What stands for "not known".
const UNKNOWN: i64 = i64::MIN;

/// A moment in seconds since the Unix epoch, which may change or not be known.
#[derive(Debug)]
pub struct Moment(AtomicI64);

impl Default for Moment {
    fn default() -> Self {
        Self(AtomicI64::new(UNKNOWN))
    }
}

impl Moment {
    /// Notes the moment, or that it is not known.
    pub fn set(&self, seconds: Option<i64>) {
        self.0.store(seconds.unwrap_or(UNKNOWN), Ordering::Relaxed);
    }

    /// The moment, if it is known.
    pub fn get(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|seconds| *seconds != UNKNOWN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_unknown_until_it_is_set_and_can_be_forgotten() {
        let moment = Moment::default();
        assert_eq!(moment.get(), None);
        moment.set(Some(7));
        assert_eq!(moment.get(), Some(7));
        moment.set(None);
        assert_eq!(moment.get(), None);
    }
}
