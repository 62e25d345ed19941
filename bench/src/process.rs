//! What the kernel says of a process.

use std::fs;
use std::time::Duration;

/// Anonymous memory that it holds, in bytes: what it alone has and no file backs.
pub fn anonymous_bytes(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("a process that runs");
    let line = text.lines().find_map(|line| line.strip_prefix("Anonymous:")).expect("its anonymous memory");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1_024
}

/// Its parent.
pub fn parent(pid: u32) -> u32 {
    let parent = numbers(pid).get(PARENT).copied().expect("a parent");
    u32::try_from(parent).expect("a process")
}

/// Waits until it has nothing left to do: until it takes no more of a processor for a while.
pub fn wait_until_idle(pid: u32) {
    const A_WHILE: Duration = Duration::from_millis(50);
    let time = || numbers(pid)[USER_TIME..=SYSTEM_TIME].iter().sum::<u64>();
    let mut before = time();
    loop {
        std::thread::sleep(A_WHILE);
        let now = time();
        if now == before {
            return;
        }
        before = now;
    }
}

/// The places of some numbers in `/proc/PID/stat` behind the name and the state (`proc(5)`).
const PARENT: usize = 0;
const USER_TIME: usize = 10;
const SYSTEM_TIME: usize = 11;

fn numbers(pid: u32) -> Vec<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process that runs");
    // The name, in parentheses, may hold anything.
    let after = text.rsplit_once(") ").expect("a name").1;
    after.split(' ').skip(1).map(|number| number.trim().parse().unwrap_or_default()).collect()
}

/// Lets this process open as many files as it may at most.
pub fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}
