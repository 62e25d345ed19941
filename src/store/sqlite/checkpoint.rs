//! Moves what the write-ahead log holds into the database file, off the commit path.
//!
//! A thread with a connection of its own moves and syncs what it finds while the writer commits on. What has come
//! meanwhile is little: once the log is long, the writer moves that itself. Then nothing is left in it, and the next commit
//! begins it anew in the room that it has, so that commits need not make the file longer. Only if it has outgrown
//! that all the same, as it does while somebody reads for long, does the writer wait for a whole round.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;

use crate::store::StoreError;

use super::file;

/// How long the log may become, in pages of 4 KiB.
#[derive(Clone, Copy, Debug)]
struct Lengths {
    /// The thread gets to work after so many more.
    round: u32,
    /// From here on it is to be begun anew.
    long: u32,
    /// The writer waits.
    most: u32,
    /// How much more there may be if that was in vain.
    more: u32,
}

const LENGTHS: Lengths = Lengths { round: 512, long: 8_192, most: 65_536, more: 16_384 };

/// How long the writer waits for readers and for the thread.
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// The writer's handle on the checkpoint thread.
#[derive(Debug)]
pub(crate) struct Checkpointer {
    lengths: Lengths,
    /// How long the log was after the last commit, as SQLite says.
    pages: Arc<AtomicU32>,
    /// The same when it was last looked at.
    seen: u32,
    wakes_at: u32,
    waits_at: u32,
    wake: Option<mpsc::SyncSender<()>>,
    /// The thread has moved all that it found in a long log.
    is_nearly_moved: Arc<AtomicBool>,
    /// The database could not grow, since the disk is full.
    is_full: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    /// What the thread syncs. It is closed after all connections: to close any descriptor of a file gives up every lock
    /// that the process has on it (`fcntl(2)`), SQLite's too.
    _database: Option<Arc<File>>,
}

impl Checkpointer {
    /// Starts the thread for the database at `path`, to which this connection writes. It is to outlive that.
    pub(crate) fn start(path: &Path, writer: &mut Connection) -> Self {
        Self::with(LENGTHS, path, writer)
    }

    fn with(lengths: Lengths, path: &Path, writer: &mut Connection) -> Self {
        let (wake, wakes) = mpsc::sync_channel(1);
        let is_nearly_moved = Arc::<AtomicBool>::default();
        let database = File::open(path).map(Arc::new);
        let database =
            database.inspect_err(|error| tracing::warn!(error = %error, "checkpoints are not synced early")).ok();
        let is_full = Arc::<AtomicBool>::default();
        let mover = Mover {
            path: path.to_owned(),
            is_full: Arc::clone(&is_full),
            long: lengths.long,
            database: database.clone(),
            is_nearly_moved: Arc::clone(&is_nearly_moved),
        };
        let thread = std::thread::Builder::new().name("checkpoint".into()).spawn(move || mover.run(&wakes));
        let thread = thread.inspect_err(|error| tracing::warn!(error = %error, "no checkpoint thread")).ok();
        let checkpointer = Self {
            lengths,
            pages: Arc::default(),
            seen: 0,
            wakes_at: lengths.round,
            waits_at: lengths.most,
            wake: Some(wake),
            is_nearly_moved,
            is_full,
            thread,
            _database: database,
        };
        checkpointer.watch(writer);
        checkpointer
    }

    /// Learns from this connection, which takes the place of the one before, how long the log is.
    pub(crate) fn watch(&self, writer: &mut Connection) {
        let pages = Arc::clone(&self.pages);
        let noted = writer.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, found| {
            pages.store(u32::try_from(found).unwrap_or(0), Ordering::Relaxed);
            Ok(())
        }));
        if let Err(error) = noted {
            tracing::warn!(error = %error, "no checkpoints until the store is closed");
        }
    }

    /// Called by the writer after each commit.
    pub(crate) fn after_commit(&mut self, writer: &Connection) {
        let pages = self.pages.load(Ordering::Relaxed);
        if pages < self.seen {
            // It was begun anew.
            (self.wakes_at, self.waits_at) = (self.lengths.round, self.lengths.most);
        }
        self.seen = pages;
        if self.is_nearly_moved.swap(false, Ordering::Relaxed) {
            warn_if_failed(move_what_can_be(writer), &self.is_full);
        } else if pages >= self.waits_at {
            self.waits_at = pages + self.lengths.more;
            warn_if_failed(truncate(writer), &self.is_full);
        } else if pages >= self.wakes_at {
            self.wakes_at = pages + self.lengths.round;
            // A full channel means that the thread is about to look anyway.
            let _ = self.wake.as_ref().map(|wake| wake.try_send(()));
        }
    }

    /// Whether a checkpoint has met a full disk since this was asked last.
    pub(super) fn has_met_full_disk(&self) -> bool {
        self.is_full.swap(false, Ordering::Relaxed)
    }

    /// Called by the writer after a commit while room is short: begins the log anew in its place once it has so many bytes.
    pub(super) fn keep_short(&mut self, writer: &Connection, most_bytes: u64) -> Result<(), StoreError> {
        const PAGE_BYTES: u64 = 4_096;
        let pages = self.pages.load(Ordering::Relaxed);
        self.seen = pages;
        if u64::from(pages) * PAGE_BYTES < most_bytes {
            return Ok(());
        }
        writer.busy_timeout(LONGEST_WAIT).map_err(file::unavailable)?;
        let moved = checkpoint(writer, "RESTART");
        writer.busy_timeout(file::BUSY_TIMEOUT).map_err(file::unavailable)?;
        moved.map(drop)
    }

    /// Ends the thread and waits for it.
    pub(crate) fn stop(&mut self) {
        drop(self.wake.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the thread owns.
struct Mover {
    path: PathBuf,
    is_full: Arc<AtomicBool>,
    long: u32,
    database: Option<Arc<File>>,
    is_nearly_moved: Arc<AtomicBool>,
}

/// What a round has come to, in pages; below zero if nothing was looked at, because another connection was at it.
#[derive(Clone, Copy, Debug)]
struct Moved {
    /// How long the log was.
    log: i64,
    /// How much of it is in the database file.
    moved: i64,
}

impl Mover {
    fn run(&self, wakes: &mpsc::Receiver<()>) {
        let connection = match file::open_writer(&self.path) {
            Ok(connection) => connection,
            Err(error) => {
                tracing::warn!(error = %error, "no connection for checkpoints; the writer does them");
                return;
            }
        };
        while wakes.recv().is_ok() {
            // Then it is the writer's turn, which two at once would take from each other.
            if !self.is_nearly_moved.load(Ordering::Relaxed) {
                warn_if_failed(self.round(&connection), &self.is_full);
            }
        }
    }

    fn round(&self, connection: &Connection) -> Result<(), StoreError> {
        let mut last = self.move_and_sync(connection)?;
        if last.log >= self.long.into() {
            // What has come during a round is moved by a shorter one.
            last = self.move_and_sync(connection)?;
        }
        if last.log >= self.long.into() && last.moved == last.log {
            self.is_nearly_moved.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// SQLite itself syncs only when the whole log is moved: then the writer would wait for all that was moved before.
    fn move_and_sync(&self, connection: &Connection) -> Result<Moved, StoreError> {
        let moved = move_what_can_be(connection)?;
        self.database
            .as_ref()
            .map_or(Ok(()), |database| database.sync_data())
            .map_err(|error| file::storage_failed(&error))?;
        Ok(moved)
    }
}

/// Moves what no reader needs where it is.
fn move_what_can_be(connection: &Connection) -> Result<Moved, StoreError> {
    checkpoint(connection, "PASSIVE")
}

/// Empties the log, unless somebody reads from it for long.
fn truncate(connection: &Connection) -> Result<Moved, StoreError> {
    connection.busy_timeout(LONGEST_WAIT).map_err(file::unavailable)?;
    let moved = checkpoint(connection, "TRUNCATE");
    connection.busy_timeout(file::BUSY_TIMEOUT).map_err(file::unavailable)?;
    moved
}

fn checkpoint(connection: &Connection, mode: &str) -> Result<Moved, StoreError> {
    let moved = |row: &rusqlite::Row<'_>| Ok(Moved { log: row.get(1)?, moved: row.get(2)? });
    connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], moved).map_err(file::unavailable)
}

fn warn_if_failed<T>(checkpoint: Result<T, StoreError>, is_full: &AtomicBool) {
    if let Err(error) = checkpoint {
        is_full.fetch_or(matches!(error, StoreError::Full), Ordering::Relaxed);
        tracing::warn!(error = %error, "checkpoint failed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "CREATE TABLE rows (bytes BLOB)";

    #[test]
    fn the_log_is_emptied_once_nobody_reads_from_it_and_a_reader_is_no_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.db");
        let writer = file::open(&path, &[TABLE]).unwrap();
        let reader = file::open_reader(&path).unwrap();
        let log = path.with_extension("db-wal");
        reader.execute_batch("BEGIN; SELECT * FROM rows").unwrap();
        writer.execute("INSERT INTO rows VALUES (x'00')", []).unwrap();

        truncate(&writer).unwrap();
        assert!(log.metadata().unwrap().len() > 0);
        reader.execute_batch("COMMIT").unwrap();
        truncate(&writer).unwrap();

        assert_eq!(log.metadata().unwrap().len(), 0);
    }

    #[test]
    fn one_that_finds_another_at_it_has_moved_nothing_and_is_no_failure() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.db");
        let writer = file::open(&path, &[TABLE]).unwrap();
        let reader = file::open_reader(&path).unwrap();
        reader.execute_batch("BEGIN; SELECT * FROM rows").unwrap();
        writer.execute("INSERT INTO rows VALUES (x'00')", []).unwrap();
        let other = file::open_writer(&path).unwrap();

        let is_met = Arc::<AtomicBool>::default();
        let seen = Arc::clone(&is_met);
        let emptying = std::thread::spawn(move || {
            // Each waits for the reader, and is at it for as long.
            while !seen.load(Ordering::Relaxed) {
                truncate(&writer).unwrap();
            }
        });
        while move_what_can_be(&other).unwrap().log >= 0 {}
        is_met.store(true, Ordering::Relaxed);
        emptying.join().unwrap();
    }

    /// Commits rows of a page or two until the log is begun anew, or so many are there; how many that took, if it was.
    fn commits_until_begun_anew(path: &Path, most: u32) -> Option<u32> {
        let lengths = Lengths { round: 32, long: 64, most: u32::MAX, more: 0 };
        let mut writer = file::open_writer(path).unwrap();
        let mut checkpointer = Checkpointer::with(lengths, path, &mut writer);
        let mut commit = || {
            let before = checkpointer.seen;
            writer.execute("INSERT INTO rows VALUES (zeroblob(4000))", []).unwrap();
            checkpointer.after_commit(&writer);
            checkpointer.seen < before
        };
        let commits = (1..=most).find(|_| commit());
        checkpointer.stop();
        writer.close().unwrap();
        commits
    }

    // The thread may come to its turn late, so that there is room for many commits.
    const MANY: u32 = 100_000;

    #[test]
    fn the_log_is_begun_anew_while_commits_go_on_and_nobody_waits_for_a_whole_round() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.db");
        drop(file::open(&path, &[TABLE]).unwrap());

        let commits = commits_until_begun_anew(&path, MANY);

        let reader = file::open_reader(&path).unwrap();
        let rows = reader.query_row("SELECT count(*) FROM rows", [], |row| row.get(0)).unwrap();
        assert_eq!(commits, Some(rows));
    }

    #[test]
    fn a_log_that_somebody_reads_from_grows_on_until_nobody_does() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.db");
        drop(file::open(&path, &[TABLE]).unwrap());
        let reader = file::open_reader(&path).unwrap();
        // What it reads is in the log.
        let writer = file::open_writer(&path).unwrap();
        writer.execute("INSERT INTO rows VALUES (x'00')", []).unwrap();
        reader.execute_batch("BEGIN; SELECT * FROM rows").unwrap();

        assert_eq!(commits_until_begun_anew(&path, 500), None);
        reader.execute_batch("COMMIT").unwrap();

        assert!(commits_until_begun_anew(&path, MANY).is_some());
    }
}
