//! What `/proc` says of processes: see proc(5). A process may end at any moment, so that everything is an `Option`.
//!
//! Names of programs are anybody's to choose: they hold spaces, parentheses and bytes that are no text.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A few fields of `/proc/PID/stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// The parent.
    pub parent: u32,
    /// CPU time, in ticks of the system's clock.
    pub ticks: u64,
    /// The same for all descendants that have ended and were waited for, the last by its child.
    pub ticks_of_ended: u64,
}

/// The memory of a process, in bytes, out of `/proc/PID/status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Pages of its own in memory or swapped out, those included that it shares with those that it was forked from.
    pub own: u64,
    /// Pages of files and of shared memory.
    pub shared: u64,
}

/// The memory of the machine, in bytes, out of `/proc/meminfo`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MachineMemory {
    /// What it has.
    pub total: u64,
    /// What programs could still get without pushing others out.
    pub available: u64,
}

/// Reads the memory of the machine.
pub fn machine_memory() -> Option<MachineMemory> {
    parse_meminfo(&fs::read("/proc/meminfo").ok()?)
}

/// Reads the stat of a process.
pub fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// Reads the memory of a process. It is cheap, and counts what processes share for each of them.
pub fn memory(pid: u32) -> Option<Memory> {
    let of = |path: PathBuf| parse_status(&fs::read(path).ok()?);
    // A process whose first thread has ended shows its memory at the others only.
    of(format!("/proc/{pid}/status").into()).or_else(|| threads(pid).find_map(|thread| of(thread.join("status"))))
}

/// Reads the bytes of memory of a process, with its share of what it shares. That takes the kernel time, and holds up
/// the process, in proportion to its memory.
pub fn proportional_memory(pid: u32) -> Option<u64> {
    parse_rollup(&fs::read(format!("/proc/{pid}/smaps_rollup")).ok()?)
}

/// All descendants of a process, each once and after its parent. One that is forked while this runs may be missing.
pub fn descendants(root: u32) -> Vec<u32> {
    let mut found = Vec::new();
    let mut seen = HashSet::from([root]);
    let mut next = vec![root];
    while let Some(pid) = next.pop() {
        for child in children(pid) {
            // A child whose parent's thread ends while it is looked at moves to another thread.
            if seen.insert(child) {
                found.push(child);
                next.push(child);
            }
        }
    }
    found
}

/// The children of all threads of a process. One that comes or goes meanwhile may be missing.
pub fn children(pid: u32) -> Vec<u32> {
    // Not every kernel is built with these lists.
    if !Path::new("/proc/thread-self/children").exists() {
        return children_by_search(pid);
    }
    let texts = threads(pid).filter_map(|thread| fs::read_to_string(thread.join("children")).ok());
    texts.flat_map(|text| parse_children(&text)).collect()
}

fn children_by_search(parent: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    processes.filter(|process| stat(*process).is_some_and(|stat| stat.parent == parent)).collect()
}

fn threads(pid: u32) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    entries.map(|entry| entry.path())
}

fn parse_children(text: &str) -> Vec<u32> {
    text.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

fn parse_stat(text: &[u8]) -> Option<Stat> {
    // The name stands in parentheses and may hold any; nothing after it does.
    let end_of_name = text.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(text.get(end_of_name + 1..)?).ok()?;
    // The first of these is the third field of the page.
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<i64>().ok();
    let ticks = |field: usize| Some(u64::try_from(number(field)?).unwrap_or(0));
    Some(Stat {
        parent: u32::try_from(number(4)?).ok()?,
        ticks: ticks(14)?.saturating_add(ticks(15)?),
        ticks_of_ended: ticks(16)?.saturating_add(ticks(17)?),
    })
}

/// Nothing for a thread that has ended.
fn parse_status(text: &[u8]) -> Option<Memory> {
    let bytes = |name| kilobytes(text, name).unwrap_or(0);
    Some(Memory {
        own: kilobytes(text, "RssAnon:")?.saturating_add(bytes("VmSwap:")),
        shared: bytes("RssFile:").saturating_add(bytes("RssShmem:")),
    })
}

fn parse_meminfo(text: &[u8]) -> Option<MachineMemory> {
    Some(MachineMemory { total: kilobytes(text, "MemTotal:")?, available: kilobytes(text, "MemAvailable:")? })
}

fn parse_rollup(text: &[u8]) -> Option<u64> {
    Some(kilobytes(text, "Pss:")?.saturating_add(kilobytes(text, "SwapPss:").unwrap_or(0)))
}

/// The bytes in the line `NAME:   123 kB`.
fn kilobytes(text: &[u8], name: &str) -> Option<u64> {
    let line = text.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(name.as_bytes()))?;
    let amount: u64 = std::str::from_utf8(line).ok()?.split_ascii_whitespace().next()?.parse().ok()?;
    Some(amount.saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: &str = "S 4021 4077 4021 34816 4077 4194304 2191 90311 0 12 31 7 120 45 20 0 11 0 88213 1080184832";

    #[test]
    fn times_and_parent_are_read_whatever_the_program_calls_itself() {
        let expected = Stat { parent: 4021, ticks: 38, ticks_of_ended: 165 };
        for name in [&b"node"[..], b"Web Content", b"a) S 1 2 (b", b"((sd-pam))", b"x\n)\xff\xfe"] {
            let mut text = b"4077 (".to_vec();
            text.extend_from_slice(name);
            text.extend_from_slice(b") ");
            text.extend_from_slice(TIMES.as_bytes());
            assert_eq!(parse_stat(&text), Some(expected), "{}", String::from_utf8_lossy(name));
        }
    }

    #[test]
    fn a_stat_that_is_cut_short_is_none() {
        let whole = format!("4077 (node) {TIMES}");
        for end in [0, 4, 10, 14, 40] {
            assert_eq!(parse_stat(&whole.as_bytes()[..end]), None, "{end}");
        }
    }

    #[test]
    fn memory_is_read_out_of_a_status() {
        let text = b"Name:\tnode RssAnon: 7 kB\nUmask:\t0022\nState:\tS (sleeping)\nVmPeak:\t 1054872 kB\n\
            VmHWM:\t   45120 kB\nVmRSS:\t   45000 kB\nRssAnon:\t   10000 kB\nRssFile:\t   34000 kB\nRssShmem:\t    1000 kB\n\
            VmSwap:\t     500 kB\nThreads:\t11\n";
        assert_eq!(parse_status(text), Some(Memory { own: 10_500 << 10, shared: 35_000 << 10 }));
    }

    #[test]
    fn who_has_ended_has_no_memory() {
        let text = b"Name:\tsh\nState:\tZ (zombie)\nThreads:\t1\n";
        assert_eq!(parse_status(text), None);
    }

    #[test]
    fn proportional_memory_counts_what_is_swapped_out() {
        let text = b"5646fdf23000-7ffeaeef7000 ---p 00000000 00:00 0                          [rollup]\n\
            Rss:                1624 kB\nPss:                 392 kB\nPss_Dirty:           112 kB\nSwap:                  20 kB\n\
            SwapPss:               8 kB\nLocked:                0 kB\n";
        assert_eq!(parse_rollup(text), Some(400 << 10));
        assert_eq!(parse_rollup(b""), None);
    }

    #[test]
    fn the_machines_memory_is_read_out_of_its_lines() {
        let text = b"MemTotal:        4029020 kB\nMemFree:          123456 kB\nMemAvailable:    2000000 kB\n";
        assert_eq!(parse_meminfo(text), Some(MachineMemory { total: 4_029_020 << 10, available: 2_000_000 << 10 }));
        assert_eq!(parse_meminfo(b"MemTotal: 7 kB\n"), None);
        assert!(machine_memory().is_some());
    }

    #[test]
    fn children_are_a_list_of_numbers() {
        assert_eq!(parse_children("4078 4079 \n"), [4078, 4079]);
        assert_eq!(parse_children(""), Vec::<u32>::new());
    }

    #[test]
    fn this_very_process_is_its_parents_descendant() {
        let own = std::process::id();
        let parent = stat(own).unwrap().parent;
        assert!(descendants(parent).contains(&own));
        assert!(children_by_search(parent).contains(&own));
        assert!(memory(own).unwrap().own > 0);
        assert!(proportional_memory(own).unwrap() > 0);
    }
}
