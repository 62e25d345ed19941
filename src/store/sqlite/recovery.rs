//! Rebuilds the index from the file, at start and after a failed commit.
//!
//! A row that can't be read is set aside and named, and the others are read. Where SQLite finds a page of the table
//! damaged, the index of ids tells which rows there are, and each is read by itself.

use rusqlite::{Connection, Row};

use crate::id::{CustomerKey, SessionId};
use crate::store::{Damage, StoreError};

use super::file::unavailable;
use super::index::{Index, SetAside};
use super::row::{self, Names};

/// Shows every live session of the file in an empty index, and sets aside those that can't be read.
pub(super) fn fill(connection: &Connection, index: &Index, damage: &Damage) -> Result<(), StoreError> {
    let sessions: Result<i64, _> = connection.query_row("SELECT count(*) FROM sessions", [], |row| row.get(0));
    // Without a number, the tables grow as they are filled.
    index.reserve(sessions.ok().and_then(|sessions| usize::try_from(sessions).ok()).unwrap_or(0));
    let mut filling = Filling { index, damage, names: Names::default(), set_aside: SetAside::default() };
    match filling.all_at_once(connection) {
        Err(StoreError::Malformed(why)) => {
            damage.note(&format!("the table of live sessions: {why}"));
            match filling.one_by_one(connection) {
                Err(StoreError::Malformed(why)) => filling.set_aside(None, None, &format!("its index of ids: {why}")),
                read => read?,
            }
        }
        read => read?,
    }
    index.set_aside(filling.set_aside);
    index.order_deadlines();
    Ok(())
}

struct Filling<'a> {
    index: &'a Index,
    damage: &'a Damage,
    names: Names,
    set_aside: SetAside,
}

impl Filling<'_> {
    fn all_at_once(&mut self, connection: &Connection) -> Result<(), StoreError> {
        // Not by the index, whose damage does not concern the rows.
        let query = format!("SELECT {} FROM sessions NOT INDEXED", row::COLUMNS);
        let mut statement = connection.prepare(&query).map_err(unavailable)?;
        let mut rows = statement.query([]).map_err(unavailable)?;
        while let Some(row) = rows.next().map_err(unavailable)? {
            self.add(row);
        }
        Ok(())
    }

    fn one_by_one(&mut self, connection: &Connection) -> Result<(), StoreError> {
        let mut ids = connection.prepare("SELECT rowid, id FROM sessions ORDER BY id").map_err(unavailable)?;
        let query = format!("SELECT {} FROM sessions NOT INDEXED WHERE rowid = ?1", row::COLUMNS);
        let mut one = connection.prepare(&query).map_err(unavailable)?;
        let mut rows = ids.query([]).map_err(unavailable)?;
        while let Some(row) = rows.next().map_err(unavailable)? {
            let rowid: i64 = row.get(0).map_err(unavailable)?;
            let id = row.get(1).ok().map(SessionId::from_bytes);
            if id.is_some_and(|id| self.index.by_id(id).is_some()) {
                continue;
            }
            let mut found = one.query([rowid]).map_err(unavailable)?;
            match found.next() {
                Ok(Some(row)) => self.add(row),
                Ok(None) => self.set_aside(id, None, "its row is gone"),
                Err(error) => self.set_aside(id, None, &unavailable(error).cause()),
            }
        }
        Ok(())
    }

    fn add(&mut self, row: &Row<'_>) {
        let (id, customer) = (row.get(0).ok().map(SessionId::from_bytes), customer(row));
        match row::read(row, &mut self.names) {
            // Only an index that was filled half before knows one already.
            Ok(stored) if self.index.by_id(stored.record.id).is_some() => {}
            Ok(stored) if !stored.record.phase.is_live() => {
                self.set_aside(id, None, "it is ENDED and still among the live ones");
            }
            Ok(stored) => {
                if let Err((one, _)) = self.index.add_found(stored) {
                    // The first one has the customer's place.
                    self.set_aside(id, None, &format!("it is live beside session {one} of the same customer"));
                }
            }
            Err(error) => {
                let why = error.cause();
                let named = id.map(|id| format!("session {id}: ")).unwrap_or_default();
                self.set_aside(id, customer, why.strip_prefix(&named).unwrap_or(&why));
            }
        }
    }

    fn set_aside(&mut self, id: Option<SessionId>, customer: Option<CustomerKey>, why: &str) {
        self.damage.note(&self.set_aside.add(id, customer, why));
    }
}

fn customer(row: &Row<'_>) -> Option<CustomerKey> {
    Some(CustomerKey::new(row.get_ref(1).ok()?.as_str().ok()?))
}
