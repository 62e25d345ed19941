//! Ending in order: every task of the server belongs to a tracker, and one token says that it is time to go.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use tokio::sync::{oneshot, watch};
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};
use tokio_util::task::TaskTracker;

/// The server's tasks. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    draining: CancellationToken,
    /// Set before the token is cancelled: to look at it takes no lock.
    is_draining: Arc<AtomicBool>,
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
        self.is_draining.store(true, Ordering::SeqCst);
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
        self.is_draining.load(Ordering::SeqCst)
    }

    /// Completes when it is time to go.
    pub fn draining(&self) -> Draining<'_> {
        Draining { tasks: self, told: None }
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

/// Completes when it is time to go. Every connection has one and looks at it whenever something happens there, so that
/// only the first look takes the lock that all of them share.
pub struct Draining<'a> {
    tasks: &'a Tasks,
    /// Who will be woken, and by what.
    told: Option<(Waker, Pin<Box<WaitForCancellationFuture<'a>>>)>,
}

impl Future for Draining<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let tasks = self.tasks;
        if tasks.is_draining() {
            return Poll::Ready(());
        }
        if self.told.as_ref().is_some_and(|(waker, _)| waker.will_wake(cx.waker())) {
            return Poll::Pending;
        }
        let (_, cancelled) =
            self.told.take().unwrap_or_else(|| (Waker::noop().clone(), Box::pin(tasks.draining.cancelled())));
        let (_, cancelled) = self.told.insert((cx.waker().clone(), cancelled));
        cancelled.as_mut().poll(cx)
    }
}
