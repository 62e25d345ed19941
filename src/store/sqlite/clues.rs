//! What else tells of a live session's row that can't be read: indexes beside the table, and the audit.
//!
//! Each lies in pages of its own, so that damage rarely takes them together with the row. The index `sessions_by_id` is kept
//! for nothing else: its entries are written in the order of ids, which costs a creation no random page.

use rusqlite::{Connection, Rows};

use crate::id::{CustomerKey, SessionId};
use crate::store::StoreError;

use super::file::unavailable;

/// A row of the table of live sessions, as an index knows it.
pub(super) struct Indexed {
    pub(super) rowid: i64,
    /// Nothing if the index does not tell it.
    pub(super) id: Option<SessionId>,
}

/// The rows of live sessions as the first index has them that can be read to its end.
///
/// # Errors
/// What SQLite said of the last index, if none can be read to its end.
pub(super) fn rows(connection: &Connection) -> Result<Vec<Indexed>, StoreError> {
    let by = |index| {
        let query = format!("SELECT rowid, id FROM sessions INDEXED BY {index} ORDER BY id");
        let mut statement = connection.prepare(&query).map_err(unavailable)?;
        let mut found = statement.query([]).map_err(unavailable)?;
        let mut rows = Vec::new();
        while let Some(row) = found.next().map_err(unavailable)? {
            let id = row.get(1).ok().map(SessionId::from_bytes);
            rows.push(Indexed { rowid: row.get(0).map_err(unavailable)?, id });
        }
        Ok(rows)
    };
    // Whether an index is missing or damaged makes no difference while the other one is sound.
    by("sessions_by_id").or_else(|_: StoreError| by("sqlite_autoindex_sessions_1"))
}

/// The id of a row that does not tell it itself.
pub(super) fn id_of(connection: &Connection, rowid: i64) -> Option<SessionId> {
    rows(connection).ok()?.into_iter().find(|row| row.rowid == rowid)?.id
}

/// Every customer that something names as the session's.
pub(super) fn customers_of(connection: &Connection, id: SessionId) -> Vec<CustomerKey> {
    const SOURCES: [&str; 2] = [
        "SELECT customer FROM sessions INDEXED BY sessions_by_id WHERE id = ?1",
        "SELECT DISTINCT customer FROM audit WHERE session = ?1 AND customer IS NOT NULL",
    ];
    let mut customers = Vec::new();
    for source in SOURCES {
        let Ok(mut statement) = connection.prepare_cached(source) else { continue };
        let Ok(rows) = statement.query([id.as_bytes()]) else { continue };
        customers.extend(readable(rows));
    }
    customers.sort_unstable();
    customers.dedup();
    customers
}

fn readable(mut rows: Rows<'_>) -> Vec<CustomerKey> {
    let mut customers = Vec::new();
    while let Ok(Some(row)) = rows.next() {
        let customer = row.get_ref(0).ok().and_then(|customer| customer.as_str().ok());
        customers.extend(customer.map(CustomerKey::new));
    }
    customers
}

#[cfg(test)]
mod tests {
    use super::super::conditions::plan;

    #[test]
    fn what_is_asked_of_an_index_is_answered_out_of_it_alone() {
        let directory = tempfile::tempdir().unwrap();
        let connection = super::super::schema::open(&directory.path().join("store.db")).unwrap();
        for (query, how) in [
            ("SELECT rowid, id FROM sessions INDEXED BY sessions_by_id ORDER BY id", "SCAN"),
            ("SELECT customer FROM sessions INDEXED BY sessions_by_id WHERE id = ?1", "SEARCH"),
        ] {
            let plan = plan(&connection, query);
            assert!(plan.starts_with(how) && plan.contains("COVERING INDEX sessions_by_id"), "{plan}");
        }
    }
}
