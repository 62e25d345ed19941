//! The system's table of processes, read once: who descends from whom, and which process a number meant.
//!
//! A number is given again after its process has ended. Together with the time at which the process began it names that
//! process and no other, until the machine is started anew.

use std::collections::{HashMap, HashSet};
use std::fs;

use rustix::process::{Pid, PidfdFlags, Signal};

/// One process, for good: its number, and when it began in ticks since the boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    /// Its number.
    pub pid: u32,
    /// When it began.
    pub start: u64,
}

/// What the table says of a process that has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its parent's number.
    pub parent: u32,
    /// The number of the process that leads its session.
    pub session: u32,
    /// When it began.
    pub start: u64,
}

/// The processes that have not ended.
#[derive(Clone, Debug, Default)]
pub struct ProcessTable {
    rows: HashMap<u32, Row>,
}

impl ProcessTable {
    /// Reads it. A process that comes or goes meanwhile may be missing.
    pub fn read() -> Self {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        Self { rows: pids.filter_map(|pid| Some((pid, row(pid)?))).collect() }
    }

    /// What it says of the process with this number.
    pub fn get(&self, pid: u32) -> Option<&Row> {
        self.rows.get(&pid)
    }

    /// Whether the process has not ended.
    pub fn has(&self, process: Identity) -> bool {
        self.get(process.pid).is_some_and(|row| row.start == process.start)
    }

    /// All processes.
    pub fn processes(&self) -> impl Iterator<Item = (Identity, &Row)> {
        self.rows.iter().map(|(pid, row)| (Identity { pid: *pid, start: row.start }, row))
    }

    /// The process and its parents, up to the first of all, as far as the table has them.
    pub fn line(&self, pid: u32) -> impl Iterator<Item = u32> {
        // No line is as long, unless it was read while it changed.
        const LONGEST: usize = 4_096;
        let parent = |pid: &u32| self.rows.get(pid).map(|row| row.parent);
        std::iter::successors(Some(pid), parent).take(LONGEST)
    }

    /// Adds all descendants to these processes.
    pub fn with_descendants(&self, processes: HashSet<Identity>) -> HashSet<Identity> {
        let roots: HashSet<u32> = processes.iter().map(|process| process.pid).collect();
        let is_below = |pid: u32| self.line(pid).any(|above| roots.contains(&above));
        let below = self.processes().map(|(process, _)| process).filter(|process| is_below(process.pid));
        below.chain(processes.iter().copied()).collect()
    }

    #[cfg(test)]
    pub fn of(rows: impl IntoIterator<Item = (u32, Row)>) -> Self {
        Self { rows: rows.into_iter().collect() }
    }
}

/// The process that has the number now.
pub fn identity(pid: u32) -> Option<Identity> {
    Some(Identity { pid, start: row(pid)?.start })
}

/// Kills a process, unless it has ended.
pub fn kill(process: Identity) -> Option<()> {
    kill_if(process.pid, || identity(process.pid) == Some(process))
}

/// Kills the process with this number if it is the one that is meant. The handle is opened before `is_it` looks, so that a
/// number that was given again since is not hit.
pub fn kill_if(pid: u32, is_it: impl FnOnce() -> bool) -> Option<()> {
    let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
    let handle = rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok()?;
    is_it().then(|| rustix::process::pidfd_send_signal(handle, Signal::KILL))?.ok()
}

/// The user that a process runs as.
pub fn user(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// What stands of a process in `/proc/PID/stat`; nothing if it has ended, whether or not it was reaped.
pub fn row(pid: u32) -> Option<Row> {
    parse(&fs::read(format!("/proc/{pid}/stat")).ok()?)
}

fn parse(stat: &[u8]) -> Option<Row> {
    // The name stands in parentheses and may hold any; nothing after it does.
    let end_of_name = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(end_of_name + 1..)?).ok()?;
    // The first of these is the third field of proc(5).
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).copied();
    if matches!(field(3)?, "Z" | "X") {
        return None;
    }
    Some(Row { parent: field(4)?.parse().ok()?, session: field(6)?.parse().ok()?, start: field(22)?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_read_whatever_the_program_calls_itself_and_not_of_one_that_has_ended() {
        let stat = |state: &str| {
            format!(
                "4077 (a) Z 1 (b)) {state} 4021 4077 4020 34816 4077 4194304 2191 90311 0 12 31 7 120 45 20 0 11 0 88213 1 2"
            )
        };
        assert_eq!(parse(stat("S").as_bytes()), Some(Row { parent: 4021, session: 4020, start: 88_213 }));
        assert_eq!(parse(stat("Z").as_bytes()), None);
        assert_eq!(parse(&stat("S").as_bytes()[..40]), None);
    }

    #[test]
    fn descendants_are_found_through_what_is_between() {
        let row = |parent| Row { parent, session: 1, start: 9 };
        let table = ProcessTable::of([(1, row(0)), (5, row(1)), (6, row(5)), (7, row(6)), (8, row(1))]);
        let process = |pid| Identity { pid, start: 9 };
        let found = table.with_descendants(HashSet::from([process(5)]));
        assert_eq!(found, HashSet::from([5, 6, 7].map(process)));
        assert_eq!(table.line(7).collect::<Vec<_>>(), [7, 6, 5, 1, 0]);
    }

    #[test]
    fn this_very_process_is_in_the_table() {
        let own = identity(std::process::id()).unwrap();
        let table = ProcessTable::read();
        assert!(table.has(own) && !table.has(Identity { start: own.start + 1, ..own }));
        assert_eq!(user(own.pid), Some(rustix::process::getuid().as_raw()));
    }
}
