//! Rebuilds the index from the file, at start and after a failed commit.

use rusqlite::Connection;

use crate::store::StoreError;

use super::index::Index;
use super::row::{self, Names};
use super::schema::unavailable;

/// Shows every live session of the file in an empty index.
pub(super) fn fill(connection: &Connection, index: &Index) -> Result<(), StoreError> {
    let mut statement = connection.prepare(&format!("SELECT {} FROM sessions", row::COLUMNS)).map_err(unavailable)?;
    let mut rows = statement.query([]).map_err(unavailable)?;
    let mut names = Names::default();
    while let Some(row) = rows.next().map_err(unavailable)? {
        let stored = row::read(row, &mut names)?;
        if let Some(other) = index.by_customer(&stored.record.customer) {
            return Err(StoreError::Corrupt(format!(
                "sessions {} and {} are both live for one customer; `frontdesk verify` tells more",
                other.record.id, stored.record.id
            )));
        }
        index.show(stored);
    }
    Ok(())
}
