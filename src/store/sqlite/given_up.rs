//! Giving up a live session whose row can't be read.
//!
//! ```text
//!   read what can be read ──> history + `given_up`, one transaction ──> place free ──> row and entry deleted, if they can be
//! ```
//!
//! The damaged row may stand in a page that nothing can write any more. So its deletion is no condition: while the table
//! `given_up` names a session, its row among the live ones counts for nothing. Whoever opens the store tries the deletion again.

use std::collections::HashSet;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, params};
use tokio::sync::oneshot;

use crate::clock::Timestamp;
use crate::id::{CustomerKey, Epoch, Revision, SessionId};
use crate::session::{Ending, Outcome, Phase, Reason, SessionRecord};
use crate::store::{Damage, StoreError, TOKENS_PER_SESSION};
use crate::token::TokenHash;

use super::SqliteStore;
use super::clues;
use super::file::unavailable;
use super::index::Index;
use super::row;
use super::writer::{Change, Needs, Refusal};

/// What stands in the place of a name that can't be read.
const UNREADABLE: &str = "(unreadable)";

/// What could be read of a damaged row.
#[derive(Debug)]
pub(super) struct Remains {
    customer: Option<CustomerKey>,
    email: Option<Box<str>>,
    persona: Option<Arc<str>>,
    origin: Option<String>,
    revision: Revision,
    epoch: Epoch,
    tokens: Vec<u8>,
    creation: Option<([u8; 32], [u8; 32])>,
    is_reachable: bool,
}

impl SqliteStore {
    /// Gives up a session that is set aside; see [`Store::give_up`](crate::store::Store::give_up).
    pub(super) async fn give_up_row(
        &self,
        session: SessionId,
        before: Revision,
        reason: Reason,
        ended: Timestamp,
    ) -> Result<SessionRecord, StoreError> {
        if self.index.check_session(session).is_ok() {
            return Err(StoreError::Missing);
        }
        let remains = self.read(move |connection| Ok(remains(connection, session))).await?;
        let is_reachable = remains.is_reachable();
        let record = remains.record(session, before, reason);
        let (index, damage, kept) = (Arc::clone(&self.index), Arc::clone(&self.damage), record.clone());
        let change = |reply| GiveUp { record: kept, remains, ended, index, damage, reply };
        self.submit(move |reply| Box::new(change(reply))).await?;
        if is_reachable {
            // If it can't be, the row counts for nothing all the same.
            let _ = self.submit(move |reply| Box::new(Tidy { session, reply })).await;
        }
        let files = Arc::clone(&self.files);
        let removed = tokio::task::spawn_blocking(move || files.remove_all_of(session)).await;
        if let Ok(Err(error)) = removed {
            tracing::warn!(session.id = %session, error = %error, "data of a session that was given up is left to the next start");
        }
        Ok(record)
    }
}

/// The sessions that are given up while their rows may still be there.
pub(super) fn all(connection: &Connection) -> Result<HashSet<SessionId>, StoreError> {
    let mut statement = connection.prepare("SELECT id FROM given_up").map_err(unavailable)?;
    let ids = statement.query_map([], |row| row.get(0).map(SessionId::from_bytes)).map_err(unavailable)?;
    ids.collect::<rusqlite::Result<_>>().map_err(unavailable)
}

/// Deletes what is left of sessions that are given up, as far as that can be written. Each has a transaction of its own.
pub(super) fn tidy(connection: &Connection) {
    for id in all(connection).unwrap_or_default() {
        let tidied = connection.execute_batch("BEGIN IMMEDIATE").map_err(unavailable).and_then(|()| {
            delete(connection, id)?;
            connection.execute_batch("COMMIT").map_err(unavailable)
        });
        if let Err(error) = tidied {
            tracing::warn!(session.id = %id, error = %error, "damaged row of a session that was given up stays");
            if !connection.is_autocommit() {
                let _ = connection.execute_batch("ROLLBACK");
            }
        }
    }
}

fn delete(connection: &Connection, id: SessionId) -> Result<(), StoreError> {
    for table in ["sessions", "given_up"] {
        connection.execute(&format!("DELETE FROM {table} WHERE id = ?1"), [id.as_bytes()]).map_err(unavailable)?;
    }
    Ok(())
}

/// Reads each part of a row by itself.
pub(super) fn remains(connection: &Connection, id: SessionId) -> Remains {
    let read = connection
        .prepare(
            "SELECT customer, email, persona, origin, revision, phase, tokens, creation_key, creation_digest
             FROM sessions WHERE id = ?1",
        )
        .and_then(|mut statement| statement.query_row([id.as_bytes()], |row| Ok(parts(row))).optional());
    let mut remains = read.ok().flatten().unwrap_or_default();
    // Beside the row, which may be damaged in what it says, others are worth more.
    if let [customer] = &clues::customers_of(connection, id)[..] {
        remains.customer = Some(customer.clone());
    }
    remains
}

fn parts(row: &Row<'_>) -> Remains {
    let text = |column| row.get::<_, Option<String>>(column).ok().flatten();
    let phase = text(5).and_then(|phase| serde_json::from_str::<Phase>(&phase).ok());
    let hash = |column| row.get::<_, Option<[u8; 32]>>(column).ok().flatten();
    Remains {
        customer: text(0).map(|customer| CustomerKey::new(&customer)),
        email: text(1).map(Into::into),
        persona: text(2).map(Into::into),
        origin: text(3).filter(|origin| origin.parse::<std::net::IpAddr>().is_ok()),
        revision: row.get(4).map_or(Revision::FIRST, Revision),
        epoch: phase.map(|phase| phase.epoch()).unwrap_or_default(),
        tokens: row.get::<_, Vec<u8>>(6).ok().filter(|tokens| are_tokens(tokens)).unwrap_or_else(no_tokens),
        creation: hash(7).zip(hash(8)),
        is_reachable: true,
    }
}

fn are_tokens(bytes: &[u8]) -> bool {
    let (tokens, rest) = bytes.as_chunks::<{ size_of::<TokenHash>() }>();
    rest.is_empty() && (1..=TOKENS_PER_SESSION).contains(&tokens.len())
}

/// The hash of a token that nobody has: every session has one.
fn no_tokens() -> Vec<u8> {
    crate::random::bytes::<{ size_of::<TokenHash>() }>().to_vec()
}

impl Default for Remains {
    /// Nothing.
    fn default() -> Self {
        Self {
            customer: None,
            email: None,
            persona: None,
            origin: None,
            revision: Revision::FIRST,
            epoch: Epoch::default(),
            tokens: no_tokens(),
            creation: None,
            is_reachable: false,
        }
    }
}

impl Remains {
    /// The session's record in the history, as the one after `before` if that is known.
    pub(super) fn record(&self, id: SessionId, before: Revision, reason: Reason) -> SessionRecord {
        SessionRecord {
            id,
            customer: self.customer.clone().unwrap_or_else(|| CustomerKey::new(UNREADABLE)),
            email: self.email.clone(),
            persona: self.persona.clone().unwrap_or_else(|| UNREADABLE.into()),
            created: id.requested(),
            revision: self.revision.max(before).next(),
            phase: Phase::Ended { epoch: self.epoch, ending: Ending::new(Outcome::Failed, reason), log_bytes: 0 },
        }
    }

    /// Whether the row's page can be read, and so perhaps written.
    pub(super) fn is_reachable(&self) -> bool {
        self.is_reachable
    }
}

fn insert(
    connection: &Connection,
    record: &SessionRecord,
    remains: &Remains,
    ended: Timestamp,
) -> Result<(), StoreError> {
    let (key, digest) = remains.creation.unzip();
    connection
        .execute(
            "INSERT INTO history (id, customer, email, persona, created, origin, revision, phase, tokens, ended,
                creation_key, creation_digest)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            params![
                record.id.as_bytes(),
                record.customer.as_str(),
                record.email.as_deref(),
                &*record.persona,
                record.created.unix_millis(),
                remains.origin,
                record.revision.0,
                row::phase_text(&record.phase),
                remains.tokens,
                ended.micros(),
                key,
                digest,
            ],
        )
        .map_err(unavailable)?;
    Ok(())
}

/// Makes a session that is set aside history, and frees its customer's place.
pub(super) struct GiveUp {
    pub(super) record: SessionRecord,
    pub(super) remains: Remains,
    pub(super) ended: Timestamp,
    pub(super) index: Arc<Index>,
    pub(super) damage: Arc<Damage>,
    pub(super) reply: oneshot::Sender<Result<(), StoreError>>,
}

impl Change for GiveUp {
    fn needs(&self) -> Needs {
        Needs::NoRoom
    }

    fn size_bytes(&self) -> usize {
        512
    }

    fn execute(&mut self, connection: &Connection) -> Result<(), Refusal> {
        if self.index.check_session(self.record.id).is_ok() {
            // It was given up meanwhile, or a store that was reopened could read it.
            return Err(Refusal::Own(StoreError::Missing));
        }
        insert(connection, &self.record, &self.remains, self.ended)?;
        let id = self.record.id;
        connection.execute("INSERT INTO given_up (id) VALUES (?1)", [id.as_bytes()]).map_err(unavailable)?;
        Ok(())
    }

    fn publish(&mut self, index: &Index) {
        index.given_up(self.record.id);
        self.damage.forget_session(self.record.id);
    }

    fn answer(self: Box<Self>, outcome: Result<(), StoreError>) {
        let _ = self.reply.send(outcome);
    }
}

/// Deletes the row of a session that was given up, if that can be done.
pub(super) struct Tidy {
    pub(super) session: SessionId,
    pub(super) reply: oneshot::Sender<Result<(), StoreError>>,
}

impl Change for Tidy {
    fn needs(&self) -> Needs {
        Needs::NoRoom
    }

    fn size_bytes(&self) -> usize {
        128
    }

    fn execute(&mut self, connection: &Connection) -> Result<(), Refusal> {
        Ok(delete(connection, self.session)?)
    }

    fn tells_damage(&self) -> bool {
        false
    }

    fn answer(self: Box<Self>, outcome: Result<(), StoreError>) {
        let _ = self.reply.send(outcome);
    }
}
