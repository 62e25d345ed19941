//! The one writer: a thread that commits whatever waits as one transaction.
//!
//! A batch is what has arrived while the batch before it was on its way to the disk: it grows with the load, waits
//! for nobody who has not come yet, and is bounded in changes and bytes. A change that fails by itself, because of a conflict,
//! fails alone. A change that meets damaged data does so as well: its batch is then written once more, each change in a
//! transaction of its own. If the transaction can't be written, all who wait are told; if it is not even known whether
//! it was (a failed commit), the file is closed, opened again and the index rebuilt from it before anything else is taken.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::clock::{Timestamp, boot_time};
use crate::failpoint::Failpoint;
use crate::metrics::Writes;
use crate::store::{Damage, StoreError};

use super::accounts::Accounts;
use super::availability::Availability;
use super::ballast::Ballast;
use super::checkpoint::Checkpointer;
use super::data_files::{DataFile, DataFiles};
use super::index::Index;
use super::shortage::Shortage;
use super::{file, recovery, row, schema};

mod full_disk;

const MOST_CHANGES: usize = 1_024;
/// The same while room is short, so that a batch is a small part of what the log may take.
const MOST_CHANGES_WHILE_SHORT: usize = 64;
const MOST_BYTES: usize = 4 << 20;

/// Whether a change needs room on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needs {
    /// It adds something that stays. It is refused while room is short.
    Room,
    /// It ends, revokes, moves on or deletes what is there, and adds little that is bounded by that.
    NoRoom,
}

/// One thing to write: executed inside the transaction, finished after it.
pub(super) trait Change: Send {
    /// Whether it needs room.
    fn needs(&self) -> Needs;

    /// How much it adds to a batch.
    fn size_bytes(&self) -> usize;

    /// Writes it. What was written is undone before this is called again.
    fn execute(&mut self, connection: &Connection) -> Result<(), Refusal>;

    /// Makes it visible if it is committed.
    fn publish(&mut self, _index: &Index) {}

    /// Leaves data files alone when it is not known whether it is committed, and tells which those are.
    fn leave_data(&mut self) -> Vec<DataFile> {
        Vec::new()
    }

    /// Whether it is worth telling if it meets damage.
    fn tells_damage(&self) -> bool {
        true
    }

    /// Answers whoever waits for it.
    fn answer(self: Box<Self>, outcome: Result<(), StoreError>);
}

/// Why a change was not executed.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It is the change's own, which has written nothing: no other of the batch is concerned.
    Own(StoreError),
    /// What it reads or writes is damaged: it is the change's own if it is executed by itself.
    Damage(StoreError),
    /// The file can't be written: the batch fails.
    Storage(StoreError),
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            error @ (StoreError::Unavailable(_) | StoreError::Full | StoreError::Unsupported(_)) => {
                Self::Storage(error)
            }
            error @ (StoreError::Corrupt(_) | StoreError::Malformed(_)) => Self::Damage(error),
            error @ (StoreError::Conflict | StoreError::Missing | StoreError::Busy | StoreError::SetAside(_)) => {
                Self::Own(error)
            }
        }
    }
}

pub(super) type Queue = mpsc::Sender<Box<dyn Change>>;

/// Where changes are taken. It does not keep a writer going whose store is being closed.
#[derive(Clone, Debug)]
pub(super) struct Entrance {
    queue: mpsc::WeakSender<Box<dyn Change>>,
    availability: Arc<Availability>,
    shortage: Shortage,
}

impl Entrance {
    /// The entrance to the writer behind the queue, which takes changes while it is available.
    pub(super) fn new(queue: &Queue, availability: &Arc<Availability>, shortage: &Shortage) -> Self {
        Self { queue: queue.downgrade(), availability: Arc::clone(availability), shortage: shortage.clone() }
    }

    /// Whether changes are taken at the moment.
    pub(super) fn ready(&self) -> Result<(), StoreError> {
        self.open().map(drop)
    }

    /// Hands in the change that is made for the reply, and waits for that.
    pub(super) async fn submit<T>(
        &self,
        change: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Box<dyn Change>,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        // Not held any longer than this: who closes the store waits for the last one.
        let queue = self.open()?;
        let change = change(reply);
        if change.needs() == Needs::Room {
            self.shortage.check()?;
        }
        queue.try_send(change).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => StoreError::Busy,
            mpsc::error::TrySendError::Closed(_) => stopped(),
        })?;
        answer.await.map_err(|_| stopped())?
    }

    fn open(&self) -> Result<Queue, StoreError> {
        let queue = self.queue.upgrade().filter(|queue| !queue.is_closed()).ok_or_else(stopped)?;
        self.availability.check()?;
        Ok(queue)
    }
}

/// What is said when no writer takes changes any more.
pub(super) fn stopped() -> StoreError {
    StoreError::Unavailable("its writer has stopped".into())
}

/// What the writer thread owns.
#[derive(Debug)]
pub(super) struct Writer {
    path: PathBuf,
    connection: Option<Connection>,
    queue: mpsc::Receiver<Box<dyn Change>>,
    index: Arc<Index>,
    files: Arc<DataFiles>,
    accounts: Arc<Accounts>,
    availability: Arc<Availability>,
    shortage: Shortage,
    damage: Arc<Damage>,
    writes: Arc<Writes>,
    checkpointer: Checkpointer,
    /// When it was last tried to make the ballast whole.
    tried: Timestamp,
    /// Last, so that it goes after all connections.
    ballast: Ballast,
}

impl Writer {
    #[expect(clippy::too_many_arguments, reason = "each is one thing that it shares with the store")]
    pub(super) fn new(
        path: PathBuf,
        mut connection: Connection,
        queue: mpsc::Receiver<Box<dyn Change>>,
        index: Arc<Index>,
        files: Arc<DataFiles>,
        accounts: Arc<Accounts>,
        availability: Arc<Availability>,
        shortage: Shortage,
        damage: Arc<Damage>,
        writes: Arc<Writes>,
        ballast: Ballast,
    ) -> Self {
        let checkpointer = Checkpointer::start(&path, &mut connection);
        let (connection, tried) = (Some(connection), boot_time());
        Self {
            path,
            connection,
            queue,
            index,
            files,
            accounts,
            availability,
            shortage,
            damage,
            writes,
            checkpointer,
            tried,
            ballast,
        }
    }

    /// Writes until the last sender is gone, then closes the file.
    pub(super) fn run(mut self) {
        let mut batch = Vec::new();
        if self.shortage.is_on() {
            self.begin_short();
        } else if let Some(connection) = &self.connection {
            self.ballast.clear_room_within(connection);
        }
        while let Some(first) = self.next() {
            let mut bytes = first.size_bytes();
            batch.push(first);
            // Where processors are free this returns at once. Where they are not, those who wait for one bring more to
            // the batch, and each change costs less of them.
            std::thread::yield_now();
            let most = if self.shortage.is_on() { MOST_CHANGES_WHILE_SHORT } else { MOST_CHANGES };
            while batch.len() < most && bytes < MOST_BYTES {
                let Ok(next) = self.queue.try_recv() else { break };
                bytes += next.size_bytes();
                batch.push(next);
            }
            self.write(&mut batch);
            self.accounts.settle();
        }
        self.checkpointer.stop();
        if let Some(connection) = self.connection.take() {
            // The last connection to close checkpoints and removes the log; failing that, the next start does.
            let _ = connection.close();
        }
    }

    fn write(&mut self, batch: &mut Vec<Box<dyn Change>>) {
        self.refuse_growth(batch);
        if batch.is_empty() {
            return;
        }
        let Some(connection) = self.connection.as_mut() else {
            fail_all(batch, &StoreError::Unavailable("it is being reopened".into()));
            return;
        };
        let mut outcomes = Vec::with_capacity(batch.len());
        let began = boot_time();
        let mut written = transact(connection, batch, &mut outcomes);
        if matches!(written, Err(Failed::Damaged(_))) {
            outcomes.clear();
            written = transact_each(connection, batch, &mut outcomes);
            note_damage(&self.damage, batch, &outcomes);
        }
        match &written {
            Ok(()) => self.writes.note(batch.len(), boot_time().saturating_since(began)),
            Err(_) => self.writes.failures.add_one(),
        }
        match written {
            Ok(()) => {
                self.answer(batch, outcomes);
                self.after_commit();
            }
            Err(Failed::NothingWritten(StoreError::Full)) if self.make_room() => {
                self.use_room();
                // Each try releases some of the ballast, so that this comes to an end.
                self.write(batch);
            }
            Err(failed @ (Failed::NothingWritten(_) | Failed::Damaged(_))) => {
                let error = failed.error();
                tracing::error!(error = %error.cause(), changes = batch.len(), "store refused a batch");
                fail_all(batch, &error);
            }
            Err(Failed::Unknown(error)) => {
                tracing::error!(error = %error.cause(), changes = batch.len(), "store commit failed; reopening");
                self.availability.fails(&error);
                let left: Vec<_> = batch.iter_mut().flat_map(|change| change.leave_data()).collect();
                fail_all(batch, &error);
                self.reopen();
                let Some(connection) = &self.connection else { return };
                for file in left {
                    // What can't be told is left to the next start.
                    if row::means(connection, file).is_ok_and(|is_meant| !is_meant) {
                        self.files.remove(file);
                    }
                }
            }
        }
    }

    fn answer(&self, batch: &mut Vec<Box<dyn Change>>, outcomes: Vec<Result<(), StoreError>>) {
        for (change, outcome) in batch.iter_mut().zip(&outcomes) {
            if outcome.is_ok() {
                change.publish(&self.index);
            }
        }
        Failpoint::BeforeAnswer.hit();
        for (change, outcome) in batch.drain(..).zip(outcomes) {
            change.answer(outcome);
        }
    }

    /// Keeps the log from growing. While room is short it is begun anew much sooner.
    fn after_commit(&mut self) {
        let Some(connection) = &self.connection else { return };
        if !self.shortage.is_on() {
            self.checkpointer.after_commit(connection);
            // What can't be moved would need more room the longer it waits.
            if self.checkpointer.has_met_full_disk() && self.make_room() {
                self.use_room();
            }
            return;
        }
        match self.checkpointer.keep_short(connection, self.ballast.short_log()) {
            Ok(()) => {}
            Err(StoreError::Full) => {
                self.make_room();
            }
            Err(error) => tracing::warn!(error = %error, "checkpoint failed"),
        }
    }

    fn reopen(&mut self) {
        const FIRST_WAIT: Duration = Duration::from_millis(100);
        const LONGEST_WAIT: Duration = Duration::from_secs(5);
        drop(self.connection.take());
        let mut wait = FIRST_WAIT;
        loop {
            let opened = schema::open(&self.path).and_then(|connection| {
                if self.shortage.is_on() { file::settle_in_place(&connection) } else { file::settle(&connection) }?;
                let found = self.index.empty_twin();
                recovery::fill(&connection, &found, &self.damage)?;
                self.index.replace(&found);
                Ok(connection)
            });
            match opened {
                Ok(mut connection) => {
                    self.checkpointer.watch(&mut connection);
                    self.connection = Some(connection);
                    if self.shortage.is_on() {
                        self.use_room();
                    }
                    self.availability.back();
                    tracing::info!(sessions = self.index.census().live(), "store reopened");
                    return;
                }
                Err(error) => {
                    tracing::error!(error = %error, "store could not be reopened; trying again");
                    self.availability.fails(&error);
                    if matches!(error, StoreError::Full) && self.make_room_while_closed() {
                        continue;
                    }
                    self.refuse_during(wait, &error);
                    if self.queue.is_closed() {
                        // The store is being closed: the next start reads what the file holds.
                        return;
                    }
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
            }
        }
    }

    /// Answers whoever comes while the store is away, for as long as the next attempt has to wait.
    fn refuse_during(&mut self, wait: Duration, why: &StoreError) {
        std::thread::sleep(wait);
        let mut waiting = Vec::new();
        while let Ok(change) = self.queue.try_recv() {
            waiting.push(change);
        }
        fail_all(&mut waiting, why);
    }
}

enum Failed {
    /// Something in it is damaged. The transaction is rolled back.
    Damaged(StoreError),
    /// The transaction is rolled back: the file is as it was.
    NothingWritten(StoreError),
    /// The commit failed: what the file holds shows only when it is read again.
    Unknown(StoreError),
}

impl Failed {
    fn error(self) -> StoreError {
        match self {
            // To those of the batch that are sound, it is the store that failed.
            Self::Damaged(error) => StoreError::Unavailable(error.cause()),
            Self::NothingWritten(error) | Self::Unknown(error) => error,
        }
    }
}

/// Writes a batch in which something is damaged, each change in a transaction of its own: one that has met a malformed page
/// can't be committed any more.
fn transact_each(
    connection: &mut Connection,
    batch: &mut [Box<dyn Change>],
    outcomes: &mut Vec<Result<(), StoreError>>,
) -> Result<(), Failed> {
    for change in batch {
        match transact(connection, std::slice::from_mut(change), outcomes) {
            Ok(()) => {}
            Err(Failed::Damaged(error)) => outcomes.push(Err(error)),
            // Those before it are written, and nobody has been told.
            Err(failed) => return Err(Failed::Unknown(failed.error())),
        }
    }
    Ok(())
}

fn transact(
    connection: &mut Connection,
    batch: &mut [Box<dyn Change>],
    outcomes: &mut Vec<Result<(), StoreError>>,
) -> Result<(), Failed> {
    // A file that can't even be begun with is opened again, which finds out what is left of it.
    let refused = |error: rusqlite::Error| {
        let error = file::unavailable(error);
        if error.is_damage() { Failed::Unknown(unavailable(&error)) } else { Failed::NothingWritten(error) }
    };
    connection.execute_batch("BEGIN IMMEDIATE").map_err(refused)?;
    for change in batch {
        match execute(connection, change.as_mut()) {
            Ok(()) => outcomes.push(Ok(())),
            Err(Refusal::Own(error)) => outcomes.push(Err(error)),
            Err(Refusal::Damage(error)) => {
                let is_undone = connection.is_autocommit() || connection.execute_batch("ROLLBACK").is_ok();
                return Err(if is_undone { Failed::Damaged(error) } else { Failed::Unknown(unavailable(&error)) });
            }
            Err(Refusal::Storage(error)) => return Err(roll_back(connection, error)),
        }
    }
    if Failpoint::BeforeCommit.hit() {
        let _ = connection.execute_batch("ROLLBACK");
        return Err(Failed::Unknown(StoreError::Unavailable("a failpoint says so".into())));
    }
    connection.execute_batch("COMMIT").map_err(|error| {
        let error = file::unavailable(error);
        if matches!(error, StoreError::Full) {
            // The log took less than the commit's last page, without which nothing before it counts.
            return roll_back(connection, error);
        }
        Failed::Unknown(unavailable(&error))
    })?;
    if Failpoint::AfterCommit.hit() {
        return Err(Failed::Unknown(StoreError::Unavailable("a failpoint says so".into())));
    }
    Ok(())
}

/// Executes one change.
fn execute(connection: &Connection, change: &mut dyn Change) -> Result<(), Refusal> {
    let outcome = change.execute(connection);
    if outcome.is_err() && connection.is_autocommit() {
        let is_full = matches!(outcome, Err(Refusal::Storage(StoreError::Full)));
        let rolled_back = || StoreError::Unavailable("the transaction was rolled back".into());
        return Err(Refusal::Storage(if is_full { StoreError::Full } else { rolled_back() }));
    }
    outcome
}

fn note_damage(damage: &Damage, batch: &[Box<dyn Change>], outcomes: &[Result<(), StoreError>]) {
    let told = batch.iter().zip(outcomes).filter(|(change, _)| change.tells_damage());
    for error in told.filter_map(|(_, outcome)| outcome.as_ref().err()).filter(|error| error.is_damage()) {
        damage.note(&error.cause());
        if let StoreError::Malformed(why) = error {
            damage.set_malformed(Some(why));
        }
    }
}

fn roll_back(connection: &Connection, why: StoreError) -> Failed {
    if !connection.is_autocommit() && connection.execute_batch("ROLLBACK").is_err() {
        return Failed::Unknown(why);
    }
    Failed::NothingWritten(why)
}

fn unavailable(error: &StoreError) -> StoreError {
    StoreError::Unavailable(error.cause())
}

fn fail_all(batch: &mut Vec<Box<dyn Change>>, why: &StoreError) {
    for change in batch.drain(..) {
        change.answer(Err(why.clone()));
    }
}
