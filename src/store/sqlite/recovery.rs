//! Rebuilds the index from the file, at start and after a failed commit.
//!
//! A row that can't be read is set aside and named, and the others are read. Where SQLite finds a page of the table
//! damaged, an index of ids tells which rows there are, and each is read by itself. What was given up is passed over.

use std::collections::HashSet;

use rusqlite::{Connection, Row};

use crate::id::{CustomerKey, SessionId};
use crate::store::{Damage, StoreError};

use super::clues;
use super::file::unavailable;
use super::given_up;
use super::index::{Index, SetAside};
use super::row::{self, Names};

/// Shows every live session of the file in an empty index, and sets aside those that can't be read.
pub(super) fn fill(connection: &Connection, index: &Index, damage: &Damage) -> Result<(), StoreError> {
    let sessions: Result<i64, _> = connection.query_row("SELECT count(*) FROM sessions", [], |row| row.get(0));
    // Without a number, the tables grow as they are filled.
    index.reserve(sessions.ok().and_then(|sessions| usize::try_from(sessions).ok()).unwrap_or(0));
    let given_up = given_up::all(connection).or_else(|error| {
        // A session that was given up is then set aside once more, which is the safe side.
        damage.note(&format!("the table of sessions that were given up: {}", error.cause()));
        if error.is_damage() { Ok(HashSet::new()) } else { Err(error) }
    })?;
    let names = Names::default();
    let mut filling = Filling { connection, index, damage, given_up, names, set_aside: SetAside::default() };
    match filling.all_at_once() {
        Err(StoreError::Malformed(why)) => {
            damage.note(&format!("the table of live sessions: {why}"));
            match filling.one_by_one() {
                Err(StoreError::Malformed(why)) => {
                    filling.set_aside(None, Vec::new(), &format!("no index of ids can be read: {why}"));
                }
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
    connection: &'a Connection,
    index: &'a Index,
    damage: &'a Damage,
    given_up: HashSet<SessionId>,
    names: Names,
    set_aside: SetAside,
}

/// The column behind those of a session.
const ROWID: usize = 8;

impl Filling<'_> {
    fn all_at_once(&mut self) -> Result<(), StoreError> {
        // Not by the index, whose damage does not concern the rows.
        let query = format!("SELECT {}, rowid FROM sessions NOT INDEXED", row::COLUMNS);
        let mut statement = self.connection.prepare(&query).map_err(unavailable)?;
        let mut rows = statement.query([]).map_err(unavailable)?;
        while let Some(row) = rows.next().map_err(unavailable)? {
            self.add(row);
        }
        Ok(())
    }

    fn one_by_one(&mut self) -> Result<(), StoreError> {
        let query = format!("SELECT {}, rowid FROM sessions NOT INDEXED WHERE rowid = ?1", row::COLUMNS);
        let mut one = self.connection.prepare(&query).map_err(unavailable)?;
        for clues::Indexed { rowid, id } in clues::rows(self.connection)? {
            if id.is_some_and(|id| self.index.by_id(id).is_some()) {
                continue;
            }
            let mut found = one.query([rowid]).map_err(unavailable)?;
            match found.next() {
                Ok(Some(row)) => self.add(row),
                Ok(None) => self.set_aside(id, Vec::new(), "its row is gone"),
                Err(error) => self.set_aside(id, Vec::new(), &unavailable(error).cause()),
            }
        }
        Ok(())
    }

    fn add(&mut self, row: &Row<'_>) {
        let id = row.get(0).ok().map(SessionId::from_bytes);
        let id = id.or_else(|| clues::id_of(self.connection, row.get(ROWID).ok()?));
        if id.is_some_and(|id| self.given_up.contains(&id)) {
            return;
        }
        let customer = customer(row).into_iter().collect();
        match row::read(row, &mut self.names) {
            // Only an index that was filled half before knows one already.
            Ok(stored) if self.index.by_id(stored.record.id).is_some() => {}
            Ok(stored) if !stored.record.phase.is_live() => {
                self.set_aside(id, customer, "it is ENDED and still among the live ones");
            }
            Ok(stored) => {
                if let Err((one, _)) = self.index.add_found(stored) {
                    // The first one has the customer's place, and this one has it after that.
                    self.set_aside(id, customer, &format!("it is live beside session {one} of the same customer"));
                }
            }
            Err(error) => {
                let why = error.cause();
                let named = id.map(|id| format!("session {id}: ")).unwrap_or_default();
                self.set_aside(id, customer, why.strip_prefix(&named).unwrap_or(&why));
            }
        }
    }

    /// Sets a row aside, which itself names these customers. What it says may be damaged as well, so that whomever something
    /// else names keeps a place beside them.
    fn set_aside(&mut self, id: Option<SessionId>, mut customers: Vec<CustomerKey>, why: &str) {
        if id.is_some_and(|id| self.given_up.contains(&id)) {
            return;
        }
        customers.extend(id.into_iter().flat_map(|id| clues::customers_of(self.connection, id)));
        self.damage.note(&self.set_aside.add(id, customers, why));
    }
}

fn customer(row: &Row<'_>) -> Option<CustomerKey> {
    Some(CustomerKey::new(row.get_ref(1).ok()?.as_str().ok()?))
}
