//! What operators change in a registry that works: its personas, its room, and whether it takes anything new.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::{Persona, PersonaName};
use crate::session::phase::Phase;
use crate::store::{Glance, StoreError};

use super::Registry;

impl Registry {
    /// Puts other personas and another bound of agents in force: for sessions to come, and for the waits of all.
    /// Agents beyond the bound run on.
    pub fn reconfigure(&self, personas: &BTreeMap<PersonaName, Persona>, max_running: usize) {
        self.inner.personas.rcu(|before| Arc::new(before.replaced_by(personas)));
        self.inner.room.resize(max_running);
        let registry = self.clone();
        self.inner.context.tasks.spawn(async move { registry.queue_anew().await });
    }

    /// Queues the pending sessions whose personas start them by themselves, and no others.
    async fn queue_anew(&self) {
        if let Err(error) = self.queue_again().await {
            tracing::warn!(error = %error, "pending sessions not queued anew; an initialise or the next start does it");
        }
    }

    async fn queue_again(&self) -> Result<(), StoreError> {
        let store = &self.inner.context.store;
        let queued = self.inner.queue.lock().first(usize::MAX);
        for id in queued {
            let stored = store.session(id).await?;
            if stored.is_none_or(|stored| !self.starts_by_itself(&stored.record.persona)) {
                self.inner.queue.lock().remove(id);
            }
        }
        let is_to_start = |session: &Glance<'_>| {
            matches!(session.phase, Phase::Pending { .. }) && self.starts_by_itself(session.persona)
        };
        for stored in store.live_sessions(&is_to_start).await? {
            self.admitted(&stored.record);
        }
        Ok(())
    }

    /// Takes no new sessions and starts no agents for those that wait, until this is called with `false`. Sessions that
    /// run are served on, and their agents are started again if they are lost. Nothing of it is stored.
    pub fn drain(&self, is_drained: bool) {
        self.inner.drained.send_replace(is_drained);
        self.inner.queue_changed.notify_one();
    }

    /// Whether nothing new is taken.
    pub fn is_drained(&self) -> bool {
        *self.inner.drained.borrow()
    }
}
