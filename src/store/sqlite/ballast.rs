//! Room on the disk that is kept back for the ends of sessions, for the time when the disk is full.
//!
//! ```text
//!             a change meets a full disk, or a start finds one
//!    whole ──────────────────────────────────────────────────────> released: nothing is taken that makes the store larger
//!      ^                                                              │  more is released each time the disk is full again
//!      └──────────────────────────────────────────────────────────────┘
//!        there is room for the whole of it, and for as much again
//! ```
//!
//! The ballast is a file without meaning. Its blocks pass to the store's own files in small steps: the file gives up a
//! step, and the same thread reserves it at once behind the store's log and database. SQLite lets go of what is reserved
//! behind the database at the next checkpoint. So pages are made of it, and freed at once: the database takes such pages
//! before it grows.
//!
//! It holds no room against a process that takes every freed block at that instant: between the two calls the room is
//! anybody's, and such a process may get all of it first. What helps then is a stop with force, which needs no room.
//!
//! A crash needs no care: whole is what a start finds whole, and it completes or gives up everything else.
//!
//! The size follows from what the ends of 2,000 sessions take, as many as run by default. The database grows by less
//! than 1 KiB a session, 2 MiB. The log is begun anew every 512 KiB then; with a batch on top, and a reader that holds it
//! for a while, it stays below 4 MiB. The last 2 MiB are for what else the server writes: sockets, shared memory, locks.
//! The log of events gets none of it: it takes no events while room is short.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use crate::data_dir::{self, DataPaths};
use crate::failpoint::Failpoint;
use crate::store::StoreError;

use super::file::unavailable;

/// How large it is: 8 MiB.
pub const BALLAST_BYTES: u64 = 8 << 20;
/// Of a small file system it takes no more than this part.
const PART_OF_DISK: u64 = 16;
/// Its size is a multiple of this, so that all parts of it are whole blocks.
const UNIT_BYTES: u64 = 128 << 10;

/// The ballast of a store.
#[derive(Debug)]
pub(super) struct Ballast {
    path: PathBuf,
    log: PathBuf,
    /// Kept open: closing any descriptor of a file gives up every lock that the process has on it (`fcntl(2)`), and SQLite has
    /// some. So it has to go after all connections.
    database: Option<File>,
    bytes: u64,
}

impl Ballast {
    /// The ballast at `path` for the database and its log, whether or not it is there.
    pub(super) fn new(path: PathBuf, database: &Path, log: PathBuf) -> Self {
        let bytes = size_in(path.parent().unwrap_or(Path::new(".")));
        Self { path, log, database: open(database).ok(), bytes }
    }

    /// Takes it if there is room, and says whether it is whole. On a disk that is full it gives some of itself up, so that
    /// the rest of the start has room.
    pub(super) fn begin(&self) -> bool {
        if self.is_whole() && self.free() >= self.step() {
            return true;
        }
        let taken = !self.is_whole() && self.take().is_ok();
        if !taken {
            let _ = self.give_up(self.step());
        }
        taken
    }

    /// How many bytes have to be free so that it is taken.
    pub(super) fn needed(&self) -> u64 {
        // A disk that is too small for any has to have some room all the same.
        self.bytes.saturating_sub(self.held()).saturating_add(self.bytes.max(UNIT_BYTES))
    }

    /// Makes it whole, if there is room for that and for as much again.
    pub(super) fn take(&self) -> io::Result<()> {
        if self.free() < self.needed() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if self.bytes == 0 {
            return Ok(());
        }
        let before = self.length();
        let filled = self.fill();
        if filled.is_err() {
            // Others were faster. What there was of it may still be needed.
            let _ = self.give_up(self.length().saturating_sub(before));
        }
        filled
    }

    /// Gives room to the store's log, as far as it has not got its part, and to the database for what stands in the log, else
    /// to everybody. False if there was nothing left to give.
    pub(super) fn release(&self, connection: &Connection) -> bool {
        let before = self.held();
        Failpoint::BeforeRelease.hit();
        if let Ok(log) = open(&self.log) {
            self.pass_on(&log, 0, self.bytes / 2);
        }
        // As long as it will be when all of the log is moved.
        self.extend_database(pragma(connection, "page_count * page_size").unwrap_or(0));
        if self.held() == before {
            let _ = self.give_up(self.step());
        }
        Failpoint::AfterRelease.hit();
        before > 0
    }

    /// Gives the database as many free pages as its part of the ballast has. The log is to be begun anew.
    pub(super) fn make_room_within(&self, connection: &Connection) -> Result<(), StoreError> {
        connection.execute_batch("DROP TABLE IF EXISTS room").map_err(unavailable)?;
        let missing = (self.bytes / 4).saturating_sub(pragma(connection, "freelist_count * page_size")?);
        if missing < UNIT_BYTES {
            return Ok(());
        }
        self.extend_database(pragma(connection, "page_count * page_size")? + missing + UNIT_BYTES);
        // Pages that are made and freed in one transaction are never written. No file system makes these smaller.
        let make = format!("CREATE TABLE room (bytes BLOB); INSERT INTO room VALUES (randomblob({missing}))");
        connection
            .execute_batch(&format!("BEGIN IMMEDIATE; {make}; COMMIT"))
            .and_then(|()| connection.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(())))
            .and_then(|()| connection.execute_batch("DROP TABLE room"))
            .map_err(|error| {
                let _ = connection.execute_batch("ROLLBACK");
                unavailable(error)
            })
    }

    /// Drops what a crash left of [`Self::make_room_within`].
    pub(super) fn clear_room_within(&self, connection: &Connection) {
        if let Err(error) = connection.execute_batch("DROP TABLE IF EXISTS room") {
            tracing::warn!(error = %error, "a part of an earlier reserve is left in the store");
        }
    }

    /// How long the log may become before it is begun anew while room is short, in bytes.
    pub(super) fn short_log(&self) -> u64 {
        self.bytes / 16
    }

    /// Gives some room to everybody; false if there was nothing left to give.
    pub(super) fn give_step(&self) -> bool {
        let has_some = self.held() > 0;
        let _ = self.give_up(self.step());
        has_some
    }

    /// Reserves room for the database up to this length.
    fn extend_database(&self, length: u64) {
        if let Some(database) = &self.database
            && let Ok(metadata) = database.metadata()
        {
            self.pass_on(database, metadata.len(), length.saturating_sub(metadata.len()));
        }
    }

    /// Reserves a part of a file, whose length stays as it is, and gives up as much of the ballast as that needs.
    fn pass_on(&self, file: &File, from: u64, bytes: u64) {
        let chunk = self.bytes / 32;
        let (mut at, end) = (from, from + bytes);
        while at < end {
            match fallocate(file, FallocateFlags::KEEP_SIZE, at, chunk.min(end - at)) {
                Ok(()) => at += chunk,
                Err(Errno::INTR) => {}
                Err(Errno::NOSPC | Errno::DQUOT) if self.held() > 0 => {
                    if self.give_up(chunk).is_err() {
                        return;
                    }
                }
                // Without room, or where nothing can be reserved, it is as it is.
                Err(_) => return,
            }
        }
    }

    /// Makes the file shorter, and removes it when nothing is left.
    fn give_up(&self, bytes: u64) -> io::Result<()> {
        match self.length().checked_sub(bytes).filter(|left| *left > 0) {
            Some(left) => OpenOptions::new().write(true).open(&self.path)?.set_len(left),
            None => fs::remove_file(&self.path),
        }
    }

    fn fill(&self) -> io::Result<()> {
        let mut file = OpenOptions::new();
        let file = file.write(true).create(true).truncate(false).mode(0o600).open(&self.path)?;
        match fallocate(&file, FallocateFlags::empty(), 0, self.bytes) {
            Ok(()) => {}
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => write_noise(&file, self.bytes)?,
            Err(errno) => return Err(errno.into()),
        }
        Failpoint::BeforeBallast.hit();
        file.sync_all()?;
        data_dir::sync_directory(self.path.parent().unwrap_or(Path::new(".")))
    }

    fn is_whole(&self) -> bool {
        self.length() >= self.bytes && self.held() >= self.bytes
    }

    /// The length of the file; 0 if there is none.
    fn length(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |file| file.len())
    }

    /// How much of the disk it has.
    fn held(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |file| file.blocks() * 512)
    }

    /// How much of the disk this user may still take; everything if it can't be told.
    fn free(&self) -> u64 {
        let directory = self.path.parent().unwrap_or(Path::new("."));
        let is_root = rustix::process::geteuid().is_root();
        rustix::fs::statvfs(directory).map_or(u64::MAX, |room| {
            let blocks = if is_root { room.f_bfree } else { room.f_bavail };
            blocks.saturating_mul(room.f_frsize)
        })
    }

    fn step(&self) -> u64 {
        self.bytes / 8
    }
}

/// A number that SQLite tells of the database.
fn pragma(connection: &Connection, term: &str) -> Result<u64, StoreError> {
    let query = format!("SELECT {term} FROM pragma_page_count, pragma_freelist_count, pragma_page_size");
    let number: i64 = connection.query_row(&query, [], |row| row.get(0)).map_err(unavailable)?;
    Ok(u64::try_from(number).unwrap_or(0))
}

/// How large it is in a directory.
fn size_in(directory: &Path) -> u64 {
    let disk = rustix::fs::statvfs(directory).map_or(u64::MAX, |room| room.f_blocks.saturating_mul(room.f_frsize));
    BALLAST_BYTES.min(disk / PART_OF_DISK / UNIT_BYTES * UNIT_BYTES)
}

/// How much of the ballast is missing in a data directory, in bytes.
pub fn missing_in(paths: &DataPaths) -> u64 {
    let held = fs::metadata(paths.ballast()).map_or(0, |file| file.blocks() * 512);
    size_in(paths.root()).saturating_sub(held)
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).open(path)
}

/// Writes what no file system makes smaller.
fn write_noise(mut file: &File, bytes: u64) -> io::Result<()> {
    use std::io::{Seek, Write};
    let mut noise = blake3::Hasher::new().finalize_xof();
    let mut block = [0; 4_096];
    file.rewind()?;
    for _ in 0..bytes.div_ceil(4_096) {
        noise.fill(&mut block);
        file.write_all(&block)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_its_blocks_gives_them_up_in_steps_and_takes_them_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name| directory.path().join(name);
        fs::write(path("db"), b"database").unwrap();
        fs::write(path("log"), b"log").unwrap();
        let ballast = Ballast::new(path("ballast"), &path("db"), path("log"));
        let other = Connection::open_in_memory().unwrap();
        assert!(ballast.begin() && ballast.is_whole() && ballast.begin());
        assert_eq!(ballast.needed(), ballast.bytes);

        let releases = (0..100).take_while(|_| ballast.release(&other)).count();

        assert!((1..=8).contains(&releases), "{releases}");
        assert!(!path("ballast").exists());
        assert_eq!(ballast.needed(), 2 * ballast.bytes);
        // What the files hold and how long they are is as it was.
        assert_eq!(
            (fs::read(path("db")).unwrap(), fs::read(path("log")).unwrap()),
            (b"database".to_vec(), b"log".to_vec())
        );
        ballast.take().unwrap();
        assert!(ballast.is_whole());
    }

    #[test]
    fn a_part_that_a_crash_has_left_is_completed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ballast");
        fs::write(&path, [0; 5_000]).unwrap();
        let ballast = Ballast::new(path, &directory.path().join("db"), directory.path().join("log"));
        assert!(!ballast.is_whole());
        assert!(ballast.begin() && ballast.is_whole());
    }

    #[test]
    fn where_nothing_can_be_reserved_it_is_written_with_what_no_file_system_makes_smaller() {
        let file = tempfile::NamedTempFile::new().unwrap();
        write_noise(file.as_file(), 64 << 10).unwrap();
        let mut counts = [0_u32; 256];
        fs::read(file.path()).unwrap().iter().for_each(|byte| counts[usize::from(*byte)] += 1);
        assert!(counts.iter().all(|count| (128..512).contains(count)), "{counts:?}");
    }
}
