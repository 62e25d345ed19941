//! The end of everything that an agent has started. The shim is the subreaper of it all: whoever loses its parent
//! becomes the shim's own child, so that in the end there is nobody who is not.

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, WaitStatus};

use super::proc;

/// Reaps the children that have ended, telling each to `ended`, and returns whether any are left.
pub(super) fn reap(mut ended: impl FnMut(Pid, WaitStatus)) -> bool {
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => ended(pid, status),
            Ok(None) => return true,
            Err(Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

/// Kills every descendant that there is at the moment. Who is forked meanwhile is found by the next call.
pub(super) fn kill() {
    let me = rustix::process::getpid();
    for child in children(me) {
        kill_below(child);
        // An unreaped child of ours: nobody else can have its pid.
        let _ = rustix::process::kill_process(child, Signal::KILL);
    }
}

/// Kills every descendant and waits until none is left.
pub(super) fn end() {
    loop {
        kill();
        // Whoever is forked meanwhile becomes a child of this when its parent ends, and that ends the wait.
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

/// Kills what stands below `parent`. The handle is opened first and the line of parents followed then: a pid that was
/// given anew in between is not hit.
fn kill_below(parent: Pid) {
    let mut found = vec![parent];
    while let Some(parent) = found.pop() {
        for child in children(parent) {
            let Ok(handle) = rustix::process::pidfd_open(child, PidfdFlags::empty()) else { continue };
            if descends_from_this(child) {
                let _ = rustix::process::pidfd_send_signal(handle, Signal::KILL);
                found.push(child);
            }
        }
    }
}

fn descends_from_this(process: Pid) -> bool {
    let me = rustix::process::getpid();
    std::iter::successors(Some(process), |process| parent(*process)).any(|process| process == me)
}

fn parent(process: Pid) -> Option<Pid> {
    pid(proc::stat(process.as_raw_nonzero().get().unsigned_abs())?.parent)
}

fn children(parent: Pid) -> impl Iterator<Item = Pid> {
    proc::children(parent.as_raw_nonzero().get().unsigned_abs()).into_iter().filter_map(pid)
}

fn pid(number: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(number).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_parents_is_followed_to_its_end() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let its_pid = Pid::from_child(&child);
        assert!(children(rustix::process::getpid()).any(|child| child == its_pid));
        assert!(descends_from_this(its_pid));
        assert!(!descends_from_this(Pid::INIT));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
