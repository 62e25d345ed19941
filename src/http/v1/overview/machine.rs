//! Disk and memory as the overview shows them. The system is asked off the async threads: a disk may hang.

use crate::data_dir::DataPaths;
use crate::shim::proc;

use super::view::{DiskView, MemoryView};

/// Looks at both.
pub(super) async fn look(paths: &DataPaths) -> (Option<DiskView>, MemoryView) {
    let paths = paths.clone();
    tokio::task::spawn_blocking(move || (disk(&paths), memory())).await.unwrap_or_default()
}

/// The disk of the data directory, as far as the system tells. Blocks.
pub(in crate::http) fn disk(paths: &DataPaths) -> Option<DiskView> {
    let stat = rustix::fs::statvfs(paths.root()).ok()?;
    let files = paths.database_files().into_iter().chain(paths.events_files());
    Some(DiskView {
        free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
        total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
        store_bytes: files.filter_map(|file| Some(file.metadata().ok()?.len())).sum(),
    })
}

fn memory() -> MemoryView {
    let machine = proc::machine_memory();
    MemoryView {
        server_bytes: proc::memory(std::process::id()).map(|memory| memory.own + memory.shared),
        machine_available_bytes: machine.map(|memory| memory.available),
        machine_total_bytes: machine.map(|memory| memory.total),
    }
}
