//! Initialise: of any number of calls one claims the pending session; who waits until its agent is ready, and for how long,
//! differs between the seed's interface and `/v1`.

use std::time::Duration;

use tokio::sync::{oneshot, watch};

use crate::id::{CustomerKey, Epoch, SessionId};
use crate::session::driver::{Command, CommandError, View};
use crate::session::machine::Event;
use crate::session::phase::{Outcome, Phase, Reason};
use crate::session::record::SessionRecord;
use crate::store::{AuditEntry, StoreError};

use super::Registry;

/// Why a session was not initialised.
#[derive(Debug, thiserror::Error)]
pub enum InitialiseError {
    /// The customer has no pending session, or somebody else is initialising it.
    #[error("no session is pending")]
    NotPending,
    /// The node has no room for another agent.
    #[error("all agent slots are in use")]
    NoCapacity,
    /// The agent did not become ready.
    #[error("the agent did not start: {0}")]
    StartFailed(Reason),
    /// The server is being drained: it starts no agents until that is over.
    #[error("the server is being drained")]
    Drained,
    /// The server is shutting down.
    #[error("the server is shutting down")]
    Draining,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Registry {
    /// Starts the agent of the customer's pending session and waits until it is ready. Of any number of calls one
    /// claims the session; the others are refused at once, unless the persona starts its sessions by itself: then all
    /// of them wait.
    ///
    /// # Errors
    /// An [`InitialiseError`].
    pub async fn initialise(&self, customer: &CustomerKey) -> Result<(), InitialiseError> {
        let stored = self.inner.context.store.live(customer).await?.ok_or(InitialiseError::NotPending)?;
        let record = &stored.record;
        if self.starts_by_itself(&record.persona) {
            self.admitted(record);
            return self.wait_until_running(record.id).await;
        }
        if !matches!(record.phase, Phase::Pending { .. }) {
            return Err(InitialiseError::NotPending);
        }
        let (view, epoch) = self.begin_start(record, None).await?;
        started(view, epoch).await
    }

    /// Claims a pending session and orders the start of its agent, of which the audit says `note` before.
    pub(super) async fn begin_start(
        &self,
        record: &SessionRecord,
        note: Option<Box<AuditEntry>>,
    ) -> Result<(watch::Receiver<View>, Epoch), InitialiseError> {
        if self.persona(&record.persona).is_none() {
            let reason = format!("its persona {} is no longer configured", record.persona);
            return Err(InitialiseError::StartFailed(Reason::new(reason)));
        }
        let (reply, accepted) = oneshot::channel();
        let view = self.claim_with_room(record, Command { event: Event::Initialise, room: None, note, reply })?;
        match accepted.await {
            Ok(Ok(record)) => Ok((view, record.phase.epoch())),
            Ok(Err(CommandError::Rejected(_))) => Err(InitialiseError::NotPending),
            Ok(Err(CommandError::Store(error) | CommandError::Killed(error))) => Err(error.into()),
            Ok(Err(CommandError::Draining)) | Err(_) => Err(InitialiseError::Draining),
        }
    }

    /// Waits for a session that the node starts by itself.
    async fn wait_until_running(&self, id: SessionId) -> Result<(), InitialiseError> {
        let is_decided = |record: &SessionRecord| match record.phase {
            Phase::Pending { .. } => self.is_drained(),
            Phase::Starting { .. } => false,
            Phase::Running { .. } | Phase::Stopping { .. } | Phase::Ended { .. } => true,
        };
        let mut drained = self.inner.drained.subscribe();
        let waited = loop {
            tokio::select! {
                waited = self.wait_until(id, Duration::MAX, is_decided) => break waited,
                // The sender lives as long as the registry.
                _ = drained.changed() => {}
            }
        };
        let record = match waited {
            Err(StoreError::Missing) => return Err(InitialiseError::NotPending),
            waited => waited?,
        };
        match &record.phase {
            Phase::Running { .. } => Ok(()),
            Phase::Ended { ending, .. } if ending.outcome == Outcome::Completed => Ok(()),
            Phase::Stopping { ending, .. } | Phase::Ended { ending, .. } => {
                Err(InitialiseError::StartFailed(ending.reason.clone()))
            }
            Phase::Pending { .. } if self.is_drained() => Err(InitialiseError::Drained),
            // Nobody waits longer than the server.
            Phase::Pending { .. } | Phase::Starting { .. } => Err(InitialiseError::Draining),
        }
    }
}

/// Waits until the start under `epoch` has come to something.
async fn started(mut view: watch::Receiver<View>, epoch: Epoch) -> Result<(), InitialiseError> {
    loop {
        let seen = view.borrow_and_update().clone();
        if seen.ran >= epoch {
            // It became ready, whatever has become of it since.
            return Ok(());
        }
        match seen.record.phase.clone() {
            Phase::Starting { epoch: current, .. } if current <= epoch => {}
            Phase::Running { .. } => return Ok(()),
            Phase::Starting { .. } => {
                return Err(InitialiseError::StartFailed(Reason::new(
                    "it was given up, and another start is under way",
                )));
            }
            Phase::Pending { epoch: current, last_failure, .. } if current >= epoch => {
                let reason = last_failure.map_or_else(|| Reason::new("it was given up"), |reason| *reason);
                return Err(InitialiseError::StartFailed(reason));
            }
            Phase::Pending { .. } => {}
            Phase::Stopping { ending, .. } | Phase::Ended { ending, .. } => {
                return Err(InitialiseError::StartFailed(ending.reason));
            }
        }
        if view.changed().await.is_err() {
            return Err(InitialiseError::Draining);
        }
    }
}
