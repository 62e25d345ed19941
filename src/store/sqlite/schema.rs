//! The tables and their versions.

use std::path::Path;

use rusqlite::Connection;

use crate::store::StoreError;

use super::file;

/// Every schema this project has had, in order. A released entry never changes.
const MIGRATIONS: [&str; 9] = [
    // `phase` is JSON (see `crates/model/src/record.rs`); `data` comes last so that reading the rest leaves it on the disk.
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
    // `data_version` tells which file holds the data of a session that has none in its row. An entry of the audit has its
    // place by `at` and `tie`: the session's id if it is an admission, else its number within the millisecond.
    "ALTER TABLE sessions ADD COLUMN creation_key BLOB;
    ALTER TABLE sessions ADD COLUMN creation_digest BLOB;
    ALTER TABLE sessions ADD COLUMN data_version INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE history ADD COLUMN creation_key BLOB;
    ALTER TABLE history ADD COLUMN creation_digest BLOB;
    CREATE INDEX history_by_creation_key ON history (customer, creation_key) WHERE creation_key IS NOT NULL;
    CREATE TABLE operator_tokens (
        id BLOB PRIMARY KEY,
        name TEXT NOT NULL,
        scopes TEXT NOT NULL,
        hash BLOB NOT NULL,
        created INTEGER NOT NULL,
        expires INTEGER,
        revoked INTEGER
    ) STRICT, WITHOUT ROWID;
    CREATE UNIQUE INDEX operator_tokens_by_name ON operator_tokens (name) WHERE revoked IS NULL;
    CREATE TABLE console_sessions (
        secret BLOB PRIMARY KEY,
        token BLOB NOT NULL,
        opened INTEGER NOT NULL,
        seen INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX console_sessions_by_token ON console_sessions (token);
    CREATE INDEX console_sessions_by_last_use ON console_sessions (seen);
    CREATE TABLE audit (
        at INTEGER NOT NULL,
        tie BLOB NOT NULL,
        actor TEXT NOT NULL,
        operator TEXT,
        action TEXT NOT NULL,
        session BLOB,
        customer TEXT,
        origin TEXT,
        detail TEXT NOT NULL,
        PRIMARY KEY (at, tie)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX audit_by_session ON audit (session, at, tie) WHERE session IS NOT NULL;
    CREATE INDEX audit_by_customer ON audit (customer, at, tie) WHERE customer IS NOT NULL;
    CREATE INDEX audit_by_action ON audit (action, at, tie);
    CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
        BEGIN SELECT RAISE(ABORT, 'what is in the audit stays as it is'); END;
    CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit
        BEGIN SELECT RAISE(ABORT, 'what is in the audit stays in it'); END;",
    // From here on a session's phase may be the start of an agent in place of one that is ended first.
    // `size` is that of a keyed request's answer. What counts against `limits.answers` is longer than what stands in the
    // place of a dropped one (79 bytes), and is summed up out of the index alone: the answers themselves are long.
    "ALTER TABLE customers ADD COLUMN disabled INTEGER;
    ALTER TABLE requests ADD COLUMN size INTEGER NOT NULL DEFAULT 0;
    UPDATE requests SET size = ifnull(length(answer), 0);
    CREATE INDEX requests_by_size ON requests (session, noted, size) WHERE size > 79;",
    "CREATE TABLE known_addresses (
        account INTEGER PRIMARY KEY,
        addresses BLOB NOT NULL,
        changed INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX known_addresses_by_change ON known_addresses (changed);",
    // From here on `ended` is a time of the desk's own timeline, in microseconds. It was the wall clock's, in milliseconds.
    "UPDATE history SET ended = ended * 1000;
    UPDATE history SET ended = min(ended + beat.shift, beat.now) FROM (
        SELECT json_extract(CAST(value AS TEXT), '$.now') AS now,
            json_extract(CAST(value AS TEXT), '$.now') - 1000 * json_extract(CAST(value AS TEXT), '$.wall') AS shift
        FROM meta WHERE name = 'heartbeat'
    ) AS beat;",
    // How many bytes are kept of an ended session in all; nothing until they are counted.
    "ALTER TABLE history ADD COLUMN kept INTEGER;
    CREATE INDEX history_to_count ON history (ended) WHERE kept IS NULL;
    CREATE INDEX history_by_size ON history (customer, ended, id, kept) WHERE kept IS NOT NULL;",
    // From here on a keyed request's outcome may be 3 (the agent did not answer in time) or 4 (its service gave no answer).
    "UPDATE requests SET outcome = 3, answer = x'', size = 0
        WHERE outcome = 2 AND answer = CAST('the agent did not answer in time' AS BLOB);",
    // Sessions that stand in the history while their damaged rows may stand among the live ones.
    "CREATE TABLE given_up (
        id BLOB PRIMARY KEY
    ) STRICT, WITHOUT ROWID;",
];

/// Indexes that say what a table holds where a page of it is damaged: see `clues.rs`, `customers.rs` and `operators.rs`. They
/// belong to no version: a table that is damaged already can have none, and is opened all the same.
const CLUES: [&str; 3] = [
    "CREATE INDEX IF NOT EXISTS sessions_by_id ON sessions (id, customer)",
    "CREATE INDEX IF NOT EXISTS customers_by_age ON customers (created)",
    "CREATE INDEX IF NOT EXISTS operator_tokens_by_age ON operator_tokens (created)",
];

/// The version that this binary writes.
pub(super) const VERSION: i64 = MIGRATIONS.len() as i64;

/// Opens the file for writing, and brings its schema up to date.
pub(super) fn open(path: &Path) -> Result<Connection, StoreError> {
    let connection = file::open(path, &MIGRATIONS)?;
    for clue in CLUES {
        match connection.execute_batch(clue).map_err(file::unavailable) {
            Err(error) if error.is_damage() => tracing::warn!(error = %error, "no index for a table that is damaged"),
            made => made?,
        }
    }
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_of_any_version_is_brought_up_to_date_with_all_that_it_holds() {
        for versions in 1..MIGRATIONS.len() {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("store.db");
            let old = file::open(&path, &MIGRATIONS[..versions]).unwrap();
            old.execute_batch(
                "INSERT INTO sessions (id, customer, persona, created, revision, phase, tokens, data)
                     VALUES (x'01', 'ann', 'SALES', 5, 1, '', x'', x'7b7d');
                 INSERT INTO history (id, customer, persona, created, revision, phase, tokens, ended)
                     VALUES (x'02', 'ann', 'SALES', 0, 2, '', x'', 7);
                 INSERT INTO meta (name, value)
                     VALUES ('heartbeat', CAST('{\"now\":5000000,\"wall\":1000,\"since_boot\":1,\"boot_id\":\"\"}' AS BLOB));
                 INSERT INTO history (id, customer, persona, created, revision, phase, tokens, ended)
                     VALUES (x'03', 'bob', 'SALES', 0, 2, '', x'', 2678400000);
                 INSERT INTO customers (key, email, password_hash, created) VALUES ('ann', 'Ann', 'hash', 3);",
            )
            .unwrap();
            if versions > 1 {
                old.execute_batch(
                    "INSERT INTO requests (session, key, noted, digest, epoch, call, outcome, answer)
                     VALUES (x'01', x'03', 1, x'', 1, 1, 2, CAST('the agent did not answer in time' AS BLOB))",
                )
                .unwrap();
            }
            drop(old);

            let connection = open(&path).unwrap();

            assert_eq!(file::version(&connection).unwrap(), VERSION);
            let is_there = |rows: &str| connection.query_row(&format!("SELECT 1 FROM {rows}"), [], |_| Ok(())).is_ok();
            assert!(is_there(
                "sessions WHERE id = x'01' AND created = 5 AND data = x'7b7d' AND creation_key IS NULL
                 AND creation_digest IS NULL AND data_version = 0"
            ));
            // The wall clock stood four seconds behind the desk's time, and 31 days ahead when the second one ended.
            let (first, second) = if versions < 6 { (4_007_000, 5_000_000) } else { (7, 2_678_400_000_i64) };
            assert!(is_there(&format!("history WHERE id = x'02' AND ended = {first} AND creation_key IS NULL")));
            assert!(is_there(&format!("history WHERE id = x'03' AND ended = {second} AND kept IS NULL")));
            assert!(is_there("customers WHERE key = 'ann' AND email = 'Ann' AND created = 3 AND disabled IS NULL"));
            assert_eq!(
                is_there("requests WHERE session = x'01' AND noted = 1 AND outcome = 3 AND size = 0"),
                (2..8).contains(&versions)
            );
            assert!(["operator_tokens", "console_sessions", "audit"].into_iter().all(|table| !is_there(table)));
        }
    }
}
