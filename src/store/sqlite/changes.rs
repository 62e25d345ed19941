//! The changes that the writer commits.

use std::sync::Arc;

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::clock::WallTime;
use crate::id::SessionId;
use crate::session::{NewSession, SessionData, SessionRecord};
use crate::store::{StoreError, Stored, TOKENS_PER_SESSION};
use crate::token::TokenHash;

use super::data_files::{DataFiles, PlacedFile};
use super::index::{Claim, Index};
use super::writer::{Change, Refusal};
use super::{requests, row};

type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// Admits a session under a claim.
pub(super) struct Admit {
    pub(super) new: NewSession,
    pub(super) claim: Claim,
    /// The file of data that is too large for the row.
    pub(super) file: Option<PlacedFile>,
    pub(super) reply: Reply<SessionRecord>,
}

impl Change for Admit {
    fn size_bytes(&self) -> usize {
        let data = match &self.new.data {
            SessionData::Inline(data) => data.len(),
            SessionData::File(_) => 0,
        };
        data + self.new.record.customer.as_str().len() + self.new.record.email.as_ref().map_or(0, |email| email.len())
    }

    fn execute(&mut self, connection: &Connection) -> Result<(), Refusal> {
        if !self.claim.holds() {
            // The store was reopened, and found another session in the place.
            return Err(Refusal::Own(StoreError::Busy));
        }
        Ok(row::insert(connection, &self.new)?)
    }

    fn publish(&mut self, index: &Index) {
        index.show(Stored { record: self.new.record.clone(), tokens: vec![self.new.token] });
    }

    fn leave_data(&mut self) -> Option<SessionId> {
        self.file.take().map(PlacedFile::keep)?;
        Some(self.new.record.id)
    }

    fn answer(self: Box<Self>, outcome: Result<(), StoreError>) {
        // The claim goes first, so that who waits for it finds either the session or a free place.
        let Self { new, claim, file, reply } = *self;
        if let (Ok(()), Some(file)) = (&outcome, file) {
            file.keep();
        }
        drop(claim);
        let _ = reply.send(outcome.map(|()| new.record));
    }
}

/// Replaces a record; an ended one becomes history.
pub(super) struct Put {
    pub(super) record: SessionRecord,
    pub(super) ended: WallTime,
    pub(super) files: Arc<DataFiles>,
    pub(super) reply: Reply<()>,
}

impl Change for Put {
    fn size_bytes(&self) -> usize {
        256
    }

    fn execute(&mut self, connection: &Connection) -> Result<(), Refusal> {
        if self.record.phase.is_live() {
            row::update(connection, &self.record)?;
        } else {
            row::archive(connection, &self.record, self.ended)?;
            requests::forget(connection, self.record.id)?;
        }
        Ok(())
    }

    fn publish(&mut self, index: &Index) {
        let tokens = index.by_id(self.record.id).map(|stored| stored.tokens.clone()).unwrap_or_default();
        index.show(Stored { record: self.record.clone(), tokens });
    }

    fn leave_data(&mut self) -> Option<SessionId> {
        (!self.record.phase.is_live()).then_some(self.record.id)
    }

    fn answer(self: Box<Self>, outcome: Result<(), StoreError>) {
        let has_ended = outcome.is_ok() && !self.record.phase.is_live();
        let _ = self.reply.send(outcome);
        if has_ended {
            self.files.remove(self.record.id);
        }
    }
}

/// Adds a token, and retires the oldest beyond the most that are valid.
pub(super) struct AddToken {
    pub(super) session: SessionId,
    pub(super) token: TokenHash,
    pub(super) reply: Reply<()>,
}

impl Change for AddToken {
    fn size_bytes(&self) -> usize {
        128
    }

    fn execute(&mut self, connection: &Connection) -> Result<(), Refusal> {
        let bytes = row::token_bytes(connection, self.session)?.ok_or(StoreError::Missing)?;
        let tokens = row::read_tokens(self.session, &bytes).map_err(Refusal::Own)?;
        Ok(row::set_tokens(connection, self.session, &with_token(tokens, self.token))?)
    }

    fn publish(&mut self, index: &Index) {
        if let Some(stored) = index.by_id(self.session) {
            let tokens = with_token(stored.tokens.clone(), self.token);
            index.show(Stored { record: stored.record.clone(), tokens });
        }
    }

    fn answer(self: Box<Self>, outcome: Result<(), StoreError>) {
        let _ = self.reply.send(outcome);
    }
}

fn with_token(mut tokens: Vec<TokenHash>, token: TokenHash) -> Vec<TokenHash> {
    if tokens.len() >= TOKENS_PER_SESSION {
        tokens.drain(..=tokens.len() - TOKENS_PER_SESSION);
    }
    tokens.push(token);
    tokens
}

/// A change of the tables that the index does not show.
pub(super) struct Run<T, W> {
    pub(super) work: Option<W>,
    /// How many bytes it writes beside its row.
    pub(super) bytes: usize,
    pub(super) result: Option<T>,
    pub(super) reply: Reply<T>,
}

impl<T: Send, W: FnOnce(&Connection) -> Result<T, StoreError> + Send> Change for Run<T, W> {
    fn size_bytes(&self) -> usize {
        256 + self.bytes
    }

    fn execute(&mut self, connection: &Connection) -> Result<(), Refusal> {
        let work = self.work.take().ok_or(StoreError::Busy)?;
        self.result = Some(work(connection)?);
        Ok(())
    }

    fn answer(self: Box<Self>, outcome: Result<(), StoreError>) {
        let Self { result, reply, .. } = *self;
        let _ = reply.send(outcome.and_then(|()| result.ok_or(StoreError::Busy)));
    }
}
