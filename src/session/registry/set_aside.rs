//! Sessions whose records are damaged: their agents are left alone, until an operator gives the session up.
//!
//! ```text
//!   give up:  audit ──> agent ended ──> history, place free ──> transition told
//! ```
//!
//! The agent goes first, so that its customer can't have another one beside it. A server that dies in between finds the session
//! set aside as before, and whoever asked asks again.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::agent::survivors::Survivor;
use crate::failpoint::Failpoint;
use crate::id::{Epoch, SessionId};
use crate::session::driver::CommandError;
use crate::session::phase::Reason;
use crate::session::record::SessionRecord;
use crate::store::{AuditEntry, StoreError};

use super::Registry;

impl Registry {
    /// Leaves alone the agents of sessions whose records can't be read. They are held on to as long as this server runs, so that
    /// their shims don't take them for forgotten.
    pub(super) fn leave_set_aside(
        &self,
        survivors: &mut HashMap<SessionId, Survivor>,
        kept: &mut HashMap<SessionId, Epoch>,
    ) {
        let store = &self.inner.context.store;
        let held: HashMap<_, _> = survivors.extract_if(|session, _| store.is_set_aside(*session)).collect();
        kept.extend(held.iter().map(|(session, survivor)| (*session, survivor.epoch())));
        if !held.is_empty() {
            tracing::warn!(agents = held.len(), "agents of sessions with damaged records are left alone");
            *self.inner.held.lock() = held;
            let registry = self.clone();
            self.inner.context.tasks.spawn(async move {
                registry.inner.context.tasks.draining().await;
                registry.inner.held.lock().clear();
            });
        }
    }

    /// Gives up a session that is set aside: ends whatever agent it has and makes it history as failed. It goes through to the
    /// end even if the caller goes away. The audit says `note` before. Given up by somebody else meanwhile, it is answered alike.
    ///
    /// # Errors
    /// A [`CommandError`]; [`StoreError::Missing`] if there is no such session.
    pub async fn give_up(
        &self,
        id: SessionId,
        reason: Reason,
        note: AuditEntry,
    ) -> Result<Arc<SessionRecord>, CommandError> {
        let (reply, answer) = oneshot::channel();
        let registry = self.clone();
        self.inner.context.tasks.spawn(async move {
            let _ = reply.send(registry.carry_out_giving_up(id, reason, note).await);
        });
        answer.await.unwrap_or(Err(CommandError::Draining))
    }

    async fn carry_out_giving_up(
        &self,
        id: SessionId,
        reason: Reason,
        note: AuditEntry,
    ) -> Result<Arc<SessionRecord>, CommandError> {
        let _turn = self.inner.giving_up.lock().await;
        let context = &self.inner.context;
        match context.store.session(id).await {
            Ok(stored) => return Ok(Arc::new(stored.ok_or(StoreError::Missing)?.record.clone())),
            Err(StoreError::SetAside(_)) => {}
            Err(error) => return Err(error.into()),
        }
        context.store.note(note).await?;
        if !context.launcher.end_survivor(id).await {
            let why = format!("something of its agent can't be ended and still has the directory agents/{id}");
            return Err(StoreError::Unavailable(why).into());
        }
        drop(self.inner.held.lock().remove(&id));
        Failpoint::AfterAgentEnd.hit();
        let before = self.sequences().last_revision(id).await;
        let record = context.store.give_up(id, before, reason, context.clock.now()).await?;
        tracing::warn!(session.id = %id, customer = %record.customer, "session with a damaged record was given up");
        drop(self.sequences().tell(&record, None, &context.tasks).await);
        Ok(Arc::new(record))
    }
}
