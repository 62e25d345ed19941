//! How much memory the decoding of a pickle takes, asked for as its tables grow.

use super::PickleError;

/// Memory that is asked for in steps of a mebibyte.
pub(crate) struct Memory<'r> {
    granted: usize,
    reserve: &'r mut dyn FnMut(usize) -> bool,
}

impl<'r> Memory<'r> {
    /// `reserve` is asked before so many bytes are taken in all.
    pub(crate) fn new(reserve: &'r mut dyn FnMut(usize) -> bool) -> Self {
        Self { granted: 0, reserve }
    }

    /// Asks for what is missing to take `bytes` in all.
    ///
    /// # Errors
    /// [`PickleError::NoMemory`].
    pub(crate) fn need(&mut self, bytes: usize) -> Result<(), PickleError> {
        const STEP_BYTES: usize = 1 << 20;
        if bytes > self.granted {
            self.granted = bytes.next_multiple_of(STEP_BYTES);
            if !(self.reserve)(self.granted) {
                return Err(PickleError::NoMemory);
            }
        }
        Ok(())
    }
}
