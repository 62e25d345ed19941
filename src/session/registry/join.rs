//! Initialise for many callers: one starts the agent, and everybody else who asks joins that start.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::events::Follower;
use crate::id::{Epoch, SessionId};
use crate::session::driver::View;
use crate::session::phase::{Outcome, Phase, Reason};
use crate::session::record::SessionRecord;
use crate::store::AuditEntry;

use super::waiting::without_a_driver;
use super::{InitialiseError, Registry};

/// What came of the start of an agent, or that it has yet to.
#[derive(Clone, Debug)]
pub enum Initialised {
    /// The agent is ready.
    Ready(Arc<SessionRecord>),
    /// The caller's patience is over, and the start goes on.
    UnderWay(Arc<SessionRecord>),
}

/// Who is about to do something with a pending session.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    Nobody,
    /// Somebody has claimed it.
    Driver,
    /// The node starts it by itself, and again if that fails.
    Queue,
}

/// What a look at the session says to somebody who waits for its agent.
enum Seen {
    /// Nothing to do but wait.
    Waits,
    /// It is pending, and nobody starts it.
    Idle,
    /// The agent is ready, or was.
    Ready,
    Failed(InitialiseError),
}

impl Registry {
    /// Starts the agent of a pending session, joins a start that is under way, and waits for up to `patience` until
    /// the agent is ready. Who goes away stops nothing. The audit says `note` only of what this call starts.
    ///
    /// # Errors
    /// An [`InitialiseError`]; `NotPending` for a session that is ending or over.
    pub async fn initialise_session(
        &self,
        id: SessionId,
        patience: Duration,
        note: AuditEntry,
    ) -> Result<Initialised, InitialiseError> {
        let (clock, tasks) = (&self.inner.context.clock, &self.inner.context.tasks);
        let deadline = clock.now() + patience;
        // Before the first look, so that no change is missed between a look and the wait for the next.
        let mut grown = self.sequences().follow(id);
        let mut view: Option<watch::Receiver<View>> = None;
        let mut joined: Option<Epoch> = None;
        loop {
            if view.is_none() {
                view = self.handle(id).map(|handle| handle.view);
            }
            let (record, ran) = match &mut view {
                Some(view) => {
                    let seen = view.borrow_and_update();
                    (Arc::clone(&seen.record), seen.ran)
                }
                None => {
                    let stored = self.inner.context.store.session(id).await?.ok_or(InitialiseError::NotPending)?;
                    (Arc::new(stored.record.clone()), Epoch::default())
                }
            };
            let owner = match &view {
                _ if self.starts_by_itself(&record.persona) => Owner::Queue,
                Some(_) => Owner::Driver,
                None => Owner::Nobody,
            };
            match look(&record, ran, &mut joined, owner) {
                Seen::Ready => return Ok(Initialised::Ready(record)),
                Seen::Failed(error) => return Err(error),
                Seen::Waits => self.admitted(&record),
                Seen::Idle => match self.begin_start(&record, Some(Box::new(note.clone()))).await {
                    Ok((begun, epoch)) => {
                        (view, joined) = (Some(begun), Some(epoch));
                        continue;
                    }
                    // Somebody else was faster, whatever it was that they did.
                    Err(InitialiseError::NotPending) => {
                        tokio::task::yield_now().await;
                        continue;
                    }
                    Err(error) => return Err(error),
                },
            }
            if clock.now() >= deadline {
                return Ok(Initialised::UnderWay(record));
            }
            let has_left = tokio::select! {
                has_left = stepped(view.as_mut(), &mut grown) => has_left,
                () = clock.sleep_until(deadline) => false,
                () = tasks.draining() => return Err(InitialiseError::Draining),
            };
            if has_left {
                // The driver's last word may be the only one that tells that the agent was ready.
                let last = view.take().map(|view| view.borrow().clone());
                if let Some(last) = last.filter(|last| joined.is_some_and(|epoch| last.ran >= epoch)) {
                    return Ok(Initialised::Ready(last.record));
                }
                tokio::task::yield_now().await;
            }
        }
    }
}

/// Completes when the session may have moved; tells whether its driver has left.
async fn stepped(view: Option<&mut watch::Receiver<View>>, grown: &mut Follower) -> bool {
    match view {
        Some(view) => view.changed().await.is_err(),
        None => {
            without_a_driver(grown).await;
            false
        }
    }
}

/// Judges the session by the start that the caller has joined, or joins the one that is under way.
fn look(record: &SessionRecord, ran: Epoch, joined: &mut Option<Epoch>, owner: Owner) -> Seen {
    if joined.is_some_and(|epoch| ran >= epoch) {
        return Seen::Ready;
    }
    let has_come_to_it = |epoch: Epoch| joined.is_some_and(|joined| epoch >= joined);
    match &record.phase {
        Phase::Running { .. } => Seen::Ready,
        phase @ Phase::Starting { .. } => {
            joined.get_or_insert(phase.next_ready());
            Seen::Waits
        }
        Phase::Pending { epoch, last_failure, .. } if has_come_to_it(*epoch) && owner != Owner::Queue => {
            let reason = last_failure.as_deref().cloned();
            Seen::Failed(InitialiseError::StartFailed(reason.unwrap_or_else(|| Reason::new("it was given up"))))
        }
        Phase::Pending { epoch, .. } if owner != Owner::Nobody => {
            // A start may come and go between two looks.
            joined.get_or_insert(epoch.next());
            Seen::Waits
        }
        Phase::Pending { .. } => Seen::Idle,
        Phase::Ended { ending, epoch, .. } if has_come_to_it(*epoch) && ending.outcome == Outcome::Completed => {
            Seen::Ready
        }
        Phase::Stopping { ending, epoch, .. } | Phase::Ended { ending, epoch, .. } if has_come_to_it(*epoch) => {
            Seen::Failed(InitialiseError::StartFailed(ending.reason.clone()))
        }
        Phase::Stopping { .. } | Phase::Ended { .. } => Seen::Failed(InitialiseError::NotPending),
    }
}
