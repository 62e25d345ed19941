//! What is said between the desk and one agent: the calls in flight, the lines on their way, the log's last lines.
//!
//! A request goes from the caller straight to the task that writes stdin; its answer comes from the task that reads
//! stdout straight to the caller. Every queue is bounded, and a caller that gives up takes its line out of the queue,
//! so that an agent that reads nothing holds no more than the line that is being written.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWriteExt};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::{mpsc, oneshot};

use crate::clock::{Clock, Timestamp};
use crate::id::{Printable, SessionId};
use crate::session::{Ending, Reason};
use crate::shutdown::Tasks;

use super::Json;
use super::calls::{CallError, Calls};
use super::lines::{LineError, Lines};
use super::rpc::{self, BadLine, Message, Notification};

/// Lines of its log that are kept to explain an agent's end.
const KEPT_LOG_LINES: usize = 5;
/// Bytes of each of them, and of what an agent says of its progress.
const KEPT_BYTES: usize = 300;
const LONGEST_LOG_LINE_BYTES: usize = 64 << 10;

/// The conversation with one agent.
#[derive(Debug)]
pub(super) struct Conversation {
    calls: Mutex<Calls<oneshot::Sender<Result<Json, CallError>>>>,
    stdin: Mutex<Option<mpsc::Sender<Line>>>,
    log: Mutex<VecDeque<String>>,
    progress: Mutex<Option<String>>,
    last_activity: AtomicI64,
    most_calls: usize,
    clock: Arc<dyn Clock>,
}

/// What the reader tells the supervisor.
#[derive(Debug)]
pub(super) enum Told {
    Finished(Ending),
    BrokeProtocol(Reason),
    Closed,
}

/// A line on its way to the agent, until it is written or taken back.
#[derive(Clone, Debug)]
struct Line(Arc<Mutex<Option<Bytes>>>);

impl Line {
    fn new(text: Bytes) -> Self {
        Self(Arc::new(Mutex::new(Some(text))))
    }

    fn take(&self) -> Option<Bytes> {
        lock(&self.0).take()
    }
}

impl Conversation {
    /// A conversation with at most `most_calls` calls in flight.
    pub(super) fn new(most_calls: usize, clock: Arc<dyn Clock>) -> Self {
        Self {
            calls: Mutex::new(Calls::new(most_calls)),
            stdin: Mutex::default(),
            log: Mutex::default(),
            progress: Mutex::default(),
            last_activity: AtomicI64::new(i64::MIN),
            most_calls,
            clock,
        }
    }

    /// Hands over a request and waits for its answer.
    pub(super) async fn request(&self, request: &[u8], timeout: Duration) -> Result<Json, CallError> {
        self.touch();
        let params: [&[u8]; 3] = [b"{\"REQUEST\":", request, b"}"];
        let answer = tokio::time::timeout(timeout, self.call("request", &params)).await;
        self.touch();
        answer.unwrap_or(Err(CallError::TimedOut))
    }

    /// Makes a call and waits for its answer, however long that takes. `params` is JSON text in parts. A caller that
    /// goes away cancels the call.
    pub(super) async fn call(&self, method: &'static str, params: &[&[u8]]) -> Result<Json, CallError> {
        let (reply, answer) = oneshot::channel();
        let id = lock(&self.calls).begin(reply)?;
        let mut pending = PendingCall { conversation: self, id, line: None, method };
        let line = Line::new(rpc::request(id, method, params).await);
        pending.line = Some(line.clone());
        let stdin = lock(&self.stdin).clone();
        if let Some(stdin) = stdin {
            // If the line can't be sent, the agent is ending and its table is about to be closed.
            let _ = stdin.send(line).await;
        }
        answer.await.unwrap_or(Err(CallError::TimedOut))
    }

    /// When the last request was handed over or answered: now, while one is in flight.
    pub(super) fn last_activity(&self) -> Timestamp {
        if lock(&self.calls).is_empty() {
            Timestamp::from_micros(self.last_activity.load(Ordering::Relaxed))
        } else {
            self.clock.now()
        }
    }

    /// What the agent last said of its progress.
    pub(super) fn progress(&self) -> Option<String> {
        lock(&self.progress).clone()
    }

    /// Refuses calls from now on. Those in flight may still be answered.
    pub(super) fn refuse(&self, reason: &Reason) {
        lock(&self.calls).refuse(CallError::Lost(reason.clone()));
    }

    /// Says `shutdown` and closes stdin behind it.
    pub(super) fn say_goodbye(&self) {
        let stdin = lock(&self.stdin).take();
        // If as many lines wait as may, the end of stdin has to say it.
        let _ = stdin.map(|stdin| stdin.try_send(Line::new(rpc::notify("shutdown", b"{}"))));
    }

    /// Fails every call in flight, and those to come.
    pub(super) fn close(&self, reason: &Reason) {
        drop(lock(&self.stdin).take());
        let error = CallError::Lost(reason.clone());
        let waiting = lock(&self.calls).close(error.clone());
        for reply in waiting {
            let _ = reply.send(Err(error.clone()));
        }
    }

    /// The end of its log, for a sentence that explains a failure.
    pub(super) fn log_tail(&self) -> String {
        let log = lock(&self.log);
        if log.is_empty() {
            return "its log is empty".to_owned();
        }
        let lines: Vec<_> = log.iter().map(|line| Printable(line).to_string()).collect();
        format!("last lines of its log: {}", lines.join(" | "))
    }

    /// Writes what is queued to the agent's stdin.
    pub(super) fn write_to(&self, stdin: ChildStdin, tasks: &Tasks) {
        // Each call may leave an empty line, when it is taken back, or a cancel.
        let (sender, queue) = mpsc::channel(self.most_calls.saturating_mul(2).saturating_add(4));
        *lock(&self.stdin) = Some(sender);
        tasks.spawn(write_lines(stdin, queue));
    }

    fn touch(&self) {
        self.last_activity.fetch_max(self.clock.now().micros(), Ordering::Relaxed);
    }

    /// Hands an answer to who waits for it; an error if nobody ever asked.
    fn answer(&self, id: u64, result: Result<Json, String>) -> Result<(), Reason> {
        let (reply, has_begun) = {
            let mut calls = lock(&self.calls);
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

    fn note(&self, line: String) {
        let mut log = lock(&self.log);
        if log.len() == KEPT_LOG_LINES {
            log.pop_front();
        }
        log.push_back(kept(line));
    }
}

/// Takes a call out of the table when its caller goes away, and its line out of the queue, or tells the agent.
struct PendingCall<'a> {
    conversation: &'a Conversation,
    id: u64,
    /// Nothing while it is being built.
    line: Option<Line>,
    method: &'static str,
}

impl Drop for PendingCall<'_> {
    fn drop(&mut self) {
        let has_waited = lock(&self.conversation.calls).finish(self.id).is_some();
        let was_written = self.line.as_ref().is_some_and(|line| line.take().is_none());
        if has_waited && was_written && self.method == "request" {
            let stdin = lock(&self.conversation.stdin).clone();
            let line = rpc::notify("cancel", format!("{{\"ID\":{}}}", self.id).as_bytes());
            // An agent that does not read does not notice a cancel either.
            let _ = stdin.map(|stdin| stdin.try_send(Line::new(line)));
        }
    }
}

/// Reads what the agent says until it breaks the protocol or closes its stdout.
pub(super) async fn read_messages(
    stdout: ChildStdout,
    most_bytes: usize,
    conversation: Arc<Conversation>,
    told: mpsc::Sender<Told>,
) {
    let mut lines = Lines::new(stdout, most_bytes);
    let last = loop {
        let line = match lines.next().await {
            Ok(Some(line)) if line.is_empty() => continue,
            Ok(Some(line)) => line,
            Ok(None) | Err(LineError::Io(_)) => break Told::Closed,
            Err(error @ LineError::TooLong { .. }) => {
                break Told::BrokeProtocol(Reason::new(format!("it broke the protocol: {error}")));
            }
        };
        match read_message(line).await {
            Ok(Message::Answer { id, result }) => {
                if let Err(reason) = conversation.answer(id, result) {
                    break Told::BrokeProtocol(reason);
                }
            }
            Ok(Message::Notification(Notification::Progress(text))) => {
                *lock(&conversation.progress) = Some(kept(text));
            }
            Ok(Message::Notification(Notification::Log(text))) => conversation.note(text),
            Ok(Message::Notification(Notification::Finished { outcome, reason })) => {
                let reason = if reason.is_empty() { "the agent finished".to_owned() } else { reason };
                let _ = told.send(Told::Finished(Ending::new(outcome, Reason::new(reason)))).await;
            }
            Ok(Message::Notification(Notification::Other)) => {}
            Err(error) => break Told::BrokeProtocol(Reason::new(error.to_string())),
        }
    };
    let _ = told.send(last).await;
}

/// Reads a line where its size says: here if it is small, off the async threads if not.
async fn read_message(line: Bytes) -> Result<Message, BadLine> {
    const LARGEST_READ_INLINE_BYTES: usize = 128 << 10;
    if line.len() <= LARGEST_READ_INLINE_BYTES {
        return rpc::read(&line);
    }
    let read = tokio::task::spawn_blocking(move || rpc::read(&line)).await;
    read.unwrap_or_else(|error| {
        tracing::error!(error = %error, "reading an agent's line panicked");
        Err(BadLine::NotJsonRpc { why: "it could not be read", start: String::new() })
    })
}

async fn write_lines(mut stdin: ChildStdin, mut queue: mpsc::Receiver<Line>) {
    while let Some(line) = queue.recv().await {
        let Some(text) = line.take() else { continue };
        if stdin.write_all(&text).await.is_err() {
            // The agent has closed its end; its exit tells why.
            return;
        }
    }
}

/// Reads a log to its end, so that an agent never blocks on it; keeps its last lines.
pub(super) async fn drain_log(
    stream: impl AsyncRead + Unpin,
    conversation: Arc<Conversation>,
    session: SessionId,
    _drained: mpsc::Sender<()>,
) {
    let mut lines = Lines::new(stream, LONGEST_LOG_LINE_BYTES);
    loop {
        match lines.next().await {
            Ok(Some(line)) => {
                let text = String::from_utf8_lossy(&line).into_owned();
                tracing::debug!(session.id = %session, line = %Printable(&text), "agent log");
                conversation.note(text);
            }
            Ok(None) | Err(LineError::Io(_)) => return,
            Err(LineError::TooLong { .. }) => lines.skip_line(),
        }
    }
}

/// The beginning of a text, on memory of its own.
fn kept(text: String) -> String {
    if text.len() <= KEPT_BYTES { text } else { text[..text.floor_char_boundary(KEPT_BYTES)].to_owned() }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing under these locks panics half-way through a change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
