//! The tables and their versions.

use std::path::Path;

use rusqlite::Connection;

use crate::store::StoreError;

use super::file;

/// Every schema this project has had, in order. A released entry never changes.
const MIGRATIONS: [&str; 2] = [
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
    // `noted` numbers a session's requests in their order; `answer` comes last, as `data` does.
    "CREATE TABLE requests (
        session BLOB NOT NULL,
        key BLOB NOT NULL,
        noted INTEGER NOT NULL,
        digest BLOB NOT NULL,
        epoch INTEGER NOT NULL,
        call INTEGER NOT NULL,
        outcome INTEGER,
        answer BLOB,
        PRIMARY KEY (session, key)
    ) STRICT, WITHOUT ROWID;
    CREATE UNIQUE INDEX requests_by_age ON requests (session, noted);
    CREATE INDEX history_by_customer ON history (customer, id);",
];

/// The version that this binary writes.
pub(super) const VERSION: i64 = MIGRATIONS.len() as i64;

/// Opens the file for writing, and brings its schema up to date.
pub(super) fn open(path: &Path) -> Result<Connection, StoreError> {
    file::open(path, &MIGRATIONS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_of_the_first_version_is_brought_up_to_date_with_all_that_it_holds() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.db");
        let old = file::open(&path, &MIGRATIONS[..1]).unwrap();
        old.execute_batch(
            "INSERT INTO sessions VALUES (x'01', 'ann', NULL, 'SALES', 0, NULL, 1, '', x'', NULL);
             INSERT INTO history VALUES (x'02', 'ann', NULL, 'SALES', 0, NULL, 2, '', x'', 7)",
        )
        .unwrap();
        drop(old);

        let connection = open(&path).unwrap();

        assert_eq!(file::version(&connection).unwrap(), VERSION);
        let count =
            |table| connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0));
        assert_eq!(["sessions", "history", "requests"].map(|table| count(table).unwrap()), [1, 1, 0]);
    }
}
