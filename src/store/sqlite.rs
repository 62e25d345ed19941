//! The embedded backend: SQLite under one data directory, with the live sessions in memory.
//!
//! ```text
//!   admit ──> index: claim ──> writer: batch, one transaction, one fsync ──> index: show ──> answer
//!   put, add_token, notes ───> writer …
//!   live, overdue ──> index
//!   data, history, customers, operators, audit ──> reader connections, off the async threads
//!   receive_data ──> file ──> writer …
//! ```
//!
//! It owns the database file and the session data files. It does not lock the directory (`data_dir` does) and knows
//! nothing of agents. While the file is being reopened after a failed commit, it takes no changes and says so.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use rusqlite::{Connection, OptionalExtension, params};
use tokio::sync::{mpsc, oneshot};

use crate::clock::{Heartbeat, Timestamp, WallTime};
use crate::data_dir::DataPaths;
use crate::id::{CustomerKey, Epoch, Revision, SessionId};
use crate::metrics::Writes;
use crate::session::{Census, NewSession, Phase, PhaseName, Reason, SessionData, SessionRecord};
use crate::store::{
    AccountsSeen, Admission, Answer, CheckedAccount, Customer, Damage, Desk, Filter, Found, Glance, Incoming,
    KeyedAnswer, KnownAddresses, Noted, RequestKey, RequestNote, Store, StoreError, Stored,
};
use crate::token::{TokenHash, TokenKey};

use accounts::Accounts;
use availability::Availability;
use ballast::Ballast;
use changes::{AddToken, Admit, Put, RetireTokens, Run};
use data_files::{DataFile, DataFiles, LARGEST_INLINE_BYTES, PlacedFile};
use file::{storage_failed, unavailable};
use incoming::Receiving;
use index::{ClaimOutcome, Index};
use known_tokens::KnownTokens;
use readers::Readers;
use row::Held;
use shortage::Shortage;
use writer::{Change, Entrance, Needs, Queue, Writer};

mod accounts;
mod audit;
pub(crate) mod availability;
pub mod ballast;
mod changes;
pub(crate) mod checkpoint;
mod clues;
mod conditions;
mod customers;
mod data_files;
pub(crate) mod file;
mod given_up;
mod history_size;
mod incoming;
mod index;
pub mod inspect;
mod known_addresses;
mod known_tokens;
mod operators;
pub(crate) mod readers;
mod recovery;
mod requests;
mod row;
mod schema;
pub(crate) mod shortage;
mod writer;

/// More changes than this waiting means that the disk does not keep up: callers are told to come again.
const QUEUE: usize = 16_384;
/// An answer to a keyed request up to this size is stored also while room is short.
const SMALL_ANSWER_BYTES: usize = 1_024;

/// A store in SQLite.
#[derive(Debug)]
pub struct SqliteStore {
    index: Arc<Index>,
    accounts: Arc<Accounts>,
    queue: Option<Queue>,
    availability: Arc<Availability>,
    shortage: Shortage,
    files: Arc<DataFiles>,
    damage: Arc<Damage>,
    readers: Arc<Readers>,
    tokens: Arc<KnownTokens>,
    desk: Desk,
    writes: Arc<Writes>,
    writer: Option<JoinHandle<()>>,
}

impl SqliteStore {
    /// Opens the store in the directory, which the caller has locked, and reads its live sessions. Blocks.
    ///
    /// # Errors
    /// [`StoreError::Malformed`] or [`StoreError::Corrupt`] if it is damaged as a whole, [`StoreError::Corrupt`] if it is newer
    /// than this binary, [`StoreError::Unavailable`] if the file system refuses. Damaged rows are set aside.
    pub fn open(paths: &DataPaths) -> Result<Self, StoreError> {
        file::make_private(&paths.database_files())?;
        let [database, log, _] = paths.database_files();
        let ballast = Ballast::new(paths.ballast(), &database, log);
        let shortage = Shortage::default();
        shortage.set(!ballast.begin());
        let connection = schema::open(&paths.database())?;
        let desk = open_desk(&connection, paths)?;
        let index = Arc::new(Index::new());
        let damage = Arc::<Damage>::default();
        given_up::tidy(&connection);
        recovery::fill(&connection, &index, &damage)?;
        let given_up = given_up::all(&connection).unwrap_or_default();
        let files = Arc::new(DataFiles::new(paths.session_data()));
        files.remove_strays(|file| {
            // What may belong to a session that can't be read stays.
            let means = || match row::means(&connection, file) {
                Err(error) if error.is_damage() => Ok(true),
                means => means,
            };
            if given_up.contains(&file.session) {
                return Ok(false);
            }
            if index.is_set_aside(file.session) { Ok(true) } else { means() }
        })?;
        let availability = Arc::<Availability>::default();
        let accounts = Arc::<Accounts>::default();
        let (queue, receiver) = mpsc::channel(QUEUE);
        let writes = Arc::<Writes>::default();
        let writer = Writer::new(
            paths.database(),
            connection,
            receiver,
            Arc::clone(&index),
            Arc::clone(&files),
            Arc::clone(&accounts),
            Arc::clone(&availability),
            shortage.clone(),
            Arc::clone(&damage),
            Arc::clone(&writes),
            ballast,
        );
        let writer = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || writer.run())
            .map_err(|error| storage_failed(&error))?;
        Ok(Self {
            index,
            accounts,
            queue: Some(queue),
            availability,
            shortage,
            files,
            readers: Arc::new(Readers::new(paths.database(), Arc::clone(&damage))),
            damage,
            tokens: Arc::default(),
            desk,
            writes,
            writer: Some(writer),
        })
    }

    /// What the store has written, as it counts that.
    pub fn writes(&self) -> &Arc<Writes> {
        &self.writes
    }

    /// Whether room is short on its disk, for others that write there.
    pub fn shortage(&self) -> &Shortage {
        &self.shortage
    }

    async fn submit<T>(
        &self,
        change: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Box<dyn Change>,
    ) -> Result<T, StoreError> {
        self.entrance()?.submit(change).await
    }

    /// Where changes are taken, for who may still have one when this store is being closed.
    fn entrance(&self) -> Result<Entrance, StoreError> {
        let queue = self.queue.as_ref().ok_or_else(writer::stopped)?;
        Ok(Entrance::new(queue, &self.availability, &self.shortage))
    }

    fn run<T: Send + 'static>(
        &self,
        needs: Needs,
        work: impl Fn(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Answer<'_, T> {
        self.run_sized(needs, 0, work)
    }

    /// Runs work that writes so many bytes beside its row.
    fn run_sized<T: Send + 'static>(
        &self,
        needs: Needs,
        bytes: usize,
        work: impl Fn(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Answer<'_, T> {
        Box::pin(self.submit(move |reply| Box::new(Run { needs, work, bytes, result: None, reply })))
    }

    /// Runs a change of an account that is there.
    fn run_on_account(&self, work: impl Fn(&Connection) -> Result<(), StoreError> + Send + 'static) -> Answer<'_, ()> {
        let accounts = Arc::clone(&self.accounts);
        self.run(Needs::NoRoom, move |connection| {
            accounts.change();
            work(connection)
        })
    }

    fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Answer<'_, T> {
        Box::pin(Arc::clone(&self.readers).read(work))
    }

    fn session_data(&self, held: Held) -> SessionData {
        match held {
            Held::Inline(bytes) => SessionData::Inline(bytes.into()),
            Held::File(file) => SessionData::File(self.files.path(file)),
        }
    }

    async fn put_record(
        &self,
        record: SessionRecord,
        ended: Timestamp,
        reads: bool,
    ) -> Result<Option<SessionData>, StoreError> {
        let files = Arc::clone(&self.files);
        let put = |reply| Put { record, ended, files, reads, data: None, file: None, reply };
        let held = self.submit(move |reply| Box::new(put(reply))).await?;
        Ok(held.map(|held| self.session_data(held)))
    }

    async fn expect_pending(&self, session: SessionId) -> Result<(), StoreError> {
        let stored = self.session(session).await?.ok_or(StoreError::Missing)?;
        if stored.record.phase.kind() == PhaseName::Pending { Ok(()) } else { Err(StoreError::Conflict) }
    }

    /// Moves large data into its file before the row is written.
    async fn place_data(&self, new: &mut NewSession) -> Result<Option<PlacedFile>, StoreError> {
        let SessionData::Inline(data) = &new.data else { return Ok(None) };
        if data.len() <= LARGEST_INLINE_BYTES {
            return Ok(None);
        }
        let (files, file, data) = (Arc::clone(&self.files), DataFile::first(new.record.id), data.clone());
        let placed = incoming::off_thread(file, move || files.write(file, &data)).await?;
        new.data = SessionData::File(self.files.path(file));
        Ok(Some(placed))
    }

    /// The customer's session that was created with this key: the live one, if it has this id, or an ended one.
    async fn created_by(
        &self,
        new: &NewSession,
        live: Option<SessionId>,
    ) -> Result<Option<(Stored, [u8; 32])>, StoreError> {
        let Some(key) = new.key else { return Ok(None) };
        let customer = new.record.customer.clone();
        self.read(move |connection| {
            // A session that ends meanwhile is seen in one of the tables.
            let look = connection.unchecked_transaction().map_err(unavailable)?;
            row::created_by(&look, &customer, &key.key, live)
        })
        .await
    }
}

impl Store for SqliteStore {
    fn admit(&self, mut new: NewSession) -> Answer<'_, Admission> {
        Box::pin(async move {
            let claim = loop {
                self.ready()?;
                match self.index.claim(&new.record.customer) {
                    ClaimOutcome::Won(claim) => {
                        // Before its data is written to a file.
                        self.room()?;
                        break claim;
                    }
                    ClaimOutcome::Live(stored) => {
                        let before = self.created_by(&new, Some(stored.record.id)).await?;
                        return Ok(match before {
                            Some((stored, digest)) => Admission::Repeated(stored.record, digest),
                            None => Admission::AlreadyLive(stored.record.clone()),
                        });
                    }
                    // Completes when the other claim is resolved either way; only then can this one be judged.
                    ClaimOutcome::Wait(resolved) => drop(resolved.await),
                }
            };
            if let Err(refused) = self.index.check_place(&new.record.customer) {
                // A call that comes again is answered again: that is no creation.
                let before = self.created_by(&new, None).await?.ok_or(refused)?;
                return Ok(Admission::Repeated(before.0.record, before.1));
            }
            let file = self.place_data(&mut new).await?;
            // From here on the change owns the claim and the file: whoever asked may go, the place is still settled.
            let accounts = Arc::clone(&self.accounts);
            self.submit(move |reply| Box::new(Admit { new, claim, file, accounts, instead: None, reply })).await
        })
    }

    fn put(&self, record: SessionRecord, at: Timestamp) -> Answer<'_, ()> {
        Box::pin(async move { self.put_record(record, at, false).await.map(drop) })
    }

    fn put_with_data(&self, record: SessionRecord, at: Timestamp) -> Answer<'_, Option<SessionData>> {
        Box::pin(self.put_record(record, at, true))
    }

    fn add_token(&self, session: SessionId, token: TokenHash) -> Answer<'_, ()> {
        Box::pin(self.submit(move |reply| Box::new(AddToken { session, token, reply })))
    }

    fn retire_tokens(&self, session: SessionId, successor: Option<TokenHash>) -> Answer<'_, ()> {
        Box::pin(self.submit(move |reply| Box::new(RetireTokens { session, successor, reply })))
    }

    fn live(&self, customer: &CustomerKey) -> Answer<'_, Option<Arc<Stored>>> {
        let found = match self.index.by_customer(customer) {
            Some(live) => Ok(Some(live)),
            None => self.index.check_customer(customer).map(|()| None),
        };
        Box::pin(std::future::ready(found))
    }

    fn session(&self, id: SessionId) -> Answer<'_, Option<Arc<Stored>>> {
        if let Some(live) = self.index.by_id(id) {
            return Box::pin(std::future::ready(Ok(Some(live))));
        }
        if let Err(error) = self.index.check_session(id) {
            return Box::pin(std::future::ready(Err(error)));
        }
        self.read(move |connection| Ok(row::ended(connection, id)?.map(Arc::new)))
    }

    fn receive_data(&self, session: SessionId) -> Answer<'_, Box<dyn Incoming>> {
        Box::pin(async move {
            self.ready()?;
            self.room()?;
            self.expect_pending(session).await?;
            let receiving = Receiving::begin(&self.files, self.entrance()?, session).await?;
            Ok(Box::new(receiving) as Box<dyn Incoming>)
        })
    }

    fn data(&self, id: SessionId) -> Answer<'_, Option<SessionData>> {
        let read = self.read(move |connection| row::data(connection, id));
        Box::pin(async move { Ok(read.await?.map(|held| self.session_data(held))) })
    }

    fn overdue(&self, now: Timestamp, most: usize) -> Answer<'_, Vec<SessionId>> {
        let overdue = self.index.overdue(now, most);
        Box::pin(std::future::ready(Ok(overdue)))
    }

    fn list(&self, filter: Filter, most: usize) -> Answer<'_, Vec<SessionRecord>> {
        let (index, damage) = (Arc::clone(&self.index), Arc::clone(&self.damage));
        self.read(move |connection| {
            let wanted = |session: &Glance<'_>| {
                filter.persona.as_ref().is_none_or(|persona| *session.persona == **persona)
                    && filter.phase.is_none_or(|phase| session.phase.kind() == phase)
                    && filter
                        .outcome
                        .is_none_or(|outcome| session.phase.ending().is_some_and(|ending| ending.outcome == outcome))
                    && filter.before.is_none_or(|before| session.id < before)
                    && filter.from.is_none_or(|from| session.id >= from)
            };
            let found = match &filter.customer {
                Some(customer) => {
                    let live = index.by_customer(customer).into_iter();
                    live.filter(|stored| wanted(&Glance::of(&stored.record))).collect()
                }
                None => index.youngest(most, wanted),
            };
            let mut records: Vec<_> = found.iter().map(|stored| stored.record.clone()).collect();
            if filter.ended && filter.phase.is_none_or(|phase| phase == PhaseName::Ended) {
                records.extend(row::history(connection, &filter, most, &damage)?);
            }
            // One that ended between the two looks is in both: its end is the younger revision.
            records.sort_unstable_by_key(|record| std::cmp::Reverse((record.id, record.revision)));
            records.dedup_by_key(|record| record.id);
            records.truncate(most);
            Ok(records)
        })
    }

    fn live_sessions(&self, wanted: &dyn Fn(&Glance<'_>) -> bool) -> Answer<'_, Vec<Arc<Stored>>> {
        let found = self.index.wanted(wanted);
        Box::pin(std::future::ready(Ok(found)))
    }

    fn census(&self) -> Census {
        self.index.census()
    }

    fn unstarted(&self, most: usize) -> Answer<'_, Vec<Arc<Stored>>> {
        let unstarted = self.index.unstarted(most);
        Box::pin(std::future::ready(Ok(unstarted)))
    }

    fn note_request(&self, session: SessionId, key: RequestKey, note: RequestNote) -> Answer<'_, Noted> {
        self.run(Needs::Room, move |connection| requests::note(connection, session, key, &note))
    }

    fn noted_request(&self, session: SessionId, key: RequestKey) -> Answer<'_, Option<RequestNote>> {
        self.read(move |connection| requests::find(connection, session, key))
    }

    fn move_request(
        &self,
        session: SessionId,
        key: RequestKey,
        expect: (Epoch, u64),
        to: (Epoch, u64),
    ) -> Answer<'_, ()> {
        self.run(Needs::NoRoom, move |connection| requests::move_to(connection, session, key, expect, to))
    }

    fn withdraw_request(&self, session: SessionId, key: RequestKey, expect: (Epoch, u64)) -> Answer<'_, ()> {
        self.run(Needs::NoRoom, move |connection| requests::withdraw(connection, session, key, expect))
    }

    fn answer_request(
        &self,
        session: SessionId,
        key: RequestKey,
        answer: KeyedAnswer,
        keep_bytes: u64,
    ) -> Answer<'_, KeyedAnswer> {
        let bytes = match &answer {
            KeyedAnswer::Result(result) => result.len(),
            KeyedAnswer::Refused(text) | KeyedAnswer::Lost(text) | KeyedAnswer::NoAnswer(text) => text.len(),
            KeyedAnswer::TimedOut => 0,
        };
        // Nothing new is noted while room is short, so that the small answers to what is noted already are few.
        let needs = if bytes <= SMALL_ANSWER_BYTES { Needs::NoRoom } else { Needs::Room };
        self.run_sized(needs, bytes, move |connection| requests::answer(connection, session, key, &answer, keep_bytes))
    }

    fn open_requests(&self, session: SessionId) -> Answer<'_, Vec<(RequestKey, RequestNote)>> {
        let damage = Arc::clone(&self.damage);
        self.read(move |connection| requests::open(connection, session, &damage))
    }

    fn uncounted_history(&self, most: usize) -> Answer<'_, Vec<SessionId>> {
        self.read(move |connection| history_size::uncounted(connection, most))
    }

    fn count_history(&self, elsewhere: Vec<(SessionId, u64)>) -> Answer<'_, Vec<CustomerKey>> {
        self.run(Needs::NoRoom, move |connection| history_size::count(connection, &elsewhere))
    }

    fn surplus_history(&self, customer: &CustomerKey, keep_bytes: u64, most: usize) -> Answer<'_, Vec<SessionId>> {
        let customer = customer.clone();
        self.read(move |connection| history_size::surplus(connection, &customer, keep_bytes, most))
    }

    fn old_history(&self, before: Timestamp, most: usize) -> Answer<'_, Vec<SessionId>> {
        self.read(move |connection| {
            let bounds = params![before.micros(), i64::try_from(most).unwrap_or(i64::MAX)];
            let mut query =
                connection.prepare_cached("SELECT id FROM history WHERE ended < ?1 LIMIT ?2").map_err(unavailable)?;
            let ids = query.query_map(bounds, |row| Ok(row.get(0).ok().map(SessionId::from_bytes)));
            let ids = ids.and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(unavailable)?;
            // One without a readable id is found by `frontdesk verify`.
            Ok(ids.into_iter().flatten().collect())
        })
    }

    fn with_kept_log(&self, mut sessions: Vec<SessionId>) -> Answer<'_, HashSet<SessionId>> {
        self.read(move |connection| {
            let mut phase =
                connection.prepare_cached("SELECT phase FROM history WHERE id = ?1").map_err(unavailable)?;
            sessions.retain(|session| {
                let text = phase.query_row([session.as_bytes()], |row| row.get::<_, String>(0)).optional();
                let phase = text.map(|text| text.map(|text| serde_json::from_str::<Phase>(&text)));
                match phase {
                    Ok(None) => false,
                    Ok(Some(Ok(phase))) => phase.kept_log().is_some(),
                    Ok(Some(Err(_))) | Err(_) => true,
                }
            });
            Ok(sessions.into_iter().collect())
        })
    }

    fn delete_history(&self, sessions: Vec<SessionId>) -> Answer<'_, ()> {
        let damage = Arc::clone(&self.damage);
        self.run(Needs::NoRoom, move |connection| {
            let mut delete = connection.prepare_cached("DELETE FROM history WHERE id = ?1").map_err(unavailable)?;
            for &session in &sessions {
                match audit::keep_admission(connection, session) {
                    // Its time is over, damaged or not.
                    Err(error @ StoreError::Corrupt(_)) => {
                        damage.note(&format!("the admission of session {session}, which is lost: {}", error.cause()));
                    }
                    kept => kept?,
                }
                requests::forget(connection, session)?;
                delete.execute([session.as_bytes()]).map_err(unavailable)?;
            }
            Ok(())
        })
    }

    fn add_customer(&self, customer: Customer) -> Answer<'_, ()> {
        self.run(Needs::Room, move |connection| customers::add(connection, &customer))
    }

    fn customer(&self, key: &CustomerKey) -> Answer<'_, Option<Customer>> {
        let key = key.clone();
        self.read(move |connection| customers::find(connection, &key))
    }

    fn set_password(&self, key: &CustomerKey, hash: String, expect: Option<String>) -> Answer<'_, ()> {
        let key = key.clone();
        self.run_on_account(move |connection| customers::set_password(connection, &key, &hash, expect.as_deref()))
    }

    fn remove_customer(&self, key: &CustomerKey) -> Answer<'_, ()> {
        let key = key.clone();
        self.run_on_account(move |connection| customers::remove(connection, &key))
    }

    fn set_disabled(&self, key: &CustomerKey, since: Option<WallTime>) -> Answer<'_, ()> {
        let key = key.clone();
        self.run_on_account(move |connection| customers::set_disabled(connection, &key, since))
    }

    fn accounts_seen(&self) -> AccountsSeen {
        self.accounts.seen()
    }

    fn is_still(&self, key: &CustomerKey, account: CheckedAccount) -> Answer<'_, bool> {
        if self.accounts.are(account.seen) {
            return Box::pin(std::future::ready(Ok(true)));
        }
        let key = key.clone();
        self.read(move |connection| Ok(account.is(customers::find(connection, &key)?.as_ref())))
    }

    fn customers(&self, after: Option<CustomerKey>, most: usize) -> Answer<'_, Vec<Customer>> {
        let damage = Arc::clone(&self.damage);
        self.read(move |connection| customers::page(connection, after.as_ref(), most, &damage))
    }

    fn known_addresses(&self) -> Answer<'_, Vec<KnownAddresses>> {
        self.read(known_addresses::all)
    }

    fn keep_known_addresses(&self, known: Vec<KnownAddresses>, at: Timestamp) -> Answer<'_, ()> {
        let bytes = known.len() * 96;
        self.run_sized(Needs::Room, bytes, move |connection| known_addresses::keep(connection, &known, at))
    }

    fn beat(&self, heartbeat: Heartbeat) -> Answer<'_, ()> {
        self.run(Needs::NoRoom, move |connection| set_meta(connection, "heartbeat", &heartbeat_bytes(&heartbeat)))
    }

    fn greeted(&self) -> Answer<'_, ()> {
        self.run(Needs::NoRoom, |connection| {
            connection.execute("DELETE FROM meta WHERE name = 'greeting_due'", []).map_err(unavailable)?;
            Ok(())
        })
    }

    fn desk(&self) -> &Desk {
        &self.desk
    }

    fn is_set_aside(&self, session: SessionId) -> bool {
        self.index.is_set_aside(session)
    }

    fn give_up(
        &self,
        session: SessionId,
        before: Revision,
        reason: Reason,
        at: Timestamp,
    ) -> Answer<'_, SessionRecord> {
        Box::pin(self.give_up_row(session, before, reason, at))
    }

    fn damage(&self) -> Found {
        self.damage.found()
    }

    fn ready(&self) -> Result<(), StoreError> {
        self.entrance()?.ready()
    }

    fn room(&self) -> Result<(), StoreError> {
        self.shortage.check()
    }
}

/// The desk's id of a data directory, whether or not a server has it open.
///
/// # Errors
/// What the store said.
pub fn desk_id(directory: &Path) -> Result<String, StoreError> {
    desk_of(&file::open_reader(&DataPaths::new(directory).database())?)
}

/// The desk's id in an open file.
pub(crate) fn desk_of(connection: &Connection) -> Result<String, StoreError> {
    let id = meta(connection, "desk_id")?.and_then(|bytes| String::from_utf8(bytes).ok());
    id.ok_or_else(|| StoreError::Corrupt("its identity is missing".into()))
}

/// Makes a file that nobody has open the store of another desk, which knows the same tokens.
pub(crate) fn renew_desk(path: &Path) -> Result<(), StoreError> {
    let connection = Connection::open(path).map_err(unavailable)?;
    desk_of(&connection)?;
    connection.pragma_update(None, "synchronous", "full").map_err(unavailable)?;
    set_meta(&connection, "desk_id", new_desk().as_bytes())
}

fn new_desk() -> String {
    uuid::Uuid::from_bytes(crate::random::bytes()).simple().to_string()
}

/// Waits for the last commit and for the removals after it, so that the files are closed in order.
impl Drop for SqliteStore {
    fn drop(&mut self) {
        drop(self.queue.take());
        self.readers.close();
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
        self.files.close();
    }
}

fn open_desk(connection: &Connection, paths: &DataPaths) -> Result<Desk, StoreError> {
    let stored = |name| meta(connection, name);
    if stored("desk_id")?.is_none() {
        expect_new(connection, paths)?;
        let id = new_desk();
        connection.execute_batch("BEGIN IMMEDIATE").map_err(unavailable)?;
        set_meta(connection, "desk_id", id.as_bytes())?;
        set_meta(connection, "token_key", &crate::random::bytes::<32>())?;
        set_meta(connection, "greeting_due", b"")?;
        connection.execute_batch("COMMIT").map_err(unavailable)?;
    }
    let damaged = || StoreError::Corrupt("its identity is missing".into());
    let id = stored("desk_id")?.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(damaged)?;
    let key = stored("token_key")?.and_then(|bytes| bytes.try_into().ok()).ok_or_else(damaged)?;
    let last_heartbeat = match stored("heartbeat")? {
        Some(bytes) => {
            let heartbeat = serde_json::from_slice(&bytes);
            Some(heartbeat.map_err(|error| StoreError::Corrupt(format!("its heartbeat: {error}")))?)
        }
        None => None,
    };
    let greeting_due = stored("greeting_due")?.is_some();
    Ok(Desk { id, token_key: TokenKey::new(key), greeting_due, last_heartbeat })
}

/// Refuses a store that has lost its identity: with a new one it would know neither its tokens nor its agents.
fn expect_new(connection: &Connection, paths: &DataPaths) -> Result<(), StoreError> {
    const TABLES: [&str; 7] = ["meta", "sessions", "history", "requests", "customers", "operator_tokens", "audit"];
    let mut held = Vec::new();
    for table in TABLES {
        let query = format!("SELECT EXISTS (SELECT 1 FROM {table})");
        if connection.query_row(&query, [], |row| row.get(0)).map_err(unavailable)? {
            held.push(format!("{table} has rows"));
        }
    }
    held.extend(Some(paths.remains()).filter(|remains| !remains.is_empty()));
    if held.is_empty() {
        return Ok(());
    }
    Err(StoreError::Corrupt(format!(
        "its identity is missing, but {}; restore a backup to another directory (`frontdesk restore`), or move this directory \
         away to begin a new desk",
        held.join(" and ")
    )))
}

fn meta(connection: &Connection, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
    connection
        .query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| row.get(0))
        .optional()
        .map_err(unavailable)
}

fn set_meta(connection: &Connection, name: &str, value: &[u8]) -> Result<(), StoreError> {
    connection
        .prepare_cached("INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = ?2")
        .and_then(|mut statement| statement.execute(params![name, value]))
        .map_err(unavailable)?;
    Ok(())
}

fn heartbeat_bytes(heartbeat: &Heartbeat) -> Vec<u8> {
    serde_json::to_vec(heartbeat).expect("a heartbeat has string keys only and serialises")
}

#[cfg(test)]
mod tests;
