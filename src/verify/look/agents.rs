//! What there is of agents: the sessions' directories, the shims, and the processes that carry the desk's marks.
//!
//! No lock is touched: a lock tried here, even for a moment, would turn away a shim that starts at that moment. Who has
//! a directory's `lock` open has it; a shim is told by its name and by that file. A launcher is not looked for: it holds
//! nothing of a desk, and ends with its server.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::agent::{leftovers, uids};
use crate::data_dir::UIDS;
use crate::id::SessionId;
use crate::shim::lineage;
use crate::shim::place::Place;
use crate::shim::process_table::{self, ProcessTable};
use crate::shim::run;

use crate::verify::{Directory, Process, Shim};

/// A process as the system's table has it.
struct Entry {
    parent: u32,
    is_shim: bool,
}

/// Which file it is, whatever its name.
type Identity = (u64, u64);

/// The sessions' directories, the shims that have or had one, and the marked processes.
///
/// # Errors
/// What the file system said of the directory that holds them.
pub(super) fn look(root: &Path, desk: Option<&str>) -> std::io::Result<(Vec<Directory>, Vec<Shim>, Vec<Process>)> {
    let mut directories = directories(root)?;
    let processes = table();
    let shims = shims(root, &directories, &processes);
    find_strangers(root, &mut directories, &shims, &processes);
    let marked = desk.map(leftovers::marked).unwrap_or_default();
    // A process that began after the table was read is found by the next look, if it is still of interest then.
    let marked = marked.into_iter().filter(|marked| processes.contains_key(&marked.pid)).map(|marked| Process {
        pid: marked.pid,
        session: marked.session,
        epoch: marked.epoch,
        shim: shim_above(marked.pid, &processes),
    });
    let mut found: Vec<Process> = marked.collect();
    for stray in strays(root, &directories).into_iter().chain(of_users(root, &processes)) {
        if found.iter().all(|process| process.pid != stray.pid) {
            found.push(stray);
        }
    }
    Ok((directories, shims, found))
}

/// The processes of sessions' agents that are below no shim, by what their shims have written down.
fn strays(root: &Path, directories: &[Directory]) -> Vec<Process> {
    let table = ProcessTable::read();
    let of_directory = |directory: &Directory| {
        let (session, place) = (directory.session, Place::new(&root.join(directory.session.to_string())));
        let process = move |pid| Process { pid, session, epoch: None, shim: None };
        lineage::strays(&place, &table).into_iter().map(move |stray| process(stray.pid))
    };
    directories.iter().flat_map(of_directory).collect()
}

/// The processes below no shim that run as the user that a session has for itself.
fn of_users(root: &Path, processes: &HashMap<u32, Entry>) -> Vec<Process> {
    let noted = uids::noted(&root.with_file_name(UIDS)).unwrap_or_default();
    let sessions: HashMap<u32, SessionId> =
        noted.into_iter().filter_map(|(uid, session)| Some((uid, session?))).collect();
    if sessions.is_empty() {
        return Vec::new();
    }
    let below_none = processes.keys().filter(|pid| shim_above(**pid, processes).is_none());
    let of_session = below_none.filter_map(|pid| {
        let session = sessions.get(&process_table::user(*pid)?)?;
        process_table::row(*pid).map(|_| Process { pid: *pid, session: *session, epoch: None, shim: None })
    });
    of_session.collect()
}

fn directories(root: &Path) -> std::io::Result<Vec<Directory>> {
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut directories = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let Some(session) = name.and_then(|name| name.parse().ok()) else { continue };
        let place = Place::new(&path);
        directories.push(Directory {
            session,
            epoch: place.fence().ok().flatten().map(|fence| fence.epoch),
            ended: place.end().ok().flatten().map(|record| record.epoch),
            named: place.last_shim().ok().flatten().and_then(|(pid, _)| pid.try_into().ok()),
            stranger: None,
        });
    }
    directories.sort_by_key(|directory| directory.session);
    Ok(directories)
}

fn table() -> HashMap<u32, Entry> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: u32| Some((pid, entry(&fs::read(format!("/proc/{pid}/stat")).ok()?)?))).collect()
}

/// Reads a line of `/proc/PID/stat`: `PID (NAME) STATE PARENT …`, where the name may hold anything.
fn entry(stat: &[u8]) -> Option<Entry> {
    let (opening, closing) =
        (stat.iter().position(|byte| *byte == b'(')?, stat.iter().rposition(|byte| *byte == b')')?);
    let parent = std::str::from_utf8(&stat[closing + 1..]).ok()?.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(Entry { parent, is_shim: run::is_name(stat.get(opening + 1..closing)?) })
}

/// The open files of a shim are root's alone to look at. Anybody else knows a shim by the lock's file that names it, and
/// so only one whose directory is there.
fn shims(root: &Path, directories: &[Directory], processes: &HashMap<u32, Entry>) -> Vec<Shim> {
    let named = directories.iter().filter_map(|directory| {
        let shim = Place::new(&root.join(directory.session.to_string())).shim_process().ok()??;
        let is_it = process_table::identity(shim.pid).is_some_and(|found| Some(found.start) == shim.start);
        is_it.then_some((shim.pid, directory.session))
    });
    let named: HashMap<u32, SessionId> = named.collect();
    // The links of open files show a path without symbolic links.
    let root = root.canonicalize().unwrap_or_else(|_| root.to_owned());
    let parents: HashSet<_> = processes.values().map(|entry| entry.parent).collect();
    let own = processes.iter().filter(|(_, entry)| entry.is_shim).filter_map(|(pid, _)| {
        let has_agent = parents.contains(pid);
        let open = open_files(*pid).find_map(|path| {
            let session = session_of_lock(&root, &fs::read_link(&path).ok()?)?;
            Some((session, identity(&path)?))
        });
        let (session, is_in_place) = match open {
            Some((session, identity)) => (session, self::identity(&lock(&root, session)) == Some(identity)),
            None => (*named.get(pid)?, true),
        };
        Some(Shim { pid: *pid, session, is_in_place, has_agent })
    });
    let mut shims: Vec<_> = own.collect();
    shims.sort_by_key(|shim| (shim.session, shim.pid));
    shims
}

/// The session of whose directory an open file is the lock, also if that was deleted since.
fn session_of_lock(root: &Path, open: &Path) -> Option<SessionId> {
    let below = open.strip_prefix(root).ok()?;
    let mut names = below.to_str()?.split('/');
    let (session, file) = (names.next()?, names.next()?);
    let is_lock = names.next().is_none() && matches!(file, "lock" | "lock (deleted)");
    session.parse().ok().filter(|_| is_lock)
}

/// Notes who has the lock of a directory that no shim has.
fn find_strangers(root: &Path, directories: &mut [Directory], shims: &[Shim], processes: &HashMap<u32, Entry>) {
    let held: HashSet<_> = shims.iter().filter(|shim| shim.is_in_place).map(|shim| shim.session).collect();
    let without_shim = directories.iter_mut().filter(|directory| !held.contains(&directory.session));
    let mut free: HashMap<Identity, &mut Directory> =
        without_shim.filter_map(|directory| Some((identity(&lock(root, directory.session))?, directory))).collect();
    if free.is_empty() {
        return;
    }
    for pid in processes.keys().filter(|pid| **pid != std::process::id()) {
        for path in open_files(*pid) {
            if let Some(directory) = identity(&path).and_then(|identity| free.get_mut(&identity)) {
                directory.stranger = Some(*pid);
            }
        }
    }
}

/// The nearest of its parents that is a shim.
fn shim_above(pid: u32, processes: &HashMap<u32, Entry>) -> Option<u32> {
    let parent = |pid: &u32| processes.get(pid).map(|entry| entry.parent);
    // No line of parents is as long, unless it was read while it changed.
    const LONGEST_LINE: usize = 4_096;
    let mut line = std::iter::successors(parent(&pid), parent).take(LONGEST_LINE);
    line.find(|pid| processes.get(pid).is_some_and(|entry| entry.is_shim))
}

fn open_files(pid: u32) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn identity(path: &Path) -> Option<Identity> {
    fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

fn lock(root: &Path, session: SessionId) -> PathBuf {
    root.join(session.to_string()).join("lock")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_s_name_may_hold_anything() {
        let read = entry(b"7 (a) (b) S 3 7 7").unwrap();
        assert_eq!((read.parent, read.is_shim), (3, false));
        assert!(entry(b"7 (fdshim-55822e59) S 3 7 7").unwrap().is_shim);
        assert!(entry(b"7 fdshim-55822e59").is_none());
    }

    #[test]
    fn a_lock_is_told_from_other_files_also_when_it_was_deleted() {
        let session: SessionId = "018bcfe5-6800-7000-8000-000000000000".parse().unwrap();
        let of = |name: &str| session_of_lock(Path::new("/desk/agents"), &Path::new("/desk/agents").join(name));
        for name in [format!("{session}/lock"), format!("{session}/lock (deleted)")] {
            assert_eq!(of(&name), Some(session));
        }
        for name in [format!("{session}/spool"), format!("{session}/work/lock"), "notes/lock".into()] {
            assert_eq!(of(&name), None, "{name}");
        }
        assert_eq!(session_of_lock(Path::new("/desk/agents"), Path::new("/other/lock")), None);
    }

    #[test]
    fn the_shim_above_is_found_through_what_is_between() {
        let entry = |parent, is_shim| Entry { parent, is_shim };
        let processes = HashMap::from([
            (1, entry(0, false)),
            (5, entry(1, true)),
            (6, entry(5, false)),
            (7, entry(6, false)),
            (8, entry(1, false)),
        ]);
        assert_eq!((shim_above(7, &processes), shim_above(8, &processes)), (Some(5), None));
        // It leaves its own shim's place only by being one.
        assert_eq!(shim_above(5, &processes), None);
    }
}
