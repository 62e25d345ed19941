//! One moment of a desk: both databases held as they are, and links to the data files that they mean.
//!
//! The log of events is held first. So it tells of no step that the store does not know; of sessions that are forgotten
//! between the two moments, its copy is cleared. A data file that goes before it is linked belongs to a session that
//! ended since: then a later moment is taken. What is linked stays, so that this comes to an end under any load.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, params};
use rustix::fs::FlockOperation;

use crate::data_dir::DataPaths;
use crate::removal;
use crate::store::StoreError;
use crate::store::sqlite::file::unavailable;
use crate::store::sqlite::inspect;

use super::{BackupError, EVENTS, Report, STORE, at};

/// What the names of directories of links begin with.
const LINKS: &str = "backup-";

/// A desk at one moment, for as long as this value lives.
pub(super) struct Moment {
    store: Connection,
    /// Nothing if nothing was logged yet.
    events: Option<Connection>,
    links: Links,
}

impl Moment {
    /// Takes the present one.
    pub(super) fn take(paths: &DataPaths) -> Result<Self, BackupError> {
        let events = paths.events().exists().then(|| inspect::open(&paths.events())).transpose()?;
        let store = inspect::open(&paths.database())?;
        let mut links = Links::make(paths)?;
        let mut missing = None;
        loop {
            events.as_ref().map(hold).transpose()?;
            hold(&store)?;
            let before = missing.take();
            missing = links.add_all(&paths.session_data(), inspect::data_file_names(&store)?)?;
            links.add_logs(&paths.logs(), inspect::kept_log_names(&store)?)?;
            match &missing {
                None => return Ok(Self { store, events, links }),
                // The row goes before its file: a later moment does not name a file that went in order.
                Some(name) if missing == before => return Err(BackupError::Lost(paths.session_data().join(name))),
                Some(_) => {}
            }
            for connection in events.iter().chain([&store]) {
                connection.execute_batch("ROLLBACK").map_err(unavailable)?;
            }
        }
    }

    /// The data files of the moment, by name.
    pub(super) fn data_files(&self) -> impl Iterator<Item = (&str, PathBuf)> {
        self.links.names.iter().map(|name| (name.as_str(), self.links.path.join(name)))
    }

    /// The kept logs of the moment, by name.
    pub(super) fn logs(&self) -> impl Iterator<Item = (&str, PathBuf)> {
        self.links.logs.iter().map(|name| (name.as_str(), self.links.path.join(name)))
    }

    /// Copies both databases, as they are at the moment, into a directory, and lets go of them.
    pub(super) fn copy(&mut self, directory: &Path, report: Report<'_>) -> Result<(), StoreError> {
        let store = directory.join(STORE);
        copy(&self.store, &store, "copying the store", report)?;
        if let Some(events) = &self.events {
            let path = directory.join(EVENTS);
            copy(events, &path, "copying the log of events", report)?;
            forget_strangers(&path, &store)?;
        }
        // Held no longer than needed: the logs of both can start over.
        for connection in self.events.iter().chain([&self.store]) {
            connection.execute_batch("ROLLBACK").map_err(unavailable)?;
        }
        Ok(())
    }
}

/// Has the connection see what is committed at this moment until it is told otherwise.
fn hold(connection: &Connection) -> Result<(), StoreError> {
    connection.execute_batch("BEGIN").map_err(unavailable)?;
    // A transaction sees nothing before it reads.
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())).map_err(unavailable)
}

fn copy(source: &Connection, path: &Path, what: &str, report: Report<'_>) -> Result<(), StoreError> {
    const PAGES: i32 = 2_048;
    const BETWEEN_TRIES: Duration = Duration::from_millis(20);
    let mut copy = Connection::open(path).map_err(unavailable)?;
    {
        let backup = Backup::new(source, &mut copy).map_err(unavailable)?;
        loop {
            let step = backup.step(PAGES).map_err(unavailable)?;
            let progress = backup.progress();
            let pages = |number: i32| u64::try_from(number).unwrap_or(0);
            report(what, pages(progress.pagecount - progress.remaining), pages(progress.pagecount));
            match step {
                StepResult::Done => break,
                StepResult::More => {}
                StepResult::Busy | StepResult::Locked | _ => std::thread::sleep(BETWEEN_TRIES),
            }
        }
    }
    // One file with nothing beside it.
    copy.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(())).map_err(unavailable)
}

/// Clears a copy of the log of events of the sessions that the copy of the store does not have.
fn forget_strangers(events: &Path, store: &Path) -> Result<(), StoreError> {
    let connection = Connection::open(events).map_err(unavailable)?;
    let store = store.to_str().ok_or_else(|| StoreError::Unavailable("its path is no UTF-8 text".into()))?;
    connection.execute("ATTACH ?1 AS store", params![store]).map_err(unavailable)?;
    for table in ["events", "ledgers", "positions"] {
        let clear = format!(
            "DELETE FROM {table} WHERE session NOT IN \
             (SELECT id FROM store.sessions UNION ALL SELECT id FROM store.history)"
        );
        connection.execute(&clear, []).map_err(unavailable)?;
    }
    Ok(())
}

/// Second names of data files, which keep them however soon the first ones go.
struct Links {
    path: PathBuf,
    names: Vec<String>,
    logs: Vec<String>,
    _lock: File,
}

impl Links {
    fn make(paths: &DataPaths) -> Result<Self, BackupError> {
        // They would keep data of customers who are gone.
        clear_links(paths);
        let number = u32::from_ne_bytes(crate::random::bytes());
        let (made, path) = (format!("links-{number:08x}"), paths.root().join(format!("{LINKS}{number:08x}")));
        let made = paths.root().join(made);
        DirBuilder::new().mode(0o700).create(&made).map_err(at(&made))?;
        let lock = File::open(&made).map_err(at(&made))?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|errno| at(&made)(errno.into()))?;
        // Only what is locked has a name that another command takes for a killed backup's.
        fs::rename(&made, &path).map_err(at(&path))?;
        Ok(Self { path, names: Vec::new(), logs: Vec::new(), _lock: lock })
    }

    /// Makes these the links, or returns the name of a file that was not there.
    fn add_all(&mut self, directory: &Path, names: Vec<String>) -> Result<Option<String>, BackupError> {
        for name in &names {
            match fs::hard_link(directory.join(name), self.path.join(name)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some(name.clone())),
                Err(error) => return Err(at(&directory.join(name))(error)),
            }
        }
        self.names = names;
        Ok(None)
    }

    /// Makes these the links to kept logs, but for those that are not there: their sessions are being forgotten.
    fn add_logs(&mut self, directory: &Path, mut names: Vec<String>) -> Result<(), BackupError> {
        let mut failure = None;
        names.retain(|name| match fs::hard_link(directory.join(name), self.path.join(name)) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => {
                failure = Some(at(&directory.join(name))(error));
                false
            }
        });
        self.logs = names;
        failure.map_or(Ok(()), Err)
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        // What can't be removed, the next start of the server removes.
        let _ = removal::remove(&self.path);
    }
}

/// Removes the links of backups that were killed.
pub fn clear_links(paths: &DataPaths) {
    let entries = fs::read_dir(paths.root()).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(LINKS)) {
        let Ok(lock) = File::open(entry.path()) else { continue };
        if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _ = removal::remove(&entry.path());
        }
    }
}
