//! What is said between the desk and one agent: the calls in flight, and the lines on their way.
//!
//! A request goes from the caller straight to the task that writes to the shim; its answer comes from the task that
//! listens straight to the caller. Every queue is bounded, and a caller that gives up takes its line out of the queue,
//! so that an agent that reads nothing holds no more than the line that is being written.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::clock::{Clock, Timestamp};
use crate::session::Reason;

use super::Json;
use super::calls::{CallError, Calls};
use super::journal::Backlog;
use super::link::{Control, Queues};
use super::log_tail::kept;
use super::queued_line::QueuedLine;
use super::rpc;
use super::within::within;

/// Bytes of a line for the log.
const LONGEST_NOTE_BYTES: usize = 4_000;
/// Lines for the log that may wait for the shim; further ones are dropped.
const WAITING_NOTES: usize = 64;

/// The conversation with one agent.
#[derive(Debug)]
pub(crate) struct Conversation {
    calls: Mutex<Calls<oneshot::Sender<Result<Json, CallError>>>>,
    /// Answers of calls that are stored before they count: where each stands in the agent's stdout, once it has come.
    kept: Mutex<BTreeMap<u64, Option<u64>>>,
    /// The calls of an earlier server whose answers are to be stored; nothing for those that the agent was never given.
    inherited: Mutex<BTreeMap<u64, Option<Answer>>>,
    shim: Mutex<Option<Shim>>,
    progress: Mutex<Option<String>>,
    backlog: Backlog,
    last_activity: AtomicI64,
    /// Pings among the calls.
    pings: AtomicUsize,
    most_calls: usize,
    clock: Arc<dyn Clock>,
}

/// What comes of a call.
type Answer = oneshot::Receiver<Result<Json, CallError>>;

/// Where to queue what is to be said.
#[derive(Clone, Debug)]
struct Shim {
    control: mpsc::UnboundedSender<Control>,
    notes: mpsc::Sender<Box<str>>,
    /// Nothing once the agent is ending.
    lines: Option<mpsc::Sender<QueuedLine>>,
    taken: Arc<Notify>,
}

impl Conversation {
    /// A conversation with at most `most_calls` calls in flight.
    pub(super) fn new(most_calls: usize, clock: Arc<dyn Clock>) -> Self {
        Self {
            calls: Mutex::new(Calls::new(most_calls)),
            kept: Mutex::default(),
            inherited: Mutex::default(),
            shim: Mutex::default(),
            progress: Mutex::default(),
            backlog: Backlog::default(),
            pings: AtomicUsize::new(0),
            // Whoever takes an agent up does not know when it was last asked, and must not take it for idle.
            last_activity: AtomicI64::new(clock.now().micros()),
            most_calls,
            clock,
        }
    }

    /// Hands over a request and waits for its answer; `begun` is given its number before.
    pub(super) async fn request(
        &self,
        request: &[u8],
        timeout: Duration,
        begun: impl FnOnce(u64),
    ) -> Result<Json, CallError> {
        self.touch();
        let params: [&[u8]; 3] = [b"{\"REQUEST\":", request, b"}"];
        let answer = within(timeout, pin!(self.call_numbered("request", &params, begun))).await;
        self.touch();
        answer.unwrap_or(Err(CallError::TimedOut))
    }

    /// Makes a call and waits for its answer, however long that takes. `params` is JSON text in parts. A caller that
    /// goes away cancels the call.
    pub(super) async fn call(&self, method: &'static str, params: &[&[u8]]) -> Result<Json, CallError> {
        self.call_numbered(method, params, |_| ()).await
    }

    async fn call_numbered(
        &self,
        method: &'static str,
        params: &[&[u8]],
        begun: impl FnOnce(u64),
    ) -> Result<Json, CallError> {
        let (reply, answer) = oneshot::channel();
        let line = self.begin(reply)?;
        let pending = PendingCall { conversation: self, line, method };
        let id = pending.line.number();
        begun(id);
        pending.line.fill(rpc::request(id, method, params).await);
        let outcome = answer.await.unwrap_or(Err(CallError::TimedOut));
        pending.outcome(outcome)
    }

    /// Notes a call, and queues its line. Both in one step: what comes to a shim with a number below one that it has seen
    /// is a repetition to it.
    fn begin(&self, reply: oneshot::Sender<Result<Json, CallError>>) -> Result<QueuedLine, CallError> {
        // Held over both, so that no queue is opened or closed in between.
        let shim = self.shim.lock();
        let mut calls = self.calls.lock();
        let line = QueuedLine::to_come(calls.begin(reply)?);
        let queued = shim.as_ref().and_then(|shim| shim.lines.as_ref()).map(|lines| lines.try_send(line.clone()));
        let error = match queued {
            Some(Ok(())) => return Ok(line),
            // It is full of lines that were taken back, since the agent does not read.
            Some(Err(TrySendError::Full(_))) => CallError::TooMany,
            Some(Err(TrySendError::Closed(_))) | None => {
                CallError::NotGiven(Reason::new("its shim can't be reached at the moment"))
            }
        };
        calls.finish(line.number());
        Err(error)
    }

    /// Makes a call whose answer stays in the spool until it is stored. `note` is given its number first and may prevent
    /// it; the lines behind it wait meanwhile. A caller that goes away does not cancel the call; `timeout` does.
    ///
    /// # Errors
    /// What `note` said, or why the agent was not given the request.
    pub(super) async fn call_and_keep<E: From<CallError>>(
        &self,
        request: &[u8],
        timeout: Duration,
        note: impl AsyncFnOnce(u64) -> Result<(), E>,
    ) -> Result<KeptCall<'_>, E> {
        let (reply, answer) = oneshot::channel();
        let line = self.begin(reply)?;
        let pending = PendingCall { conversation: self, line, method: "request" };
        let number = pending.line.number();
        self.kept.lock().insert(number, None);
        let mut call = KeptCall { kept: Some((self, number)), outcome: Err(CallError::TimedOut) };
        note(number).await?;
        self.touch();
        let params: [&[u8]; 3] = [b"{\"REQUEST\":", request, b"}"];
        pending.line.fill(rpc::request(number, "request", &params).await);
        let answer = within(timeout, pin!(answer)).await;
        self.touch();
        let outcome = answer.and_then(Result::ok).unwrap_or(Err(CallError::TimedOut));
        match pending.outcome(outcome) {
            Err(error @ CallError::NotGiven(_)) => Err(error.into()),
            outcome => {
                call.outcome = outcome;
                Ok(call)
            }
        }
    }

    /// Takes over calls of an earlier server whose answers are to be stored. The agent was given those up to `last_call`.
    pub(super) fn inherit(&self, numbers: &[u64], last_call: u64) {
        for number in numbers {
            let answer = (*number <= last_call).then(|| {
                let (reply, answer) = oneshot::channel();
                self.calls.lock().expect(*number, reply);
                self.kept.lock().insert(*number, None);
                answer
            });
            self.inherited.lock().insert(*number, answer);
            // No call of this server's own may be taken for one of them.
            self.go_on_after(*number);
        }
    }

    /// The same for an agent that has ended: it was given those up to `last_given`, or it is not known which. What it was
    /// not given it can't be given any more.
    pub(super) fn inherit_from_dead(&self, numbers: &[u64], last_given: Option<u64>) {
        self.inherit(numbers, last_given.unwrap_or(u64::MAX));
        self.refuse(CallError::NotGiven(Reason::new("it ended while no server ran")));
    }

    /// Waits for the answer to a call of an earlier server.
    pub(super) async fn inherited(&self, number: u64, timeout: Duration) -> Fate<'_> {
        let answer = match self.take_inherited(number) {
            Some(Some(answer)) => answer,
            Some(None) => return Fate::NeverGiven,
            None => return Fate::Unknown,
        };
        let answer = within(timeout, pin!(answer)).await;
        let outcome = answer.and_then(Result::ok).unwrap_or(Err(CallError::TimedOut));
        self.calls.lock().finish(number);
        let call = KeptCall { kept: Some((self, number)), outcome };
        match call.outcome {
            Err(CallError::NotGiven(_)) => {
                self.inherited.lock().insert(number, None);
                Fate::NeverGiven
            }
            _ => Fate::Answered(call),
        }
    }

    /// Takes an inherited call out of the table. One that the agent was never given stays, for whoever asks next.
    fn take_inherited(&self, number: u64) -> Option<Option<Answer>> {
        let mut inherited = self.inherited.lock();
        inherited.get_mut(&number)?.take().map_or(Some(None), |answer| {
            inherited.remove(&number);
            Some(Some(answer))
        })
    }

    /// Up to where the agent's stdout is done with as far as answers go, of which `read` bytes are.
    pub(super) fn done(&self, read: u64) -> u64 {
        self.kept.lock().values().flatten().copied().min().map_or(read, |first| first.min(read))
    }

    /// Goes on where an earlier server left off, which made calls up to the number `last`.
    pub(super) fn go_on_after(&self, last: u64) {
        self.calls.lock().go_on_after(last);
    }

    /// Waits for the answer to a call that an earlier server made.
    pub(super) async fn await_answer(&self, id: u64) -> Result<Json, CallError> {
        let (reply, answer) = oneshot::channel();
        self.calls.lock().expect(id, reply);
        answer.await.unwrap_or(Err(CallError::TimedOut))
    }

    /// When the last request was handed over or answered: now, while one is in flight.
    pub(super) fn last_activity(&self) -> Timestamp {
        if self.is_idle() {
            Timestamp::from_micros(self.last_activity.load(Ordering::Relaxed))
        } else {
            self.clock.now()
        }
    }

    /// Whether no call but pings waits for its answer.
    pub(super) fn is_idle(&self) -> bool {
        self.open_requests() == 0
    }

    /// How many calls wait for their answer, pings left out.
    pub(super) fn open_requests(&self) -> usize {
        self.calls.lock().len().saturating_sub(self.pings.load(Ordering::Relaxed))
    }

    /// Asks the agent whether it is there. This is no activity of its session.
    pub(super) async fn ping(&self) -> Result<Json, CallError> {
        struct Pinging<'a>(&'a AtomicUsize);
        impl Drop for Pinging<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        self.pings.fetch_add(1, Ordering::Relaxed);
        let _pinging = Pinging(&self.pings);
        self.call("ping", &[b"{}"]).await
    }

    /// What the agent last said of its progress.
    pub(super) fn progress(&self) -> Option<String> {
        self.progress.lock().clone()
    }

    /// What the agent said of itself that is not durable yet.
    pub(super) fn backlog(&self) -> &Backlog {
        &self.backlog
    }

    /// Takes note of what the agent says of its progress.
    pub(super) fn note_progress(&self, text: String) {
        *self.progress.lock() = Some(kept(text));
    }

    /// Adds a line to the agent's log, cut to what a shim takes at once.
    pub(super) fn note(&self, mut text: String) {
        text.truncate(text.floor_char_boundary(LONGEST_NOTE_BYTES));
        // Who floods the log this way loses some of it: the same lines are events, and those are not dropped.
        let _ = self.shim.lock().as_ref().map(|shim| shim.notes.try_send(text.into_boxed_str()));
    }

    /// Refuses calls from now on. Those in flight may still be answered.
    pub(super) fn refuse(&self, refusal: CallError) {
        self.calls.lock().refuse(refusal);
    }

    /// Orders the agent's end within `grace`. What waits for the agent's stdin is not handed over any more.
    pub(super) fn order_end(&self, grace: Duration) {
        if let Some(shim) = &mut *self.shim.lock() {
            shim.lines = None;
        }
        self.say(Control::Stop(u64::try_from(grace.as_micros()).unwrap_or(u64::MAX)));
    }

    /// Says that the first so many bytes of the agent's stdout are done with.
    pub(super) fn acknowledge(&self, position: u64) {
        self.say(Control::Acknowledge(position));
    }

    /// Lets the next line go.
    pub(super) fn taken(&self) {
        let _ = self.shim.lock().as_ref().map(|shim| shim.taken.notify_one());
    }

    /// Fails every call in flight, and refuses those to come.
    pub(super) fn close(&self, reason: &Reason, refusal: CallError) {
        self.hang_up();
        let error = CallError::Lost(reason.clone());
        let waiting = self.calls.lock().close(refusal);
        for reply in waiting {
            let _ = reply.send(Err(error.clone()));
        }
    }

    /// Refuses a call for whose line the shim has no room. The agent is not given it.
    pub(super) fn fail(&self, number: u64) {
        let message = "the request was not handed to the agent: there was no room to keep a line that long".to_owned();
        let reply = self.calls.lock().finish(number);
        let _ = reply.map(|reply| reply.send(Err(CallError::Refused { message })));
    }

    /// Fails the calls that the agent was not and will not be given: those above `last`.
    pub(super) fn fail_above(&self, last: u64, reason: Reason) {
        let error = CallError::NotGiven(reason);
        let never_given = self.calls.lock().take_above(last);
        for reply in never_given {
            let _ = reply.send(Err(error.clone()));
        }
    }

    /// Says nothing more: the shim and its agent stay for the next server.
    pub(super) fn hang_up(&self) {
        drop(self.shim.lock().take());
    }

    /// Opens the queues of what is to be said.
    pub(super) fn open(&self) -> Queues {
        let (control, orders) = mpsc::unbounded_channel();
        let (notes, waiting_notes) = mpsc::channel(WAITING_NOTES);
        // Each call may leave an empty line, when it is taken back, or a cancel.
        let (lines, queue) = mpsc::channel(self.most_calls.saturating_mul(2).saturating_add(4));
        let taken = Arc::new(Notify::new());
        *self.shim.lock() = Some(Shim { control, notes, lines: Some(lines), taken: Arc::clone(&taken) });
        Queues { control: orders, notes: waiting_notes, lines: queue, taken }
    }

    /// Hands an answer to who waits for it. Its line begins there in the agent's stdout.
    ///
    /// # Errors
    /// A sentence if nobody ever asked.
    pub(super) fn answer(&self, id: u64, result: Result<Json, String>, begins: u64) -> Result<(), Reason> {
        if let Some(stands) = self.kept.lock().get_mut(&id) {
            stands.get_or_insert(begins);
        }
        let (reply, has_begun) = {
            let mut calls = self.calls.lock();
            (calls.finish(id), calls.has_begun(id))
        };
        match reply {
            Some(reply) => {
                let _ = reply.send(result.map_err(|message| CallError::Refused { message }));
                Ok(())
            }
            // The call was given up, or is answered for the second time: nobody waits for this.
            None if has_begun => Ok(()),
            None => Err(Reason::new(format!("it answered the request {id}, which it was never asked"))),
        }
    }

    fn say(&self, control: Control) {
        // A shim that is gone needs no orders.
        let _ = self.shim.lock().as_ref().map(|shim| shim.control.send(control));
    }

    fn lines(&self) -> Option<mpsc::Sender<QueuedLine>> {
        self.shim.lock().as_ref().and_then(|shim| shim.lines.clone())
    }

    fn touch(&self) {
        self.last_activity.fetch_max(self.clock.now().micros(), Ordering::Relaxed);
    }
}

/// A call whose answer stays in the spool for as long as this value lives.
#[derive(Debug)]
pub struct KeptCall<'a> {
    /// Nothing for a service, which has no spool.
    kept: Option<(&'a Conversation, u64)>,
    /// What came of it.
    pub(crate) outcome: Result<Json, CallError>,
}

/// What has become of a call that an earlier server made.
#[derive(Debug)]
pub enum Fate<'a> {
    /// It was answered, or given up.
    Answered(KeptCall<'a>),
    /// The agent was never given it.
    NeverGiven,
    /// Nobody knows.
    Unknown,
}

impl KeptCall<'_> {
    /// What came of a call to a service.
    pub(super) fn of_service(outcome: Result<Json, CallError>) -> Self {
        Self { kept: None, outcome }
    }
}

impl Drop for KeptCall<'_> {
    fn drop(&mut self) {
        if let Some((conversation, number)) = self.kept {
            conversation.kept.lock().remove(&number);
        }
    }
}

/// Takes a call out of the table when its caller goes away, and its line out of the queue, or tells the agent.
struct PendingCall<'a> {
    conversation: &'a Conversation,
    line: QueuedLine,
    method: &'static str,
}

impl PendingCall<'_> {
    /// What came of the call. A line that still waits when the agent is lost is taken back: the agent never got it.
    fn outcome(self, outcome: Result<Json, CallError>) -> Result<Json, CallError> {
        match outcome {
            Err(CallError::Lost(reason)) if !self.line.take_back() => Err(CallError::NotGiven(reason)),
            outcome => outcome,
        }
    }
}

impl Drop for PendingCall<'_> {
    fn drop(&mut self) {
        let number = self.line.number();
        let has_waited = self.conversation.calls.lock().finish(number).is_some();
        let was_written = self.line.take_back();
        if has_waited && was_written && self.method == "request" {
            let line = rpc::notify("cancel", format!("{{\"ID\":{number}}}").as_bytes());
            // An agent that does not read does not notice a cancel either.
            let _ = self.conversation.lines().map(|lines| lines.try_send(QueuedLine::of_notification(line)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    const LONG: Duration = Duration::from_secs(60);

    fn conversation(most_calls: usize) -> (Arc<Conversation>, Queues) {
        let conversation = Conversation::new(most_calls, Arc::new(ManualClock::new(Timestamp::from_micros(0))));
        let queues = conversation.open();
        (Arc::new(conversation), queues)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn lines_are_queued_in_the_order_of_their_numbers_whoever_makes_the_calls() {
        const CALLERS: u64 = 8;
        const CALLS: u64 = 200;
        let (conversation, mut queues) = conversation(CALLERS as usize);
        let mut callers = tokio::task::JoinSet::new();
        for _ in 0..CALLERS {
            let conversation = Arc::clone(&conversation);
            callers.spawn(async move {
                for _ in 0..CALLS {
                    conversation.request(b"1", LONG, |_| ()).await.unwrap();
                }
            });
        }
        for expected in 1..=CALLERS * CALLS {
            let line = queues.lines.recv().await.unwrap();
            assert_eq!(line.number(), expected);
            assert!(line.text().await.is_some());
            conversation.answer(expected, Ok("1".into()), 0).unwrap();
        }
        assert!(callers.join_all().await.len() == CALLERS as usize);
    }

    #[tokio::test]
    async fn a_call_that_is_noted_first_is_overtaken_by_none_and_given_to_nobody_if_it_can_t_be() {
        let (conversation, mut queues) = conversation(4);
        let (noted, note) = oneshot::channel::<bool>();
        let kept = async {
            let note = async |_| if note.await.unwrap() { Ok(()) } else { Err(CallError::NotSpoken) };
            conversation.call_and_keep::<CallError>(b"1", LONG, note).await.map(drop)
        };
        let later = conversation.request(b"2", LONG, |_| ());
        let agent = async {
            let (first, second) = (queues.lines.recv().await.unwrap(), queues.lines.recv().await.unwrap());
            assert_eq!((first.number(), second.number()), (1, 2));
            assert!(tokio::time::timeout(Duration::from_millis(20), first.text()).await.is_err(), "it was not noted");
            noted.send(false).unwrap();
            assert_eq!(first.text().await, None);
            assert!(second.text().await.is_some());
            conversation.answer(2, Ok("2".into()), 0).unwrap();
        };
        let (kept, later, ()) = tokio::join!(kept, later, agent);
        assert_eq!(kept, Err(CallError::NotSpoken));
        assert!(later.is_ok());
    }

    #[tokio::test]
    async fn a_call_that_still_waits_when_its_agent_is_lost_was_never_given_and_one_that_was_written_is_lost() {
        let (conversation, mut queues) = conversation(4);
        let first = conversation.request(b"1", LONG, |_| ());
        let kept = async { conversation.call_and_keep::<CallError>(b"2", LONG, async |_| Ok(())).await.map(drop) };
        let last = conversation.request(b"3", LONG, |_| ());
        let agent = async {
            let line = queues.lines.recv().await.unwrap();
            assert!(line.text().await.is_some());
            while queues.lines.len() < 2 {
                tokio::task::yield_now().await;
            }
            conversation.close(&Reason::new("killed"), CallError::NotGiven(Reason::new("killed")));
        };
        let (first, kept, last, ()) = tokio::join!(first, kept, last, agent);
        assert_eq!(first, Err(CallError::Lost(Reason::new("killed"))));
        let not_given = CallError::NotGiven(Reason::new("killed"));
        assert_eq!((kept, last), (Err(not_given.clone()), Err(not_given.clone())));
        assert_eq!(conversation.request(b"4", LONG, |_| ()).await, Err(not_given));
    }

    #[tokio::test]
    async fn calls_to_an_agent_that_reads_nothing_are_refused_once_the_queue_is_full_of_what_was_taken_back() {
        let (conversation, queues) = conversation(1);
        let mut given_up = 0;
        while conversation.request(b"1", Duration::from_millis(1), |_| ()).await == Err(CallError::TimedOut) {
            given_up += 1;
        }
        assert_eq!(given_up, queues.lines.len());
        assert_eq!(conversation.request(b"1", LONG, |_| ()).await, Err(CallError::TooMany));
    }
}
