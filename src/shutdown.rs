//! Ending in order: every task of the server belongs to a tracker, and one token says that it is time to go.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The server's tasks. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    draining: CancellationToken,
    withdrawn: Arc<AtomicBool>,
    ends_agents: Arc<AtomicBool>,
    asked: Arc<watch::Sender<Option<AtStop>>>,
}

/// What becomes of the agents when the server stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtStop {
    /// They run on, and the next server takes them up.
    LeaveAgents,
    /// They are ended.
    EndAgents,
}

impl Tasks {
    /// Starts a task that shutdown waits for.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tracker.spawn(task);
    }

    /// Carries something out to its end, also if whoever waits for its outcome goes away; `None` if it was given up.
    pub async fn carry_out<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Option<T> {
        let (tell, outcome) = oneshot::channel();
        self.spawn(async move {
            // Nobody listens once the client has hung up.
            let _ = tell.send(work.await);
        });
        outcome.await.ok()
    }

    /// Asks whoever runs the server to stop it.
    pub fn ask_to_stop(&self, at_stop: AtStop) {
        self.asked.send_replace(Some(at_stop));
    }

    /// Completes when somebody has asked for the server's stop.
    pub async fn asked_to_stop(&self) -> AtStop {
        let mut asked = self.asked.subscribe();
        // The sender lives as long as `self`.
        let asked = asked.wait_for(Option::is_some).await.ok().and_then(|asked| *asked);
        asked.unwrap_or(AtStop::LeaveAgents)
    }

    /// Notes that the server is about to stop: it says so to whoever asks whether it is ready, and goes on until it
    /// drains.
    pub fn withdraw(&self) {
        self.withdrawn.store(true, Ordering::SeqCst);
    }

    /// Whether the server is about to stop, or stopping.
    pub fn is_withdrawn(&self) -> bool {
        self.withdrawn.load(Ordering::SeqCst)
    }

    /// Tells every task to come to its end.
    pub fn drain(&self, at_stop: AtStop) {
        self.withdraw();
        self.ends_agents.store(at_stop == AtStop::EndAgents, Ordering::SeqCst);
        self.draining.cancel();
    }

    /// Whether the agents are left to the next server; to be asked once it is time to go.
    pub fn leaves_agents(&self) -> bool {
        !self.ends_agents.load(Ordering::SeqCst)
    }

    /// Completes when it is time to go and the agents are left to the next server.
    pub async fn leaving(&self) {
        self.draining().await;
        if !self.leaves_agents() {
            std::future::pending::<()>().await;
        }
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
