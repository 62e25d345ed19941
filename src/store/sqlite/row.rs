//! A session as a row, and back.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::clock::WallTime;
use crate::id::{CustomerKey, Revision, SessionId};
use crate::session::{NewSession, Phase, SessionData, SessionRecord};
use crate::store::{Filter, StoreError, Stored};
use crate::token::TokenHash;

use super::file::unavailable;

/// The columns that [`read`] expects, in its order.
pub(super) const COLUMNS: &str = "id, customer, email, persona, created, revision, phase, tokens";

/// Persona names are few and sessions many: each name is kept once.
#[derive(Debug, Default)]
pub(super) struct Names(HashMap<String, Arc<str>>);

impl Names {
    fn shared(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.0.get(name) {
            return Arc::clone(known);
        }
        let shared: Arc<str> = name.into();
        self.0.insert(name.to_owned(), Arc::clone(&shared));
        shared
    }
}

/// Reads one row of [`COLUMNS`].
pub(super) fn read(row: &Row<'_>, names: &mut Names) -> Result<Stored, StoreError> {
    let id: [u8; 16] = row.get(0).map_err(unreadable)?;
    let id = SessionId::from_bytes(id);
    let text = |column| row.get_ref(column).map_err(unreadable)?.as_str().map_err(|error| damaged(id, &error));
    let phase: Phase = serde_json::from_str(text(6)?).map_err(|error| damaged(id, &error))?;
    let tokens = row.get_ref(7).map_err(unreadable)?.as_blob().map_err(|error| damaged(id, &error))?;
    let email: Option<String> = row.get(2).map_err(unreadable)?;
    let record = SessionRecord {
        id,
        customer: CustomerKey::new(text(1)?),
        email: email.map(Into::into),
        persona: names.shared(text(3)?),
        created: WallTime::from_unix_millis(row.get(4).map_err(unreadable)?),
        revision: Revision(row.get(5).map_err(unreadable)?),
        phase,
    };
    Ok(Stored { record, tokens: read_tokens(id, tokens)? })
}

/// Writes a session that is being admitted.
pub(super) fn insert(connection: &Connection, new: &NewSession) -> Result<(), StoreError> {
    let record = &new.record;
    let data: Option<&[u8]> = match &new.data {
        SessionData::Inline(bytes) => Some(bytes),
        SessionData::File(_) => None,
    };
    connection
        .prepare_cached(
            "INSERT INTO sessions (id, customer, email, persona, created, origin, revision, phase, tokens, data)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )
        .and_then(|mut statement| {
            statement.execute(params![
                record.id.as_bytes(),
                record.customer.as_str(),
                record.email.as_deref(),
                &*record.persona,
                record.created.unix_millis(),
                new.origin.map(|address| address.to_string()),
                record.revision.0,
                phase_text(&record.phase),
                &new.token.0,
                data,
            ])
        })
        .map_err(unavailable)?;
    Ok(())
}

/// Writes a live session's next record over the one before.
pub(super) fn update(connection: &Connection, record: &SessionRecord) -> Result<(), StoreError> {
    let changed = connection
        .prepare_cached("UPDATE sessions SET revision = ?2, phase = ?3 WHERE id = ?1 AND revision = ?4")
        .and_then(|mut statement| {
            statement.execute(params![
                record.id.as_bytes(),
                record.revision.0,
                phase_text(&record.phase),
                record.revision.0.saturating_sub(1),
            ])
        })
        .map_err(unavailable)?;
    expect_one(changed)
}

/// Moves a session that has ended into the history.
pub(super) fn archive(connection: &Connection, record: &SessionRecord, ended: WallTime) -> Result<(), StoreError> {
    let moved = connection
        .prepare_cached(
            "INSERT INTO history (id, customer, email, persona, created, origin, revision, phase, tokens, ended)
             SELECT id, customer, email, persona, created, origin, ?2, ?3, tokens, ?5
             FROM sessions WHERE id = ?1 AND revision = ?4",
        )
        .and_then(|mut statement| {
            statement.execute(params![
                record.id.as_bytes(),
                record.revision.0,
                phase_text(&record.phase),
                record.revision.0.saturating_sub(1),
                ended.unix_millis(),
            ])
        })
        .map_err(unavailable)?;
    expect_one(moved)?;
    let deleted = connection
        .prepare_cached("DELETE FROM sessions WHERE id = ?1")
        .and_then(|mut statement| statement.execute([record.id.as_bytes()]))
        .map_err(unavailable)?;
    expect_one(deleted)
}

/// A live session's valid tokens, for [`read_tokens`].
pub(super) fn token_bytes(connection: &Connection, id: SessionId) -> Result<Option<Vec<u8>>, StoreError> {
    connection
        .prepare_cached("SELECT tokens FROM sessions WHERE id = ?1")
        .and_then(|mut statement| statement.query_row([id.as_bytes()], |row| row.get(0)).optional())
        .map_err(unavailable)
}

/// Writes a live session's valid tokens.
pub(super) fn set_tokens(connection: &Connection, id: SessionId, tokens: &[TokenHash]) -> Result<(), StoreError> {
    let bytes: Vec<u8> = tokens.iter().flat_map(|token| token.0).collect();
    let changed = connection
        .prepare_cached("UPDATE sessions SET tokens = ?2 WHERE id = ?1")
        .and_then(|mut statement| statement.execute(params![id.as_bytes(), bytes]))
        .map_err(unavailable)?;
    if changed == 1 { Ok(()) } else { Err(StoreError::Missing) }
}

/// The inline data of a live session: `None` if there is no such session, `Some(None)` if a file holds it.
pub(super) fn data(connection: &Connection, id: SessionId) -> Result<Option<Option<Vec<u8>>>, StoreError> {
    connection
        .prepare_cached("SELECT data FROM sessions WHERE id = ?1")
        .and_then(|mut statement| statement.query_row([id.as_bytes()], |row| row.get(0)).optional())
        .map_err(unavailable)
}

/// A session of the history.
pub(super) fn ended(connection: &Connection, id: SessionId) -> Result<Option<Stored>, StoreError> {
    let mut statement =
        connection.prepare_cached(&format!("SELECT {COLUMNS} FROM history WHERE id = ?1")).map_err(unavailable)?;
    let mut rows = statement.query([id.as_bytes()]).map_err(unavailable)?;
    let Some(row) = rows.next().map_err(unavailable)? else { return Ok(None) };
    read(row, &mut Names::default()).map(Some)
}

/// Up to `most` sessions of the history that match, the youngest first.
pub(super) fn history(connection: &Connection, filter: &Filter, most: usize) -> Result<Vec<SessionRecord>, StoreError> {
    let mut statement = connection.prepare_cached(&history_query(filter)).map_err(unavailable)?;
    // Above every id.
    const END: &[u8] = &[0xff; 17];
    let before = filter.before.as_ref().map_or(END, |id| id.as_bytes());
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let rows = match &filter.customer {
        Some(customer) => statement.query(params![before, most, customer.as_str()]),
        None => statement.query(params![before, most]),
    };
    let mut rows = rows.map_err(unavailable)?;
    let (mut names, mut records) = (Names::default(), Vec::new());
    while let Some(row) = rows.next().map_err(unavailable)? {
        records.push(read(row, &mut names)?.record);
    }
    Ok(records)
}

/// Each form is one that an index answers in its order.
fn history_query(filter: &Filter) -> String {
    let customer = if filter.customer.is_some() { "customer = ?3 AND" } else { "" };
    format!("SELECT {COLUMNS} FROM history WHERE {customer} id < ?1 ORDER BY id DESC LIMIT ?2")
}

fn phase_text(phase: &Phase) -> String {
    serde_json::to_string(phase).expect("a phase has string keys only and serialises")
}

/// Tokens as a row holds them.
pub(super) fn read_tokens(id: SessionId, bytes: &[u8]) -> Result<Vec<TokenHash>, StoreError> {
    let (hashes, rest) = bytes.as_chunks();
    if !rest.is_empty() {
        return Err(damaged(id, &"its tokens are cut off"));
    }
    Ok(hashes.iter().map(|hash| TokenHash(*hash)).collect())
}

fn expect_one(changed: usize) -> Result<(), StoreError> {
    if changed == 1 { Ok(()) } else { Err(StoreError::Conflict) }
}

fn unreadable(error: rusqlite::Error) -> StoreError {
    StoreError::Corrupt(error.to_string())
}

fn damaged(id: SessionId, error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Corrupt(format!("session {id}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_history_is_found_by_an_index_in_its_order() {
        let directory = tempfile::tempdir().unwrap();
        let connection = super::super::schema::open(&directory.path().join("store.db")).unwrap();
        let plan = |filter: &Filter| {
            let mut explained = connection.prepare(&format!("EXPLAIN QUERY PLAN {}", history_query(filter))).unwrap();
            let (mut steps, mut rows) = (Vec::new(), explained.raw_query());
            while let Some(row) = rows.next().unwrap() {
                steps.push(row.get::<_, String>(3).unwrap());
            }
            steps.join("; ")
        };
        let all = plan(&Filter::default());
        assert!(all.starts_with("SEARCH history USING INDEX sqlite_autoindex_history_1 (id<?)"), "{all}");
        let own = plan(&Filter { customer: Some(CustomerKey::new("ann")), ..Filter::default() });
        assert_eq!(own, "SEARCH history USING INDEX history_by_customer (customer=? AND id<?)");
        assert!(!all.contains("TEMP B-TREE"), "{all}");
    }
}
