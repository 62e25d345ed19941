//! Standard output: colours on a terminal only, and a reader that has seen enough is no error.

use std::io::{ErrorKind, Write};

use anyhow::anyhow;

use super::Failure;

/// Prints text as it is.
pub(super) fn write(text: &str) -> Result<(), Failure> {
    let mut out = anstream::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(anyhow!("the output could not be written: {error}; make room there, or send it elsewhere").into())
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Prints one line.
pub(super) fn line(text: &str) -> Result<(), Failure> {
    write(&format!("{text}\n"))
}
