//! Who is told when a session's log grows.
//!
//! Nobody is waited for: who follows one session learns its last number, however often it has grown meanwhile, and finds
//! its newest events in the session's tail; who follows all of them has a queue of its own length and is told how much of
//! it was lost. A session that nobody follows has nothing here.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};

use crate::id::SessionId;

use super::Event;
use super::tail::{Chunk, Tail};

/// Announcements that may wait for who follows all sessions.
const MOST_WAITING: usize = 4_096;

/// Everybody who follows.
#[derive(Debug, Default)]
pub(super) struct Followers {
    table: Mutex<Table>,
    /// What the tails of all sessions hold.
    tails: Arc<AtomicUsize>,
}

#[derive(Debug, Default)]
struct Table {
    sessions: HashMap<SessionId, Followed>,
    /// Nothing until somebody follows all sessions.
    all: Option<broadcast::Sender<Growth>>,
}

/// A session that somebody follows.
#[derive(Debug)]
struct Followed {
    last: watch::Sender<u64>,
    tail: Arc<Tail>,
}

/// Follows one session.
#[derive(Debug)]
pub struct Follower {
    session: SessionId,
    last: watch::Receiver<u64>,
    tail: Arc<Tail>,
    followers: Arc<Followers>,
}

/// Follows all sessions.
#[derive(Debug)]
pub struct AllFollower {
    announcements: broadcast::Receiver<Growth>,
}

/// By how much a session has grown. After a failed commit some of it may be told again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Growth {
    /// Which session.
    pub session: SessionId,
    /// The first number that is new.
    pub first: u64,
    /// The last number; 1 when it was created.
    pub last: u64,
}

/// What is told to who follows all sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announcement {
    /// A session has grown, or was just created.
    Grown(Growth),
    /// So many announcements came faster than they were taken, and are lost: any session may have grown.
    Lagged {
        /// How many.
        missed: u64,
    },
}

impl Follower {
    /// Completes when the session has grown since this was last asked, or since it is followed; returns its last number.
    /// It may complete once too often. `None` if the log is closed. Nothing is lost if it is dropped.
    pub async fn changed(&mut self) -> Option<u64> {
        self.last.changed().await.ok()?;
        Some(*self.last.borrow_and_update())
    }

    /// Some of the events that follow this number, among them the next one, if that is in memory. It may be in the log
    /// all the same if it is not.
    pub fn newer(&self, after: u64) -> Option<Arc<Chunk>> {
        self.tail.after(after)
    }
}

impl AllFollower {
    /// The next announcement; `None` if the log is closed. Nothing is lost if it is dropped.
    pub async fn next(&mut self) -> Option<Announcement> {
        match self.announcements.recv().await {
            Ok(growth) => Some(Announcement::Grown(growth)),
            Err(RecvError::Lagged(missed)) => Some(Announcement::Lagged { missed }),
            Err(RecvError::Closed) => None,
        }
    }
}

impl Followers {
    pub(super) fn follow(self: &Arc<Self>, session: SessionId) -> Follower {
        let mut table = self.table();
        let followed = table.sessions.entry(session).or_insert_with(|| Followed {
            last: watch::Sender::new(0),
            tail: Arc::new(Tail::new(Arc::clone(&self.tails))),
        });
        let (last, tail) = (followed.last.subscribe(), Arc::clone(&followed.tail));
        Follower { session, last, tail, followers: Arc::clone(self) }
    }

    pub(super) fn follow_all(&self) -> AllFollower {
        let mut table = self.table();
        let all = table.all.get_or_insert_with(|| broadcast::Sender::new(MOST_WAITING));
        AllFollower { announcements: all.subscribe() }
    }

    pub(super) fn are_all_followed(&self) -> bool {
        self.table().all.as_ref().is_some_and(|all| all.receiver_count() > 0)
    }

    /// Whether anybody follows this session.
    pub(super) fn is_followed(&self, session: SessionId) -> bool {
        self.table().sessions.contains_key(&session)
    }

    /// Tells that these sessions have grown, and by what if that is known.
    pub(super) fn announce(&self, grown: impl IntoIterator<Item = (Growth, Vec<Event>)>) {
        let mut table = self.table();
        table.all.take_if(|all| all.receiver_count() == 0);
        for (growth, events) in grown {
            if let Some(followed) = table.sessions.get(&growth.session) {
                Chunk::split(events).into_iter().for_each(|chunk| followed.tail.add(chunk));
                followed.last.send_replace(growth.last);
            }
            if let Some(all) = &table.all {
                let _ = all.send(growth);
            }
        }
    }

    /// Tells everybody that nothing more comes.
    pub(super) fn close(&self) {
        *self.table() = Table::default();
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let mut table = self.followers.table();
        // Nobody can join or leave meanwhile: all of that is done under the lock.
        if table.sessions.get(&self.session).is_some_and(|followed| followed.last.receiver_count() == 1) {
            table.sessions.remove(&self.session);
        }
    }
}
