//! How much is kept of ended sessions, so that no customer fills the disk by ending many.
//!
//! A session's size is counted once, after its end: its events, its answers to keyed requests, and something for its rows.

use std::collections::HashSet;

use rusqlite::{Connection, OptionalExtension, params};

use crate::id::{CustomerKey, SessionId};
use crate::store::StoreError;

use super::file::unavailable;

/// What a session without events and answers costs: its row, its entries in indices, its admission in the audit.
const ROW_BYTES: i64 = 1_024;

const UNCOUNTED: &str = "SELECT id FROM history WHERE kept IS NULL ORDER BY ended LIMIT ?1";

/// From the newest one on, the sizes are added up; what lies beyond the bound is surplus, but for the newest itself.
const SURPLUS: &str = "SELECT id FROM (
        SELECT id, kept, sum(kept) OVER (ORDER BY ended DESC, id DESC) AS through
        FROM history WHERE customer = ?1 AND kept IS NOT NULL
    ) WHERE through > ?2 AND through > kept LIMIT ?3";

/// Up to `most` sessions whose size is not known, the oldest first.
pub(super) fn uncounted(connection: &Connection, most: usize) -> Result<Vec<SessionId>, StoreError> {
    ids(connection, UNCOUNTED, params![signed(most as u64)])
}

/// Counts sessions of which so many bytes are kept elsewhere, and returns whose they are.
pub(super) fn count(connection: &Connection, elsewhere: &[(SessionId, u64)]) -> Result<Vec<CustomerKey>, StoreError> {
    let mut count = connection
        .prepare_cached(
            "UPDATE history SET kept = ?2 + ?3 + (SELECT ifnull(sum(size), 0) FROM requests WHERE session = ?1)
             WHERE id = ?1 RETURNING customer",
        )
        .map_err(unavailable)?;
    let mut customers = HashSet::new();
    for (session, bytes) in elsewhere {
        let counted = count.query_row(params![session.as_bytes(), ROW_BYTES, signed(*bytes)], |row| row.get(0));
        let customer: Option<String> = counted.optional().map_err(unavailable)?;
        customers.extend(customer.map(|customer| CustomerKey::new(&customer)));
    }
    Ok(customers.into_iter().collect())
}

/// Up to `most` sessions of a customer that are more than what may be kept.
pub(super) fn surplus(
    connection: &Connection,
    customer: &CustomerKey,
    keep_bytes: u64,
    most: usize,
) -> Result<Vec<SessionId>, StoreError> {
    ids(connection, SURPLUS, params![customer.as_str(), signed(keep_bytes), signed(most as u64)])
}

fn ids(connection: &Connection, query: &str, of: &[&dyn rusqlite::ToSql]) -> Result<Vec<SessionId>, StoreError> {
    let mut query = connection.prepare_cached(query).map_err(unavailable)?;
    let ids = query.query_map(of, |row| row.get(0).map(SessionId::from_bytes)).map_err(unavailable)?;
    ids.collect::<Result<_, _>>().map_err(unavailable)
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::conditions::plan;
    use super::*;

    #[test]
    fn sessions_to_count_are_found_by_an_index_and_a_customers_sizes_are_added_up_in_one() {
        let directory = tempfile::tempdir().unwrap();
        let connection = super::super::schema::open(&directory.path().join("store.db")).unwrap();
        assert_eq!(plan(&connection, UNCOUNTED), "SCAN history USING INDEX history_to_count");
        let surplus = plan(&connection, SURPLUS);
        assert!(surplus.contains("USING COVERING INDEX history_by_size (customer=?)"), "{surplus}");
    }
}
