//! The log of events as it is, for whoever looks for damage: nothing is refused, and what can't be read is said.
//!
//! One read transaction sees everything at one moment; nothing is locked, written or made beside the file.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::Connection;
use serde::Deserialize;

use crate::id::SessionId;
use crate::store::StoreError;
use crate::store::sqlite::file::{self, unavailable};
use crate::store::sqlite::inspect;

use super::{EVENT_BYTES, FIRST_NUMBER, Kind, table};

/// What the file holds, as far as it can be read.
#[derive(Clone, Debug, Default)]
pub struct Inspected {
    /// What is wrong with the file itself, in words.
    pub faults: Vec<String>,
    /// The sessions of which anything is kept.
    pub sessions: BTreeMap<SessionId, Told>,
}

/// What is kept of one session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// What is wrong with it, in words.
    pub fault: Option<String>,
    /// The revision after the last step that it tells of; 0 if that can't be read.
    pub revision: i64,
}

/// The events of one session that are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kept {
    number: i64,
    lowest: i64,
    highest: i64,
    bytes: i64,
}

/// What a session's ledger says of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Noted {
    first: i64,
    last: i64,
    bytes: i64,
    revision: i64,
}

/// Reads everything in one transaction; nothing if there is no log yet.
///
/// # Errors
/// What the system or SQLite said when the file could not be opened at all.
pub fn read(path: &Path) -> Result<Inspected, StoreError> {
    let mut found = Inspected::default();
    if !path.try_exists().map_err(|error| file::storage_failed(&error))? {
        return Ok(found);
    }
    let connection = inspect::open(path)?;
    connection.execute_batch("BEGIN").map_err(unavailable)?;
    if let Err(error) = fill(&connection, &mut found) {
        found.faults.push(error.to_string());
    }
    Ok(found)
}

fn fill(connection: &Connection, found: &mut Inspected) -> Result<(), StoreError> {
    let (version, known) = (file::version(connection)?, table::version());
    if version != known {
        // A first start that died early has made the file and nothing in it.
        if version > known {
            found
                .faults
                .push(format!("its schema is version {version} and this frontdesk knows versions up to {known}"));
        }
        return Ok(());
    }
    found.faults.extend(inspect::integrity(connection)?);
    let (kept, noted, steps) = (kept(connection)?, noted(connection)?, steps(connection)?);
    for session in kept.keys().chain(noted.keys()) {
        let (kept, noted, steps) = (kept.get(session), noted.get(session), steps.get(session));
        let revision = noted.map_or(0, |noted| noted.revision);
        let fault = fault(kept.copied(), noted.copied()).or_else(|| fault_of_steps(steps?, noted?));
        found.sessions.insert(*session, Told { fault, revision });
    }
    for session in lost_positions(connection)? {
        let what = "how far its agents were read is noted, and nothing else";
        found.sessions.entry(session).or_insert_with(|| Told { fault: Some(what.to_owned()), revision: 0 });
    }
    Ok(())
}

fn kept(connection: &Connection) -> Result<BTreeMap<SessionId, Kept>, StoreError> {
    let query = format!(
        "SELECT session, count(*), min(number), max(number), sum(length(body) + {EVENT_BYTES}) FROM events GROUP BY session"
    );
    let mut statement = connection.prepare(&query).map_err(unavailable)?;
    let rows = statement.query_map([], |row| {
        let kept = Kept { number: row.get(1)?, lowest: row.get(2)?, highest: row.get(3)?, bytes: row.get(4)? };
        Ok((SessionId::from_bytes(row.get(0)?), kept))
    });
    rows.and_then(Iterator::collect).map_err(unavailable)
}

fn noted(connection: &Connection) -> Result<BTreeMap<SessionId, Noted>, StoreError> {
    let query = "SELECT session, first, last, bytes, revision FROM ledgers";
    let mut statement = connection.prepare(query).map_err(unavailable)?;
    let rows = statement.query_map([], |row| {
        let noted = Noted { first: row.get(1)?, last: row.get(2)?, bytes: row.get(3)?, revision: row.get(4)? };
        Ok((SessionId::from_bytes(row.get(0)?), noted))
    });
    rows.and_then(Iterator::collect).map_err(unavailable)
}

/// The revisions of each session's transitions, in the order of their numbers; nothing for one that can't be read.
fn steps(connection: &Connection) -> Result<BTreeMap<SessionId, Vec<Option<i64>>>, StoreError> {
    #[derive(Deserialize)]
    struct Transition {
        revision: i64,
    }
    let query = "SELECT session, body FROM events WHERE kind = ?1 ORDER BY session, number";
    let mut statement = connection.prepare(query).map_err(unavailable)?;
    let mut rows = statement.query([table::code(Kind::Transition)]).map_err(unavailable)?;
    let mut steps: BTreeMap<_, Vec<_>> = BTreeMap::new();
    while let Some(row) = rows.next().map_err(unavailable)? {
        let (session, body): ([u8; 16], Vec<u8>) = row.try_into().map_err(unavailable)?;
        let revision = serde_json::from_slice(&body).ok().map(|Transition { revision }| revision);
        steps.entry(SessionId::from_bytes(session)).or_default().push(revision);
    }
    Ok(steps)
}

fn lost_positions(connection: &Connection) -> Result<Vec<SessionId>, StoreError> {
    let query = "SELECT DISTINCT session FROM positions WHERE session NOT IN (SELECT session FROM ledgers)";
    let mut statement = connection.prepare(query).map_err(unavailable)?;
    let rows = statement.query_map([], |row| row.get(0).map(SessionId::from_bytes));
    rows.and_then(Iterator::collect).map_err(unavailable)
}

/// What is wrong between the events and their ledger.
fn fault(kept: Option<Kept>, noted: Option<Noted>) -> Option<String> {
    match (kept, noted) {
        (None, None) => None,
        (Some(_), None) => Some("its events have no ledger".into()),
        (None, Some(_)) => Some("its ledger has no events".into()),
        (Some(kept), Some(noted)) => {
            let Noted { first, last, bytes, .. } = noted;
            if first < FIRST_NUMBER.cast_signed() {
                return Some(format!("its events begin with number {first}, which is its creation's"));
            }
            let is_whole = (kept.lowest, kept.highest) == (first, last) && kept.number == last - first + 1;
            if !is_whole {
                return Some(format!(
                    "of its events {first} to {last}, {} from {} to {} are there",
                    kept.number, kept.lowest, kept.highest
                ));
            }
            (kept.bytes != bytes).then(|| format!("its events count {} bytes, and its ledger says {bytes}", kept.bytes))
        }
    }
}

/// What is wrong with the transitions that are kept.
fn fault_of_steps(steps: &[Option<i64>], noted: &Noted) -> Option<String> {
    let Some(revisions) = steps.iter().copied().collect::<Option<Vec<_>>>() else {
        return Some("one of its transitions can't be read".into());
    };
    let is_rising = revisions.is_sorted_by(|one, next| one < next);
    let is_noted = revisions.last().is_none_or(|last| *last == noted.revision);
    (!is_rising || !is_noted)
        .then(|| format!("its transitions are of the revisions {revisions:?}, and its ledger says {}", noted.revision))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: Kept = Kept { number: 3, lowest: 5, highest: 7, bytes: 300 };
    const NOTED: Noted = Noted { first: 5, last: 7, bytes: 300, revision: 4 };

    #[test]
    fn events_that_are_as_their_ledger_says_are_sound() {
        assert_eq!(fault(Some(KEPT), Some(NOTED)), None);
    }

    #[test]
    fn a_gap_in_the_numbers_is_a_fault_wherever_it_is() {
        for kept in [
            Kept { number: 2, ..KEPT },
            Kept { number: 2, lowest: 6, ..KEPT },
            Kept { number: 2, highest: 6, ..KEPT },
            Kept { number: 4, highest: 8, ..KEPT },
        ] {
            let fault = fault(Some(kept), Some(NOTED)).unwrap();
            assert!(fault.starts_with("of its events 5 to 7, "), "{fault}");
        }
    }

    #[test]
    fn events_and_ledger_go_together_and_agree_on_the_size() {
        assert_eq!(fault(Some(KEPT), None).unwrap(), "its events have no ledger");
        assert_eq!(fault(None, Some(NOTED)).unwrap(), "its ledger has no events");
        let smaller = Noted { bytes: 299, ..NOTED };
        assert_eq!(fault(Some(KEPT), Some(smaller)).unwrap(), "its events count 300 bytes, and its ledger says 299");
    }

    #[test]
    fn no_log_has_the_number_of_the_creation() {
        let noted = Noted { first: 1, last: 3, ..NOTED };
        let fault = fault(Some(Kept { lowest: 1, highest: 3, ..KEPT }), Some(noted)).unwrap();
        assert_eq!(fault, "its events begin with number 1, which is its creation's");
    }

    #[test]
    fn transitions_are_in_the_order_of_their_steps_and_their_ledger_knows_the_last_one() {
        for sound in [&[Some(2), Some(3), Some(4)][..], &[Some(4)], &[]] {
            assert_eq!(fault_of_steps(sound, &NOTED), None);
        }
        for wrong in [&[Some(3), Some(3), Some(4)][..], &[Some(4), Some(3)], &[Some(2), Some(3)], &[Some(5)]] {
            let fault = fault_of_steps(wrong, &NOTED).unwrap();
            assert!(fault.ends_with("and its ledger says 4"), "{fault}");
        }
        assert_eq!(fault_of_steps(&[Some(2), None], &NOTED).unwrap(), "one of its transitions can't be read");
    }

    #[test]
    fn a_log_that_is_not_there_yet_has_nothing_wrong() {
        let directory = tempfile::tempdir().unwrap();
        let found = read(&directory.path().join("events.db")).unwrap();
        assert!(found.faults.is_empty() && found.sessions.is_empty());
    }
}
