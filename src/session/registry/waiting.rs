//! Waiting for a session to come to something.

use std::sync::Arc;
use std::time::Duration;

use crate::id::SessionId;
use crate::session::record::SessionRecord;
use crate::store::StoreError;

use super::Registry;

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
        // Before the first look, so that no change is missed between a look and the wait for the next.
        let mut changes = self.inner.context.changes.subscribe();
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
            let changed = async {
                let changed = match &mut view {
                    Some(view) => view.changed().await,
                    None => changes.changed().await,
                };
                if changed.is_err() {
                    // Its driver is about to leave the table; then the next look goes to the store.
                    tokio::task::yield_now().await;
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
