//! A session's sequence: what happened, step by step, and what its agents said of themselves, numbered from 1 without
//! gaps, durable, and the same for whoever reads it.
//!
//! ```text
//!   number 1: the creation, read out of the session's record    2, 3, …: the log of events
//! ```
//!
//! So a creation stays one row in one table. Every further step is appended to the log after it was stored; a crash in
//! between leaves the last transition out, and it is appended from the record when the session is next driven, or when
//! it has ended and is next read. The step's revision tells that it is the same, however often it is appended.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::oneshot;

use crate::clock::{Clock, Timestamp};
use crate::events::{AllFollower, Event, EventLog, FIRST_NUMBER, Follower, Kind, NewEvent, Page, Step};
use crate::id::{Epoch, Revision, SessionId};
use crate::session::phase::{Outcome, Phase};
use crate::session::reason::Reason;
use crate::session::record::SessionRecord;
use crate::shutdown::Tasks;
use crate::store::{Store, StoreError};

/// The sequences of all sessions. Cloning shares them.
#[derive(Clone)]
pub struct Sequences {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    events: EventLog,
}

/// A transition on its way to a sequence.
#[derive(Debug)]
pub(super) struct Told(oneshot::Receiver<()>);

impl Sequences {
    /// The sequences of the sessions in `store`.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, events: EventLog) -> Self {
        Self { store, clock, events }
    }

    /// Up to `most` events of the session after number `after`, fewer if they are large but at least one if there is
    /// one and `most` is not zero, and which numbers there are. Where older ones had to go for newer ones, number 1 is
    /// gone with them. Of a session that has ended the last one is the transition to ENDED.
    ///
    /// # Errors
    /// What the storage said; [`StoreError::Missing`] if the session was forgotten meanwhile.
    pub async fn read(&self, record: &SessionRecord, after: u64, most: usize) -> Result<Page, StoreError> {
        self.read_small(record, after, most, usize::MAX).await
    }

    /// The same without the bodies of events that are larger than `largest`: one of them ends the page.
    ///
    /// # Errors
    /// What the storage said; [`StoreError::Missing`] if the session was forgotten meanwhile.
    pub async fn read_small(
        &self,
        record: &SessionRecord,
        after: u64,
        most: usize,
        largest: usize,
    ) -> Result<Page, StoreError> {
        let mut page = self.events.read_small(record.id, after, most, largest).await?;
        if !record.phase.is_live() && page.revision < record.revision {
            self.complete(record).await?;
            page = self.events.read_small(record.id, after, most, largest).await?;
        }
        Ok(with_creation(page, record, after, most))
    }

    /// The newest `most` steps of the session that are kept, in their order, its creation included.
    ///
    /// # Errors
    /// As [`Sequences::read`].
    pub async fn steps(&self, record: &SessionRecord, most: usize) -> Result<Vec<Event>, StoreError> {
        // The end of a session that has ended is there once the sequence was read.
        let mut steps = self.read(record, 0, 1).await?.events;
        steps.retain(|first| first.number == 1);
        steps.extend(self.events.transitions(record.id, most).await?);
        Ok(steps.split_off(steps.len().saturating_sub(most)))
    }

    /// A part of an event's body, as [`EventLog::part`] has it.
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
        self.events.part(session, number, from, most).await
    }

    /// Follows a session: [`Follower::changed`] completes when it has grown. To miss nothing, follow first and read then.
    pub fn follow(&self, session: SessionId) -> Follower {
        self.events.follow(session)
    }

    /// Follows all sessions, the creation of each included.
    pub fn follow_all(&self) -> AllFollower {
        self.events.follow_all()
    }

    /// Appends the step that led to this record, unless it is there.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if it could not be written.
    pub fn append(&self, record: &SessionRecord) -> impl Future<Output = Result<(), StoreError>> + Send + 'static {
        let step = Step { revision: record.revision, is_last: !record.phase.is_live() };
        let body = body(record.revision, &record.phase);
        let event = NewEvent { kind: Kind::Transition, at: self.clock.wall(), body: body.into() };
        self.events.append_step(record.id, record.phase.epoch(), step, event)
    }

    /// The revision of the last step in the session's sequence; the first one if nothing tells.
    pub async fn last_revision(&self, session: SessionId) -> Revision {
        self.events.read(session, 0, 0).await.map_or(Revision::FIRST, |page| page.revision.max(Revision::FIRST))
    }

    /// Whether anybody follows all sessions.
    pub(super) fn are_followed(&self) -> bool {
        self.events.is_followed()
    }

    /// Tells who follows all sessions of one that was just created.
    pub(super) fn announce_creation(&self, session: SessionId) {
        self.events.announce_creation(session);
    }

    /// Appends the step that led to this record, in a task that tries until it is stored or the server goes, and not
    /// `before` the transition ahead of it. With none ahead it has its place in the sequence when this returns.
    pub(super) async fn tell(&self, record: &SessionRecord, before: Option<Told>, tasks: &Tasks) -> Told {
        let (is_durable, told) = oneshot::channel();
        let mut appending = Box::pin(self.append(record));
        let first = match &before {
            Some(_) => Poll::Pending,
            None => poll_fn(|context| Poll::Ready(appending.as_mut().poll(context))).await,
        };
        let (sequences, record, tracked) = (self.clone(), record.clone(), tasks.clone());
        tasks.spawn(async move {
            if let Some(mut before) = before {
                before.durable().await;
            }
            let first = match first {
                Poll::Ready(outcome) => outcome,
                Poll::Pending => appending.await,
            };
            if sequences.insist(&record, first, &tracked).await {
                // A driver that has left waits for nothing.
                let _ = is_durable.send(());
            }
        });
        Told(told)
    }

    /// Appends a step again until it is stored; whether it is before the server goes.
    async fn insist(&self, record: &SessionRecord, mut outcome: Result<(), StoreError>, tasks: &Tasks) -> bool {
        const BETWEEN_TRIES: Duration = Duration::from_millis(200);
        while let Err(error) = &outcome {
            if error.is_damage() {
                // The session's log is damaged and set aside; the session goes on without it.
                return true;
            }
            tracing::warn!(session.id = %record.id, revision = record.revision.0, error = %error,
                "transition not stored in the session's sequence; trying again");
            if tasks.is_draining() {
                // The next server appends it.
                return false;
            }
            tokio::time::sleep(BETWEEN_TRIES).await;
            outcome = self.append(record).await;
        }
        true
    }

    /// Appends the end of a session whose server did not come to it.
    async fn complete(&self, record: &SessionRecord) -> Result<(), StoreError> {
        match self.append(record).await {
            // Its log is damaged and set aside: what can be read of it is read.
            Err(error) if error.is_damage() => return Ok(()),
            appended => appended?,
        }
        // If it was forgotten meanwhile, nothing else would ever take this away again.
        if self.store.session(record.id).await?.is_none() {
            self.events.forget(vec![record.id]).await?;
            return Err(StoreError::Missing);
        }
        Ok(())
    }
}

impl Told {
    /// Completes when the transition is stored, or nobody tries to store it any more.
    pub(super) async fn durable(&mut self) {
        let _ = (&mut self.0).await;
    }
}

/// Puts the creation before what the log holds, unless the log has lost its beginning.
fn with_creation(mut page: Page, record: &SessionRecord, after: u64, most: usize) -> Page {
    if page.first == FIRST_NUMBER {
        page.first = 1;
        if after == 0 && most > 0 {
            if page.events.len() >= most {
                page.events.truncate(most - 1);
                page.large = None;
            }
            page.events.insert(0, creation(record));
        }
    }
    page
}

fn creation(record: &SessionRecord) -> Event {
    // Its deadline is no part of a transition.
    let phase = Phase::admitted(Timestamp::from_micros(0));
    Event {
        number: 1,
        epoch: phase.epoch(),
        kind: Kind::Transition,
        at: record.created,
        body: body(Revision::FIRST, &phase).into(),
    }
}

/// A transition as it stands in a sequence, which customers read: without what only operators see of its reason.
fn body(revision: Revision, phase: &Phase) -> Vec<u8> {
    #[derive(Serialize)]
    struct Transition<'a> {
        phase: &'static str,
        epoch: Epoch,
        revision: Revision,
        #[serde(skip_serializing_if = "Option::is_none")]
        outcome: Option<Outcome>,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<&'a str>,
    }
    let transition = Transition {
        phase: phase.name(),
        epoch: phase.epoch(),
        revision,
        outcome: phase.ending().map(|ending| ending.outcome),
        reason: phase.why().map(Reason::sentence),
    };
    serde_json::to_vec(&transition).expect("a transition has string keys only and serialises")
}

#[cfg(test)]
mod tests;
