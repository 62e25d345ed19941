//! Looks after sessions that nobody calls for: ends those that waited too long, starts those that start by themselves,
//! and takes over those whose task failed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::clock::Timestamp;
use crate::id::SessionId;
use crate::session::driver::{Command, Context};
use crate::session::machine::Event;
use crate::session::phase::Phase;
use crate::store::{StoreError, Stored};

use super::Registry;

/// The pause after the store could not answer.
const AFTER_AN_ERROR: Duration = Duration::from_millis(200);

/// How soon sessions that wait are looked at again while the disk is full.
const WITHOUT_ROOM: Duration = Duration::from_secs(1);

/// How soon a session that waits for a user of its own is looked at again; the end of another is told at once.
const WITHOUT_A_USER: Duration = Duration::from_secs(1);

impl Registry {
    pub(super) async fn expire_pending(&self) {
        const BETWEEN_LOOKS: Duration = Duration::from_secs(1);
        let Context { clock, tasks, .. } = &self.inner.context;
        loop {
            tokio::select! {
                () = tasks.draining() => return,
                () = clock.sleep_until(clock.now() + BETWEEN_LOOKS) => {}
            }
            // After a long time without a server very many may be overdue.
            while !tasks.is_draining() && self.expire_overdue().await {}
        }
    }

    /// Ends pending sessions that are overdue, as many as are stored well at once; whether there may be more.
    async fn expire_overdue(&self) -> bool {
        const AT_ONCE: usize = 1_024;
        let Context { store, clock, .. } = &self.inner.context;
        let mut answers = Vec::new();
        for id in store.overdue(clock.now(), AT_ONCE).await.unwrap_or_default() {
            let Ok(Some(stored)) = store.session(id).await else { continue };
            let (reply, answer) = oneshot::channel();
            let event = Event::Tick { last_activity: Timestamp::from_micros(i64::MIN) };
            if self.claim(&stored.record, Command { event, room: None, note: None, reply }).is_some() {
                answers.push(answer);
            }
        }
        let mut expired = 0;
        for answer in answers {
            expired += usize::from(matches!(answer.await, Ok(Ok(_))));
        }
        expired == AT_ONCE
    }

    /// Gives a session whose driver failed another one, which finds no agent and goes on as a restarted server does.
    pub(super) async fn take_over(&self, id: SessionId) {
        let Context { store, clock, tasks, .. } = &self.inner.context;
        let stored = loop {
            match store.session(id).await {
                Ok(Some(stored)) => break stored,
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(session.id = %id, error = %error, "failed session not read; trying again");
                }
            }
            tokio::select! {
                () = tasks.draining() => return,
                () = tokio::time::sleep(AFTER_AN_ERROR) => {}
            }
        };
        if stored.record.phase.is_live() {
            let room = Some(self.inner.room.make_do());
            let (reply, _) = oneshot::channel();
            let event = Event::Tick { last_activity: clock.now() };
            self.claim(&stored.record, Command { event, room, note: None, reply });
        }
    }

    pub(super) async fn start_waiting(&self) {
        let tasks = self.inner.context.tasks.clone();
        loop {
            tokio::select! {
                () = tasks.draining() => return,
                () = self.start_next() => {}
            }
        }
    }

    /// Starts the session that has waited longest of those that can start, as soon as there is one and room for it.
    async fn start_next(&self) {
        while self.is_drained() || self.inner.queue.lock().is_empty() {
            self.inner.queue_changed.notified().await;
        }
        let Some(room) = self.inner.room.enter().await else { return };
        // Those that could not begin yet stay in the queue, where their place is told.
        let launcher = &self.inner.context.launcher;
        drop(launcher.turns.acquire().await);
        if self.is_drained() {
            return;
        }
        if self.inner.context.store.room().is_err() {
            drop(room);
            tokio::time::sleep(WITHOUT_ROOM).await;
            return;
        }
        match self.first_that_can_start().await {
            Ok(Next::Start(stored)) => {
                let (reply, _) = oneshot::channel();
                self.claim(&stored.record, Command { event: Event::Initialise, room: Some(room), note: None, reply });
            }
            Ok(Next::WaitForUser) => {
                drop(room);
                tokio::select! {
                    () = launcher.user_freed() => {}
                    () = tokio::time::sleep(WITHOUT_A_USER) => {}
                    () = self.somebody_came() => {}
                }
            }
            Ok(Next::LookAgain) => {}
            Err(error) => {
                drop(room);
                tracing::warn!(error = %error, "waiting session not read; trying again");
                tokio::time::sleep(AFTER_AN_ERROR).await;
            }
        }
    }

    /// Completes soon after the queue has changed: a crowd that comes is looked at together.
    async fn somebody_came(&self) {
        const TOGETHER: Duration = Duration::from_millis(50);
        self.inner.queue_changed.notified().await;
        tokio::time::sleep(TOGETHER).await;
    }

    /// Takes the first session out of the queue that can have a user. Those that wait for one keep their places, and hold up
    /// nobody of another persona.
    async fn first_that_can_start(&self) -> Result<Next, StoreError> {
        /// Sessions that are looked at in one round.
        const MOST: usize = 1_000;
        let waiting = self.inner.queue.lock().first(MOST);
        let mut next = Next::LookAgain;
        for id in waiting {
            match self.inner.context.store.session(id).await? {
                Some(stored) if matches!(stored.record.phase, Phase::Pending { .. }) => {
                    if self.has_user_for(&stored.record) {
                        self.inner.queue.lock().remove(id);
                        return Ok(Next::Start(stored));
                    }
                    next = Next::WaitForUser;
                }
                Some(_) | None => self.inner.queue.lock().remove(id),
            }
        }
        Ok(next)
    }
}

/// What the queue has for a place that is free.
enum Next {
    /// This session starts.
    Start(Arc<Stored>),
    /// Each of those that wait needs a user, and all users are in use.
    WaitForUser,
    /// Nobody waits any more.
    LookAgain,
}
