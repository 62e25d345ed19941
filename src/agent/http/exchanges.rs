//! What is said between the desk and the service of one session: the requests in flight, and what the service tells.
//!
//! Each request is one POST that lives in its caller's future: a caller that goes away closes it, and the service is
//! told by `cancel`. The number in flight is bounded, and all of them can be ended at once.

use std::pin::pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use humantime::FormattedDuration;
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, oneshot};

use crate::agent::Json;
use crate::agent::calls::{CallError, Calls};
use crate::agent::journal::{Backlog, Journal, Owner};
use crate::agent::log_tail::{LogTail, kept};
use crate::agent::rpc::{self, Notification};
use crate::agent::within::within;
use crate::clock::{Clock, Timestamp};
use crate::events::{EventLog, NewEvent};
use crate::id::Printable;
use crate::session::{Ending, Reason};
use crate::shutdown::Tasks;

use super::answer::Answer;
use super::service::{Fault, Service, ServiceError};

/// How long a `cancel` may take; it is not worth more.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);

/// The conversation with one service about one session.
pub(super) struct Exchanges {
    service: Service,
    calls: Mutex<Calls<oneshot::Sender<CallError>>>,
    /// Bounds the cancels on their way; one that finds no room is not sent, and the closed connection has to say it.
    cancels: Arc<Semaphore>,
    log: LogTail,
    progress: Mutex<Option<String>>,
    end: Mutex<Option<End>>,
    ended: Notify,
    trouble: Notify,
    idle: Notify,
    last_activity: AtomicI64,
    clock: Arc<dyn Clock>,
    tasks: Tasks,
    events: EventLog,
    /// Nothing as long as the service has told nothing of the session.
    journal: OnceLock<Journal>,
    backlog: Backlog,
}

/// What the service said that ends the agent.
#[derive(Clone, Debug)]
pub(super) enum End {
    Finished(Ending),
    Lost(Reason),
}

impl Exchanges {
    /// A conversation with at most `most_calls` requests in flight.
    pub(super) fn new(
        service: Service,
        most_calls: usize,
        clock: Arc<dyn Clock>,
        tasks: Tasks,
        events: EventLog,
    ) -> Self {
        // Numbers must not meet those of an earlier server under the same epoch: they start where the clock stands,
        // which ticks faster than anybody asks.
        let first = u64::try_from(clock.now().micros()).unwrap_or(1);
        Self {
            service,
            calls: Mutex::new(Calls::numbered_from(first, most_calls)),
            cancels: Arc::new(Semaphore::new(most_calls)),
            log: LogTail::default(),
            progress: Mutex::default(),
            end: Mutex::default(),
            ended: Notify::new(),
            trouble: Notify::new(),
            idle: Notify::new(),
            // Whoever takes an agent up does not know when it was last asked, and must not take it for idle.
            last_activity: AtomicI64::new(clock.now().micros()),
            clock,
            tasks,
            events,
            journal: OnceLock::new(),
            backlog: Backlog::default(),
        }
    }

    /// Begins a request, which takes a place among those in flight.
    pub(super) fn begin(self: &Arc<Self>) -> Result<InFlight<'_>, CallError> {
        let (end, ended) = oneshot::channel();
        let id = self.calls.lock().begin(end)?;
        Ok(InFlight { exchanges: self, id, ended, is_sent: false })
    }

    /// Waits until everything that the service said before is durable, but not longer than this; whether it is.
    pub(super) async fn flushed(&self, patience: Duration) -> bool {
        self.backlog.flushed(patience).await
    }

    fn understood(&self, answer: Result<Answer, ServiceError>) -> Result<Json, CallError> {
        match answer {
            Ok(Answer::Result(result)) => Ok(result),
            Ok(Answer::Refused(message)) => Err(CallError::Refused { message }),
            Ok(Answer::UnknownSession(words)) => {
                let reason = self.explained(&self.service.failed(Fault::UnknownSession(words)));
                self.end_with(End::Lost(reason.clone()));
                Err(CallError::Lost(reason))
            }
            Err(error) => {
                tracing::warn!(session.id = %self.service.session, epoch = %self.service.epoch, error = %error,
                    "request not answered by its service");
                self.trouble.notify_one();
                Err(CallError::NoAnswer(self.explained(&error)))
            }
        }
    }

    /// A number for [`Exchanges::call`].
    pub(super) fn number(&self) -> u64 {
        self.calls.lock().take_number()
    }

    /// Makes a call of the desk's own; it counts neither as a request in flight nor as activity.
    pub(super) async fn call(&self, id: u64, method: &'static str, params: &[&[u8]]) -> Result<(), ServiceError> {
        let message = rpc::request(id, method, params).await;
        let answer = self.service.call(id, message, |what, params| self.told(what, params)).await;
        // What it told counts, however the call itself went.
        self.ended.notify_one();
        match answer? {
            Answer::Result(_) => Ok(()),
            Answer::Refused(words) => Err(self.service.failed(Fault::Refused { method, words })),
            Answer::UnknownSession(words) => Err(self.service.failed(Fault::UnknownSession(words))),
        }
    }

    /// Says `ping` and waits for the answer at most so long.
    pub(super) async fn ping(&self, timeout: Duration) -> Result<(), ServiceError> {
        let (id, after) = (self.number(), humantime::format_duration(timeout));
        let ping = tokio::time::timeout(timeout, self.call(id, "ping", &[b"{}"])).await;
        ping.unwrap_or_else(|_| Err(self.timed_out("ping", after)))
    }

    /// The failure of a call that took too long.
    pub(super) fn timed_out(&self, method: &'static str, after: FormattedDuration) -> ServiceError {
        self.service.failed(Fault::TimedOut { method, after })
    }

    /// Says `shutdown`.
    pub(super) async fn say_goodbye(&self) -> Result<(), ServiceError> {
        self.service.notify(rpc::notify("shutdown", b"{}")).await
    }

    /// Takes in what the service tells of itself.
    fn told(&self, what: Notification, params: Bytes) {
        if let Some(kind) = what.kind() {
            let journal = self.journal.get_or_init(|| self.begin_journal());
            if journal.has_room() {
                journal.keep(None, NewEvent { kind, at: self.clock.wall(), body: params });
            } else {
                // A service can't be made to wait without making its callers wait.
                self.log.note("an event was dropped: the service sends them faster than they can be stored".to_owned());
            }
        }
        match what {
            Notification::Progress(text) => *self.progress.lock() = Some(kept(text)),
            Notification::Log(text) => {
                tracing::debug!(session.id = %self.service.session, line = %Printable(&text), "agent log");
                self.log.note(text);
            }
            Notification::Finished { outcome, reason } => {
                let reason = if reason.is_empty() { "the agent finished".to_owned() } else { reason };
                self.end_with(End::Finished(Ending::new(outcome, Reason::new(reason))));
            }
            Notification::TooDeep => self.log.note(rpc::MESSAGE_TOO_DEEP.to_owned()),
            Notification::Event | Notification::Output | Notification::Other => {}
        }
    }

    fn begin_journal(&self) -> Journal {
        let owner = Owner { session: self.service.session, epoch: self.service.epoch };
        Journal::start(self.events.clone(), owner, self.backlog.clone(), &self.tasks)
    }

    /// Notes what ends the agent; the first one stays. It counts once the exchange in which it came is over, so that
    /// an answer behind `finished` reaches its caller.
    fn end_with(&self, end: End) {
        self.end.lock().get_or_insert(end);
    }

    /// Completes when the service has said what ends the agent.
    pub(super) async fn ended(&self) -> End {
        loop {
            self.ended.notified().await;
            let end = self.end.lock().clone();
            if let Some(end) = end {
                return end;
            }
        }
    }

    /// Completes when a request has failed for another reason than the agent's own.
    pub(super) async fn trouble(&self) {
        self.trouble.notified().await;
    }

    /// Completes when no request is in flight.
    pub(super) async fn idle(&self) {
        while !self.calls.lock().is_empty() {
            self.idle.notified().await;
        }
    }

    /// Refuses requests from now on. Those in flight may still be answered.
    pub(super) fn refuse(&self, refusal: CallError) {
        self.calls.lock().refuse(refusal);
    }

    /// Fails every request in flight, and refuses those to come.
    pub(super) fn close(&self, reason: &Reason, refusal: CallError) {
        let error = CallError::Lost(reason.clone());
        let waiting = self.calls.lock().close(refusal);
        for in_flight in waiting {
            let _ = in_flight.send(error.clone());
        }
    }

    /// When the last request was handed over or answered: now, while one is in flight.
    pub(super) fn last_activity(&self) -> Timestamp {
        if self.calls.lock().is_empty() {
            Timestamp::from_micros(self.last_activity.load(Ordering::Relaxed))
        } else {
            self.clock.now()
        }
    }

    /// How many requests wait for its answer.
    pub(super) fn open_requests(&self) -> usize {
        self.calls.lock().len()
    }

    /// What the agent last said of its progress.
    pub(super) fn progress(&self) -> Option<String> {
        self.progress.lock().clone()
    }

    /// A service that failed as a reason, with the end of its log, if there is one.
    pub(super) fn explained(&self, error: &ServiceError) -> Reason {
        let tail = self.log.words().map(|tail| format!("; {tail}")).unwrap_or_default();
        Reason::new(error.fault.sentence()).with_detail(format!("{error}{tail}"))
    }

    fn touch(&self) {
        self.last_activity.fetch_max(self.clock.now().micros(), Ordering::Relaxed);
    }

    /// Tells the service that nobody waits for a request any more.
    fn cancel(self: &Arc<Self>, id: u64) {
        let Ok(room) = Arc::clone(&self.cancels).try_acquire_owned() else { return };
        let exchanges = Arc::clone(self);
        self.tasks.spawn(async move {
            let message = rpc::notify("cancel", format!("{{\"ID\":{id}}}").as_bytes());
            // A service that does not hear it finds the connection closed.
            let _ = tokio::time::timeout(CANCEL_TIMEOUT, exchanges.service.notify(message)).await;
            drop(room);
        });
    }
}

impl std::fmt::Debug for Exchanges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exchanges").field("service", &self.service.name).finish_non_exhaustive()
    }
}

/// A request until its exchange is over, however that comes about.
pub(super) struct InFlight<'a> {
    exchanges: &'a Arc<Exchanges>,
    id: u64,
    /// The word that every request ends.
    ended: oneshot::Receiver<CallError>,
    /// Whether it may be with the service, and no answer has come.
    is_sent: bool,
}

impl InFlight<'_> {
    /// The number of the call.
    pub(super) fn number(&self) -> u64 {
        self.id
    }

    /// Relays the request and waits for its answer.
    pub(super) async fn request(mut self, request: &[u8], timeout: Duration) -> Result<Json, CallError> {
        let exchanges = self.exchanges;
        exchanges.touch();
        let answer = self.relay(request, timeout).await;
        exchanges.touch();
        answer
    }

    async fn relay(&mut self, request: &[u8], timeout: Duration) -> Result<Json, CallError> {
        let Self { exchanges, id, ended, is_sent } = self;
        let exchange = async {
            let message = rpc::request(*id, "request", &[b"{\"REQUEST\":", request, b"}"]).await;
            *is_sent = true;
            let answer = exchanges.service.call(*id, message, |what, params| exchanges.told(what, params)).await;
            *is_sent = false;
            answer
        };
        let mut exchange = pin!(exchange);
        let answer = tokio::select! {
            biased;
            error = ended => return Err(error.unwrap_or(CallError::TimedOut)),
            answer = within(timeout, exchange.as_mut()) => answer.ok_or(CallError::TimedOut)?,
        };
        exchanges.understood(answer)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        let was_open = self.exchanges.calls.lock().finish(self.id).is_some();
        if was_open && self.is_sent {
            self.exchanges.cancel(self.id);
        }
        self.exchanges.idle.notify_one();
        if self.exchanges.end.lock().is_some() {
            self.exchanges.ended.notify_one();
        }
    }
}
