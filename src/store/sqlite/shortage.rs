//! Whether the disk has too little room for the store to grow: set by the store's writer, read by all that write there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::store::StoreError;

/// Whether room is short. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct Shortage(Arc<AtomicBool>);

impl Shortage {
    /// Whether it is.
    pub fn is_on(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// Refuses what needs room while it is short.
    ///
    /// # Errors
    /// [`StoreError::Full`] then.
    pub fn check(&self) -> Result<(), StoreError> {
        if self.is_on() { Err(StoreError::Full) } else { Ok(()) }
    }

    /// Says that it begins or that it is over; returns whether it was on before.
    pub(crate) fn set(&self, is_on: bool) -> bool {
        self.0.swap(is_on, Ordering::SeqCst)
    }
}
