//! Watches what an agent's tree takes, and says when that is more than it may.
//!
//! It only looks and says: who calls it ends the agent. It looks every 500 ms if a limit needs it and every 5 s
//! otherwise, for the figures alone; later if the tree has hundreds of processes, so that looking at them takes no more
//! than a few hundredths of a processor. A tree can go beyond a limit between two looks. With a control group the kernel
//! keeps the limit of memory by itself at every moment, and counts memory and time without missing any; processes are
//! counted here all the same, because to the kernel threads are processes.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::config::format_size;

use super::cgroup::Group;
use super::measure::{DEEPEST, Found, Measure};
use super::order::Limits;
use super::usage;
use super::wire::Usage;

const OFTEN: Duration = Duration::from_millis(500);
const SELDOM: Duration = Duration::from_secs(5);

/// An exact look costs about 3 ms a GiB: one is left out for each so many bytes, so that all of them together take no
/// more than a hundredth of a processor.
const BYTES_A_LOOK_LEFT_OUT: u64 = 2 << 30;
/// A look costs about 20 µs a process: with so many more, the next one comes later.
const PROCESSES_AT_FULL_PACE: u32 = 250;
const LATEST: Duration = Duration::from_secs(10);
/// However large a tree is, it is looked at exactly after so many looks.
const MOST_LEFT_OUT: u32 = 20;

/// What one look found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// What the tree takes.
    pub usage: Usage,
    /// The processes of the tree.
    pub processes: Vec<u32>,
    /// Which limit it is over, in words: `over its memory limit of 512 MiB`.
    pub breach: Option<String>,
}

/// Watches the processes below a shim.
#[derive(Debug)]
pub struct Watch {
    limits: Limits,
    group: Option<Group>,
    shim: u32,
    /// Of its own directory, if that has a quota.
    measure: Option<Measure>,
    due: Timestamp,
    time: Duration,
    exact: u64,
    left_out: u32,
}

impl Watch {
    /// Watches everything below the process `shim`, which is its subreaper; with the agent's control group, if it has
    /// one, and the directory `own`, if the agent has one of its own. The first look is due when a program may have begun to take something.
    pub fn new(limits: &Limits, own: &Path, group: Option<Group>, shim: u32, now: Timestamp) -> Self {
        let measure = limits.own_directory.map(|_| Measure::begin(own.to_owned()));
        let (limits, time) = (limits.clone(), Duration::ZERO);
        let watch = Self { limits, group, shim, measure, due: now, time, exact: 0, left_out: 0 };
        Self { due: now + watch.interval(), ..watch }
    }

    /// When the next look is due.
    pub fn next(&self) -> Timestamp {
        self.due
    }

    /// Looks at the whole tree, if that is due. Ended children of the shim should have been waited for.
    pub fn look(&mut self, now: Timestamp) -> Option<Look> {
        if now < self.due {
            return None;
        }
        let sum = usage::below(self.shim);
        let counted = self.group.as_ref().and_then(|group| Some((group.memory()?, group.time()?)));
        let (memory, time) = match counted {
            Some((memory, time)) => (memory, time),
            None => (self.memory(&sum), usage::time(sum.ticks)),
        };
        // A child that ends during the look may be missed by it; time that was taken stays taken.
        self.time = self.time.max(time);
        let processes = u32::try_from(sum.pids.len()).unwrap_or(u32::MAX);
        self.due = now + paced(self.interval(), processes);
        let found = self.measure.as_ref().and_then(Measure::found);
        let own_directory = found.and_then(Found::bytes);
        let usage = Usage { memory, cpu: self.time, processes, own_directory };
        let too_deep = || (found == Some(Found::TooDeep)).then(too_deep);
        let breach = self.killed().or_else(|| breach(&self.limits, &usage)).or_else(too_deep);
        Some(Look { usage, processes: sum.pids, breach })
    }

    /// Which limit the kernel has ended the agent for, in words, if it did so by itself. To be asked when the agent has
    /// ended.
    pub fn killed(&self) -> Option<String> {
        let group = self.group.as_ref()?;
        self.limits.memory.filter(|_| group.ran_out_of_memory()).map(over_memory)
    }

    /// Which limits are in force and by what, as [`super::wire::Welcome`] has it.
    pub fn words(&self) -> String {
        words(&self.limits, self.group.is_some())
    }

    /// Notes that the agent's program has begun, whose exec stage removes a group that it can't enter. Returns whether it
    /// was so.
    pub fn begun(&mut self) -> bool {
        self.group.take_if(|group| !group.exists()).is_some()
    }

    /// Kills everything in the agent's control group, if it has one.
    pub fn kill(&self) {
        // Whatever the kernel can't do here is done process by process.
        let _ = self.group.as_ref().map(Group::kill);
    }

    /// Removes the agent's control group, if it has one; false as long as somebody is left there.
    pub fn remove_group(&mut self) -> bool {
        let is_busy = |group: &Group| matches!(group.remove(), Err(error) if error.kind() == ErrorKind::ResourceBusy);
        if self.group.as_ref().is_some_and(is_busy) {
            return false;
        }
        self.group = None;
        true
    }

    fn interval(&self) -> Duration {
        let Limits { memory, cpu_time, open_files: _, processes, output_rate: _, own_directory } = self.limits;
        let watches_memory = memory.is_some() && self.group.is_none();
        let is_watched = watches_memory || cpu_time.is_some() || processes.is_some() || own_directory.is_some();
        if is_watched { OFTEN } else { SELDOM }
    }

    /// Bytes of memory: exact when it matters, a likely figure otherwise.
    fn memory(&mut self, sum: &usage::Sum) -> u64 {
        // The quick sum may be a little late, so that it is not trusted close to the limit.
        if self.limits.memory.is_none_or(|limit| sum.most_memory <= limit - limit / 8) {
            self.left_out = 0;
            return sum.likely_memory;
        }
        match self.left_out.checked_sub(1) {
            Some(left) => self.left_out = left,
            None => {
                self.exact = usage::exact_memory(&sum.pids);
                self.left_out = looks_left_out(sum.most_memory);
            }
        }
        self.exact
    }
}

fn paced(interval: Duration, processes: u32) -> Duration {
    (interval * (1 + processes / PROCESSES_AT_FULL_PACE)).min(LATEST)
}

fn looks_left_out(most_memory: u64) -> u32 {
    u32::try_from(most_memory / BYTES_A_LOOK_LEFT_OUT).unwrap_or(u32::MAX).min(MOST_LEFT_OUT)
}

/// Which limit is exceeded, in words.
fn breach(limits: &Limits, usage: &Usage) -> Option<String> {
    let memory = limits.memory.filter(|limit| usage.memory > *limit).map(over_memory);
    let time = || limits.cpu_time.filter(|limit| usage.cpu > *limit);
    let processes = || limits.processes.filter(|limit| usage.processes > *limit);
    let directory = || limits.own_directory.filter(|limit| usage.own_directory.is_some_and(|bytes| bytes > *limit));
    memory
        .or_else(|| time().map(|limit| format!("over its CPU time of {}", humantime::format_duration(limit))))
        .or_else(|| processes().map(|limit| format!("over its limit of {}", number_of(limit))))
        .or_else(|| directory().map(|limit| format!("its own directory is over its quota of {}", format_size(limit))))
}

fn too_deep() -> String {
    format!("its own directory has a quota, and is more than {DEEPEST} directories deep")
}

fn over_memory(limit: u64) -> String {
    format!("over its memory limit of {}", format_size(limit))
}

fn number_of(processes: u32) -> String {
    if processes == 1 { "1 process".to_owned() } else { format!("{processes} processes") }
}

/// Which limits are in force, and by what: `memory 512 MiB (looked at every 500 ms), 1024 open files`. Empty if none is.
pub fn words(limits: &Limits, has_group: bool) -> String {
    const LOOKED_AT: &str = "looked at every 500 ms";
    const MEASURED: &str = "measured every few seconds";
    let Limits { memory, cpu_time, open_files, processes, output_rate, own_directory } = limits;
    let by = if has_group { "cgroup" } else { LOOKED_AT };
    let parts = [
        memory.map(|bytes| format!("memory {} ({by})", format_size(bytes))),
        cpu_time.map(|time| format!("CPU time {} ({LOOKED_AT})", humantime::format_duration(time))),
        processes.map(|most| format!("{} ({LOOKED_AT})", number_of(most))),
        open_files.map(|most| format!("{most} open files")),
        output_rate.map(|bytes| format!("{} of output a second", format_size(bytes))),
        own_directory.map(|bytes| format!("own directory {} ({MEASURED})", format_size(bytes))),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::process::{Child, Command, Stdio};

    const NOW: Timestamp = Timestamp::from_micros(1_000_000);

    fn limits() -> Limits {
        Limits {
            memory: Some(512 << 20),
            cpu_time: Some(Duration::from_hours(1)),
            open_files: Some(1024),
            processes: Some(64),
            output_rate: Some(1 << 20),
            own_directory: Some(1 << 30),
        }
    }

    #[test]
    fn what_is_at_its_limit_is_not_over_it() {
        let usage =
            Usage { memory: 512 << 20, cpu: Duration::from_hours(1), processes: 64, own_directory: Some(1 << 30) };
        assert_eq!(breach(&limits(), &usage), None);
        assert_eq!(breach(&Limits::default(), &usage), None);
    }

    #[test]
    fn a_breach_names_the_limit() {
        let within = Usage { memory: 1, cpu: Duration::ZERO, processes: 1, own_directory: None };
        for (usage, words) in [
            (Usage { memory: (512 << 20) + 1, ..within }, "over its memory limit of 512 MiB"),
            (Usage { cpu: Duration::from_millis(3_600_001), ..within }, "over its CPU time of 1h"),
            (Usage { processes: 65, ..within }, "over its limit of 64 processes"),
            (Usage { own_directory: Some((1 << 30) + 1), ..within }, "its own directory is over its quota of 1 GiB"),
        ] {
            assert_eq!(breach(&limits(), &usage).as_deref(), Some(words));
        }
        let alone = Limits { processes: Some(1), ..Limits::default() };
        let two = Usage { processes: 2, ..within };
        assert_eq!(breach(&alone, &two).as_deref(), Some("over its limit of 1 process"));
    }

    #[test]
    fn the_limits_are_told_with_who_keeps_them() {
        assert_eq!(
            words(&limits(), false),
            "memory 512 MiB (looked at every 500 ms), CPU time 1h (looked at every 500 ms), \
             64 processes (looked at every 500 ms), 1024 open files, 1 MiB of output a second, \
             own directory 1 GiB (measured every few seconds)"
        );
        let memory = Limits { memory: Some(1_000_000_000), ..Limits::default() };
        assert_eq!(words(&memory, true), "memory 1 GB (cgroup)");
        assert_eq!(words(&Limits::default(), true), "");
    }

    #[test]
    fn a_tree_is_looked_at_often_only_if_a_limit_needs_it() {
        for (limits, interval) in [
            (Limits::default(), SELDOM),
            (Limits { open_files: Some(64), output_rate: Some(1), ..Limits::default() }, SELDOM),
            (Limits { processes: Some(1), ..Limits::default() }, OFTEN),
        ] {
            let mut watch = Watch::new(&limits, Path::new("/"), None, u32::MAX, NOW);
            assert_eq!((watch.look(NOW), watch.next()), (None, NOW + interval));
            assert!(watch.look(NOW + interval).is_some());
            assert_eq!(watch.next(), NOW + interval * 2);
        }
    }

    #[test]
    fn the_more_processes_a_tree_has_the_later_it_is_looked_at_again() {
        assert_eq!([0, 249, 250, 1_000].map(|most| paced(OFTEN, most).as_millis()), [500, 500, 1_000, 2_500]);
        assert_eq!(paced(SELDOM, 1_000_000), LATEST);
    }

    #[test]
    fn the_larger_a_tree_the_more_exact_looks_are_left_out() {
        assert_eq!([0, 1 << 30, 5 << 30, u64::MAX].map(looks_left_out), [0, 0, 2, MOST_LEFT_OUT]);
    }

    #[test]
    fn with_a_control_group_the_kernels_figures_count_and_its_kill_is_explained() {
        let directory = tempfile::tempdir().unwrap();
        let say = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
        say("memory.current", "4096\n");
        say("cpu.stat", "usage_usec 1500000\n");
        say("memory.events", "oom_kill 0\n");
        let limits = Limits { memory: Some(60_000_000), ..Limits::default() };
        let mut watch = Watch::new(&limits, Path::new("/"), Some(Group::at(directory.path())), u32::MAX, NOW);
        let usage = Usage { memory: 4096, cpu: Duration::from_millis(1_500), processes: 0, own_directory: None };
        assert_eq!(watch.look(watch.next()), Some(Look { usage, processes: Vec::new(), breach: None }));
        assert_eq!((watch.next(), watch.killed()), (NOW + SELDOM * 2, None));

        say("memory.events", "oom_kill 1\n");
        assert_eq!(watch.killed().as_deref(), Some("over its memory limit of 60 MB"));
        assert_eq!(watch.look(watch.next()).unwrap().breach, watch.killed());
    }

    #[test]
    fn a_group_that_the_agent_could_not_enter_keeps_no_limit() {
        let directory = tempfile::tempdir().unwrap();
        let limits = Limits { memory: Some(1 << 20), ..Limits::default() };
        let watch = |path: &std::path::Path| Watch::new(&limits, Path::new("/"), Some(Group::at(path)), u32::MAX, NOW);
        let (mut entered, mut removed) = (watch(directory.path()), watch(&directory.path().join("removed")));
        assert_eq!((entered.begun(), entered.words()), (false, "memory 1 MiB (cgroup)".to_owned()));
        assert_eq!((removed.begun(), removed.words()), (true, "memory 1 MiB (looked at every 500 ms)".to_owned()));
    }

    #[test]
    fn a_child_that_eats_memory_is_over_its_limit() {
        let tree = Tree::start(
            r#"exec python3 -c '
import sys
eaten = bytearray(b"x") * 80_000_000
print("ready", flush=True)
sys.stdin.read()'"#,
        );
        let look = tree.look(Limits { memory: Some(60_000_000), ..Limits::default() });
        assert!(look.usage.memory > 80_000_000, "{look:?}");
        assert_eq!(look.breach.as_deref(), Some("over its memory limit of 60 MB"));

        let look = tree.look(Limits { memory: Some(1 << 30), ..Limits::default() });
        assert!((80_000_000..1 << 30).contains(&look.usage.memory), "{look:?}");
        assert_eq!(look.breach, None);
        tree.end();
    }

    #[test]
    fn memory_that_forked_processes_share_counts_once() {
        let tree = Tree::start(
            r#"exec python3 -c '
import os, sys
eaten = bytearray(b"x") * 80_000_000
for _ in range(4):
    if os.fork() == 0:
        sys.stdin.read()
        os._exit(0)
print("ready", flush=True)
sys.stdin.read()'"#,
        );
        let look = tree.look(Limits { memory: Some(160_000_000), ..Limits::default() });
        assert!(look.usage.memory > 80_000_000, "{look:?}");
        assert_eq!(look.breach, None, "{look:?}");
        tree.end();
    }

    #[test]
    fn memory_counts_also_after_the_first_thread_has_ended() {
        let tree = Tree::start(
            r#"exec python3 -c '
import ctypes, os, sys, threading
def eat():
    eaten = bytearray(b"x") * 80_000_000
    while "(zombie)" not in open(f"/proc/{os.getpid()}/status").read(): pass
    print("ready", flush=True)
    sys.stdin.read()
    os._exit(0)
threading.Thread(target=eat).start()
ctypes.CDLL(None).pthread_exit(None)'"#,
        );
        let look = tree.look(Limits { memory: Some(60_000_000), ..Limits::default() });
        assert_eq!(look.breach.as_deref(), Some("over its memory limit of 60 MB"), "{look:?}");
        tree.end();
    }

    #[test]
    fn all_processes_are_counted_also_children_of_children_and_of_threads() {
        let tree = Tree::start(
            r#"exec python3 -c '
import os, subprocess, sys, threading
there, tell = os.pipe()
for _ in range(2):
    if os.fork() == 0:
        os.fork()
        os.write(tell, b"x")
        sys.stdin.read()
        os._exit(0)
def start_another():
    child = subprocess.Popen(["cat"], stdout=subprocess.DEVNULL)
    os.write(tell, b"x")
    child.wait()
threading.Thread(target=start_another).start()
for _ in range(5):
    os.read(there, 1)
print("ready", flush=True)
sys.stdin.read()'"#,
        );
        let look = tree.look(Limits { processes: Some(5), ..Limits::default() });
        assert_eq!(look.usage.processes, 6);
        assert_eq!(look.breach.as_deref(), Some("over its limit of 5 processes"));
        assert_eq!(tree.look(Limits { processes: Some(6), ..Limits::default() }).breach, None);
        tree.end();
    }

    #[test]
    fn the_time_of_those_that_ended_counts() {
        let tree = Tree::start(
            r#"python3 -c '
import time
while time.process_time() < 0.3: pass
'; echo ready; cat >/dev/null"#,
        );
        let look = tree.look(Limits { cpu_time: Some(Duration::from_millis(200)), ..Limits::default() });
        assert_eq!(look.breach.as_deref(), Some("over its CPU time of 200ms"), "{look:?}");
        tree.end();
    }

    /// A shell that stands in for a shim: what it starts is the tree. Everything ends when its stdin does.
    struct Tree {
        shell: Child,
    }

    impl Tree {
        /// Returns when the script has written its line.
        fn start(script: &str) -> Self {
            let mut shell = Command::new("sh")
                .args(["-c", &format!("({script})\ncat >/dev/null")])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut line = String::new();
            BufReader::new(shell.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
            assert_eq!(line, "ready\n");
            Self { shell }
        }

        fn look(&self, limits: Limits) -> Look {
            let mut watch = Watch::new(&limits, Path::new("/"), None, self.shell.id(), NOW);
            watch.look(watch.next()).unwrap()
        }

        fn end(mut self) {
            drop(self.shell.stdin.take());
            self.shell.wait().unwrap();
        }
    }
}
