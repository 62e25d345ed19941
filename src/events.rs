//! The log of events: a session's steps and what its agents say of themselves, durable, without gaps, numbered in each
//! session, with a writer of its own that never passes through the admission commit.
//!
//! ```text
//!   append ──> lane of the session: order, room ──> writer: window, batch, one transaction, one fsync ──> answer
//!                                                                                                 └──> followers
//!   read, position ──> reader connections, off the async threads
//! ```
//!
//! | what | module |
//! | --- | --- |
//! | how much of a session may wait, and in which order | `lane` |
//! | how long a part of an answer waits for the next one | `window` |
//! | parts of one answer as one record | `join` |
//! | what is on the disk | `table` |
//! | the thread that writes | `writer` |
//! | who is told when a session's log grows | `follow` |
//! | the newest events, for all who follow at once | `tail` |
//! | the file as it is, for whoever looks for damage | [`inspect`] |
//!
//! Numbers begin at 2: number 1 of every session is its creation, which stands in the session's own row and is in no
//! log. Nothing here knows a session's phases or what an event means; who may read one is for others to decide.

use std::fmt;
use std::sync::{Arc, OnceLock, mpsc};
use std::thread::JoinHandle;

use bytes::Bytes;
use rusqlite::Connection;
use tokio::sync::{Semaphore, oneshot};

use crate::clock::WallTime;
use crate::data_dir::DataPaths;
use crate::id::{Epoch, Revision, SessionId};
use crate::metrics::Writes;
use crate::store::sqlite::availability::Availability;
use crate::store::sqlite::file;
use crate::store::sqlite::readers::Readers;
use crate::store::sqlite::shortage::Shortage;
use crate::store::{Damage, Found, StoreError};

pub use follow::{AllFollower, Announcement, Follower, Growth};
pub use tail::Chunk;

use follow::Followers;
use lane::Lanes;
use writer::{Append, Forget, Mark, Message, Writer};

mod follow;
pub mod inspect;
mod join;
mod lane;
mod table;
mod tail;
#[cfg(test)]
mod tests;
mod window;
mod writer;

/// What a session's event counts beside its body, so that small ones are bounded, too.
const EVENT_BYTES: usize = 64;

/// How many parts of large events are read at once: for each, all of its event is in memory for a moment.
const PARTS_AT_ONCE: usize = 2;

/// The number of the first event that is in the log.
pub const FIRST_NUMBER: u64 = 2;

/// A log of events. Cloning shares it; the last one that goes waits for what is still to be written.
#[derive(Clone, Debug)]
pub struct EventLog {
    inner: Arc<Inner>,
}

/// What an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// How far it is.
    Progress,
    /// Something that happened.
    Event,
    /// A line of its log.
    Log,
    /// Parts of a request's answer.
    Output,
    /// A step of the session itself.
    Transition,
}

/// An event that is to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// What it is.
    pub kind: Kind,
    /// When it came.
    pub at: WallTime,
    /// JSON: of an agent the notification's `params` as it wrote them.
    pub body: Bytes,
}

/// The step of a session by which its transition is known, however often it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The revision of the session's record after it.
    pub revision: Revision,
    /// Whether it is the session's last: nothing is kept of what comes behind it.
    pub is_last: bool,
}

/// An event as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its number in its session, from [`FIRST_NUMBER`], without gaps. Never given again.
    pub number: u64,
    /// The epoch of the agent that said it; of a transition, the session's.
    pub epoch: Epoch,
    /// What it is.
    pub kind: Kind,
    /// When it came; of an output's parts, the first one.
    pub at: WallTime,
    /// JSON: of an agent the notification's `params` as it wrote them. Of [`Kind::Output`] always an array of such, at
    /// least one: parts of one request's answer that came within a moment, in their order.
    pub body: Bytes,
}

/// A page that is as large as this ends, or as the largest event that may be in it, if that is smaller.
const PAGE_BYTES: usize = 256 << 10;

/// A part of a session's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The events, in the order of their numbers.
    pub events: Vec<Event>,
    /// The event that follows those, without its body, if that is larger than was asked for; to be read part by part.
    pub large: Option<Event>,
    /// The first number that is kept; one above the last if none is. Whoever asked for one below has missed some.
    pub first: u64,
    /// The last number that was given; 1, the creation's, if the log has given none.
    pub last: u64,
    /// The revision after the last step whose transition is kept, or was; the creation's if there is none.
    pub revision: Revision,
}

#[derive(Debug)]
struct Inner {
    lanes: Lanes,
    queue: Option<mpsc::Sender<Message>>,
    availability: Arc<Availability>,
    shortage: Arc<OnceLock<Shortage>>,
    damage: Arc<Damage>,
    readers: Arc<Readers>,
    parts: Semaphore,
    followers: Arc<Followers>,
    writes: Arc<Writes>,
    writer: Option<JoinHandle<()>>,
}

impl EventLog {
    /// Opens the log in the directory, which the caller has locked. Of each session the newest `keep_bytes` are kept,
    /// and at least the newest event. Blocks.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if it is damaged or newer than this binary, [`StoreError::Unavailable`] if the file
    /// system refuses.
    pub fn open(paths: &DataPaths, keep_bytes: u64) -> Result<Self, StoreError> {
        file::make_private(&paths.events_files())?;
        let connection = table::open(&paths.events())?;
        let availability = Arc::<Availability>::default();
        let (queue, receiver) = mpsc::channel();
        let followers = Arc::new(Followers::default());
        let (told, flag) = (Arc::clone(&followers), Arc::clone(&availability));
        let writes = Arc::<Writes>::default();
        let damage = Arc::<Damage>::default();
        let shortage = Arc::<OnceLock<Shortage>>::default();
        let shared = writer::Shared {
            availability: flag,
            shortage: Arc::clone(&shortage),
            damage: Arc::clone(&damage),
            followers: told,
            writes: Arc::clone(&writes),
        };
        let writer = Writer::new(paths.events(), connection, receiver, shared, keep_bytes);
        let writer = std::thread::Builder::new()
            .name("event-writer".into())
            .spawn(move || writer.run())
            .map_err(|error| file::storage_failed(&error))?;
        let readers = Arc::new(Readers::new(paths.events(), Arc::clone(&damage)));
        let (queue, writer, parts) = (Some(queue), Some(writer), Semaphore::new(PARTS_AT_ONCE));
        let inner = Inner {
            lanes: Lanes::new(),
            queue,
            availability,
            shortage,
            damage,
            readers,
            parts,
            followers,
            writes,
            writer,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Appends an event: it is durable when this returns `Ok`. An [`Kind::Output`] waits up to 50 ms for further parts;
    /// any other event of the session sends it on at once.
    ///
    /// `position` is where the line ends in the agent's stdout. One that is not above the last stored for this session
    /// and epoch is ignored: it is told twice because a server ended before it could acknowledge it. Without a position
    /// an event is always stored.
    ///
    /// Any number of these may be under way for one session; the order in which they are first polled is the order of
    /// their numbers. When more waits than the log takes, this waits for its turn, which concerns its own session
    /// before all others. If one fails, those of its session that are under way fail with it, so that what is stored
    /// never lacks one in the middle. Once dropped, an event may be stored or not.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if it could not be written; append it again once the log is back.
    /// [`StoreError::Corrupt`] if the session's log is damaged: it is set aside, and nothing more of the session is kept.
    pub fn append(
        &self,
        session: SessionId,
        epoch: Epoch,
        position: Option<u64>,
        event: NewEvent,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + 'static {
        self.enqueue(session, epoch, position.map_or(Mark::Nothing, Mark::Position), event)
    }

    /// Appends the transition of a session's step, as [`EventLog::append`] does. One whose revision is not above that
    /// of the last one is ignored. What is appended after the last step is ignored as well, whatever it is.
    ///
    /// # Errors
    /// As [`EventLog::append`].
    pub fn append_step(
        &self,
        session: SessionId,
        epoch: Epoch,
        step: Step,
        event: NewEvent,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + 'static {
        self.enqueue(session, epoch, Mark::Step(step), event)
    }

    fn enqueue(
        &self,
        session: SessionId,
        epoch: Epoch,
        mark: Mark,
        event: NewEvent,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + 'static {
        let inner = Arc::clone(&self.inner);
        // The runtime's budget would send a future away before it has joined the line, and so change the order.
        tokio::task::unconstrained(async move {
            let lane = inner.lanes.of(session);
            let cost = event.body.len() + EVENT_BYTES;
            let place = lane.enter(cost, inner.lanes.whole()).await?;
            let (reply, answer) = oneshot::channel();
            inner.send(Message::Append(Append { session, epoch, mark, event, place, reply }))?;
            answer.await.map_err(|_| stopped())?
        })
    }

    /// The last position that is stored for this session and epoch; 0 if none is.
    ///
    /// # Errors
    /// What the storage said.
    pub async fn position(&self, session: SessionId, epoch: Epoch) -> Result<u64, StoreError> {
        Arc::clone(&self.inner.readers).read(move |connection| table::position(connection, session, epoch)).await
    }

    /// Up to `most` events after number `after`, fewer if they are large but at least one if there is one, and which
    /// numbers there are.
    ///
    /// # Errors
    /// What the storage said, or that it makes no sense.
    pub async fn read(&self, session: SessionId, after: u64, most: usize) -> Result<Page, StoreError> {
        self.read_small(session, after, most, usize::MAX).await
    }

    /// The same without the bodies of events that are larger than `largest`: one of them ends the page.
    ///
    /// # Errors
    /// What the storage said, or that it makes no sense.
    pub async fn read_small(
        &self,
        session: SessionId,
        after: u64,
        most: usize,
        largest: usize,
    ) -> Result<Page, StoreError> {
        let page = move |connection: &Connection| table::page(connection, session, after, most, largest);
        Arc::clone(&self.inner.readers).read(page).await
    }

    /// Up to `most` bytes of an event's body, from one on; nothing behind its end, and `None` if the event is not kept any
    /// more.
    ///
    /// # Errors
    /// What the storage said.
    pub async fn part(
        &self,
        session: SessionId,
        number: u64,
        from: usize,
        most: usize,
    ) -> Result<Option<Bytes>, StoreError> {
        // Never closed, and nobody waits longer than some reads take.
        let _turn = self.inner.parts.acquire().await;
        let part = move |connection: &Connection| table::part(connection, session, number, from, most);
        Arc::clone(&self.inner.readers).read(part).await
    }

    /// The newest `most` transitions that are kept of the session, in their order.
    ///
    /// # Errors
    /// What the storage said, or that it makes no sense.
    pub async fn transitions(&self, session: SessionId, most: usize) -> Result<Vec<Event>, StoreError> {
        Arc::clone(&self.inner.readers).read(move |connection| table::transitions(connection, session, most)).await
    }

    /// Follows a session: what grows it from here on is told. To miss nothing, follow first and read then.
    pub fn follow(&self, session: SessionId) -> Follower {
        self.inner.followers.follow(session)
    }

    /// Follows all sessions.
    pub fn follow_all(&self) -> AllFollower {
        self.inner.followers.follow_all()
    }

    /// Whether anybody follows all sessions.
    pub fn is_followed(&self) -> bool {
        self.inner.followers.are_all_followed()
    }

    /// Tells who follows all sessions of one that was just created.
    pub fn announce_creation(&self, session: SessionId) {
        let number = FIRST_NUMBER - 1;
        self.inner.followers.announce([(Growth { session, first: number, last: number }, Vec::new())]);
    }

    /// Those of the sessions of which anything is kept.
    ///
    /// # Errors
    /// What the storage said.
    pub async fn kept(&self, sessions: Vec<SessionId>) -> Result<Vec<SessionId>, StoreError> {
        Arc::clone(&self.inner.readers).read(move |connection| table::kept(connection, sessions)).await
    }

    /// How many bytes of events are kept of each of the sessions.
    ///
    /// # Errors
    /// What the storage said.
    pub async fn sizes(&self, sessions: Vec<SessionId>) -> Result<Vec<(SessionId, u64)>, StoreError> {
        Arc::clone(&self.inner.readers).read(move |connection| table::sizes(connection, sessions)).await
    }

    /// Deletes all that is kept of the sessions, which must have ended: whatever is appended later has the first number
    /// again. What is damaged and can't be deleted stays, and is noted.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if it could not be written; some of the sessions may be forgotten all the same.
    pub async fn forget(&self, sessions: Vec<SessionId>) -> Result<(), StoreError> {
        /// A commit with more in it would hold up who appends.
        const AT_ONCE: usize = 8;
        for some in sessions.chunks(AT_ONCE) {
            self.inner.ready()?;
            let (reply, answer) = oneshot::channel();
            self.inner.send(Message::Forget(Forget { sessions: some.to_vec(), reply }))?;
            answer.await.map_err(|_| stopped())??;
        }
        Ok(())
    }

    /// Takes no events while room is short on the disk: the store's room is not the log's to use. To be said once.
    pub fn yield_room(&self, shortage: &Shortage) {
        let _ = self.inner.shortage.set(shortage.clone());
    }

    /// What of the log was found damaged and set aside.
    pub fn damage(&self) -> Found {
        self.inner.damage.found()
    }

    /// What the log has written, as it counts that.
    pub fn writes(&self) -> &Arc<Writes> {
        &self.inner.writes
    }

    /// Whether events are taken at the moment; the sentence says why not.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if not.
    pub fn ready(&self) -> Result<(), StoreError> {
        self.inner.ready()
    }
}

impl Kind {
    /// All of them, in the order of the numbers by which they are stored.
    pub const ALL: [Self; 5] = [Self::Progress, Self::Event, Self::Log, Self::Output, Self::Transition];

    /// Its name; of what agents say, the notification's.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Progress => "progress",
            Self::Event => "event",
            Self::Log => "log",
            Self::Output => "output",
            Self::Transition => "transition",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Inner {
    fn ready(&self) -> Result<(), StoreError> {
        if self.writer.as_ref().is_none_or(JoinHandle::is_finished) {
            return Err(stopped());
        }
        let refuses =
            |why: StoreError| StoreError::Unavailable(format!("the log of events refuses writes: {}", why.cause()));
        self.availability.check().map_err(refuses)
    }

    fn send(&self, message: Message) -> Result<(), StoreError> {
        self.queue.as_ref().and_then(|queue| queue.send(message).ok()).ok_or_else(stopped)
    }
}

/// Waits for the last commit, so that the file is closed in order.
impl Drop for Inner {
    fn drop(&mut self) {
        drop(self.queue.take());
        self.readers.close();
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
        self.followers.close();
    }
}

fn stopped() -> StoreError {
    StoreError::Unavailable("the writer of the log of events has stopped".into())
}
