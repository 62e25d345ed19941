//! Ending in order: every task of the server belongs to a tracker, and one token says that it is time to go.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use tokio::runtime::Handle;
use tokio::sync::watch;
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

    /// Carries something out to its end: if whoever waits for its outcome goes away it goes on as a task.
    pub fn carry_out<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> CarriedOut<T> {
        CarriedOut { tasks: self.clone(), work: Some(Box::pin(work)) }
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
        let cancelled = match self.told.take() {
            Some((_, cancelled)) => cancelled,
            None => Box::pin(tasks.draining.cancelled()),
        };
        let (_, cancelled) = self.told.insert((cx.waker().clone(), cancelled));
        cancelled.as_mut().poll(cx)
    }
}

/// Work that whoever waits for it does, or a task if he goes away: as long as he stays it needs none.
#[must_use = "what nobody waits for goes on as a task"]
pub struct CarriedOut<T: Send + 'static> {
    tasks: Tasks,
    /// None once it has ended, also by a panic.
    work: Option<Pin<Box<dyn Future<Output = T> + Send>>>,
}

impl<T: Send + 'static> Future for CarriedOut<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let this = self.get_mut();
        let mut work = this.work.take().expect("a future is not polled after its end");
        let polled = work.as_mut().poll(context);
        if polled.is_pending() {
            this.work = Some(work);
        }
        polled
    }
}

impl<T: Send + 'static> Drop for CarriedOut<T> {
    fn drop(&mut self) {
        let Some(work) = self.work.take() else { return };
        // Without a runtime the server is gone already.
        if Handle::try_current().is_ok() {
            self.tasks.spawn(async move { drop(work.await) });
        }
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;
    use std::time::Duration;

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn work_goes_on_to_its_end_if_nobody_waits_for_it_any_more() {
        let (tasks, go_on, done) = (Tasks::default(), Arc::new(Notify::new()), Arc::new(Mutex::new(false)));
        let (noticed, told) = (Arc::clone(&go_on), Arc::clone(&done));
        let work = tasks.carry_out(async move {
            noticed.notified().await;
            *told.lock() = true;
        });
        assert!(tokio::time::timeout(Duration::ZERO, work).await.is_err());
        assert_eq!(tasks.count(), 1);

        go_on.notify_one();
        tasks.ended().await;

        assert!(*done.lock());
    }

    #[tokio::test]
    async fn work_that_somebody_waits_for_needs_no_task() {
        let tasks = Tasks::default();
        assert_eq!(tasks.carry_out(async { 7 }).await, 7);
        assert_eq!(tasks.count(), 0);
    }
}
