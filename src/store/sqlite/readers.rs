//! Connections for reading, off the async threads: a bounded number at once, some of them kept.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};
use rusqlite::Connection;
use tokio::sync::Semaphore;

use crate::store::{Damage, StoreError};

use super::file;

/// The connections for reading of one file.
#[derive(Debug)]
pub(crate) struct Readers {
    path: PathBuf,
    damage: Arc<Damage>,
    turns: Arc<Semaphore>,
    pool: Mutex<Pool>,
    /// Told when a read is done.
    is_done: Condvar,
}

#[derive(Debug, Default)]
struct Pool {
    idle: Vec<Connection>,
    /// How many reads are under way.
    at_work: usize,
    is_closed: bool,
}

impl Readers {
    /// Opens none yet. What they find damaged is noted.
    pub(crate) fn new(path: PathBuf, damage: Arc<Damage>) -> Self {
        const MOST_AT_ONCE: usize = 16;
        Self {
            path,
            damage,
            turns: Arc::new(Semaphore::new(MOST_AT_ONCE)),
            pool: Mutex::default(),
            is_done: Condvar::new(),
        }
    }

    /// Does the work on a thread that may block.
    pub(crate) async fn read<T: Send + 'static>(
        self: Arc<Self>,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        tokio::task::spawn_blocking(move || {
            let _turn = turn;
            self.with(work)
        })
        .await
        .map_err(|error| StoreError::Unavailable(error.to_string()))?
    }

    /// Closes all of them, once those at work are done, and takes no more work. The caller of a read may be gone while the read
    /// goes on; a file that is still open to one keeps its write-ahead log when its writer closes it. Blocks.
    pub(crate) fn close(&self) {
        /// No read takes as long, unless the disk hangs.
        const PATIENCE: Duration = Duration::from_secs(10);
        let mut pool = self.pool();
        pool.is_closed = true;
        pool.idle.clear();
        let is_busy = |pool: &mut Pool| pool.at_work > 0;
        if self.is_done.wait_while_for(&mut pool, is_busy, PATIENCE).timed_out() {
            tracing::warn!("a read did not end; the store's write-ahead log is left to the next start");
        }
    }

    fn with<T>(&self, work: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        const MOST_IDLE: usize = 4;
        let (idle, _at_work) = self.begin()?;
        let connection = idle.map_or_else(|| file::open_reader(&self.path), Ok)?;
        let result = work(&connection).inspect_err(|error| {
            if error.is_damage() {
                self.damage.note(&error.cause());
            }
        })?;
        // A connection that failed is not kept: the file may be another one after a reopening.
        let mut pool = self.pool();
        if !pool.is_closed && pool.idle.len() < MOST_IDLE {
            pool.idle.push(connection);
        }
        Ok(result)
    }

    /// Takes an idle connection, if there is one, and counts the work.
    fn begin(&self) -> Result<(Option<Connection>, AtWork<'_>), StoreError> {
        let mut pool = self.pool();
        if pool.is_closed {
            return Err(StoreError::Unavailable("it is being closed".into()));
        }
        pool.at_work += 1;
        Ok((pool.idle.pop(), AtWork(self)))
    }

    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock()
    }
}

/// A read under way. Its connection is closed or idle before this is dropped.
struct AtWork<'a>(&'a Readers);

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.pool().at_work -= 1;
        self.0.is_done.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// How long the read goes on unless the file is closed under it, which takes a few milliseconds.
    const READ: Duration = Duration::from_secs(1);

    #[tokio::test]
    async fn a_close_waits_for_reads_whose_callers_are_gone_and_so_no_log_is_left() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.db");
        let writer = file::open(&path, &["CREATE TABLE rows (bytes BLOB)"]).unwrap();
        let readers = Arc::new(Readers::new(path.clone(), Arc::default()));
        let ((begun, is_begun), (closed, is_closed)) = (mpsc::channel(), mpsc::channel());
        let mut reads = tokio::task::JoinSet::new();
        reads.spawn(Arc::clone(&readers).read(move |connection| {
            connection.execute_batch("SELECT * FROM rows").unwrap();
            begun.send(()).unwrap();
            let _ = is_closed.recv_timeout(READ);
            Ok(())
        }));
        tokio::task::spawn_blocking(move || is_begun.recv().unwrap()).await.unwrap();
        reads.shutdown().await;

        let closing = Arc::clone(&readers);
        let closing = std::thread::spawn(move || {
            closing.close();
            writer.close().unwrap();
            let _ = closed.send(());
        });
        closing.join().unwrap();

        assert!(!path.with_extension("db-wal").exists());
        assert!(readers.read(|_| Ok(())).await.is_err());
    }
}
