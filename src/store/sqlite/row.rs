//! A session as a row, and back.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};

use crate::clock::{Timestamp, WallTime};
use crate::id::{CustomerKey, Revision, SessionId};
use crate::session::{NewSession, Phase, PhaseName, SessionData, SessionRecord};
use crate::store::{Damage, Filter, StoreError, Stored, Tokens};
use crate::token::TokenHash;

use super::conditions::Conditions;
use super::data_files::DataFile;
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
    let unreadable = |error: rusqlite::Error| damaged(id, &error);
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
            "INSERT INTO sessions (id, customer, email, persona, created, origin, revision, phase, tokens, data,
                creation_key, creation_digest)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
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
                new.key.map(|key| key.key),
                new.key.map(|key| key.digest),
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

/// Moves a session that has ended into the history. Returns the file that holds its data, if one does.
pub(super) fn archive(
    connection: &Connection,
    record: &SessionRecord,
    ended: Timestamp,
) -> Result<Option<DataFile>, StoreError> {
    let moved = connection
        .prepare_cached(
            "INSERT INTO history (id, customer, email, persona, created, origin, revision, phase, tokens, ended,
                creation_key, creation_digest)
             SELECT id, customer, email, persona, created, origin, ?2, ?3, tokens, ?5, creation_key, creation_digest
             FROM sessions WHERE id = ?1 AND revision = ?4",
        )
        .and_then(|mut statement| {
            statement.execute(params![
                record.id.as_bytes(),
                record.revision.0,
                phase_text(&record.phase),
                record.revision.0.saturating_sub(1),
                ended.micros(),
            ])
        })
        .map_err(unavailable)?;
    expect_one(moved)?;
    let file = connection
        .prepare_cached("DELETE FROM sessions WHERE id = ?1 RETURNING data IS NULL, data_version")
        .and_then(|mut statement| {
            statement.query_row([record.id.as_bytes()], |row| read_file(record.id, row)).optional()
        })
        .map_err(unavailable)?;
    file.ok_or(StoreError::Conflict)
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

/// Where a live session's data is.
#[derive(Debug)]
pub(super) enum Held {
    /// In its row.
    Inline(Vec<u8>),
    /// In a file.
    File(DataFile),
}

/// A live session's data, if there is such a session.
pub(super) fn data(connection: &Connection, id: SessionId) -> Result<Option<Held>, StoreError> {
    connection
        .prepare_cached("SELECT data, data_version FROM sessions WHERE id = ?1")
        .and_then(|mut statement| {
            let held = |row: &Row<'_>| match row.get(0)? {
                Some(bytes) => Ok(Held::Inline(bytes)),
                None => Ok(Held::File(DataFile { session: id, version: row.get(1)? })),
            };
            statement.query_row([id.as_bytes()], held).optional()
        })
        .map_err(unavailable)
}

/// Makes a file the data of a session that is pending. Returns the file that held it before, if one did.
pub(super) fn replace_data(connection: &Connection, file: DataFile) -> Result<Option<DataFile>, StoreError> {
    let id = file.session;
    let found = connection
        .prepare_cached("SELECT data IS NULL, data_version, phase FROM sessions WHERE id = ?1")
        .and_then(|mut statement| {
            let found = |row: &Row<'_>| Ok((read_file(id, row)?, row.get::<_, String>(2)?));
            statement.query_row([id.as_bytes()], found).optional()
        })
        .map_err(unavailable)?;
    let Some((before, phase)) = found else {
        let is_over = ended(connection, id)?.is_some();
        return Err(if is_over { StoreError::Conflict } else { StoreError::Missing });
    };
    let phase: Phase = serde_json::from_str(&phase).map_err(|error| damaged(id, &error))?;
    if phase.kind() != PhaseName::Pending {
        return Err(StoreError::Conflict);
    }
    connection
        .prepare_cached("UPDATE sessions SET data = NULL, data_version = ?2 WHERE id = ?1")
        .and_then(|mut statement| statement.execute(params![id.as_bytes(), file.version]))
        .map_err(unavailable)?;
    Ok(before)
}

/// Whether a live session's row means this file.
pub(super) fn means(connection: &Connection, file: DataFile) -> Result<bool, StoreError> {
    let meant = connection
        .prepare_cached("SELECT data IS NULL, data_version FROM sessions WHERE id = ?1")
        .and_then(|mut statement| {
            statement.query_row([file.session.as_bytes()], |row| read_file(file.session, row)).optional()
        })
        .map_err(unavailable)?;
    Ok(meant.flatten() == Some(file))
}

/// Reads whether there is no inline data, and the data's version.
fn read_file(session: SessionId, row: &Row<'_>) -> rusqlite::Result<Option<DataFile>> {
    let file = DataFile { session, version: row.get(1)? };
    Ok(row.get::<_, bool>(0)?.then_some(file))
}

/// A customer's session that was created with a key: the live one with this id, or one of the history; and the digest
/// of the call that created it.
pub(super) fn created_by(
    connection: &Connection,
    customer: &CustomerKey,
    key: &[u8; 32],
    live: Option<SessionId>,
) -> Result<Option<(Stored, [u8; 32])>, StoreError> {
    let query = |table, conditions| {
        format!("SELECT {COLUMNS}, creation_digest FROM {table} WHERE {conditions} AND creation_key = ?2")
    };
    if let Some(id) = live {
        let found = keyed(connection, &query("sessions", "id = ?1"), params![id.as_bytes(), key])?;
        if found.is_some() {
            return Ok(found);
        }
    }
    keyed(connection, &query("history", "customer = ?1"), params![customer.as_str(), key])
}

fn keyed(
    connection: &Connection,
    query: &str,
    of: &[&dyn rusqlite::ToSql],
) -> Result<Option<(Stored, [u8; 32])>, StoreError> {
    const AFTER_COLUMNS: usize = 8;
    let mut statement = connection.prepare_cached(query).map_err(unavailable)?;
    let mut rows = statement.query(of).map_err(unavailable)?;
    let Some(row) = rows.next().map_err(unavailable)? else { return Ok(None) };
    let stored = read(row, &mut Names::default())?;
    let digest = row.get(AFTER_COLUMNS).map_err(|error| damaged(stored.record.id, &error))?;
    Ok(Some((stored, digest)))
}

/// A session of the history.
pub(super) fn ended(connection: &Connection, id: SessionId) -> Result<Option<Stored>, StoreError> {
    let mut statement =
        connection.prepare_cached(&format!("SELECT {COLUMNS} FROM history WHERE id = ?1")).map_err(unavailable)?;
    let mut rows = statement.query([id.as_bytes()]).map_err(unavailable)?;
    let Some(row) = rows.next().map_err(unavailable)? else { return Ok(None) };
    read(row, &mut Names::default()).map(Some)
}

/// Up to `most` sessions of the history that match, the youngest first. Those that can't be read are noted as damage.
pub(super) fn history(
    connection: &Connection,
    filter: &Filter,
    most: usize,
    damage: &Damage,
) -> Result<Vec<SessionRecord>, StoreError> {
    let mut records = Vec::new();
    match extend(&mut records, connection, of_history(filter), most, damage) {
        Err(StoreError::Malformed(why)) => {
            damage.note(&format!("the history: {why}"));
            history_one_by_one(connection, filter, most, damage)
        }
        read => read.map(|()| records),
    }
}

/// The same where a page of the table is damaged: the index of ids tells which sessions there are, and each is read by itself.
fn history_one_by_one(
    connection: &Connection,
    filter: &Filter,
    most: usize,
    damage: &Damage,
) -> Result<Vec<SessionRecord>, StoreError> {
    let bounds = of_history(&Filter { before: filter.before, from: filter.from, ..Filter::default() });
    let query = format!("SELECT id FROM history WHERE {} ORDER BY id DESC LIMIT ?", bounds.text());
    let mut statement = connection.prepare_cached(&query).map_err(unavailable)?;
    let mut ids = statement.query(params_from_iter(bounds.into_values(usize::MAX))).map_err(unavailable)?;
    let mut records = Vec::new();
    while records.len() < most {
        let Some(id) = ids.next().map_err(unavailable)? else { break };
        let Ok(id) = id.get(0).map(SessionId::from_bytes) else { continue };
        let own = of_history(filter).and("id = ?", Some(id.as_bytes().to_vec()));
        match extend(&mut records, connection, own, most, damage) {
            Err(StoreError::Malformed(why)) => damage.note(&format!("session {id} of the history: {why}")),
            read => read?,
        }
    }
    Ok(records)
}

fn extend(
    records: &mut Vec<SessionRecord>,
    connection: &Connection,
    conditions: Conditions,
    most: usize,
    damage: &Damage,
) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached(&history_query(&conditions)).map_err(unavailable)?;
    // Those that can't be read count for nothing.
    let mut rows = statement.query(params_from_iter(conditions.into_values(usize::MAX))).map_err(unavailable)?;
    let mut names = Names::default();
    while records.len() < most {
        let Some(row) = rows.next().map_err(unavailable)? else { break };
        match read(row, &mut names) {
            Ok(stored) => records.push(stored.record),
            Err(error) => damage.note(&error.cause()),
        }
    }
    Ok(())
}

fn of_history(filter: &Filter) -> Conditions {
    // Above every id.
    const END: [u8; 17] = [0xff; 17];
    let before = filter.before.as_ref().map_or(END.to_vec(), |id| id.as_bytes().to_vec());
    Conditions::new("id < ?", [before.into()])
        .and("id >= ?", filter.from.as_ref().map(|id| id.as_bytes().to_vec()))
        .and("customer = ?", filter.customer.as_ref().map(|customer| customer.as_str().to_owned()))
        .and("persona = ?", filter.persona.clone())
        // SQLite fails the whole query for one text that is no JSON.
        .and(
            "iif(json_valid(phase), phase ->> '$.ENDED.ending.outcome', NULL) = ?",
            filter.outcome.map(|outcome| outcome.to_string()),
        )
}

/// Each form is one that an index answers in its order.
fn history_query(conditions: &Conditions) -> String {
    format!("SELECT {COLUMNS} FROM history WHERE {} ORDER BY id DESC LIMIT ?", conditions.text())
}

/// A phase as a row holds it.
pub(super) fn phase_text(phase: &Phase) -> String {
    serde_json::to_string(phase).expect("a phase has string keys only and serialises")
}

/// Tokens as a row holds them.
pub(super) fn read_tokens(id: SessionId, bytes: &[u8]) -> Result<Tokens, StoreError> {
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
    use super::super::conditions::plan;
    use super::*;
    use crate::session::Outcome;

    #[test]
    fn a_page_of_history_is_found_by_an_index_in_its_order() {
        let directory = tempfile::tempdir().unwrap();
        let connection = super::super::schema::open(&directory.path().join("store.db")).unwrap();
        let plan = |filter: &Filter| plan(&connection, &history_query(&of_history(filter)));
        let by_id = "SEARCH history USING INDEX sqlite_autoindex_history_1 (id<?)";
        assert_eq!(plan(&Filter::default()), by_id);
        let failed = Filter { persona: Some("SALES".into()), outcome: Some(Outcome::Failed), ..Filter::default() };
        assert_eq!(plan(&failed), by_id);
        let own = plan(&Filter { customer: Some(CustomerKey::new("ann")), ..failed });
        assert_eq!(own, "SEARCH history USING INDEX history_by_customer (customer=? AND id<?)");
    }

    #[test]
    fn a_session_of_the_history_is_found_by_its_creations_key() {
        let directory = tempfile::tempdir().unwrap();
        let connection = super::super::schema::open(&directory.path().join("store.db")).unwrap();
        let found = plan(&connection, "SELECT id FROM history WHERE customer = ?1 AND creation_key = ?2");
        assert_eq!(found, "SEARCH history USING INDEX history_by_creation_key (customer=? AND creation_key=?)");
    }
}
