//! The one writer: a thread that commits whatever waits as one transaction.
//!
//! A batch is what has arrived while the one before it was on its way to the disk, and the windows that have closed
//! meanwhile. If it can't be written, all who wait are told, what the memory holds is dropped, and the file is opened
//! again before anything else is taken: positions and numbers are then read from the disk.
//!
//! Damage concerns its session alone. The batch is then written once more, each session in a transaction of its own. A
//! session whose rows are damaged is set aside: it is named, nothing more of it is stored, and those who append to it are
//! told. What is there of it stays as it is.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::clock::boot_time;
use crate::id::{Epoch, SessionId};
use crate::metrics::Writes;
use crate::store::sqlite::availability::Availability;
use crate::store::sqlite::checkpoint::Checkpointer;
use crate::store::sqlite::file::{self, unavailable};
use crate::store::sqlite::shortage::Shortage;
use crate::store::{Damage, StoreError};

use super::follow::{Followers, Growth};
use super::join::Record;
use super::lane::Place;
use super::table::{self, Ledger};
use super::window::Windows;
use super::{Event, Kind, NewEvent, Step, join};

const MOST_EVENTS: usize = 4_096;
const MOST_BYTES: usize = 4 << 20;
/// Ledgers kept in memory; beyond that all are dropped, and read again where they are needed.
const MOST_LEDGERS: usize = 65_536;

pub(super) type Reply = oneshot::Sender<Result<(), StoreError>>;

/// What the writer is asked.
#[derive(Debug)]
pub(super) enum Message {
    /// Store an event.
    Append(Append),
    /// Delete sessions.
    Forget(Forget),
}

/// An event on its way to the disk.
#[derive(Debug)]
pub(super) struct Append {
    pub(super) session: SessionId,
    pub(super) epoch: Epoch,
    pub(super) mark: Mark,
    pub(super) event: NewEvent,
    pub(super) place: Place,
    pub(super) reply: Reply,
}

/// By what an event that is told twice is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// By nothing: it is always stored.
    Nothing,
    /// By where its line ends in the agent's stdout.
    Position(u64),
    /// By the step of the session.
    Step(Step),
}

/// Sessions that are to be deleted.
#[derive(Debug)]
pub(super) struct Forget {
    pub(super) sessions: Vec<SessionId>,
    pub(super) reply: Reply,
}

/// What the writer thread owns.
#[derive(Debug)]
pub(super) struct Writer {
    path: PathBuf,
    connection: Option<Connection>,
    queue: Receiver<Message>,
    shared: Shared,
    keep_bytes: u64,
    ledgers: HashMap<SessionId, Ledger>,
    /// The sessions whose rows are damaged.
    set_aside: HashSet<SessionId>,
    windows: Windows<Append>,
    batch: Batch,
    checkpointer: Checkpointer,
}

/// What the writer has in common with those who ask it.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) availability: Arc<Availability>,
    /// Whether room is short on the disk, once somebody has said who knows.
    pub(super) shortage: Arc<OnceLock<Shortage>>,
    pub(super) damage: Arc<Damage>,
    pub(super) followers: Arc<Followers>,
    pub(super) writes: Arc<Writes>,
}

impl Shared {
    fn room(&self) -> Result<(), StoreError> {
        self.shortage.get().map_or(Ok(()), Shortage::check)
    }
}

/// By how much sessions have grown, and by what where somebody follows.
type Grown = Vec<(Growth, Vec<Event>)>;

/// What goes into one transaction: the events first, each session's in their order.
#[derive(Debug, Default)]
struct Batch {
    events: Vec<Append>,
    bytes: usize,
    forget: Option<Forget>,
}

impl Writer {
    pub(super) fn new(
        path: PathBuf,
        mut connection: Connection,
        queue: Receiver<Message>,
        shared: Shared,
        keep_bytes: u64,
    ) -> Self {
        Self {
            checkpointer: Checkpointer::start(&path, &mut connection),
            path,
            connection: Some(connection),
            queue,
            shared,
            keep_bytes,
            ledgers: HashMap::new(),
            set_aside: HashSet::new(),
            windows: Windows::new(),
            batch: Batch::default(),
        }
    }

    /// Writes until the last sender is gone, then closes the file.
    pub(super) fn run(mut self) {
        while self.gather() {
            self.write();
        }
        self.checkpointer.stop();
        if let Some(connection) = self.connection.take() {
            // The last connection to close checkpoints and removes the log; failing that, the next start does.
            let _ = connection.close();
        }
    }

    /// Waits for a batch; `false` once there is nobody left who could ask for one.
    fn gather(&mut self) -> bool {
        loop {
            let first = match self.windows.next_closing() {
                None => self.queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(closes) => self.queue.recv_timeout(closes.saturating_duration_since(now())),
            };
            match first {
                Ok(message) => self.take_in(message),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    self.batch.extend(self.windows.close_all());
                    return !self.batch.is_empty();
                }
            }
            while !self.batch.is_full() {
                let Ok(message) = self.queue.try_recv() else { break };
                self.take_in(message);
            }
            let now = now();
            while let Some(outputs) = self.windows.close_due(now) {
                self.batch.extend(outputs);
            }
            if !self.batch.is_empty() {
                return true;
            }
        }
    }

    fn take_in(&mut self, message: Message) {
        match message {
            Message::Append(append) => {
                if let Err(error) = append.place.check() {
                    let _ = append.reply.send(Err(error));
                } else if append.event.kind == Kind::Output {
                    let (session, bytes) = (append.session, append.event.body.len());
                    let outputs = self.windows.hold(session, append, bytes, now());
                    self.batch.extend(outputs);
                } else {
                    self.batch.extend(self.windows.close(append.session));
                    self.batch.extend([append]);
                }
            }
            Message::Forget(forget) => {
                for session in &forget.sessions {
                    self.batch.extend(self.windows.close(*session));
                }
                self.batch.forget = Some(forget);
            }
        }
    }

    fn write(&mut self) {
        let mut batch = std::mem::take(&mut self.batch);
        // Stable: the order of each session's events stays.
        batch.events.sort_by_key(|append| append.session);
        let began = boot_time();
        let written = match self.shared.room().and_then(|()| self.transact(&batch, false)) {
            Err(error) if error.is_damage() => self.write_apart(&batch),
            written => written,
        };
        match written {
            Ok(grown) => {
                self.shared.writes.note(batch.events.len(), boot_time().saturating_since(began));
                self.shared.followers.announce(grown);
                batch.answer(None, &self.set_aside);
                if self.ledgers.len() > MOST_LEDGERS {
                    self.ledgers.clear();
                }
                if let Some(connection) = &self.connection {
                    self.checkpointer.after_commit(connection);
                }
            }
            Err(error) => {
                self.shared.writes.failures.add_one();
                tracing::error!(error = %error, events = batch.events.len(), "events not stored; reopening the log");
                self.shared.availability.fails(&error);
                let why = error.cause();
                let sessions: BTreeSet<_> = batch.events.iter().map(|append| append.session).collect();
                batch.answer(Some(&why), &self.set_aside);
                self.refuse_waiting(&why);
                self.reopen();
                self.announce_again(&sessions);
            }
        }
    }

    /// Writes a batch again in which something is damaged, so that only the sessions are concerned whose rows those are.
    fn write_apart(&mut self, batch: &Batch) -> Result<Grown, StoreError> {
        // They may tell of what is rolled back.
        self.ledgers.clear();
        if let Some(connection) = self.connection.as_ref().filter(|connection| !connection.is_autocommit()) {
            connection.execute_batch("ROLLBACK").map_err(unavailable)?;
        }
        self.transact(batch, true)
    }

    /// Writes the batch; `is_apart` if damage is to concern its session alone.
    fn transact(&mut self, batch: &Batch, is_apart: bool) -> Result<Grown, StoreError> {
        let Some(connection) = self.connection.take() else {
            return Err(StoreError::Unavailable("it is being reopened".into()));
        };
        let written = self.transact_on(&connection, batch, is_apart);
        self.connection = Some(connection);
        written
    }

    fn transact_on(&mut self, connection: &Connection, batch: &Batch, is_apart: bool) -> Result<Grown, StoreError> {
        let mut grown = Vec::new();
        if !is_apart {
            connection.execute_batch("BEGIN IMMEDIATE").map_err(unavailable)?;
        }
        for appends in batch.events.chunk_by(|one, other| one.session == other.session) {
            let session = appends[0].session;
            if self.set_aside.contains(&session) {
                continue;
            }
            let written = alone(connection, is_apart, || self.append(connection, appends));
            grown.extend(self.unless_damaged(session, is_apart, written)?.flatten());
        }
        for session in batch.forget.iter().flat_map(|forget| &forget.sessions) {
            self.ledgers.remove(session);
            let forgotten = alone(connection, is_apart, || table::forget(connection, *session));
            if self.unless_damaged(*session, is_apart, forgotten)?.is_some() {
                self.set_aside.remove(session);
            }
        }
        if !is_apart {
            connection.execute_batch("COMMIT").map_err(unavailable)?;
        }
        Ok(grown)
    }

    /// Writes one session's events; returns by how much it has grown, if it has.
    fn append(
        &mut self,
        connection: &Connection,
        appends: &[Append],
    ) -> Result<Option<(Growth, Vec<Event>)>, StoreError> {
        let (session, epoch) = (appends[0].session, appends[0].epoch);
        let known = self.ledgers.get(&session).copied();
        let mut ledger = known.map_or_else(|| table::ledger(connection, session, epoch), Ok)?;
        let before = ledger.last;
        let mut events = self.shared.followers.is_followed(session).then(Vec::new);
        store(connection, &mut ledger, appends, self.keep_bytes, events.as_mut())?;
        self.ledgers.insert(session, ledger);
        let growth = Growth { session, first: before + 1, last: ledger.last };
        Ok((ledger.last > before).then(|| (growth, events.unwrap_or_default())))
    }

    /// Sets a session aside whose rows are damaged, if it was written apart: then nothing came of it.
    fn unless_damaged<T>(
        &mut self,
        session: SessionId,
        is_apart: bool,
        written: Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        match written {
            Err(error) if is_apart && error.is_damage() => {
                self.ledgers.remove(&session);
                self.set_aside.insert(session);
                self.shared.damage.note(&format!("the log of events of session {session}: {}", error.cause()));
                Ok(None)
            }
            written => written.map(Some),
        }
    }

    /// Announces sessions whose commit failed: it may have taken place all the same, and who appends them again is
    /// told nothing new.
    fn announce_again(&self, sessions: &BTreeSet<SessionId>) {
        let Some(connection) = &self.connection else { return };
        let growth = |session: &SessionId| {
            let last = table::last(connection, *session).ok()?;
            Some((Growth { session: *session, first: last, last }, Vec::new()))
        };
        self.shared.followers.announce(sessions.iter().filter_map(growth).collect::<Vec<_>>());
    }

    fn reopen(&mut self) {
        const FIRST_WAIT: Duration = Duration::from_millis(100);
        const LONGEST_WAIT: Duration = Duration::from_secs(5);
        // They may tell of what was rolled back.
        self.ledgers.clear();
        drop(self.connection.take());
        let mut wait = FIRST_WAIT;
        loop {
            let opened = self.shared.room().and_then(|()| table::open(&self.path));
            match opened.and_then(|connection| file::settle(&connection).map(|()| connection)) {
                Ok(mut connection) => {
                    self.checkpointer.watch(&mut connection);
                    self.connection = Some(connection);
                    self.shared.availability.back();
                    tracing::info!("log of events reopened");
                    return;
                }
                Err(error) => {
                    tracing::error!(error = %error, "log of events could not be reopened; trying again");
                    self.shared.availability.fails(&error);
                    std::thread::sleep(wait);
                    if self.refuse_waiting(&error.cause()) {
                        return;
                    }
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
            }
        }
    }

    /// Fails whatever waits; `true` if nobody is left who could ask for more.
    fn refuse_waiting(&mut self, why: &str) -> bool {
        let mut waiting = Batch::default();
        waiting.extend(self.windows.close_all());
        let is_closed = loop {
            match self.queue.try_recv() {
                Ok(Message::Append(append)) => waiting.extend([append]),
                Ok(Message::Forget(forget)) => fail(forget.reply, why),
                Err(TryRecvError::Empty) => break false,
                Err(TryRecvError::Disconnected) => break true,
            }
        };
        waiting.answer(Some(why), &self.set_aside);
        is_closed
    }
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.events.is_empty() && self.forget.is_none()
    }

    /// Whether nothing may be added: after sessions are forgotten, nothing of them may come in the same transaction.
    fn is_full(&self) -> bool {
        self.forget.is_some() || self.events.len() >= MOST_EVENTS || self.bytes >= MOST_BYTES
    }

    fn extend(&mut self, events: impl IntoIterator<Item = Append>) {
        self.events.extend(events.into_iter().inspect(|append| self.bytes += append.event.body.len()));
    }

    /// Answers all who wait; a failure breaks their lanes. Those of the sessions that are set aside learn that.
    fn answer(self, failure: Option<&str>, set_aside: &HashSet<SessionId>) {
        let (damaged, events): (Vec<_>, Vec<_>) =
            self.events.into_iter().partition(|append| set_aside.contains(&append.session));
        for Append { session, reply, .. } in damaged {
            let why = format!("the log of events of session {session} is damaged and set aside");
            let _ = reply.send(Err(StoreError::Corrupt(why)));
        }
        if failure.is_some() {
            // All before any is told: who is told may append again at once.
            events.iter().for_each(|append| append.place.break_lane());
        }
        let replies = events.into_iter().map(|append| append.reply).chain(self.forget.map(|forget| forget.reply));
        for reply in replies {
            match failure {
                None => drop(reply.send(Ok(()))),
                Some(why) => fail(reply, why),
            }
        }
    }
}

/// Writes one session's events, and adds them to those that followers are told.
fn store(
    connection: &Connection,
    ledger: &mut Ledger,
    appends: &[Append],
    keep_bytes: u64,
    mut told: Option<&mut Vec<Event>>,
) -> Result<(), StoreError> {
    let session = appends[0].session;
    let mut fresh = Vec::with_capacity(appends.len());
    let mut is_ahead = false;
    for append in appends {
        if ledger.is_closed {
            break;
        }
        match append.mark {
            Mark::Nothing => {}
            Mark::Step(step) => {
                if step.revision <= ledger.revision {
                    continue;
                }
                (ledger.revision, ledger.is_closed) = (step.revision, step.is_last);
            }
            Mark::Position(position) => {
                if append.epoch != ledger.epoch {
                    if std::mem::take(&mut is_ahead) {
                        table::set_position(connection, session, ledger)?;
                    }
                    ledger.epoch = append.epoch;
                    ledger.position = table::position(connection, session, append.epoch)?;
                }
                if position <= ledger.position {
                    continue;
                }
                ledger.position = position;
                is_ahead = true;
            }
        }
        fresh.push(append);
    }
    if fresh.is_empty() {
        return Ok(());
    }
    for record in join::join(fresh.iter().map(|append| (append.epoch, &append.event))) {
        table::add(connection, session, ledger, &record)?;
        if let Some(told) = &mut told {
            tell(told, ledger.last, &record);
        }
    }
    table::trim(connection, session, ledger, keep_bytes)?;
    if is_ahead {
        table::set_position(connection, session, ledger)?;
    }
    table::set_ledger(connection, session, ledger)
}

/// Adds a record to what followers are told; a large one they read out of the log, and what stands before it as well.
fn tell(told: &mut Vec<Event>, number: u64, record: &Record) {
    const LARGEST: usize = 64 << 10;
    if record.body.len() > LARGEST {
        told.clear();
        return;
    }
    // A copy, for what was read may be a part of a much larger piece of the agent's output.
    let body = Bytes::copy_from_slice(&record.body);
    told.push(Event { number, epoch: record.epoch, kind: record.kind, at: record.at, body });
}

/// Does the work in a transaction of its own, if it is to be undone alone when it fails. A transaction that has met a
/// malformed page can't be committed any more.
fn alone<T>(
    connection: &Connection,
    is_apart: bool,
    work: impl FnOnce() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    if !is_apart {
        return work();
    }
    connection.execute_batch("BEGIN IMMEDIATE").map_err(unavailable)?;
    let done = work().and_then(|done| connection.execute_batch("COMMIT").map(|()| done).map_err(unavailable));
    if done.is_err() && !connection.is_autocommit() {
        connection.execute_batch("ROLLBACK").map_err(|error| StoreError::Unavailable(error.to_string()))?;
    }
    done
}

fn fail(reply: Reply, why: &str) {
    let _ = reply.send(Err(StoreError::Unavailable(why.to_owned())));
}

#[expect(clippy::disallowed_methods, reason = "a window of milliseconds inside one thread, which nothing stored shows")]
fn now() -> Instant {
    Instant::now()
}
