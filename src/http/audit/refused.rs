//! What the audit says of refusals. Anybody can cause as many as they like, so they are written by a task of their own,
//! ten a second at most; how many there were beyond that is one more entry.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::shutdown::Tasks;
use crate::store::{Actor, AuditEntry, Store};

const MOST_A_WINDOW: usize = 10;
const WINDOW: Duration = Duration::from_secs(1);

/// Takes refusals to be noted. Never waits.
pub struct Refused {
    queue: mpsc::Sender<AuditEntry>,
    uncounted: Arc<AtomicU64>,
}

/// Writes them; [`RefusedWriter::run`] is its task.
pub struct RefusedWriter {
    queue: mpsc::Receiver<AuditEntry>,
    uncounted: Arc<AtomicU64>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    tasks: Tasks,
}

impl Refused {
    /// The place for refusals, and who writes them into `store` until `tasks` are told to drain.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, tasks: Tasks) -> (Self, RefusedWriter) {
        let (queue, entries) = mpsc::channel(MOST_A_WINDOW);
        let uncounted = Arc::new(AtomicU64::new(0));
        let writer = RefusedWriter { queue: entries, uncounted: Arc::clone(&uncounted), store, clock, tasks };
        (Self { queue, uncounted }, writer)
    }

    /// Has an entry written soon, or counted if there are too many.
    pub fn add(&self, entry: AuditEntry) {
        if self.queue.try_send(entry).is_err() {
            self.uncounted.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl RefusedWriter {
    /// Writes what is added until the server stops, and then what is left.
    pub async fn run(mut self) {
        let tasks = self.tasks.clone();
        loop {
            let first = tokio::select! {
                entry = self.queue.recv() => entry,
                () = tasks.draining() => break,
            };
            let Some(first) = first else { return };
            self.write_window(first).await;
        }
        while let Ok(entry) = self.queue.try_recv() {
            self.write(entry).await;
        }
    }

    /// Writes an entry and those that come within the same second, and says how many more there were.
    async fn write_window(&mut self, first: AuditEntry) {
        let tasks = self.tasks.clone();
        let end = self.clock.now() + WINDOW;
        let (action, mut written) = (first.action, 1);
        self.write(first).await;
        loop {
            tokio::select! {
                Some(entry) = self.queue.recv(), if written < MOST_A_WINDOW => {
                    self.write(entry).await;
                    written += 1;
                }
                () = self.clock.sleep_until(end) => break,
                () = tasks.draining() => break,
            }
        }
        let more = self.uncounted.swap(0, Ordering::Relaxed);
        if more > 0 {
            let detail = format!("{more} more refusals in the last second");
            let at = self.clock.wall();
            let (session, customer, from) = (None, None, None);
            self.write(AuditEntry { at, actor: Actor::Unknown, action, session, customer, from, detail }).await;
        }
    }

    async fn write(&self, entry: AuditEntry) {
        let action = entry.action.name();
        if let Err(error) = self.store.note(entry).await {
            tracing::warn!(action = action, error = %error, "refusal not noted in the audit");
        }
    }
}
