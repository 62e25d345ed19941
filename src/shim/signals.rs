//! The shim's signals as bytes in pipes. An agent does not inherit them: they are taken over after it was forked, and an
//! exec puts handlers back.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use rustix::process::Signal;
use signal_hook::low_level::pipe;

/// The signals that a shim hears.
#[derive(Debug)]
pub(super) struct Signals {
    child: UnixStream,
    terminate: UnixStream,
}

impl Signals {
    /// Takes them over. A hangup or an interrupt means nothing to a shim.
    ///
    /// # Errors
    /// What the system said.
    pub(super) fn take() -> io::Result<Self> {
        let (child, on_child) = UnixStream::pair()?;
        let (terminate, on_terminate) = UnixStream::pair()?;
        for ignored in [Signal::HUP, Signal::INT] {
            pipe::register(ignored.as_raw(), on_child.try_clone()?)?;
        }
        pipe::register(Signal::CHILD.as_raw(), on_child)?;
        pipe::register(Signal::TERM.as_raw(), on_terminate)?;
        for stream in [&child, &terminate] {
            stream.set_nonblocking(true)?;
        }
        Ok(Self { child, terminate })
    }

    /// Readable when a child may have ended.
    pub(super) fn child(&self) -> BorrowedFd<'_> {
        self.child.as_fd()
    }

    /// Readable when the shim was told to end.
    pub(super) fn terminate(&self) -> BorrowedFd<'_> {
        self.terminate.as_fd()
    }

    /// Forgets that a child may have ended.
    pub(super) fn clear_child(&self) {
        clear(&self.child);
    }

    /// Forgets that the shim was told to end.
    pub(super) fn clear_terminate(&self) {
        clear(&self.terminate);
    }
}

fn clear(mut stream: &UnixStream) {
    while matches!(stream.read(&mut [0; 64]), Ok(count) if count > 0) {}
}
