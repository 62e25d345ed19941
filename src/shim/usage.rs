//! What a whole tree of processes takes, summed from what `/proc` says of each.
//!
//! Memory is told in two ways. The quick one reads `status`, which takes the same few microseconds whatever a process's
//! size, and counts a page that processes share for each of them: it is never too low, but for a few pages that each
//! processor has not yet reported. The exact one reads `smaps_rollup`, which goes through every page, and the process
//! can't map memory meanwhile. So a tree is looked at exactly only if the quick sum is close to a limit or above. Measured:
//!
//! | processes | of | `statm` | `status` | `smaps_rollup` |
//! | --- | --- | --- | --- | --- |
//! | 1 | 10 MiB | 3 µs | 6 µs | 60 µs |
//! | 10 | 10 MiB | 20 µs | 40 µs | 700 µs |
//! | 100 | 10 MiB | 200 µs | 420 µs | 9.6 ms |
//! | 10 | 200 MiB | 20 µs | 40 µs | 6.4 ms |
//!
//! `statm` can't tell pages of a process's own from those of files, and knows nothing of what is swapped out. A whole quick
//! look, with times and the search for children, takes 20 µs a process.
//!
//! Not counted: files in memory that no process has mapped, and the time of children whose parent ignores their end.

use std::time::Duration;

use super::proc::{self, Memory, Stat};

/// The processes below one, and what they take.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// The processes, ended ones included that nobody has waited for.
    pub pids: Vec<u32>,
    /// CPU time, in ticks, with that of the ended ones.
    pub ticks: u64,
    /// Bytes of memory, at most.
    pub most_memory: u64,
    /// Bytes of memory, if what is shared is shared by all.
    pub likely_memory: u64,
}

/// Sums the descendants of a process. Of itself only the time of its ended children counts.
pub fn below(root: u32) -> Sum {
    // The parent's times are read before its children are listed: a child that ends in between is missed rather than
    // counted twice.
    let ended = proc::stat(root).map_or(0, |stat| stat.ticks_of_ended);
    let pids = proc::descendants(root);
    let each: Vec<_> =
        pids.iter().filter_map(|pid| Some((proc::stat(*pid)?, proc::memory(*pid).unwrap_or_default()))).collect();
    Sum { pids, ..sum(ended, &each) }
}

fn sum(ended: u64, each: &[(Stat, Memory)]) -> Sum {
    let own: u64 = each.iter().map(|(_, memory)| memory.own).sum();
    let shared = each.iter().map(|(_, memory)| memory.shared);
    Sum {
        pids: Vec::new(),
        ticks: ended + each.iter().map(|(stat, _)| stat.ticks + stat.ticks_of_ended).sum::<u64>(),
        most_memory: own + shared.clone().sum::<u64>(),
        likely_memory: own + shared.max().unwrap_or(0),
    }
}

/// Bytes of memory of these processes, each page counted once. For one that may not be looked at, all that it might
/// share is counted.
pub fn exact_memory(pids: &[u32]) -> u64 {
    let at_most = |pid| proc::memory(pid).map(|memory| memory.own + memory.shared);
    pids.iter().filter_map(|pid| proc::proportional_memory(*pid).or_else(|| at_most(*pid))).sum()
}

/// How long so many ticks are.
pub fn time(ticks: u64) -> Duration {
    let a_second = rustix::param::clock_ticks_per_second().max(1);
    Duration::from_secs(ticks / a_second) + Duration::from_secs(ticks % a_second) / u32::try_from(a_second).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(ticks: u64, ticks_of_ended: u64, own: u64, shared: u64) -> (Stat, Memory) {
        (Stat { parent: 1, ticks, ticks_of_ended }, Memory { own, shared })
    }

    #[test]
    fn times_are_those_of_the_living_and_of_the_dead() {
        let sum = sum(1_000, &[process(1, 10, 0, 0), process(2, 20, 0, 0)]);
        assert_eq!(sum.ticks, 1_033);
    }

    #[test]
    fn shared_memory_counts_for_each_at_most_and_once_at_least() {
        let sum = sum(0, &[process(0, 0, 5, 100), process(0, 0, 7, 80)]);
        assert_eq!((sum.most_memory, sum.likely_memory), (192, 112));
        assert_eq!(super::sum(0, &[]), Sum::default());
    }

    #[test]
    fn ticks_are_turned_into_time_without_losing_any() {
        let a_second = rustix::param::clock_ticks_per_second();
        assert_eq!(time(a_second * 3_600), Duration::from_hours(1));
        assert_eq!(time(a_second * 3 / 2), Duration::from_millis(1_500));
    }

    #[test]
    fn a_process_that_is_gone_takes_nothing() {
        assert_eq!(below(u32::MAX), Sum::default());
        assert_eq!(exact_memory(&[u32::MAX]), 0);
    }
}
