//! How many of something there are at the moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number that rises while something is there. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct Level(Arc<AtomicU64>);

/// One that is counted until this value goes.
#[derive(Debug)]
pub struct Present(Level);

impl Level {
    /// Counts one more until what is returned goes.
    #[must_use]
    pub fn enter(&self) -> Present {
        self.0.fetch_add(1, Ordering::Relaxed);
        Present(self.clone())
    }

    /// How many there are.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_is_not_counted_any_more() {
        let level = Level::default();
        let (one, other) = (level.enter(), level.enter());
        assert_eq!(level.get(), 2);
        drop(one);
        assert_eq!(level.get(), 1);
        drop(other);
        assert_eq!(level.get(), 0);
    }
}
