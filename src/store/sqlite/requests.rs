//! The rows of keyed requests. Each function is one change inside the writer's transaction, or a look.

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::id::{Epoch, SessionId};
use crate::store::{ANSWER_DROPPED, Damage, KEYS_PER_SESSION, KeyedAnswer, Noted, RequestKey, RequestNote, StoreError};

use super::file::unavailable;

const RESULT: i64 = 0;
const REFUSED: i64 = 1;
const LOST: i64 = 2;
const TIMED_OUT: i64 = 3;
const NO_ANSWER: i64 = 4;

const DROPPED: &[u8] = ANSWER_DROPPED.as_bytes();
// The schema's index and the queries below name this length, since SQLite has to see that they mean the same.
const _: () = assert!(DROPPED.len() == 79);

/// Notes a request, or tells what is noted under its key.
pub(super) fn note(
    connection: &Connection,
    session: SessionId,
    key: RequestKey,
    note: &RequestNote,
) -> Result<Noted, StoreError> {
    if let Some(known) = find(connection, session, key)? {
        return Ok(Noted::Known(known));
    }
    expect_live(connection, session)?;
    let newest = make_room(connection, session)?;
    let (outcome, answer) = columns(note.answer.as_ref());
    connection
        .prepare_cached(
            "INSERT INTO requests (session, key, noted, digest, epoch, call, outcome, answer, size)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ifnull(length(?8), 0))",
        )
        .and_then(|mut statement| {
            statement.execute(params![
                session.as_bytes(),
                key.as_bytes(),
                newest + 1,
                note.digest,
                note.epoch.0,
                stored(note.call),
                outcome,
                answer,
            ])
        })
        .map_err(unavailable)?;
    Ok(Noted::New)
}

/// Gives an unanswered request another call, if it stands as expected.
pub(super) fn move_to(
    connection: &Connection,
    session: SessionId,
    key: RequestKey,
    expect: (Epoch, u64),
    to: (Epoch, u64),
) -> Result<(), StoreError> {
    let moved = connection
        .prepare_cached(
            "UPDATE requests SET epoch = ?5, call = ?6
             WHERE session = ?1 AND key = ?2 AND epoch = ?3 AND call = ?4 AND outcome IS NULL",
        )
        .and_then(|mut statement| {
            statement.execute(params![
                session.as_bytes(),
                key.as_bytes(),
                expect.0.0,
                stored(expect.1),
                to.0.0,
                stored(to.1),
            ])
        })
        .map_err(unavailable)?;
    match moved {
        0 if find(connection, session, key)?.is_none() => Err(StoreError::Missing),
        0 => Err(StoreError::Conflict),
        _ => Ok(()),
    }
}

/// Deletes the note of an unanswered request, if it stands as expected.
pub(super) fn withdraw(
    connection: &Connection,
    session: SessionId,
    key: RequestKey,
    expect: (Epoch, u64),
) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "DELETE FROM requests WHERE session = ?1 AND key = ?2 AND epoch = ?3 AND call = ?4 AND outcome IS NULL",
        )
        .and_then(|mut statement| {
            statement.execute(params![session.as_bytes(), key.as_bytes(), expect.0.0, stored(expect.1)])
        })
        .map_err(unavailable)?;
    Ok(())
}

/// Stores the answer, unless there is one, and returns the one that stands. Older ones make room for it.
pub(super) fn answer(
    connection: &Connection,
    session: SessionId,
    key: RequestKey,
    answer: &KeyedAnswer,
    keep_bytes: u64,
) -> Result<KeyedAnswer, StoreError> {
    let note = find(connection, session, key)?.ok_or(StoreError::Missing)?;
    if let Some(first) = note.answer {
        return Ok(first);
    }
    let (outcome, bytes) = columns(Some(answer));
    connection
        .prepare_cached(
            "UPDATE requests SET outcome = ?3, answer = ?4, size = length(?4) WHERE session = ?1 AND key = ?2",
        )
        .and_then(|mut statement| statement.execute(params![session.as_bytes(), key.as_bytes(), outcome, bytes]))
        .map_err(unavailable)?;
    let others_bytes = keep_bytes.saturating_sub(bytes.map_or(0, <[u8]>::len) as u64);
    drop_oldest(connection, session, key, others_bytes)?;
    Ok(answer.clone())
}

/// Keeps the newest of a session's answers, but for the one under `key`, and of the older ones that they are lost: whoever
/// comes again is told so, and the agent is not asked a second time.
fn drop_oldest(
    connection: &Connection,
    session: SessionId,
    key: RequestKey,
    keep_bytes: u64,
) -> Result<(), StoreError> {
    // What is no longer than what would stand in its place stays.
    let mut statement = connection
        .prepare_cached(
            "SELECT noted, size FROM requests
             WHERE session = ?1 AND key <> ?2 AND size > 79 ORDER BY noted DESC",
        )
        .map_err(unavailable)?;
    let mut rows = statement.query(params![session.as_bytes(), key.as_bytes()]).map_err(unavailable)?;
    let mut bytes = 0;
    while let Some(row) = rows.next().map_err(unavailable)? {
        let noted: i64 = row.get(0).map_err(unavailable)?;
        bytes += row.get::<_, i64>(1).map_err(unavailable)?.cast_unsigned();
        if bytes > keep_bytes {
            drop(rows);
            return drop_from(connection, session, key, noted);
        }
    }
    Ok(())
}

/// Drops the answers to a request and to all that are older, but for the one under `key`.
fn drop_from(connection: &Connection, session: SessionId, key: RequestKey, noted: i64) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "UPDATE requests SET outcome = ?4, answer = ?3, size = length(?3)
             WHERE session = ?1 AND key <> ?2 AND size > 79 AND noted <= ?5",
        )
        .and_then(|mut statement| statement.execute(params![session.as_bytes(), key.as_bytes(), DROPPED, LOST, noted]))
        .map_err(unavailable)?;
    Ok(())
}

/// The requests without an answer, in the order in which they were noted. One that can't be read is noted as damage.
pub(super) fn open(
    connection: &Connection,
    session: SessionId,
    damage: &Damage,
) -> Result<Vec<(RequestKey, RequestNote)>, StoreError> {
    let mut statement = connection
        .prepare_cached(
            "SELECT digest, epoch, call, outcome, answer, key FROM requests
             WHERE session = ?1 AND outcome IS NULL ORDER BY noted",
        )
        .map_err(unavailable)?;
    let mut rows = statement.query([session.as_bytes()]).map_err(unavailable)?;
    let mut open = Vec::new();
    while let Some(row) = rows.next().map_err(unavailable)? {
        let key = row.get(5).map_err(|error| damaged(session, &error));
        match key.and_then(|key| Ok((RequestKey::from_bytes(key), read(session, row)?))) {
            Ok(request) => open.push(request),
            Err(error) => damage.note(&error.cause()),
        }
    }
    Ok(open)
}

/// Forgets a session's requests.
pub(super) fn forget(connection: &Connection, session: SessionId) -> Result<(), StoreError> {
    connection
        .prepare_cached("DELETE FROM requests WHERE session = ?1")
        .and_then(|mut statement| statement.execute([session.as_bytes()]))
        .map_err(unavailable)?;
    Ok(())
}

/// What is noted under a key.
pub(super) fn find(
    connection: &Connection,
    session: SessionId,
    key: RequestKey,
) -> Result<Option<RequestNote>, StoreError> {
    let mut statement = connection
        .prepare_cached("SELECT digest, epoch, call, outcome, answer FROM requests WHERE session = ?1 AND key = ?2")
        .map_err(unavailable)?;
    let mut rows = statement.query(params![session.as_bytes(), key.as_bytes()]).map_err(unavailable)?;
    rows.next().map_err(unavailable)?.map(|row| read(session, row)).transpose()
}

fn expect_live(connection: &Connection, session: SessionId) -> Result<(), StoreError> {
    let live = connection
        .prepare_cached("SELECT 1 FROM sessions WHERE id = ?1")
        .and_then(|mut statement| statement.query_row([session.as_bytes()], |_| Ok(())).optional())
        .map_err(unavailable)?;
    live.ok_or(StoreError::Missing)
}

/// Drops the oldest answered request if there is no room for one more, and returns the number of the newest.
fn make_room(connection: &Connection, session: SessionId) -> Result<i64, StoreError> {
    let (count, newest): (i64, i64) = connection
        .prepare_cached("SELECT count(*), ifnull(max(noted), 0) FROM requests WHERE session = ?1")
        .and_then(|mut statement| statement.query_row([session.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?))))
        .map_err(unavailable)?;
    if usize::try_from(count).is_ok_and(|count| count >= KEYS_PER_SESSION) {
        let dropped = connection
            .prepare_cached(
                "DELETE FROM requests WHERE session = ?1 AND noted =
                 (SELECT noted FROM requests WHERE session = ?1 AND outcome IS NOT NULL ORDER BY noted LIMIT 1)",
            )
            .and_then(|mut statement| statement.execute([session.as_bytes()]))
            .map_err(unavailable)?;
        if dropped == 0 {
            return Err(StoreError::Busy);
        }
    }
    Ok(newest)
}

fn columns(answer: Option<&KeyedAnswer>) -> (Option<i64>, Option<&[u8]>) {
    match answer {
        None => (None, None),
        Some(KeyedAnswer::Result(result)) => (Some(RESULT), Some(result)),
        Some(KeyedAnswer::Refused(message)) => (Some(REFUSED), Some(message.as_bytes())),
        Some(KeyedAnswer::Lost(why)) => (Some(LOST), Some(why.as_bytes())),
        Some(KeyedAnswer::TimedOut) => (Some(TIMED_OUT), Some(b"")),
        Some(KeyedAnswer::NoAnswer(why)) => (Some(NO_ANSWER), Some(why.as_bytes())),
    }
}

/// Reads digest, epoch, call, outcome and answer.
fn read(session: SessionId, row: &Row<'_>) -> Result<RequestNote, StoreError> {
    let unreadable = |error: rusqlite::Error| damaged(session, &error);
    let outcome: Option<i64> = row.get(3).map_err(unreadable)?;
    let answer: Option<Vec<u8>> = row.get(4).map_err(unreadable)?;
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).map_err(|error| damaged(session, &error));
    let answer = match (outcome, answer) {
        (None, None) => None,
        (Some(RESULT), Some(bytes)) => Some(KeyedAnswer::Result(bytes.into())),
        (Some(REFUSED), Some(bytes)) => Some(KeyedAnswer::Refused(text(bytes)?)),
        (Some(LOST), Some(bytes)) => Some(KeyedAnswer::Lost(text(bytes)?)),
        (Some(TIMED_OUT), Some(_)) => Some(KeyedAnswer::TimedOut),
        (Some(NO_ANSWER), Some(bytes)) => Some(KeyedAnswer::NoAnswer(text(bytes)?)),
        (outcome, _) => return Err(damaged(session, &format!("an outcome is {outcome:?}"))),
    };
    Ok(RequestNote {
        digest: row.get(0).map_err(unreadable)?,
        epoch: Epoch(row.get(1).map_err(unreadable)?),
        call: row.get::<_, i64>(2).map_err(unreadable)?.cast_unsigned(),
        answer,
    })
}

/// A column holds 64 bits with a sign: the same bits, without a change of order that anybody asks for.
fn stored(call: u64) -> i64 {
    call.cast_signed()
}

fn damaged(session: SessionId, error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Corrupt(format!("the requests of session {session}: {error}"))
}
