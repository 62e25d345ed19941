//! What every SQLite file of a data directory has in common: modes, how a connection is set up, versions, errors.
//!
//! The store and the log of events each have a file, a writer and migrations of their own; that they are durable is
//! decided here for both.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::data_dir;
use crate::store::StoreError;

/// How long a connection waits for another one's lock.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Makes the database file if it is missing, and lets only this user read it and the files beside it.
pub(crate) fn make_private(files: &[PathBuf; 3]) -> Result<(), StoreError> {
    // SQLite gives the files that it makes beside it the database's mode.
    let [database, beside @ ..] = files;
    data_dir::make_private(database)
        .and_then(|()| beside.iter().try_for_each(|path| data_dir::close_to_others(path)))
        .map_err(|error| storage_failed(&error))
}

/// Opens the file for writing, and brings its schema up to date: `migrations` are all that it ever had, in order.
pub(crate) fn open(path: &Path, migrations: &[&str]) -> Result<Connection, StoreError> {
    let mut connection = open_writer(path)?;
    migrate(&mut connection, migrations)?;
    Ok(connection)
}

/// Opens one more connection for writing to a file whose schema is up to date.
pub(crate) fn open_writer(path: &Path) -> Result<Connection, StoreError> {
    let connection = Connection::open(path).map_err(unavailable)?;
    set_up(&connection).map_err(unavailable)?;
    Ok(connection)
}

/// Opens one more connection for reading.
pub(crate) fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(unavailable)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(unavailable)?;
    Ok(connection)
}

/// Makes what is about to be read durable, and proves that the disk takes writes again.
///
/// What a failed commit left in the log may look whole and yet not be on the disk. So everything that counts moves to
/// the database file, the log begins anew, and a later recovery can't find more than was read before.
pub(crate) fn settle(connection: &Connection) -> Result<(), StoreError> {
    settle_with(connection, "TRUNCATE")
}

/// The same, and the log keeps the room that it has on the disk.
pub(super) fn settle_in_place(connection: &Connection) -> Result<(), StoreError> {
    settle_with(connection, "RESTART")
}

fn settle_with(connection: &Connection, mode: &str) -> Result<(), StoreError> {
    let version = version(connection)?;
    connection
        .query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |_| Ok(()))
        // A version is written also if it is the one that is there.
        .and_then(|()| connection.pragma_update(None, "user_version", version))
        .map_err(unavailable)
}

/// The schema version of an open file.
pub(crate) fn version(connection: &Connection) -> Result<i64, StoreError> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(unavailable)
}

/// Says in words what the driver's error means for whoever runs the server.
pub(crate) fn unavailable(error: rusqlite::Error) -> StoreError {
    use rusqlite::Error;
    use rusqlite::ErrorCode as Code;
    let is_of_a_value = matches!(
        error,
        Error::FromSqlConversionFailure(..)
            | Error::IntegralValueOutOfRange(..)
            | Error::InvalidColumnType(..)
            | Error::Utf8Error(..)
    );
    if is_of_a_value {
        return StoreError::Corrupt(error.to_string());
    }
    match error.sqlite_error_code() {
        Some(Code::ConstraintViolation) => StoreError::Conflict,
        Some(Code::DiskFull) => StoreError::Full,
        Some(Code::DatabaseCorrupt | Code::NotADatabase) => StoreError::Malformed(error.to_string()),
        _ => StoreError::Unavailable(error.to_string()),
    }
}

/// Says in words what the system's error means for whoever runs the server.
pub(crate) fn storage_failed(error: &std::io::Error) -> StoreError {
    use std::io::ErrorKind;
    if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) {
        return StoreError::Full;
    }
    StoreError::Unavailable(error.to_string())
}

fn set_up(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    // Checkpoints run on a connection of their own, off the commit path.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    // In KiB. What is changed often fits, and behind it is the system's own cache.
    connection.pragma_update(None, "cache_size", -8_192)?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(())
}

fn migrate(connection: &mut Connection, migrations: &[&str]) -> Result<(), StoreError> {
    let (found, newest) = (version(connection)?, i64::try_from(migrations.len()).unwrap_or(i64::MAX));
    if found > newest {
        return Err(StoreError::Unsupported(format!(
            "its schema is version {found} and this frontdesk knows versions up to {newest}; start the newer frontdesk \
             that wrote it"
        )));
    }
    for (number, migration) in (1_i64..).zip(migrations).skip_while(|(number, _)| *number <= found) {
        let transaction = connection.transaction().map_err(unavailable)?;
        transaction.execute_batch(migration).map_err(unavailable)?;
        transaction.pragma_update(None, "user_version", number).map_err(unavailable)?;
        transaction.commit().map_err(unavailable)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "CREATE TABLE meta (name TEXT PRIMARY KEY)";

    #[test]
    fn the_bundled_sqlite_is_recent_enough_to_be_trusted_with_a_write_ahead_log() {
        assert!(rusqlite::version_number() >= 3_051_003, "{}", rusqlite::version());
    }

    // What `.cargo/config.toml` says reaches SQLite's build and this one alike.
    #[test]
    fn the_bundled_sqlite_syncs_what_it_wrote_and_no_times() {
        assert_eq!(option_env!("LIBSQLITE3_FLAGS"), Some("-DHAVE_FDATASYNC=1"));
    }

    #[test]
    fn a_file_newer_than_the_binary_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.db");
        open(&path, &[FIRST]).unwrap().pragma_update(None, "user_version", 2).unwrap();
        let refused = open(&path, &[FIRST]).unwrap_err().to_string();
        assert!(refused.contains("start the newer frontdesk"), "{refused}");
    }

    #[test]
    fn opening_twice_migrates_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.db");
        drop(open(&path, &[FIRST]).unwrap());
        assert_eq!(version(&open(&path, &[FIRST]).unwrap()).unwrap(), 1);
    }

    #[test]
    fn settling_writes_to_the_file_also_when_nothing_has_changed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.db");
        let connection = open(&path, &[FIRST]).unwrap();
        settle(&connection).unwrap();
        assert!(path.with_extension("db-wal").metadata().unwrap().len() > 0);
    }
}
