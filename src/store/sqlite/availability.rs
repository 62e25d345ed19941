//! Whether the writer of a SQLite file takes changes, and if it does not, what its disk last said.

use parking_lot::Mutex;

use crate::store::StoreError;

/// What a writer tells those who come to it.
#[derive(Debug, Default)]
pub(crate) struct Availability {
    failure: Mutex<Option<String>>,
}

impl Availability {
    /// That nothing is taken, and why: until the next failure, or until it is [`Self::back`].
    pub(crate) fn fails(&self, why: &StoreError) {
        self.set(Some(why.cause()));
    }

    /// That changes are taken again.
    pub(crate) fn back(&self) {
        self.set(None);
    }

    /// Whether changes are taken.
    ///
    /// # Errors
    /// What the writer failed with last, in words.
    pub(crate) fn check(&self) -> Result<(), String> {
        // Nothing panics under this lock.
        let failure = self.failure.lock();
        failure.clone().map_or(Ok(()), Err)
    }

    fn set(&self, failure: Option<String>) {
        *self.failure.lock() = failure;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_failure_is_told_until_it_is_over() {
        let availability = Availability::default();
        assert_eq!(availability.check(), Ok(()));
        availability.fails(&StoreError::Unavailable("disk I/O error".into()));
        availability.fails(&StoreError::Unavailable("the disk is full".into()));
        assert_eq!(availability.check(), Err("the disk is full".to_owned()));
        availability.back();
        assert_eq!(availability.check(), Ok(()));
    }
}
