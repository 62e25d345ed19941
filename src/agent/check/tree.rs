//! The agent's whole tree: every process that descends from this one. As this process adopts orphans, none escapes.

use std::fs;
use std::time::Duration;

use rustix::io;
use rustix::process::{Pid, PidfdFlags, Signal};

/// A process that has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pid: i32,
    parent: i32,
    pub(super) name: String,
    /// Tells it from a later process with its pid.
    started: String,
}

/// Makes this process the parent of every orphan among its descendants.
///
/// # Errors
/// What the system said.
pub fn adopt_orphans() -> io::Result<()> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
}

/// Kills the descendants of this process, again and again until none is left, for ten seconds at most.
pub fn end_descendants() {
    const MOST_ROUNDS: u32 = 2_000;
    const BETWEEN_ROUNDS: Duration = Duration::from_millis(5);
    for _ in 0..MOST_ROUNDS {
        let found = descendants();
        if found.is_empty() {
            return;
        }
        for process in found {
            process.kill();
        }
        std::thread::sleep(BETWEEN_ROUNDS);
    }
}

/// The descendants of this process that have not ended.
pub(super) fn descendants() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let all: Vec<Process> = pids.filter_map(read).collect();
    below(rustix::process::getpid().as_raw_nonzero().get(), &all)
}

/// Those of `all` that descend from `root`.
fn below(root: i32, all: &[Process]) -> Vec<Process> {
    let mut found: Vec<Process> = Vec::new();
    let mut parents = vec![root];
    while let Some(parent) = parents.pop() {
        for child in all.iter().filter(|process| process.parent == parent) {
            parents.push(child.pid);
            found.push(child.clone());
        }
    }
    found
}

impl Process {
    fn kill(&self) {
        let Some(pid) = Pid::from_raw(self.pid) else { return };
        let Ok(pidfd) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else { return };
        // The pid may have gone to another process before it was held.
        if read(self.pid).is_some_and(|now| now.started == self.started) {
            let _ = rustix::process::pidfd_send_signal(pidfd, Signal::KILL);
        }
    }

    /// Name and pid, for a sentence.
    pub(super) fn words(&self) -> String {
        format!("{} ({})", crate::id::Printable(&self.name), self.pid)
    }
}

fn read(pid: i32) -> Option<Process> {
    parse(&String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/stat")).ok()?))
}

/// Reads `/proc/PID/stat`; `None` for a process that has ended and was not waited for.
fn parse(stat: &str) -> Option<Process> {
    // The name stands in brackets and may hold brackets itself.
    let (pid, rest) = stat.split_once(" (")?;
    let (name, rest) = rest.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let [state, parent, ..] = fields.as_slice() else { return None };
    if matches!(*state, "Z" | "X") {
        return None;
    }
    let started = (*fields.get(19)?).to_owned();
    Some(Process { pid: pid.parse().ok()?, parent: parent.parse().ok()?, name: name.to_owned(), started })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(pid: i32, name: &str, state: &str, parent: i32) -> String {
        format!("{pid} ({name}) {state} {parent} 1 1 0 -1 0 1 2 3 4 5 6 7 8 20 0 1 0 8812 100 5\n")
    }

    #[test]
    fn a_process_is_read_whatever_its_name_and_not_once_it_has_ended() {
        let process = parse(&stat(7, "a) (b", "S", 3)).unwrap();
        assert_eq!((process.pid, process.parent, process.name.as_str()), (7, 3, "a) (b"));
        assert_eq!(process.started, "8812");
        assert_eq!(parse(&stat(7, "sh", "Z", 3)), None);
        assert_eq!(parse("what?"), None);
    }

    #[test]
    fn descendants_are_found_through_their_parents() {
        let all: Vec<_> =
            [(2, 1), (5, 2), (3, 1), (9, 5)].map(|(pid, parent)| parse(&stat(pid, "p", "S", parent))).into();
        let all: Vec<_> = all.into_iter().flatten().collect();
        let mut found: Vec<i32> = below(2, &all).iter().map(|process| process.pid).collect();
        found.sort_unstable();
        assert_eq!(found, [5, 9]);
    }
}
