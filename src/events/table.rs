//! What is on the disk: the events, and of each session which numbers, how many bytes and how far its agents were read.

use std::path::Path;

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::clock::WallTime;
use crate::id::{Epoch, Revision, SessionId};
use crate::store::StoreError;
use crate::store::sqlite::file::{self, unavailable};

use super::join::Record;
use super::{EVENT_BYTES, Event, FIRST_NUMBER, Kind, PAGE_BYTES, Page};

/// Every schema this file has had, in order. A released entry never changes.
const MIGRATIONS: [&str; 2] = [
    // `kind` is the place in `Kind::ALL`.
    "CREATE TABLE events (
        session BLOB NOT NULL,
        number INTEGER NOT NULL,
        epoch INTEGER NOT NULL,
        kind INTEGER NOT NULL,
        at INTEGER NOT NULL,
        body BLOB NOT NULL,
        PRIMARY KEY (session, number)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE ledgers (
        session BLOB PRIMARY KEY,
        first INTEGER NOT NULL,
        last INTEGER NOT NULL,
        bytes INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE positions (
        session BLOB NOT NULL,
        epoch INTEGER NOT NULL,
        position INTEGER NOT NULL,
        PRIMARY KEY (session, epoch)
    ) STRICT, WITHOUT ROWID;",
    // Number 1 becomes the creation's. `revision` is that of the last step whose transition was stored, and `closed`
    // says that it was the session's last one.
    "UPDATE events SET number = -1 - number;
    UPDATE events SET number = -number;
    UPDATE ledgers SET first = first + 1, last = last + 1;
    ALTER TABLE ledgers ADD COLUMN revision INTEGER NOT NULL DEFAULT 1;
    ALTER TABLE ledgers ADD COLUMN closed INTEGER NOT NULL DEFAULT 0;",
];

/// How a session's log stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ledger {
    /// The first number that is kept; one above the last if none is.
    pub(super) first: u64,
    /// The last number that was given.
    pub(super) last: u64,
    /// What the kept events count.
    pub(super) bytes: u64,
    /// The revision after the last step whose transition was stored.
    pub(super) revision: Revision,
    /// Whether that step was the last one, behind which nothing is stored.
    pub(super) is_closed: bool,
    /// The epoch whose position this knows.
    pub(super) epoch: Epoch,
    /// How far the stdout of that epoch's agent is stored.
    pub(super) position: u64,
}

/// How the log of a session stands of which nothing is kept.
const EMPTY: Ledger = Ledger {
    first: FIRST_NUMBER,
    last: FIRST_NUMBER - 1,
    bytes: 0,
    revision: Revision::FIRST,
    is_closed: false,
    epoch: Epoch(0),
    position: 0,
};

/// The version of the newest schema.
pub(super) fn version() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// Opens the file for writing, and brings its schema up to date.
pub(super) fn open(path: &Path) -> Result<Connection, StoreError> {
    file::open(path, &MIGRATIONS)
}

/// The session's ledger, with the position of this epoch.
pub(super) fn ledger(connection: &Connection, session: SessionId, epoch: Epoch) -> Result<Ledger, StoreError> {
    let position = position(connection, session, epoch)?;
    let standing = standing(connection, session)?;
    Ok(Ledger { epoch, position, ..standing })
}

/// Writes the ledger over the one before.
pub(super) fn set_ledger(connection: &Connection, session: SessionId, ledger: &Ledger) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO ledgers (session, first, last, bytes, revision, closed) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT DO UPDATE SET first = ?2, last = ?3, bytes = ?4, revision = ?5, closed = ?6",
        )
        .and_then(|mut statement| {
            let Ledger { first, last, bytes, revision, is_closed, .. } = *ledger;
            let (first, last, bytes) = (signed(first), signed(last), signed(bytes));
            statement.execute(params![session.as_bytes(), first, last, bytes, revision.0, is_closed])
        })
        .map_err(unavailable)?;
    Ok(())
}

/// Writes how far the stdout of the ledger's epoch is stored.
pub(super) fn set_position(connection: &Connection, session: SessionId, ledger: &Ledger) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO positions (session, epoch, position) VALUES (?1, ?2, ?3)
             ON CONFLICT DO UPDATE SET position = ?3",
        )
        .and_then(|mut statement| {
            statement.execute(params![session.as_bytes(), ledger.epoch.0, signed(ledger.position)])
        })
        .map_err(unavailable)?;
    Ok(())
}

/// The last position stored for this session and epoch.
pub(super) fn position(connection: &Connection, session: SessionId, epoch: Epoch) -> Result<u64, StoreError> {
    let position: Option<i64> = connection
        .prepare_cached("SELECT position FROM positions WHERE session = ?1 AND epoch = ?2")
        .and_then(|mut statement| {
            statement.query_row(params![session.as_bytes(), epoch.0], |row| row.get(0)).optional()
        })
        .map_err(unavailable)?;
    let position = position.unwrap_or(0);
    u64::try_from(position).map_err(|_| damaged(session, &format!("its agent is read up to byte {position}")))
}

/// Adds a record under the next number, to the ledger as well.
pub(super) fn add(
    connection: &Connection,
    session: SessionId,
    ledger: &mut Ledger,
    record: &Record,
) -> Result<(), StoreError> {
    ledger.last += 1;
    ledger.bytes = ledger.bytes.saturating_add((record.body.len() + EVENT_BYTES) as u64);
    connection
        .prepare_cached("INSERT INTO events (session, number, epoch, kind, at, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")
        .and_then(|mut statement| {
            statement.execute(params![
                session.as_bytes(),
                signed(ledger.last),
                record.epoch.0,
                code(record.kind),
                record.at.unix_millis(),
                &record.body[..],
            ])
        })
        .map_err(|error| not_added(session, ledger.last, error))?;
    Ok(())
}

/// Why a record could not be added. A number that stands in the log already is one that a sound ledger does not give.
fn not_added(session: SessionId, number: u64, error: rusqlite::Error) -> StoreError {
    let code = error.sqlite_error().map(|error| error.extended_code);
    if code == Some(rusqlite::ffi::SQLITE_CONSTRAINT_PRIMARYKEY) {
        damaged(session, &format!("its ledger gives number {number} a second time"))
    } else {
        unavailable(error)
    }
}

/// Deletes the oldest events until no more than `keep_bytes` are left, but never the newest one.
pub(super) fn trim(
    connection: &Connection,
    session: SessionId,
    ledger: &mut Ledger,
    keep_bytes: u64,
) -> Result<(), StoreError> {
    if ledger.bytes <= keep_bytes {
        return Ok(());
    }
    let mut statement = connection
        .prepare_cached("SELECT number, length(body) FROM events WHERE session = ?1 AND number < ?2 ORDER BY number")
        .map_err(unavailable)?;
    let mut rows = statement.query(params![session.as_bytes(), signed(ledger.last)]).map_err(unavailable)?;
    while ledger.bytes > keep_bytes {
        let Some(row) = rows.next().map_err(unavailable)? else { break };
        let number = unsigned(row.get(0).map_err(unavailable)?);
        let length = unsigned(row.get(1).map_err(unavailable)?);
        ledger.bytes = ledger.bytes.saturating_sub(length + EVENT_BYTES as u64);
        ledger.first = number + 1;
    }
    drop(rows);
    connection
        .prepare_cached("DELETE FROM events WHERE session = ?1 AND number < ?2")
        .and_then(|mut statement| statement.execute(params![session.as_bytes(), signed(ledger.first)]))
        .map_err(unavailable)?;
    Ok(())
}

/// Deletes all that is kept of the session.
pub(super) fn forget(connection: &Connection, session: SessionId) -> Result<(), StoreError> {
    for table in ["events", "ledgers", "positions"] {
        connection
            .prepare_cached(&format!("DELETE FROM {table} WHERE session = ?1"))
            .and_then(|mut statement| statement.execute([session.as_bytes()]))
            .map_err(unavailable)?;
    }
    Ok(())
}

/// How many bytes are kept of each of the sessions.
pub(super) fn sizes(connection: &Connection, sessions: Vec<SessionId>) -> Result<Vec<(SessionId, u64)>, StoreError> {
    let mut query = connection.prepare_cached("SELECT bytes FROM ledgers WHERE session = ?1").map_err(unavailable)?;
    let sizes = sessions.into_iter().map(|session| {
        let bytes: Option<i64> = query.query_row([session.as_bytes()], |row| row.get(0)).optional()?;
        Ok((session, bytes.map_or(0, unsigned)))
    });
    sizes.collect::<rusqlite::Result<_>>().map_err(unavailable)
}

/// Those of the sessions of which anything is kept.
pub(super) fn kept(connection: &Connection, mut sessions: Vec<SessionId>) -> Result<Vec<SessionId>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT 1 FROM ledgers WHERE session = ?1").map_err(unavailable)?;
    let mut failure = None;
    sessions.retain(|session| match statement.exists([session.as_bytes()]) {
        Ok(is_kept) => is_kept,
        Err(error) => {
            failure = Some(error);
            false
        }
    });
    failure.map_or(Ok(sessions), |error| Err(unavailable(error)))
}

/// The last number that the session's log has given.
pub(super) fn last(connection: &Connection, session: SessionId) -> Result<u64, StoreError> {
    Ok(standing(connection, session)?.last)
}

/// Up to `most` events after a number, and which numbers there are, all at one moment. One whose body is larger than
/// `largest` ends the page, and is there without its body.
pub(super) fn page(
    connection: &Connection,
    session: SessionId,
    after: u64,
    most: usize,
    largest: usize,
) -> Result<Page, StoreError> {
    let moment = connection.unchecked_transaction().map_err(unavailable)?;
    let Ledger { first, last, revision, .. } = standing(&moment, session)?;
    let mut statement = moment
        .prepare_cached(
            "SELECT number, epoch, kind, at, CASE WHEN length(body) <= ?4 THEN body END FROM events
             WHERE session = ?1 AND number > ?2 ORDER BY number LIMIT ?3",
        )
        .map_err(unavailable)?;
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let [most, largest_bytes] = [most, largest].map(|number| i64::try_from(number).unwrap_or(i64::MAX));
    let mut rows = statement.query(params![session.as_bytes(), after, most, largest_bytes]).map_err(unavailable)?;
    let (mut events, mut large, mut bytes) = (Vec::new(), None, 0);
    while bytes < PAGE_BYTES.min(largest) && large.is_none() {
        let Some(row) = rows.next().map_err(unavailable)? else { break };
        let (event, is_whole) = event(row).map_err(|error| damaged(session, &error))?;
        bytes += event.body.len();
        if is_whole { events.push(event) } else { large = Some(event) }
    }
    Ok(Page { events, large, first, last, revision })
}

/// Up to `most` bytes of an event's body, from one on; none behind its end, and `None` if the event is not kept.
pub(super) fn part(
    connection: &Connection,
    session: SessionId,
    number: u64,
    from: usize,
    most: usize,
) -> Result<Option<Bytes>, StoreError> {
    let [from, most] = [from, most].map(|number| i64::try_from(number).unwrap_or(i64::MAX));
    let part: Option<Vec<u8>> = connection
        .prepare_cached("SELECT substr(body, ?3 + 1, ?4) FROM events WHERE session = ?1 AND number = ?2")
        .and_then(|mut statement| {
            let wanted = params![session.as_bytes(), signed(number), from, most];
            statement.query_row(wanted, |row| row.get(0)).optional()
        })
        .map_err(unavailable)?;
    Ok(part.map(Bytes::from))
}

/// The newest `most` transitions of a session, in their order.
pub(super) fn transitions(connection: &Connection, session: SessionId, most: usize) -> Result<Vec<Event>, StoreError> {
    let mut statement = connection
        .prepare_cached(
            "SELECT number, epoch, kind, at, body FROM events
             WHERE session = ?1 AND kind = ?2 ORDER BY number DESC LIMIT ?3",
        )
        .map_err(unavailable)?;
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![session.as_bytes(), code(Kind::Transition), most]).map_err(unavailable)?;
    let mut events = Vec::new();
    while let Some(row) = rows.next().map_err(unavailable)? {
        let (event, _) = event(row).map_err(|error| damaged(session, &error))?;
        events.push(event);
    }
    events.reverse();
    Ok(events)
}

/// The session's ledger without any position. Its numbers are such that others can be added to them.
fn standing(connection: &Connection, session: SessionId) -> Result<Ledger, StoreError> {
    let read = |row: &Row<'_>| {
        Ok(Ledger {
            first: unsigned(row.get(0)?),
            last: unsigned(row.get(1)?),
            bytes: unsigned(row.get(2)?),
            revision: Revision(row.get(3)?),
            is_closed: row.get(4)?,
            epoch: Epoch::default(),
            position: 0,
        })
    };
    let ledger = connection
        .prepare_cached("SELECT first, last, bytes, revision, closed FROM ledgers WHERE session = ?1")
        .and_then(|mut statement| statement.query_row([session.as_bytes()], read).optional())
        .map_err(unavailable)?;
    let ledger = ledger.unwrap_or(EMPTY);
    // Beyond this, numbers are not those of events, and would soon meet the sign of a column.
    const MOST: u64 = 1 << 48;
    let Ledger { first, last, bytes, .. } = ledger;
    let is_sound = (FIRST_NUMBER..=last.saturating_add(1)).contains(&first) && last < MOST && bytes < MOST;
    if is_sound {
        Ok(ledger)
    } else {
        let (last, bytes) = (signed(last), signed(bytes));
        let what = format!("its ledger counts {bytes} bytes in the events {} to {last}", signed(first));
        Err(damaged(session, &what))
    }
}

fn damaged(session: SessionId, error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Corrupt(format!("events of session {session}: {error}"))
}

/// The event, and whether its body is with it.
fn event(row: &Row<'_>) -> rusqlite::Result<(Event, bool)> {
    let code: usize = row.get::<_, u32>(2)? as usize;
    let kind = Kind::ALL.get(code).ok_or(rusqlite::Error::IntegralValueOutOfRange(2, code as i64))?;
    let body: Option<Vec<u8>> = row.get(4)?;
    let is_whole = body.is_some();
    let event = Event {
        number: unsigned(row.get(0)?),
        epoch: Epoch(row.get(1)?),
        kind: *kind,
        at: WallTime::from_unix_millis(row.get(3)?),
        body: body.unwrap_or_default().into(),
    };
    Ok((event, is_whole))
}

/// The number by which a kind is stored.
pub(super) fn code(kind: Kind) -> u32 {
    match kind {
        Kind::Progress => 0,
        Kind::Event => 1,
        Kind::Log => 2,
        Kind::Output => 3,
        Kind::Transition => 4,
    }
}

/// Numbers, sizes and positions count from 0 and never come near the sign.
fn signed(number: u64) -> i64 {
    number.cast_signed()
}

fn unsigned(number: i64) -> u64 {
    number.cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_of_the_first_version_gives_its_first_number_to_the_creation() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.db");
        let session = SessionId::new(WallTime::from_unix_millis(1), [1; 10]);
        let old = file::open(&path, &MIGRATIONS[..1]).unwrap();
        for number in 3..6 {
            old.execute("INSERT INTO events VALUES (?1, ?2, 1, 0, 7, X'31')", params![session.as_bytes(), number])
                .unwrap();
        }
        old.execute("INSERT INTO ledgers VALUES (?1, 3, 5, 195)", [session.as_bytes()]).unwrap();
        drop(old);

        let page = page(&open(&path).unwrap(), session, 0, 9, usize::MAX).unwrap();

        assert_eq!((page.first, page.last, page.revision), (4, 6, Revision::FIRST));
        assert_eq!(page.events.iter().map(|event| event.number).collect::<Vec<_>>(), [4, 5, 6]);
    }

    #[test]
    fn every_kind_is_read_as_it_was_written() {
        for kind in Kind::ALL {
            assert_eq!(Kind::ALL[code(kind) as usize], kind);
        }
    }
}
