//! What the kernel says of a process.

use std::fs;

/// Anonymous memory that it holds, in bytes: what it alone has and no file backs.
pub fn anonymous_bytes(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("a process that runs");
    let line = text.lines().find_map(|line| line.strip_prefix("Anonymous:")).expect("its anonymous memory");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1_024
}

/// Its parent.
pub fn parent(pid: u32) -> u32 {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process that runs");
    // The name, in parentheses, may hold anything.
    let after = text.rsplit_once(") ").expect("a name").1;
    after.split(' ').nth(1).and_then(|parent| parent.parse().ok()).expect("a parent")
}

/// Lets this process open as many files as it may at most.
pub fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}
