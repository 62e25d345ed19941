//! Takes a snapshot of a data directory.
//!
//! Whether a server has the directory is seen without touching its lock: a lock tried here, even for a moment, would
//! turn away a server that starts at that moment. The lock's file names a process; if the system's list of locks
//! (`/proc/locks`) says that this one has a lock on the file, it has the directory. A connection to the control socket, on which nothing is asked, tells whether it serves.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD};
use rustix::io::Errno;

use crate::agent::kept_logs::KeptLogs;
use crate::clock::{Clock, SystemClock};
use crate::control;
use crate::data_dir::DataPaths;
use crate::events;
use crate::store::sqlite::inspect::{self, Tables};

use super::{DataFile, Server, Snapshot, VerifyError};

mod agents;

/// Looks at everything once. Blocks.
///
/// # Errors
/// A [`VerifyError`].
pub fn look(directory: &Path) -> Result<Snapshot, VerifyError> {
    let paths = DataPaths::new(directory);
    let name = || directory.display().to_string();
    let unreadable = |error: &dyn std::fmt::Display| VerifyError::Unreadable(name(), error.to_string());
    // SQLite says only that it can't open a file, which sounds like damage.
    if [paths.database(), paths.events()].iter().any(|file| may_not_read(file)) {
        return Err(VerifyError::NotAllowed(name()));
    }
    let server = server(&paths);
    let tables = match paths.database().try_exists() {
        Ok(true) => inspect::read(&paths.database()).map_err(|error| unreadable(&error))?,
        Ok(false) if !paths.remains().is_empty() => {
            let fault = format!("frontdesk.db is missing, but {}; the next start refuses", paths.remains());
            Tables { faults: vec![fault], ..Tables::default() }
        }
        // A first start that died early has the lock's file and nothing else.
        Ok(false) if paths.lock().exists() => Tables::default(),
        Ok(false) => return Err(VerifyError::NoDataDirectory(name())),
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => {
            return Err(VerifyError::NoDataDirectory(name()));
        }
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            return Err(VerifyError::NotAllowed(name()));
        }
        Err(error) => return Err(unreadable(&error)),
    };
    // After the rows: a file or a process that goes with its session is not missed while the row still stands.
    let files = files(&paths.session_data()).map_err(|error| unreadable(&error))?;
    let logs = KeptLogs::new(paths.logs()).all().map_err(|error| unreadable(&error))?;
    let (directories, shims, processes) =
        agents::look(&paths.agents(), tables.desk.as_deref()).map_err(|error| unreadable(&error))?;
    let events = events::inspect::read(&paths.events()).map_err(|error| unreadable(&error))?;
    Ok(Snapshot {
        server,
        now: SystemClock::resume(tables.heartbeat.as_ref()).now(),
        faults: tables.faults,
        version: tables.version,
        live: tables.live,
        history: tables.history,
        noted: tables.noted,
        customers: tables.customers,
        operators: tables.operators,
        files,
        logs,
        directories,
        shims,
        processes,
        events,
    })
}

/// Whether the file is there, or behind a closed directory, and this user may not read it.
pub(crate) fn may_not_read(file: &Path) -> bool {
    let access = rustix::fs::accessat(CWD, file, Access::READ_OK, AtFlags::EACCESS);
    matches!(access, Err(Errno::ACCESS | Errno::PERM))
}

/// Whether a server has the directory.
pub(crate) fn server(paths: &DataPaths) -> Server {
    if control::is_served(paths.root()) {
        Server::Serving
    } else if holder(&paths.lock()).is_some() {
        Server::Settling
    } else {
        Server::Absent
    }
}

/// The process that has the lock, if it is the one that the file names.
pub(crate) fn holder(lock: &Path) -> Option<u32> {
    let pid: u32 = fs::read_to_string(lock).ok()?.trim().parse().ok()?;
    let file = fs::metadata(lock).ok()?;
    let list = fs::read_to_string("/proc/locks").unwrap_or_default();
    (has_lock(&list, pid, file.ino()) || has_open(pid, &file)).then_some(pid)
}

/// Whether a list such as `1: FLOCK ADVISORY WRITE 4711 fe:00:6651911 0 EOF` has a lock of the process on a file with this
/// number. Its device is not looked at: some file systems show another one to stat(2).
fn has_lock(list: &str, pid: u32, inode: u64) -> bool {
    list.lines().any(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [_, "FLOCK", _, "WRITE", holder, file, ..] = fields[..] else { return false };
        holder.parse() == Ok(pid) && file.rsplit(':').next().and_then(|inode| inode.parse().ok()) == Some(inode)
    })
}

/// Whether the process has the file open, as far as this user may see that.
fn has_open(pid: u32, file: &fs::Metadata) -> bool {
    let identity = |metadata: &fs::Metadata| (metadata.dev(), metadata.ino());
    let wanted = identity(file);
    let mut descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    descriptors.any(|entry| fs::metadata(entry.path()).is_ok_and(|open| identity(&open) == wanted))
}

fn files(directory: &Path) -> std::io::Result<Vec<DataFile>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        // The store leaves alone what it did not make, and so does who looks for its faults.
        let Some((session, is_finished)) = inspect::data_file(&path) else { continue };
        if !entry.file_type()?.is_file() {
            continue;
        }
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let fault = match is_finished.then(|| fs::read(&path)) {
            // Unfinished ones are judged by their name, and one that has just gone by its session's row.
            None => None,
            Some(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Some(Err(error)) => Some(error.to_string()),
            Some(Ok(bytes)) => inspect::check_data(&bytes).err(),
        };
        files.push(DataFile { name, session, is_finished, fault });
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_found_by_its_process_and_its_file() {
        let list = "1: POSIX  ADVISORY  WRITE 7 fe:00:70 0 EOF\n2: FLOCK  ADVISORY  WRITE 4711 fe:00:6651911 0 EOF\n\
            2: -> FLOCK  ADVISORY  WRITE 8 fe:00:6651911 0 EOF\n";
        assert!(has_lock(list, 4711, 6_651_911));
        for (pid, inode) in [(7, 70), (8, 6_651_911), (4711, 70), (471, 6_651_911)] {
            assert!(!has_lock(list, pid, inode), "{pid} {inode}");
        }
    }
}
