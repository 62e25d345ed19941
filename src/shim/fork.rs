//! The one `unsafe` of the whole tree: `fork(2)`, made safe by refusing it to a process with threads.

use std::io;

use rustix::process::Pid;

/// On which side of the fork the caller is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// In the new process.
    Child,
    /// In the old process; this is the new one.
    Parent(Pid),
}

/// Makes a second process of this one.
///
/// # Errors
/// What the system said, or that this process has more than one thread.
#[expect(unsafe_code, reason = "no safe interface to fork(2) exists; a process with one thread may use it freely")]
pub(super) fn fork() -> io::Result<Side> {
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("a process with threads must not fork"));
    }
    // SAFETY: what makes fork(2) unsafe is that other threads are missing in the child, and the locks that they held
    // are held for good. There is no other thread: it was counted above, and only this thread could start one.
    let pid = unsafe { libc::fork() };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Side::Child),
        pid => Pid::from_raw(pid).map(Side::Parent).ok_or_else(|| io::Error::other("fork gave no process")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_threads_does_not_fork() {
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || stopped.recv());
        assert!(fork().is_err());
        drop(stop);
        assert!(other.join().unwrap().is_err());
    }
}
