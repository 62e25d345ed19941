//! What operators change in a registry that works: its personas, its room, and whether it takes anything new.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::{Persona, PersonaName};
use crate::session::phase::Phase;

use super::{Registry, lock};

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
        let sessions = match self.inner.context.store.live_sessions().await {
            Ok(sessions) => sessions,
            Err(error) => {
                tracing::warn!(error = %error, "pending sessions not queued anew; an initialise or the next start does it");
                return;
            }
        };
        for stored in sessions.iter().filter(|stored| matches!(stored.record.phase, Phase::Pending { .. })) {
            if self.starts_by_itself(&stored.record) {
                self.admitted(&stored.record);
            } else {
                lock(&self.inner.queue).remove(stored.record.id);
            }
        }
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
