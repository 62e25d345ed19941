//! Waiting for a session to come to something.

use std::sync::Arc;
use std::time::Duration;

use crate::events::Follower;
use crate::id::SessionId;
use crate::session::record::SessionRecord;
use crate::store::StoreError;

use super::Registry;

/// How often a session that nobody drives is looked at, should nothing tell of its steps.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

impl Registry {
    /// The session as soon as it is as the caller wants it, or as it is when it has ended, when `patience` is over or
    /// when the server stops.
    ///
    /// # Errors
    /// [`StoreError::Missing`], or what the store failed with.
    pub async fn wait_until(
        &self,
        id: SessionId,
        patience: Duration,
        is_as_wanted: impl Fn(&SessionRecord) -> bool,
    ) -> Result<Arc<SessionRecord>, StoreError> {
        let (clock, tasks) = (&self.inner.context.clock, &self.inner.context.tasks);
        let deadline = clock.now() + patience;
        let mut grown = None;
        loop {
            let mut view = self.handle(id).map(|handle| handle.view);
            let record = match &mut view {
                Some(view) => Arc::clone(&view.borrow_and_update().record),
                None => {
                    Arc::new(self.inner.context.store.session(id).await?.ok_or(StoreError::Missing)?.record.clone())
                }
            };
            if is_as_wanted(&record) || !record.phase.is_live() || clock.now() >= deadline || tasks.is_draining() {
                return Ok(record);
            }
            let Some(grown) = &mut grown else {
                // Before another look, so that no change is missed between a look and the wait for the next.
                grown = Some(self.sequences().follow(id));
                continue;
            };
            let changed = async {
                match &mut view {
                    // A driver that is about to leave the table has no more to say: the next look goes to the store.
                    Some(view) => {
                        if view.changed().await.is_err() {
                            tokio::task::yield_now().await;
                        }
                    }
                    None => without_a_driver(grown).await,
                }
            };
            tokio::select! {
                () = changed => {}
                () = clock.sleep_until(deadline) => {}
                () = tasks.draining() => {}
            }
        }
    }
}

/// Completes when a session that nobody drives may have moved: its log tells of each step, unless that is away.
pub(super) async fn without_a_driver(grown: &mut Follower) {
    let _ = tokio::time::timeout(BETWEEN_LOOKS, grown.changed()).await;
}
