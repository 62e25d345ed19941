//! The changes that the writer commits.

use std::sync::Arc;

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::clock::Timestamp;
use crate::id::SessionId;
use crate::session::{NewSession, SessionData, SessionRecord};
use crate::store::{Admission, StoreError, Stored};
use crate::token::TokenHash;

use super::accounts::Accounts;
use super::customers;
use super::data_files::{DataFile, DataFiles, PlacedFile};
use super::index::{Claim, Index};
use super::row::{self, Held};
use super::writer::{Change, Needs, Refusal};

type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// Admits a session under a claim.
pub(super) struct Admit {
    pub(super) new: NewSession,
    pub(super) claim: Claim,
    /// The file of data that is too large for the row.
    pub(super) file: Option<PlacedFile>,
    pub(super) accounts: Arc<Accounts>,
    /// The answer if it is not admitted.
    pub(super) instead: Option<Admission>,
    pub(super) reply: Reply<Admission>,
}

impl Change for Admit {
    fn needs(&self) -> Needs {
        Needs::Room
    }

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
        self.instead = None;
        let customer = &self.new.record.customer;
        if let Some(account) = self.new.account.filter(|account| !self.accounts.are(account.seen))
            && !account.is(customers::find(connection, customer)?.as_ref())
        {
            self.instead = Some(Admission::AccountChanged);
            return Ok(());
        }
        if let Some(key) = &self.new.key {
            // The customer has no live session, whose place this claims; one that has ended since is in the history.
            let before = row::created_by(connection, customer, &key.key, None)?;
            self.instead = before.map(|(stored, digest)| Admission::Repeated(stored.record, digest));
        }
        match self.instead {
            Some(_) => Ok(()),
            None => Ok(row::insert(connection, &self.new)?),
        }
    }

    fn publish(&mut self, index: &Index) {
        if self.instead.is_none() {
            index.show(Stored { record: self.new.record.clone(), tokens: [self.new.token].into_iter().collect() });
        }
    }

    fn leave_data(&mut self) -> Vec<DataFile> {
        self.file.take().map(PlacedFile::keep).into_iter().collect()
    }

    fn answer(self: Box<Self>, outcome: Result<(), StoreError>) {
        // The claim goes first, so that who waits for it finds either the session or a free place.
        let Self { new, claim, file, accounts: _, instead, reply } = *self;
        if let (Ok(()), None, Some(file)) = (&outcome, &instead, file) {
            file.keep();
        }
        drop(claim);
        let admission = instead.unwrap_or(Admission::Admitted(new.record));
        let _ = reply.send(outcome.map(|()| admission));
    }
}

/// Replaces a record; an ended one becomes history.
pub(super) struct Put {
    pub(super) record: SessionRecord,
    pub(super) ended: Timestamp,
    pub(super) files: Arc<DataFiles>,
    /// Whether the data of one that lives is read.
    pub(super) reads: bool,
    /// What was read.
    pub(super) data: Option<Held>,
    /// The file that holds the data of one that has ended.
    pub(super) file: Option<DataFile>,
    pub(super) reply: Reply<Option<Held>>,
}

impl Change for Put {
    fn needs(&self) -> Needs {
        Needs::NoRoom
    }

    fn size_bytes(&self) -> usize {
        256
    }

    fn execute(&mut self, connection: &Connection) -> Result<(), Refusal> {
        if self.record.phase.is_live() {
            row::update(connection, &self.record)?;
            if self.reads {
                self.data = row::data(connection, self.record.id)?;
            }
        } else {
            self.file = row::archive(connection, &self.record, self.ended)?;
        }
        Ok(())
    }

    fn publish(&mut self, index: &Index) {
        let tokens = index.by_id(self.record.id).map(|stored| stored.tokens.clone()).unwrap_or_default();
        index.show(Stored { record: self.record.clone(), tokens });
    }

    fn leave_data(&mut self) -> Vec<DataFile> {
        self.file.take().into_iter().collect()
    }

    fn answer(self: Box<Self>, outcome: Result<(), StoreError>) {
        let Self { files, data, file, reply, .. } = *self;
        let gone = file.filter(|_| outcome.is_ok());
        let _ = reply.send(outcome.map(|()| data));
        if let Some(file) = gone {
            files.remove(file);
        }
    }
}

/// Makes a file the data of a session that is pending.
pub(super) struct ReplaceData {
    pub(super) file: Option<PlacedFile>,
    /// The file that held the data before.
    pub(super) before: Option<DataFile>,
    pub(super) files: Arc<DataFiles>,
    pub(super) reply: Reply<()>,
}

impl Change for ReplaceData {
    fn needs(&self) -> Needs {
        Needs::Room
    }

    fn size_bytes(&self) -> usize {
        128
    }

    fn execute(&mut self, connection: &Connection) -> Result<(), Refusal> {
        let file = self.file.as_ref().ok_or(StoreError::Busy)?;
        self.before = row::replace_data(connection, file.name())?;
        Ok(())
    }

    fn leave_data(&mut self) -> Vec<DataFile> {
        self.file.take().map(PlacedFile::keep).into_iter().chain(self.before.take()).collect()
    }

    fn answer(self: Box<Self>, outcome: Result<(), StoreError>) {
        let Self { file, before, files, reply } = *self;
        if let (Ok(()), Some(file)) = (&outcome, file) {
            file.keep();
            if let Some(before) = before {
                files.remove(before);
            }
        }
        let _ = reply.send(outcome);
    }
}

/// Adds a token, and retires the oldest beyond the most that are valid.
pub(super) struct AddToken {
    pub(super) session: SessionId,
    pub(super) token: TokenHash,
    pub(super) reply: Reply<()>,
}

impl Change for AddToken {
    fn needs(&self) -> Needs {
        // A session has a few at most.
        Needs::NoRoom
    }

    fn size_bytes(&self) -> usize {
        128
    }

    fn execute(&mut self, connection: &Connection) -> Result<(), Refusal> {
        let bytes = row::token_bytes(connection, self.session)?.ok_or(StoreError::Missing)?;
        let mut tokens = row::read_tokens(self.session, &bytes)?;
        tokens.push(self.token);
        Ok(row::set_tokens(connection, self.session, &tokens)?)
    }

    fn publish(&mut self, index: &Index) {
        if let Some(stored) = index.by_id(self.session) {
            let mut tokens = stored.tokens.clone();
            tokens.push(self.token);
            index.show(Stored { record: stored.record.clone(), tokens });
        }
    }

    fn answer(self: Box<Self>, outcome: Result<(), StoreError>) {
        let _ = self.reply.send(outcome);
    }
}

/// Drops all tokens, and makes another one the only valid one.
pub(super) struct RetireTokens {
    pub(super) session: SessionId,
    pub(super) successor: Option<TokenHash>,
    pub(super) reply: Reply<()>,
}

impl Change for RetireTokens {
    fn needs(&self) -> Needs {
        Needs::NoRoom
    }

    fn size_bytes(&self) -> usize {
        128
    }

    fn execute(&mut self, connection: &Connection) -> Result<(), Refusal> {
        row::token_bytes(connection, self.session)?.ok_or(StoreError::Missing)?;
        Ok(row::set_tokens(connection, self.session, self.successor.as_slice())?)
    }

    fn publish(&mut self, index: &Index) {
        if let Some(stored) = index.by_id(self.session) {
            index.show(Stored { record: stored.record.clone(), tokens: self.successor.into_iter().collect() });
        }
    }

    fn answer(self: Box<Self>, outcome: Result<(), StoreError>) {
        let _ = self.reply.send(outcome);
    }
}

/// A change of the tables that the index does not show.
pub(super) struct Run<T, W> {
    pub(super) needs: Needs,
    pub(super) work: W,
    /// How many bytes it writes beside its row.
    pub(super) bytes: usize,
    pub(super) result: Option<T>,
    pub(super) reply: Reply<T>,
}

impl<T: Send, W: Fn(&Connection) -> Result<T, StoreError> + Send> Change for Run<T, W> {
    fn needs(&self) -> Needs {
        self.needs
    }

    fn size_bytes(&self) -> usize {
        256 + self.bytes
    }

    fn execute(&mut self, connection: &Connection) -> Result<(), Refusal> {
        self.result = Some((self.work)(connection)?);
        Ok(())
    }

    fn answer(self: Box<Self>, outcome: Result<(), StoreError>) {
        let Self { result, reply, .. } = *self;
        let _ = reply.send(outcome.and_then(|()| result.ok_or(StoreError::Busy)));
    }
}
