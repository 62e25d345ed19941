//! The addresses from which accounts have signed in, in the table `known_addresses`.
//!
//! A row is an account's hash and those of its addresses, the latest first, 8 bytes each.

use rusqlite::{Connection, params};

use crate::clock::Timestamp;
use crate::store::{KnownAddresses, MOST_KNOWN_ACCOUNTS, StoreError};

use super::file::unavailable;

/// Replaces the rows of these accounts, and drops those that changed longest ago beyond the most that are kept.
pub(super) fn keep(connection: &Connection, known: &[KnownAddresses], at: Timestamp) -> Result<(), StoreError> {
    let mut put = connection
        .prepare_cached("INSERT OR REPLACE INTO known_addresses (account, addresses, changed) VALUES (?1, ?2, ?3)")
        .map_err(unavailable)?;
    for KnownAddresses { account, addresses } in known {
        let bytes: Vec<u8> = addresses.iter().flat_map(|address| address.to_le_bytes()).collect();
        put.execute(params![account.cast_signed(), bytes, at.micros()]).map_err(unavailable)?;
    }
    connection
        .prepare_cached(
            "DELETE FROM known_addresses WHERE account IN (SELECT account FROM known_addresses
             ORDER BY changed LIMIT max(0, (SELECT count(*) FROM known_addresses) - ?1))",
        )
        .and_then(|mut statement| statement.execute([i64::try_from(MOST_KNOWN_ACCOUNTS).unwrap_or(i64::MAX)]))
        .map_err(unavailable)?;
    Ok(())
}

/// All of them, those that changed last at the end.
pub(super) fn all(connection: &Connection) -> Result<Vec<KnownAddresses>, StoreError> {
    let mut statement =
        connection.prepare("SELECT account, addresses FROM known_addresses ORDER BY changed").map_err(unavailable)?;
    let rows = statement.query_map([], |row| {
        let account = row.get::<_, i64>(0)?.cast_unsigned();
        let bytes: Vec<u8> = row.get(1)?;
        let addresses = bytes.as_chunks().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect();
        Ok(KnownAddresses { account, addresses })
    });
    rows.and_then(Iterator::collect).map_err(unavailable)
}
