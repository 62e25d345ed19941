//! Rebuilds the index from the file, at start and after a failed commit.

use rusqlite::Connection;

use crate::store::StoreError;

use super::file::unavailable;
use super::index::Index;
use super::row::{self, Names};

/// Shows every live session of the file in an empty index.
pub(super) fn fill(connection: &Connection, index: &Index) -> Result<(), StoreError> {
    let sessions: i64 =
        connection.query_row("SELECT count(*) FROM sessions", [], |row| row.get(0)).map_err(unavailable)?;
    index.reserve(usize::try_from(sessions).unwrap_or(0));
    let mut statement = connection.prepare(&format!("SELECT {} FROM sessions", row::COLUMNS)).map_err(unavailable)?;
    let mut rows = statement.query([]).map_err(unavailable)?;
    let mut names = Names::default();
    while let Some(row) = rows.next().map_err(unavailable)? {
        let stored = row::read(row, &mut names)?;
        index.add_found(stored).map_err(|(one, other)| {
            StoreError::Corrupt(format!(
                "sessions {one} and {other} are both live for one customer; `frontdesk verify` tells more"
            ))
        })?;
    }
    index.order_deadlines();
    Ok(())
}
