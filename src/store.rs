//! Where sessions and customers are kept: the narrow trait that every backend fulfils.
//!
//! The trait speaks the domain and nothing of any database. What must change together changes in one call. A call
//! that answered with success is on durable storage. Backends are held to `tests/it/store_contract.rs`, one suite
//! for all of them.
//!
//! [`sqlite`] is the embedded backend. A second one, for many machines, takes this trait as it is: uniqueness is then
//! the database's, where here it is claimed in memory first.

use std::collections::HashSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::clock::{Heartbeat, Timestamp, WallTime};
use crate::id::{CustomerKey, Epoch, Revision, SessionId};
use crate::session::phase::{Outcome, Phase, PhaseName, Reason};
use crate::session::{Census, NewSession, SessionData, SessionRecord};
use crate::token::{TokenHash, TokenKey};

mod audit;
mod damage;
mod operators;
mod requests;
pub mod sqlite;
mod tokens;

pub use audit::{Action, Actor, Audit, AuditCursor, AuditEntry, AuditFilter, NumberedEntry};
pub use damage::{CURE, Damage, Found, GIVEN_UP};
pub use operators::{ConsoleSession, OperatorToken, Operators};
pub use requests::{ANSWER_DROPPED, KEYS_PER_SESSION, KeyedAnswer, Noted, RequestKey, RequestNote};
pub use tokens::{TOKENS_PER_SESSION, Tokens};

/// A pending answer of the store.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// A place that keeps sessions and customers.
pub trait Store: Operators + Audit {
    /// Admits a session, unless its customer has a live one, or had one, live or ended, that was created with the same
    /// key, or the account that was checked has changed since: no change of it that was answered before is missed. Of any
    /// number of calls at once for one customer exactly one is admitted, and the others are answered only after that one
    /// is durable.
    fn admit(&self, new: NewSession) -> Answer<'_, Admission>;

    /// Replaces a live session's record, if the stored revision is the one before the record's own. An ended record
    /// leaves the live ones and becomes history from `at` on, and its data is let go.
    fn put(&self, record: SessionRecord, at: Timestamp) -> Answer<'_, ()>;

    /// The same, and answers with the session's data as it stands with that step: what took its place while the session
    /// was still pending is not missed.
    fn put_with_data(&self, record: SessionRecord, at: Timestamp) -> Answer<'_, Option<SessionData>>;

    /// Adds a token to a live session; beyond [`TOKENS_PER_SESSION`] the oldest is dropped.
    fn add_token(&self, session: SessionId, token: TokenHash) -> Answer<'_, ()>;

    /// Drops all tokens of a live session; `successor` is then its only one.
    fn retire_tokens(&self, session: SessionId, successor: Option<TokenHash>) -> Answer<'_, ()>;

    /// The customer's live session.
    fn live(&self, customer: &CustomerKey) -> Answer<'_, Option<Arc<Stored>>>;

    /// A session, live or ended, with its valid tokens.
    fn session(&self, id: SessionId) -> Answer<'_, Option<Arc<Stored>>>;

    /// Begins to receive data that takes the place of a pending session's. What is received goes straight to storage.
    fn receive_data(&self, session: SessionId) -> Answer<'_, Box<dyn Incoming>>;

    /// A live session's data. A file goes with its session, and with a pending one also when other data takes its place.
    fn data(&self, id: SessionId) -> Answer<'_, Option<SessionData>>;

    /// Up to `most` pending sessions whose deadline is not after `now`, the longest overdue first.
    fn overdue(&self, now: Timestamp, most: usize) -> Answer<'_, Vec<SessionId>>;

    /// Up to `most` sessions that match, the youngest first.
    fn list(&self, filter: Filter, most: usize) -> Answer<'_, Vec<SessionRecord>>;

    /// Every live session that is wanted, in no order. What is asked of each must not ask the store in turn.
    fn live_sessions(&self, wanted: &dyn Fn(&Glance<'_>) -> bool) -> Answer<'_, Vec<Arc<Stored>>>;

    /// How many live sessions there are in each phase. It is counted as they move, never by going through them.
    fn census(&self) -> Census;

    /// How many live sessions there are.
    fn live_count(&self) -> usize {
        self.census().live()
    }

    /// Up to `most` pending sessions whose last start has failed, the oldest first.
    fn unstarted(&self, most: usize) -> Answer<'_, Vec<Arc<Stored>>>;

    /// Notes a keyed request of a live session, or tells what is noted under the key already. Beyond
    /// [`KEYS_PER_SESSION`] the oldest answered one is dropped; if none is answered, that is [`StoreError::Busy`]. A
    /// session's notes stay when it ends, and go with its history.
    fn note_request(&self, session: SessionId, key: RequestKey, note: RequestNote) -> Answer<'_, Noted>;

    /// What is noted under a key of a session, whether or not that has ended.
    fn noted_request(&self, session: SessionId, key: RequestKey) -> Answer<'_, Option<RequestNote>>;

    /// Gives a noted request, which was never handed over, another call; only if it still stands as `expect` and has
    /// no answer.
    fn move_request(
        &self,
        session: SessionId,
        key: RequestKey,
        expect: (Epoch, u64),
        to: (Epoch, u64),
    ) -> Answer<'_, ()>;

    /// Deletes the note of a request that was never handed over, so that its key is free again; only if it still stands
    /// as `expect` and has no answer.
    fn withdraw_request(&self, session: SessionId, key: RequestKey, expect: (Epoch, u64)) -> Answer<'_, ()>;

    /// Stores a noted request's answer, and returns the one that stands: the first one stays. Of a session's answers
    /// the newest `keep_bytes` are kept, and at least this one; of older ones it is kept that they are lost.
    fn answer_request(
        &self,
        session: SessionId,
        key: RequestKey,
        answer: KeyedAnswer,
        keep_bytes: u64,
    ) -> Answer<'_, KeyedAnswer>;

    /// The noted requests of a session without an answer, in the order in which they were noted.
    fn open_requests(&self, session: SessionId) -> Answer<'_, Vec<(RequestKey, RequestNote)>>;

    /// Up to `most` sessions of the history whose size is not known, the oldest first.
    fn uncounted_history(&self, most: usize) -> Answer<'_, Vec<SessionId>>;

    /// Notes how many bytes of each session are kept elsewhere, to which the store adds what it keeps itself. Returns
    /// whose sessions they are, each customer once.
    fn count_history(&self, elsewhere: Vec<(SessionId, u64)>) -> Answer<'_, Vec<CustomerKey>>;

    /// Up to `most` of a customer's ended sessions that have to go so that no more than `keep_bytes` are kept of the
    /// others. The one that ended last is never among them.
    fn surplus_history(&self, customer: &CustomerKey, keep_bytes: u64, most: usize) -> Answer<'_, Vec<SessionId>>;

    /// Up to `most` sessions that ended before `before`.
    fn old_history(&self, before: Timestamp, most: usize) -> Answer<'_, Vec<SessionId>>;

    /// Those of these sessions that have ended and of whose agent's log something is kept. One that can't be read is among
    /// them.
    fn with_kept_log(&self, sessions: Vec<SessionId>) -> Answer<'_, HashSet<SessionId>>;

    /// Deletes these ended sessions with their noted requests. What is kept of them elsewhere is to be deleted first.
    fn delete_history(&self, sessions: Vec<SessionId>) -> Answer<'_, ()>;

    /// Adds a customer.
    fn add_customer(&self, customer: Customer) -> Answer<'_, ()>;

    /// The customer with this key.
    fn customer(&self, key: &CustomerKey) -> Answer<'_, Option<Customer>>;

    /// Disables a customer from `since` on, unless that was done before, or with `None` enables it again.
    fn set_disabled(&self, key: &CustomerKey, since: Option<WallTime>) -> Answer<'_, ()>;

    /// How the accounts stand. To be asked before one is read, so that no change of it afterwards is missed.
    fn accounts_seen(&self) -> AccountsSeen;

    /// Whether the customer's account is still as it was when it was checked: there, enabled, and with that password.
    fn is_still(&self, key: &CustomerKey, account: CheckedAccount) -> Answer<'_, bool>;

    /// Replaces the customer's password hash; with `expect`, only if it is still that one.
    fn set_password(&self, key: &CustomerKey, hash: String, expect: Option<String>) -> Answer<'_, ()>;

    /// Removes a customer.
    fn remove_customer(&self, key: &CustomerKey) -> Answer<'_, ()>;

    /// Up to `most` customers after the key `after`, in the order of their keys.
    fn customers(&self, after: Option<CustomerKey>, most: usize) -> Answer<'_, Vec<Customer>>;

    /// The known addresses of all accounts, those that changed last at the end.
    fn known_addresses(&self) -> Answer<'_, Vec<KnownAddresses>>;

    /// Replaces the known addresses of these accounts, as changed at `at`. Beyond [`MOST_KNOWN_ACCOUNTS`] the accounts
    /// that changed longest ago are dropped.
    fn keep_known_addresses(&self, known: Vec<KnownAddresses>, at: Timestamp) -> Answer<'_, ()>;

    /// Stores where the desk's timeline stands.
    fn beat(&self, heartbeat: Heartbeat) -> Answer<'_, ()>;

    /// Notes that somebody has been told how to go on with this store.
    fn greeted(&self) -> Answer<'_, ()>;

    /// What this store is: fixed while it is open.
    fn desk(&self) -> &Desk;

    /// Whether this is, or may be, a live session whose record is damaged. It is set aside: calls about it fail with
    /// [`StoreError::SetAside`], its customer gets no other session, and whatever agent it has is to be left alone. Where nothing
    /// tells whose it is, nobody is admitted who has no live session.
    fn is_set_aside(&self, session: SessionId) -> bool;

    /// Gives up a session that is set aside: it ends as failed for this reason and becomes history from `at` on, with what
    /// can be read of its record, and its customer is free. Nothing of its agent may be left. Its revision is a later one than
    /// `before`. Returns the record; [`StoreError::Missing`] if it is not set aside by its name.
    fn give_up(&self, session: SessionId, before: Revision, reason: Reason, at: Timestamp)
    -> Answer<'_, SessionRecord>;

    /// What was found damaged and set aside so far.
    fn damage(&self) -> Found;

    /// Whether changes are taken at the moment; the sentence says why not.
    fn ready(&self) -> Result<(), StoreError>;

    /// Whether changes are taken that make the store larger. If not, that is [`StoreError::Full`], and ends, steps of
    /// sessions and revocations are still taken.
    fn room(&self) -> Result<(), StoreError>;
}

/// The identity that a store gives to the desk that runs on it.
#[derive(Clone, Debug)]
pub struct Desk {
    /// Tells this desk's processes from those of another on the same machine.
    pub id: String,
    /// Signs session tokens.
    pub token_key: TokenKey,
    /// Whether nobody has been told yet how to go on with this store; until [`Store::greeted`] each start says so.
    pub greeting_due: bool,
    /// Where the desk's timeline stood last.
    pub last_heartbeat: Option<Heartbeat>,
}

/// The answer to a session that asks to be admitted.
#[derive(Clone, Debug)]
pub enum Admission {
    /// It was admitted.
    Admitted(SessionRecord),
    /// Its customer has a live one: this.
    AlreadyLive(SessionRecord),
    /// The account that was checked has changed since: it is to be checked again.
    AccountChanged,
    /// It was created before with this key: the session as it is now, and the digest of the call that created it.
    Repeated(SessionRecord, [u8; 32]),
}

/// Data on its way to the store. Dropped before it is placed, nothing of it stays.
pub trait Incoming: Send {
    /// Takes the next part. Blocks the thread while it is written, so that it is for a thread that may be blocked.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if it could not be written, or one before could not; nothing of the data stays then.
    fn write(&mut self, part: &[u8]) -> Result<(), StoreError>;

    /// Makes what was written the session's data, durably. [`StoreError::Conflict`] if the session is no longer
    /// pending.
    fn place(self: Box<Self>) -> Answer<'static, ()>;
}

/// A session and the tokens that open it.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The session.
    pub record: SessionRecord,
    /// Its valid tokens.
    pub tokens: Tokens,
}

/// What is seen of a live session at a glance, by who looks for some among many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glance<'a> {
    /// Its identity.
    pub id: SessionId,
    /// The persona's name.
    pub persona: &'a str,
    /// Where it is in its life.
    pub phase: &'a Phase,
    /// The revision of its record.
    pub revision: Revision,
}

impl<'a> Glance<'a> {
    /// What is seen of a session with this record.
    pub fn of(record: &'a SessionRecord) -> Self {
        Self { id: record.id, persona: &record.persona, phase: &record.phase, revision: record.revision }
    }
}

impl Stored {
    /// Whether `token` is one of the valid ones. Compares with each, whatever matches.
    pub fn knows(&self, token: &TokenHash) -> bool {
        self.tokens.iter().fold(false, |known, valid| known | valid.matches(token))
    }
}

/// A customer of the embedded credential server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Customer {
    /// The canonical email.
    pub key: CustomerKey,
    /// The email as it was written when the customer was added.
    pub email: String,
    /// The password's hash in PHC form.
    pub password_hash: String,
    /// When the customer was added.
    pub created: WallTime,
    /// Since when it is disabled, if it is: then no password is good.
    pub disabled: Option<WallTime>,
}

/// Of how many accounts known addresses are stored.
pub const MOST_KNOWN_ACCOUNTS: usize = 100_000;

/// The addresses from which an account has signed in last, as keyed hashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownAddresses {
    /// The account.
    pub account: u64,
    /// The addresses, the latest first; a few.
    pub addresses: Vec<u64>,
}

/// How all accounts of a store stood at a moment; another value after each change of one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccountsSeen(u64);

/// The account whose password was good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckedAccount {
    seen: AccountsSeen,
    password: [u8; 32],
}

impl CheckedAccount {
    /// An account with this password hash, which was read after the accounts were `seen`.
    pub fn new(seen: AccountsSeen, password_hash: &str) -> Self {
        Self { seen, password: digest(password_hash) }
    }

    /// Whether what is stored of the customer is that account.
    fn is(&self, customer: Option<&Customer>) -> bool {
        customer.is_some_and(|customer| customer.disabled.is_none() && digest(&customer.password_hash) == self.password)
    }
}

fn digest(password_hash: &str) -> [u8; 32] {
    *blake3::hash(password_hash.as_bytes()).as_bytes()
}

/// Which sessions a list holds.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only this customer's.
    pub customer: Option<CustomerKey>,
    /// Only those of this persona.
    pub persona: Option<String>,
    /// Only those in this phase; with [`PhaseName::Ended`], `ended` has to be set, too.
    pub phase: Option<PhaseName>,
    /// Only those that ended so, or are about to.
    pub outcome: Option<Outcome>,
    /// Ended ones, too.
    pub ended: bool,
    /// Only those older than this one: the cursor of the next page.
    pub before: Option<SessionId>,
    /// Only this one and younger ones.
    pub from: Option<SessionId>,
}

/// What is said of a full disk.
const NO_ROOM: &str = "the disk is full; free some space, nothing that was acknowledged is lost";

/// Why the store did not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The record is not, or no longer, as the call expected.
    #[error("the stored record is another one than expected")]
    Conflict,
    /// Nothing by that name.
    #[error("there is no such record")]
    Missing,
    /// More calls wait than the store takes.
    #[error("the store is busy")]
    Busy,
    /// The storage failed; whether the change took place is unknown until it is back.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// The disk has no room for the change, which did not take place.
    #[error("the store is unavailable: {NO_ROOM}")]
    Full,
    /// What is stored makes no sense.
    #[error("the store is damaged: {0}")]
    Corrupt(String),
    /// Another version of this program wrote it.
    #[error("the store is not this version's: {0}")]
    Unsupported(String),
    /// The record of a session is damaged and set aside: the one that was asked for, or one that has, or may have, the
    /// customer's place.
    #[error("a damaged record is set aside: {0}")]
    SetAside(String),
    /// The database finds that its own file is damaged.
    #[error("the store's file is damaged: {0}")]
    Malformed(String),
}

impl StoreError {
    /// Whether what is stored is damaged: trying again does not help.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            Self::Corrupt(_) | Self::SetAside(_) | Self::Malformed(_) => true,
            Self::Conflict | Self::Missing | Self::Busy | Self::Unavailable(_) | Self::Full | Self::Unsupported(_) => {
                false
            }
        }
    }

    /// What the storage failed with, without saying that it is the store's.
    pub(crate) fn cause(&self) -> String {
        match self {
            Self::Unavailable(why)
            | Self::Corrupt(why)
            | Self::SetAside(why)
            | Self::Malformed(why)
            | Self::Unsupported(why) => why.clone(),
            Self::Full => NO_ROOM.to_owned(),
            Self::Conflict | Self::Missing | Self::Busy => self.to_string(),
        }
    }
}
