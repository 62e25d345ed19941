//! Hands what one agent says of itself to the log of events, in order, and knows how much of it is durable.
//!
//! Many events are on their way at once, so that an agent waits for no commit of its own. When the log fails, all of
//! them are handed over again from the first that is not stored.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

use crate::events::{EventLog, NewEvent};
use crate::id::{Epoch, SessionId};
use crate::shutdown::Tasks;
use crate::store::StoreError;

/// How long the end of an agent waits for the log of events. Then its session's end counts more.
pub(super) const LOG_PATIENCE: Duration = Duration::from_secs(30);
/// Events of one agent on their way to the log.
const MOST_UNDER_WAY: usize = 256;
/// Bytes of one agent's events that may wait before it has to. An event counts as 512 bytes at least.
const MOST_WAITING_BYTES: usize = 256 << 10;
const LEAST_COUNTED_BYTES: usize = 512;
const BETWEEN_TRIES: Duration = Duration::from_millis(200);

/// One agent's way to the log.
#[derive(Debug)]
pub(super) struct Journal {
    entries: mpsc::UnboundedSender<Entry>,
    backlog: Backlog,
}

/// What of one agent's events waits to be durable. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub(super) struct Backlog {
    waiting: Arc<Waiting>,
}

/// An event, and where its line stood in the agent's stdout, if it has one.
#[derive(Clone, Debug)]
struct Entry {
    line: Option<Range<u64>>,
    event: NewEvent,
}

#[derive(Debug, Default)]
struct Waiting {
    events: Mutex<Events>,
    changed: Notify,
}

/// The events that are not durable.
#[derive(Debug, Default)]
struct Events {
    /// Of each: where its line begins, and for how many bytes it counts.
    lines: VecDeque<(Option<u64>, usize)>,
    bytes: usize,
    /// How many have become durable.
    settled: u64,
    /// Whether nobody hands over what waits: the next server does.
    is_left: bool,
}

/// Whose journal it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner {
    pub(super) session: SessionId,
    pub(super) epoch: Epoch,
}

impl Journal {
    /// Starts the task that hands over what is kept here. Until then the backlog is empty.
    pub(super) fn start(events: EventLog, owner: Owner, backlog: Backlog, tasks: &Tasks) -> Self {
        let (entries, queue) = mpsc::unbounded_channel();
        let waiting = Arc::clone(&backlog.waiting);
        let writer = Writer { events, owner, queue, waiting, tasks: tasks.clone() };
        tasks.spawn(writer.run());
        Self { entries, backlog }
    }

    /// Keeps an event whose line stood there in the agent's stdout.
    pub(super) fn keep(&self, line: Option<Range<u64>>, event: NewEvent) {
        let begins = line.as_ref().map(|line| line.start);
        let cost = event.body.len().max(LEAST_COUNTED_BYTES);
        let mut events = self.backlog.waiting.events();
        events.lines.push_back((begins, cost));
        events.bytes += cost;
        drop(events);
        // The task ends after this value is gone.
        let _ = self.entries.send(Entry { line, event });
    }

    /// Whether the agent may go on: little of what it said waits to be durable.
    pub(super) fn has_room(&self) -> bool {
        self.backlog.waiting.events().has_room()
    }

    /// Up to where the agent's stdout is done with, of which `read` bytes are read.
    pub(super) fn done(&self, read: u64) -> u64 {
        self.backlog.waiting.events().lines.iter().find_map(|(begins, _)| *begins).unwrap_or(read)
    }

    /// Completes when there is room for more.
    pub(super) async fn room(&self) {
        self.backlog.waiting.until(Events::has_room).await;
    }
}

impl Backlog {
    /// Waits until everything that was said before is durable, but not longer than this; whether it is.
    pub(super) async fn flushed(&self, patience: Duration) -> bool {
        let said = {
            let events = self.waiting.events();
            events.settled + events.lines.len() as u64
        };
        let flushed = self.waiting.until(|events| events.settled >= said || events.is_left);
        timeout(patience, flushed).await.is_ok() && self.waiting.events().settled >= said
    }
}

impl Events {
    fn has_room(&self) -> bool {
        self.bytes < MOST_WAITING_BYTES
    }
}

impl Waiting {
    fn events(&self) -> MutexGuard<'_, Events> {
        self.events.lock()
    }

    /// Completes when this is so.
    async fn until(&self, is_so: impl Fn(&Events) -> bool) {
        loop {
            // Whatever changes after this is told, also before it is waited for.
            let changed = self.changed.notified();
            if is_so(&self.events()) {
                return;
            }
            changed.await;
        }
    }

    fn settle(&self) {
        let mut events = self.events();
        if let Some((_, cost)) = events.lines.pop_front() {
            events.bytes -= cost;
            events.settled += 1;
        }
        drop(events);
        self.changed.notify_waiters();
    }

    fn leave(&self) {
        self.events().is_left = true;
        self.changed.notify_waiters();
    }
}

struct Writer {
    events: EventLog,
    owner: Owner,
    queue: mpsc::UnboundedReceiver<Entry>,
    waiting: Arc<Waiting>,
    tasks: Tasks,
}

type Appending = Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>>;

impl Writer {
    async fn run(mut self) {
        let mut under_way: VecDeque<(Entry, Appending)> = VecDeque::new();
        let mut is_open = true;
        while is_open || !under_way.is_empty() {
            tokio::select! {
                biased;
                outcome = first(&mut under_way) => match outcome {
                    Ok(()) => {
                        under_way.pop_front();
                        self.waiting.settle();
                    }
                    // The session's log is damaged and set aside: nothing of it is kept, and its agent goes on.
                    Err(error) if error.is_damage() => {
                        under_way.pop_front();
                        self.waiting.settle();
                    }
                    Err(error) => {
                        let entries = under_way.drain(..).map(|(entry, _)| entry).collect();
                        let Some(again) = self.after_failure(entries, &error).await else { return };
                        for entry in again {
                            under_way.push_back(self.begin(entry).await);
                        }
                    }
                },
                entry = self.queue.recv(), if is_open && under_way.len() < MOST_UNDER_WAY => match entry {
                    Some(entry) => under_way.push_back(self.begin(entry).await),
                    None => is_open = false,
                },
            }
        }
    }

    /// Hands an event over. Its future is polled once here, which gives it its place behind the one before.
    async fn begin(&self, entry: Entry) -> (Entry, Appending) {
        let position = entry.line.as_ref().map(|line| line.end);
        let event = entry.event.clone();
        let mut appending: Appending =
            Box::pin(self.events.append(self.owner.session, self.owner.epoch, position, event));
        let polled = poll_fn(|context| Poll::Ready(appending.as_mut().poll(context))).await;
        match polled {
            Poll::Pending => (entry, appending),
            Poll::Ready(outcome) => (entry, Box::pin(std::future::ready(outcome))),
        }
    }

    /// Waits until the log is back, and returns what is not stored; `None` if the server goes first.
    async fn after_failure(&self, entries: Vec<Entry>, error: &StoreError) -> Option<Vec<Entry>> {
        let Owner { session, epoch } = self.owner;
        tracing::warn!(session.id = %session, error = %error, "events of an agent not stored; trying again");
        let stored = loop {
            if self.tasks.is_draining() {
                // The shim keeps what was not acknowledged for the next server.
                self.waiting.leave();
                return None;
            }
            tokio::time::sleep(BETWEEN_TRIES).await;
            if self.events.ready().is_ok() {
                match self.events.position(session, epoch).await {
                    Ok(position) => break position,
                    // What is handed over again is refused for the damage.
                    Err(error) if error.is_damage() => break 0,
                    Err(_) => {}
                }
            }
        };
        let (gone, again): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|entry| entry.line.as_ref().is_some_and(|line| line.end <= stored));
        for _ in gone {
            self.waiting.settle();
        }
        Some(again)
    }
}

/// The outcome of the first that is under way.
async fn first(under_way: &mut VecDeque<(Entry, Appending)>) -> Result<(), StoreError> {
    match under_way.front_mut() {
        Some((_, appending)) => appending.await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::WallTime;
    use crate::data_dir::DataDir;
    use crate::events::Kind;

    fn event(text: &str) -> NewEvent {
        NewEvent { kind: Kind::Event, at: WallTime::from_unix_millis(1), body: format!("{{\"T\":\"{text}\"}}").into() }
    }

    #[tokio::test]
    async fn what_is_kept_is_stored_in_order_and_what_was_stored_before_is_not_stored_again() {
        let directory = tempfile::tempdir().unwrap();
        let data_dir = DataDir::open(directory.path()).unwrap();
        let log = EventLog::open(data_dir.paths(), 1 << 20).unwrap();
        let owner = Owner { session: SessionId::new(WallTime::from_unix_millis(1), [1; 10]), epoch: Epoch(1) };
        let tasks = Tasks::default();
        let backlog = Backlog::default();
        let journal = Journal::start(log.clone(), owner, backlog.clone(), &tasks);
        for number in 0..600 {
            journal.keep(Some(number * 10..number * 10 + 9), event(&number.to_string()));
        }
        assert!(journal.done(6_000) < 6_000);
        assert!(backlog.flushed(Duration::from_secs(60)).await);
        assert_eq!(journal.done(6_000), 6_000);

        let backlog = Backlog::default();
        let next = Journal::start(log.clone(), owner, backlog.clone(), &tasks);
        next.keep(Some(5_990..5_999), event("again"));
        next.keep(Some(6_000..6_009), event("600"));
        assert!(backlog.flushed(Duration::from_secs(60)).await);

        let page = log.read(owner.session, 599, 10).await.unwrap();
        let texts: Vec<_> = page.events.iter().map(|event| (event.number, event.body.clone())).collect();
        assert_eq!(texts, [600, 601, 602].map(|number: u64| (number, event(&(number - 2).to_string()).body)));
    }
}
