//! What the system knows of the server's own process. Blocks.

use std::fs;

use rustix::process::{Resource, getrlimit};

use crate::shim::proc;

use super::text::Family;

/// The families that every process of the kind has, as far as the system tells; `started` in seconds since the epoch.
pub(super) fn families(started: f64) -> Vec<Family> {
    let mut families = vec![Family::gauge(
        "process_start_time_seconds",
        "When the server was started, since the Unix epoch.",
        started,
    )];
    if let Some(stat) = proc::stat(std::process::id()) {
        let seconds = stat.ticks as f64 / rustix::param::clock_ticks_per_second() as f64;
        families.push(Family::seconds("process_cpu_seconds", "CPU time.", seconds));
    }
    if let Some((virtual_bytes, resident_bytes)) = memory() {
        families.push(Family::gauge("process_virtual_memory_bytes", "Addresses taken.", virtual_bytes));
        families.push(Family::gauge("process_resident_memory_bytes", "Memory taken.", resident_bytes));
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        // The directory itself is open while it is read.
        let count = open.count().saturating_sub(1);
        families.push(Family::gauge("process_open_fds", "Open file descriptors.", count as f64));
    }
    let most = getrlimit(Resource::Nofile).current.map_or(f64::INFINITY, |most| most as f64);
    families.push(Family::gauge("process_max_fds", "Open file descriptors that there may be.", most));
    families
}

/// Virtual and resident bytes, out of `/proc/self/statm`.
fn memory() -> Option<(f64, f64)> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let mut pages = text.split(' ').map(str::parse::<u64>);
    let bytes = |pages: u64| pages.saturating_mul(rustix::param::page_size() as u64) as f64;
    Some((bytes(pages.next()?.ok()?), bytes(pages.next()?.ok()?)))
}
