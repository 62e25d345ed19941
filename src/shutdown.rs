//! Ending in order: every task of the server belongs to a tracker, and one token says that it is time to go.

use std::future::Future;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The server's tasks. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    draining: CancellationToken,
}

impl Tasks {
    /// Starts a task that shutdown waits for.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tracker.spawn(task);
    }

    /// Tells every task to come to its end.
    pub fn drain(&self) {
        self.draining.cancel();
    }

    /// Whether it is time to go.
    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// Completes when it is time to go.
    pub async fn draining(&self) {
        self.draining.cancelled().await;
    }

    /// Completes when the last task has ended; to be called after [`Tasks::drain`].
    pub async fn ended(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }

    /// How many tasks have not ended.
    pub fn count(&self) -> usize {
        self.tracker.len()
    }
}
