//! The tables, their versions, and how a connection is set up.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::store::StoreError;

/// Every schema this project has had, in order. A released entry never changes.
const MIGRATIONS: [&str; 1] = [
    // `phase` is JSON (see `session/record.rs`); `data` comes last so that reading the rest leaves it on the disk.
    "CREATE TABLE meta (
        name TEXT PRIMARY KEY,
        value BLOB NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE sessions (
        id BLOB PRIMARY KEY,
        customer TEXT NOT NULL,
        email TEXT,
        persona TEXT NOT NULL,
        created INTEGER NOT NULL,
        origin TEXT,
        revision INTEGER NOT NULL,
        phase TEXT NOT NULL,
        tokens BLOB NOT NULL,
        data BLOB
    ) STRICT;
    CREATE TABLE history (
        id BLOB PRIMARY KEY,
        customer TEXT NOT NULL,
        email TEXT,
        persona TEXT NOT NULL,
        created INTEGER NOT NULL,
        origin TEXT,
        revision INTEGER NOT NULL,
        phase TEXT NOT NULL,
        tokens BLOB NOT NULL,
        ended INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX history_by_end ON history (ended);
    CREATE TABLE customers (
        key TEXT PRIMARY KEY,
        email TEXT NOT NULL,
        password_hash TEXT NOT NULL,
        created INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;",
];

/// The version that this binary writes.
pub(super) const VERSION: i64 = MIGRATIONS.len() as i64;

/// How long a connection waits for another one's lock.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Opens the file for writing, and brings its schema up to date.
pub(super) fn open(path: &Path) -> Result<Connection, StoreError> {
    let mut connection = Connection::open(path).map_err(unavailable)?;
    set_up(&connection).map_err(unavailable)?;
    migrate(&mut connection)?;
    Ok(connection)
}

/// Opens one more connection for reading.
pub(super) fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(unavailable)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(unavailable)?;
    Ok(connection)
}

fn set_up(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    // Checkpoints run on a connection of their own, off the commit path.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "cache_size", -32_768)?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(())
}

fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let found = version(connection)?;
    if found > VERSION {
        return Err(StoreError::Corrupt(format!(
            "its schema is version {found} and this frontdesk knows versions up to {VERSION}; start the newer frontdesk \
             that wrote it"
        )));
    }
    for (number, migration) in (1..).zip(MIGRATIONS).skip_while(|(number, _)| *number <= found) {
        let transaction = connection.transaction().map_err(unavailable)?;
        transaction.execute_batch(migration).map_err(unavailable)?;
        transaction.pragma_update(None, "user_version", number).map_err(unavailable)?;
        transaction.commit().map_err(unavailable)?;
    }
    Ok(())
}

/// The schema version of an open file.
pub(super) fn version(connection: &Connection) -> Result<i64, StoreError> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(unavailable)
}

/// Says in words what the driver's error means for whoever runs the server.
pub(super) fn unavailable(error: rusqlite::Error) -> StoreError {
    use rusqlite::ErrorCode as Code;
    match error.sqlite_error_code() {
        Some(Code::ConstraintViolation) => StoreError::Conflict,
        Some(Code::DiskFull) => {
            StoreError::Unavailable("the disk is full; free some space, nothing that was acknowledged is lost".into())
        }
        Some(Code::DatabaseCorrupt | Code::NotADatabase) => StoreError::Corrupt(error.to_string()),
        _ => StoreError::Unavailable(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundled_sqlite_is_recent_enough_to_be_trusted_with_a_write_ahead_log() {
        assert!(rusqlite::version_number() >= 3_051_003, "{}", rusqlite::version());
    }

    #[test]
    fn a_store_newer_than_the_binary_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.db");
        open(&path).unwrap().pragma_update(None, "user_version", VERSION + 1).unwrap();
        let refused = open(&path).unwrap_err().to_string();
        assert!(refused.contains("start the newer frontdesk"), "{refused}");
    }

    #[test]
    fn opening_twice_migrates_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.db");
        drop(open(&path).unwrap());
        assert_eq!(version(&open(&path).unwrap()).unwrap(), VERSION);
    }
}
