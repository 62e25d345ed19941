//! Whether the writer of a SQLite file takes changes, and if it does not, what its disk last said.

use parking_lot::Mutex;

use crate::store::StoreError;

/// What a writer tells those who come to it.
#[derive(Debug, Default)]
pub(crate) struct Availability {
    failure: Mutex<Option<StoreError>>,
}

impl Availability {
    /// That nothing is taken, and why: until the next failure, or until it is [`Self::back`].
    pub(crate) fn fails(&self, why: &StoreError) {
        let is_full = matches!(why, StoreError::Full);
        self.set(Some(if is_full { StoreError::Full } else { StoreError::Unavailable(why.cause()) }));
    }

    /// That changes are taken again.
    pub(crate) fn back(&self) {
        self.set(None);
    }

    /// Whether changes are taken.
    ///
    /// # Errors
    /// What the writer failed with last.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        // Nothing panics under this lock.
        let failure = self.failure.lock();
        failure.clone().map_or(Ok(()), Err)
    }

    fn set(&self, failure: Option<StoreError>) {
        *self.failure.lock() = failure;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_failure_is_told_until_it_is_over() {
        let availability = Availability::default();
        assert!(availability.check().is_ok());
        availability.fails(&StoreError::Unavailable("disk I/O error".into()));
        availability.fails(&StoreError::Full);
        assert!(matches!(availability.check(), Err(StoreError::Full)));
        availability.back();
        assert!(availability.check().is_ok());
    }
}
