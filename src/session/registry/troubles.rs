//! The sessions of this node that are in trouble: what its drivers, the queue and the store know of them.

use std::collections::HashMap;
use std::sync::Arc;

use crate::session::phase::{Phase, Reason, Start};
use crate::session::record::SessionRecord;
use crate::session::trouble::{Trouble, worst};
use crate::store::StoreError;

use super::Registry;

/// Sessions in trouble.
#[derive(Clone, Debug, Default)]
pub struct Troubles {
    /// The worst of them, the worst first.
    pub sessions: Vec<Trouble>,
    /// Whether there are more.
    pub has_more: bool,
    /// How many sessions of each persona are being started again.
    pub restarting: HashMap<Arc<str>, usize>,
}

impl Registry {
    /// Up to `most` sessions in trouble. Goes through the sessions that have a driver, and no others.
    ///
    /// # Errors
    /// What the store said.
    pub async fn troubles(&self, most: usize) -> Result<Troubles, StoreError> {
        let context = &self.inner.context;
        let (now, wall) = (context.clock.now(), context.clock.wall());
        let mut restarting = HashMap::new();
        let mut found = Vec::new();
        for (record, lost) in self.driven_in_suspicion() {
            if matches!(&record.phase, Phase::Starting { start: Start::Restart { reason: None, .. }, .. }) {
                *restarting.entry(Arc::clone(&record.persona)).or_default() += 1;
            }
            found.extend(Trouble::of(&record, lost.as_ref(), false, now, wall));
        }
        for stored in context.store.unstarted(most + 1).await? {
            found.extend(Trouble::of(&Arc::new(stored.record.clone()), None, false, now, wall));
        }
        let waiting = self.inner.queue.lock().first(most + 1);
        for id in waiting {
            if let Some(stored) = context.store.session(id).await? {
                found.extend(Trouble::of(&Arc::new(stored.record.clone()), None, true, now, wall));
            }
        }
        let (sessions, has_more) = worst(found, most);
        Ok(Troubles { sessions, has_more, restarting })
    }

    /// The driven sessions with which something may be wrong, and why an agent of each was lost.
    fn driven_in_suspicion(&self) -> Vec<(Arc<SessionRecord>, Option<Reason>)> {
        let drivers = self.inner.drivers.lock();
        let views = drivers.values().map(|handle| handle.view.borrow());
        let suspicious = views.filter(|view| match &view.record.phase {
            Phase::Running { failures, .. } => !failures.is_none(),
            Phase::Pending { .. } | Phase::Starting { .. } | Phase::Stopping { .. } => true,
            Phase::Ended { .. } => false,
        });
        suspicious.map(|view| (Arc::clone(&view.record), view.lost.clone())).collect()
    }
}
