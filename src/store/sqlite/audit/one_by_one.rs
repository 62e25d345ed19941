//! The audit where a page of one of its tables is damaged: an index tells which entries there are, and each is read by itself.
//!
//! This is slower than a look at the table, and is done only after that has failed.

use std::cmp::Reverse;

use rusqlite::{Connection, OptionalExtension, params};

use crate::clock::WallTime;
use crate::id::SessionId;
use crate::store::{Action, AuditCursor, AuditFilter, Damage, NumberedEntry, StoreError};

use super::super::conditions::Conditions;
use super::super::file::unavailable;
use super::{COLUMNS, admission, blob, end_of, read};

/// The entries of the table `audit`; see [`super::entries`].
pub(super) fn entries(
    connection: &Connection,
    filter: &AuditFilter,
    most: usize,
    damage: &Damage,
) -> Result<Vec<NumberedEntry>, StoreError> {
    const AT_A_TIME: usize = 256;
    let mut before = filter.before.unwrap_or(AuditCursor { at: i64::MAX, tie: [0xff; 16] });
    let mut found = Vec::new();
    loop {
        let mut places = places(connection, filter, before, AT_A_TIME)?;
        places.sort_unstable_by_key(|place| Reverse(*place));
        // Of those that come after these, some may be missing.
        places.truncate(AT_A_TIME);
        let Some(last) = places.last() else { return Ok(found) };
        before = *last;
        for place in places {
            match entry_at(connection, place) {
                Ok(entry) => found.extend(entry.filter(|entry| is_wanted(filter, entry))),
                Err(error) if error.is_damage() => {
                    let at = WallTime::from_unix_millis(place.at);
                    damage.note(&format!("an entry of the audit of {at}: {}", error.cause()));
                }
                Err(error) => return Err(error),
            }
            if found.len() >= most {
                return Ok(found);
            }
        }
    }
}

/// Up to `most` places before this one, of each index that is asked; the youngest of each.
fn places(
    connection: &Connection,
    filter: &AuditFilter,
    before: AuditCursor,
    most: usize,
) -> Result<Vec<AuditCursor>, StoreError> {
    let customer = filter.customer.as_ref().map(|customer| customer.as_str().to_owned().into());
    let asked = match (filter.session, customer) {
        (Some(session), _) => vec![("session", blob(session))],
        (None, Some(customer)) => vec![("customer", customer)],
        (None, None) => {
            let actions = Action::ALL.iter().filter(|action| filter.action.is_none_or(|wanted| wanted == **action));
            actions.map(|action| ("action", action.name().to_owned().into())).collect()
        }
    };
    let mut places = Vec::new();
    for (column, value) in asked {
        let query = format!(
            "SELECT at, tie FROM audit INDEXED BY audit_by_{column} WHERE {column} = ?1 AND (at, tie) < (?2, ?3)
             ORDER BY at DESC, tie DESC LIMIT ?4"
        );
        let bounds = params![value, before.at, before.tie, i64::try_from(most).unwrap_or(i64::MAX)];
        let mut statement = connection.prepare_cached(&query).map_err(unavailable)?;
        let found = statement.query_map(bounds, |row| Ok(AuditCursor { at: row.get(0)?, tie: row.get(1)? }));
        for place in found.map_err(unavailable)? {
            places.push(place.map_err(unavailable)?);
        }
    }
    Ok(places)
}

fn entry_at(connection: &Connection, place: AuditCursor) -> Result<Option<NumberedEntry>, StoreError> {
    let query = format!("SELECT {COLUMNS} FROM audit WHERE at = ?1 AND tie = ?2");
    let mut statement = connection.prepare_cached(&query).map_err(unavailable)?;
    let mut rows = statement.query(params![place.at, place.tie]).map_err(unavailable)?;
    rows.next().map_err(unavailable)?.map(read).transpose()
}

fn is_wanted(filter: &AuditFilter, NumberedEntry { entry, .. }: &NumberedEntry) -> bool {
    filter.session.is_none_or(|session| entry.session == Some(session))
        && filter.customer.as_ref().is_none_or(|customer| entry.customer.as_ref() == Some(customer))
        && filter.action.is_none_or(|action| entry.action == action)
}

/// The admissions in the rows of sessions of this table; see [`super::admissions`]. `live` is the only session that counts.
pub(super) fn admissions(
    connection: &Connection,
    table: &str,
    filter: &AuditFilter,
    live: Option<SessionId>,
    most: usize,
    damage: &Damage,
) -> Result<Vec<NumberedEntry>, StoreError> {
    let bounds = Conditions::new("id < ?", [end_of(filter.before.as_ref())])
        .and("id = ?", filter.session.map(blob))
        .and("id = ?", live.map(blob));
    let query = format!(
        "SELECT id FROM {table} INDEXED BY sqlite_autoindex_{table}_1 WHERE {} ORDER BY id DESC LIMIT ?",
        bounds.text()
    );
    let mut statement = connection.prepare_cached(&query).map_err(unavailable)?;
    let bounds = rusqlite::params_from_iter(bounds.into_values(usize::MAX));
    let mut ids = statement.query(bounds).map_err(unavailable)?;
    let mut found = Vec::new();
    while found.len() < most {
        let Some(row) = ids.next().map_err(unavailable)? else { break };
        let Ok(id) = row.get(0).map(SessionId::from_bytes) else { continue };
        match admission_of(connection, table, id) {
            Ok(entry) => found.extend(entry.filter(|entry| is_wanted(filter, entry))),
            Err(error) if error.is_damage() => {
                damage.note(&format!("the admission of session {id}: {}", error.cause()));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

fn admission_of(connection: &Connection, table: &str, id: SessionId) -> Result<Option<NumberedEntry>, StoreError> {
    let query = format!("SELECT id, customer, origin FROM {table} WHERE id = ?1");
    let mut statement = connection.prepare_cached(&query).map_err(unavailable)?;
    let read = statement.query_row([id.as_bytes()], |row| Ok(admission(row))).optional().map_err(unavailable)?;
    read.transpose()
}
