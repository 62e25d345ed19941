//! Moves what the write-ahead log holds into the database file, off the commit path.
//!
//! A thread with a connection of its own does the work while the writer commits on. Only if the log has outgrown that
//! all the same does the writer itself wait for one round, so that the log stays bounded.

use std::path::PathBuf;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;

use super::file;

/// Pages of 4 KiB after which the thread gets to work.
const PAGES_BETWEEN: u64 = 2_048;
/// The log's size at which the writer waits.
const MOST_LOG_BYTES: u64 = 256 << 20;
/// How long it then waits for readers and for the thread, and how much more the log may grow if that was in vain.
const LONGEST_WAIT: Duration = Duration::from_millis(500);
const GROWTH_AFTER_WAIT_BYTES: u64 = 64 << 20;
/// Commits between two looks at the log's size.
const COMMITS_BETWEEN_LOOKS: u32 = 16;

/// The writer's handle on the checkpoint thread.
#[derive(Debug)]
pub(crate) struct Checkpointer {
    log: PathBuf,
    commits: u32,
    checkpointed_at: u64,
    waits_at: u64,
    wake: Option<mpsc::SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpointer {
    /// Starts the thread for the database at `path`.
    pub(crate) fn start(path: PathBuf) -> Self {
        let mut log = path.clone().into_os_string();
        log.push("-wal");
        let (wake, wakes) = mpsc::sync_channel(1);
        let thread = std::thread::Builder::new().name("checkpoint".into()).spawn(move || run(&path, &wakes));
        let thread = thread.inspect_err(|error| tracing::warn!(error = %error, "no checkpoint thread")).ok();
        Self { log: log.into(), commits: 0, checkpointed_at: 0, waits_at: MOST_LOG_BYTES, wake: Some(wake), thread }
    }

    /// Called by the writer after each commit.
    pub(crate) fn after_commit(&mut self, connection: &Connection) {
        self.commits += 1;
        if !self.commits.is_multiple_of(COMMITS_BETWEEN_LOOKS) {
            return;
        }
        let Ok(size) = self.log.metadata().map(|metadata| metadata.len()) else { return };
        if size > self.waits_at {
            match truncate(connection) {
                Ok(true) => (self.checkpointed_at, self.waits_at) = (0, MOST_LOG_BYTES),
                Ok(false) => self.waits_at = size + GROWTH_AFTER_WAIT_BYTES,
                Err(error) => {
                    tracing::warn!(error = %error, "checkpoint failed");
                    self.waits_at = size + GROWTH_AFTER_WAIT_BYTES;
                }
            }
        } else if size.saturating_sub(self.checkpointed_at) > PAGES_BETWEEN * 4_096 || self.commits.is_multiple_of(512)
        {
            self.checkpointed_at = size;
            // A full channel means that the thread is about to look anyway.
            let _ = self.wake.as_ref().map(|wake| wake.try_send(()));
        }
    }

    /// Ends the thread and waits for it.
    pub(crate) fn stop(&mut self) {
        drop(self.wake.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Empties the log; `false` if somebody still reads from it.
fn truncate(connection: &Connection) -> rusqlite::Result<bool> {
    connection.busy_timeout(LONGEST_WAIT)?;
    let busy = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0));
    connection.busy_timeout(file::BUSY_TIMEOUT)?;
    busy.map(|busy| !busy)
}

fn run(path: &std::path::Path, wakes: &mpsc::Receiver<()>) {
    let connection = match file::open_writer(path) {
        Ok(connection) => connection,
        Err(error) => {
            tracing::warn!(error = %error, "no connection for checkpoints; the writer does them");
            return;
        }
    };
    while wakes.recv().is_ok() {
        if let Err(error) = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())) {
            tracing::warn!(error = %error, "checkpoint failed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_emptied_once_nobody_reads_from_it_and_a_reader_is_no_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.db");
        let writer = file::open(&path, &["CREATE TABLE meta (name TEXT)"]).unwrap();
        let reader = file::open_reader(&path).unwrap();
        let log = path.with_extension("db-wal");
        reader.execute_batch("BEGIN; SELECT * FROM meta").unwrap();
        writer.execute("INSERT INTO meta (name) VALUES ('a')", []).unwrap();

        assert!(!truncate(&writer).unwrap());
        reader.execute_batch("COMMIT").unwrap();
        assert!(truncate(&writer).unwrap());

        assert_eq!(log.metadata().unwrap().len(), 0);
    }
}
