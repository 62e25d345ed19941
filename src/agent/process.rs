//! An agent as a child process of the server.
//!
//! One task, the supervisor, owns the child from the spawn until nothing of its tree is left. Three small tasks feed
//! it: one reads stdout (the protocol), one drains stderr (the log), one writes stdin, so that an agent that reads or
//! writes nothing blocks nobody. A request goes from the caller straight to the writer; its answer comes from the
//! reader straight to the caller.
//!
//! The child is spawned by `posix_spawn` in a process group of its own: the server never forks. It has no
//! parent-death signal, which would fire when the spawning thread ends: its stdin closes when the server dies, and
//! what does not end by that is ended at the server's next start.

use std::collections::VecDeque;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rustix::process::{Pid, Signal};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{mpsc, oneshot};

use crate::clock::Timestamp;
use crate::config::Protocol;
use crate::failpoint::Failpoint;
use crate::id::Printable;
use crate::session::{Ending, Outcome, Reason, SessionData};

use super::calls::{CallError, Calls};
use super::leftovers::{DESK_VARIABLE, EPOCH_VARIABLE, SESSION_VARIABLE};
use super::lines::{LineError, Lines};
use super::rpc::{self, Message, Notification};
use super::{AgentEnd, AgentEvent, AgentSpec, Json, Launcher};

/// Lines that may wait for an agent that reads slowly.
const STDIN_QUEUE: usize = 16;
/// Data above this many bytes is handed over as the name of a file.
const LARGEST_INLINE_DATA_BYTES: usize = 1 << 20;
/// Lines of its log that are kept to explain an agent's end.
const KEPT_LOG_LINES: usize = 5;
const LONGEST_LOG_LINE_BYTES: usize = 64 << 10;

/// The handle on one agent. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Agent {
    shared: Arc<Shared>,
    stop: mpsc::UnboundedSender<Timestamp>,
}

#[derive(Debug)]
struct Shared {
    calls: Mutex<Calls<oneshot::Sender<Result<Json, CallError>>>>,
    stdin: Mutex<Option<mpsc::Sender<Bytes>>>,
    log: Mutex<VecDeque<String>>,
    progress: Mutex<Option<String>>,
    pid: Mutex<Option<u32>>,
    last_activity: AtomicI64,
    speaks: bool,
}

/// Starts an agent and its supervisor.
pub(super) fn start(launcher: Launcher, spec: AgentSpec, events: mpsc::Sender<AgentEvent>) -> Agent {
    let shared = Arc::new(Shared {
        calls: Mutex::new(Calls::new(launcher.limits.requests)),
        stdin: Mutex::default(),
        log: Mutex::default(),
        progress: Mutex::default(),
        pid: Mutex::default(),
        last_activity: AtomicI64::new(i64::MIN),
        speaks: spec.persona.protocol == Protocol::JsonRpc,
    });
    // Unbounded, and short all the same: a driver sends a stop and perhaps a harder one.
    let (stop, stops) = mpsc::unbounded_channel();
    let supervisor =
        Supervisor { launcher: launcher.clone(), spec, shared: Arc::clone(&shared), stops, events, log_end: None };
    launcher.tasks.spawn(supervisor.run());
    Agent { shared, stop }
}

impl Agent {
    /// Hands a request to the agent and waits for its answer. `request` is JSON text, and so is the answer. A caller
    /// that goes away cancels the request.
    ///
    /// # Errors
    /// A [`CallError`] if the agent refused, was lost, took longer than `timeout`, or has too much to do.
    pub async fn request(&self, request: &[u8], now: Timestamp, timeout: Duration) -> Result<Json, CallError> {
        if !self.shared.speaks {
            return Err(CallError::NotSpoken);
        }
        self.shared.last_activity.fetch_max(now.micros(), Ordering::Relaxed);
        let mut params = Vec::with_capacity(request.len() + 16);
        params.extend_from_slice(b"{\"REQUEST\":");
        params.extend_from_slice(request);
        params.push(b'}');
        match tokio::time::timeout(timeout, self.shared.call("request", &params)).await {
            Ok(answer) => answer,
            Err(_) => Err(CallError::TimedOut),
        }
    }

    /// Orders the agent to end: politely, and by force at `kill_at`. A later order can only make it sooner.
    pub fn stop(&self, kill_at: Timestamp) {
        // Without a supervisor the agent has ended already.
        let _ = self.stop.send(kill_at);
    }

    /// When the last request was handed over.
    pub fn last_activity(&self) -> Timestamp {
        Timestamp::from_micros(self.shared.last_activity.load(Ordering::Relaxed))
    }

    /// What the agent last said of its progress.
    pub fn progress(&self) -> Option<String> {
        lock(&self.shared.progress).clone()
    }

    /// The process, while there is one.
    pub fn pid(&self) -> Option<u32> {
        *lock(&self.shared.pid)
    }
}

impl Shared {
    async fn call(self: &Arc<Self>, method: &str, params: &[u8]) -> Result<Json, CallError> {
        let (reply, answer) = oneshot::channel();
        let id = lock(&self.calls).begin(reply)?;
        let mut pending = PendingCall { shared: self, id, sent: false };
        let stdin = lock(&self.stdin).clone();
        let line = rpc::request(id, method, params);
        if let Some(stdin) = stdin {
            pending.sent = stdin.send(line).await.is_ok();
        }
        // If the line could not be sent, the agent is ending and its table is about to be closed.
        let result = answer.await.unwrap_or(Err(CallError::TimedOut));
        pending.sent = false;
        result
    }

    fn close(&self, reason: &Reason) {
        drop(lock(&self.stdin).take());
        let error = CallError::Lost(reason.clone());
        for reply in lock(&self.calls).close(error.clone()) {
            let _ = reply.send(Err(error.clone()));
        }
    }

    fn answer(&self, id: u64, result: Result<Json, String>) {
        let (reply, has_begun) = {
            let mut calls = lock(&self.calls);
            (calls.finish(id), calls.has_begun(id))
        };
        match reply {
            Some(reply) => {
                let _ = reply.send(result.map_err(|message| CallError::Refused { message }));
            }
            // The call was given up: nobody waits for this.
            None if has_begun => {}
            None => self.note(format!("frontdesk: it answered request {id}, which it was never asked")),
        }
    }

    fn note(&self, line: String) {
        let mut log = lock(&self.log);
        if log.len() == KEPT_LOG_LINES {
            log.pop_front();
        }
        log.push_back(line);
    }

    /// The end of its log, for a sentence that explains a failure.
    fn log_tail(&self) -> String {
        let log = lock(&self.log);
        if log.is_empty() {
            return "its log is empty".to_owned();
        }
        let lines: Vec<_> = log.iter().map(|line| Printable(line).to_string()).collect();
        format!("last lines of its log: {}", lines.join(" | "))
    }
}

/// Takes a call out of the table when its caller goes away, and tells the agent.
struct PendingCall<'a> {
    shared: &'a Arc<Shared>,
    id: u64,
    sent: bool,
}

impl Drop for PendingCall<'_> {
    fn drop(&mut self) {
        let waited = lock(&self.shared.calls).finish(self.id).is_some();
        if waited && self.sent {
            let stdin = lock(&self.shared.stdin).clone();
            let line = rpc::notify("cancel", format!("{{\"ID\":{}}}", self.id).as_bytes());
            // An agent that does not read does not notice a cancel either.
            let _ = stdin.map(|stdin| stdin.try_send(line));
        }
    }
}

struct Supervisor {
    launcher: Launcher,
    spec: AgentSpec,
    shared: Arc<Shared>,
    stops: mpsc::UnboundedReceiver<Timestamp>,
    events: mpsc::Sender<AgentEvent>,
    log_end: Option<oneshot::Receiver<()>>,
}

/// Why the supervisor is ending the agent, decided once.
enum Cause {
    Stop { kill_at: Timestamp },
    Finished(Ending),
    Lost(Reason),
}

impl Supervisor {
    async fn run(mut self) {
        let end = self.live().await;
        self.launcher.sweeper.sweep(self.spec.session).await;
        Failpoint::AfterAgentEnd.hit();
        // A driver that is gone has nobody to tell.
        let _ = self.events.send(AgentEvent::Ended(end)).await;
    }

    async fn live(&mut self) -> AgentEnd {
        let stopped = Reason::new("it was stopped");
        if let Some(end) = self.wait_for_start().await {
            self.shared.close(&stopped);
            return end;
        }
        let data = match self.load_data().await {
            Ok(data) => data,
            Err(reason) => {
                self.shared.close(&reason);
                return AgentEnd::Lost(reason);
            }
        };
        Failpoint::BeforeSpawn.hit();
        let mut child = match self.command().spawn() {
            Ok(child) => child,
            Err(error) => {
                let command = self.spec.persona.command.first().map_or("", String::as_str);
                let reason = Reason::new(format!("its command {command:?} could not be started: {error}"));
                self.shared.close(&reason);
                return AgentEnd::Lost(reason);
            }
        };
        Failpoint::AfterSpawn.hit();
        *lock(&self.shared.pid) = child.id();
        let group = child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        let (told, mut tellings) = mpsc::channel(8);
        self.attach(&mut child, told);
        let cause = self.serve(&mut child, &mut tellings, data).await;
        let end = self.end(&mut child, group, cause).await;
        *lock(&self.shared.pid) = None;
        end
    }

    /// Waits until the start may begin; `Some` if a stop comes first.
    async fn wait_for_start(&mut self) -> Option<AgentEnd> {
        let clock = Arc::clone(&self.launcher.clock);
        tokio::select! {
            biased;
            _ = self.stops.recv() => Some(AgentEnd::Stopped),
            () = clock.sleep_until(self.spec.not_before) => None,
        }
    }

    /// The session's data as a field of `initialize`.
    async fn load_data(&self) -> Result<Vec<u8>, Reason> {
        let data = self.launcher.store.data(self.spec.session).await;
        let data = data.map_err(|error| Reason::new(format!("its session data could not be read: {error}")))?;
        let (path, text) = match data {
            Some(SessionData::Inline(text)) => return Ok(data_field("SESSION_DATA", &text)),
            None => return Ok(data_field("SESSION_DATA", b"{}")),
            Some(SessionData::File(path)) => {
                let size = tokio::fs::metadata(&path).await.map(|metadata| metadata.len());
                let small = size.is_ok_and(|size| size <= LARGEST_INLINE_DATA_BYTES as u64);
                let text = if small { tokio::fs::read(&path).await.ok() } else { None };
                (path, text)
            }
        };
        match text {
            Some(text) => Ok(data_field("SESSION_DATA", &text)),
            None => Ok(data_field("SESSION_DATA_FILE", json_text(&path.to_string_lossy()).as_bytes())),
        }
    }

    fn command(&self) -> Command {
        let persona = &self.spec.persona;
        let mut command = if persona.runs_this_binary() {
            // A binary replaced on disk must still start agents of the version that runs.
            let mut command = Command::new("/proc/self/exe");
            command.arg0("frontdesk");
            command
        } else {
            Command::new(persona.command.first().map_or("", String::as_str))
        };
        command.args(persona.command.iter().skip(1)).env_clear();
        for name in &persona.inherit_environment {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command
            .envs(&persona.environment)
            .env(DESK_VARIABLE, &self.launcher.store.desk().id)
            .env(SESSION_VARIABLE, self.spec.session.to_string())
            .env(EPOCH_VARIABLE, self.spec.epoch.to_string())
            .process_group(0)
            .stdin(if self.shared.speaks { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(directory) = &persona.working_directory {
            command.current_dir(directory);
        }
        command
    }

    /// Connects the child's streams.
    fn attach(&mut self, child: &mut Child, told: mpsc::Sender<Told>) {
        let tasks = &self.launcher.tasks;
        if let Some(stdin) = child.stdin.take() {
            let (sender, queue) = mpsc::channel(STDIN_QUEUE);
            *lock(&self.shared.stdin) = Some(sender);
            tasks.spawn(write_lines(stdin, queue));
        }
        if let Some(stdout) = child.stdout.take() {
            if self.shared.speaks {
                let lines = Lines::new(stdout, self.launcher.limits.line_bytes);
                tasks.spawn(read_messages(lines, Arc::clone(&self.shared), told));
            } else {
                tasks.spawn(drain_log(stdout, Arc::clone(&self.shared), self.spec.session, None));
            }
        }
        let (drained, log_end) = oneshot::channel();
        if let Some(stderr) = child.stderr.take() {
            tasks.spawn(drain_log(stderr, Arc::clone(&self.shared), self.spec.session, Some(drained)));
        }
        self.log_end = Some(log_end);
    }

    /// Brings the agent to ready and keeps it until something ends it.
    async fn serve(&mut self, child: &mut Child, tellings: &mut mpsc::Receiver<Told>, data: Vec<u8>) -> Cause {
        let clock = Arc::clone(&self.launcher.clock);
        let shared = Arc::clone(&self.shared);
        if shared.speaks {
            let params = initialize_params(&self.spec, &data);
            let answered = tokio::select! {
                biased;
                kill_at = self.stops.recv() => return stop_cause(kill_at, clock.now()),
                answer = shared.call("initialize", &params) => answer,
                told = next_telling(tellings) => return self.told(told, child).await,
                status = child.wait() => return Cause::Lost(self.exit_reason(status, "before it was ready").await),
                () = clock.sleep_until(self.spec.deadline) => {
                    let timeout = humantime::format_duration(self.spec.persona.start_timeout);
                    return Cause::Lost(Reason::new(format!(
                        "no answer to initialize in {timeout}; {}", shared.log_tail()
                    )));
                }
            };
            if let Err(error) = answered {
                return Cause::Lost(Reason::new(format!("it refused to start: {error}")));
            }
        }
        if self.events.send(AgentEvent::Ready).await.is_err() {
            return Cause::Stop { kill_at: clock.now() };
        }
        tokio::select! {
            biased;
            kill_at = self.stops.recv() => stop_cause(kill_at, clock.now()),
            told = next_telling(tellings) => self.told(told, child).await,
            status = child.wait() => self.exited(status).await,
        }
    }

    async fn told(&mut self, told: Told, child: &mut Child) -> Cause {
        const EXIT_AFTER_CLOSING: Duration = Duration::from_secs(1);
        match told {
            Told::Finished(ending) => Cause::Finished(ending),
            Told::BrokeProtocol(reason) => Cause::Lost(reason),
            Told::Closed => match tokio::time::timeout(EXIT_AFTER_CLOSING, child.wait()).await {
                Ok(status) => self.exited(status).await,
                Err(_) => {
                    let tail = self.shared.log_tail();
                    Cause::Lost(Reason::new(format!("it closed its stdout and went on running; {tail}")))
                }
            },
        }
    }

    /// The end of an agent that nobody asked to end.
    async fn exited(&mut self, status: std::io::Result<ExitStatus>) -> Cause {
        if self.shared.speaks {
            return Cause::Lost(self.exit_reason(status, "without saying that it had finished").await);
        }
        let outcome = match &status {
            Ok(status) if status.success() => Outcome::Completed,
            Ok(_) | Err(_) => Outcome::Failed,
        };
        let reason = match outcome {
            Outcome::Completed => Reason::new("the command exited with status 0"),
            Outcome::Failed | Outcome::Stopped | Outcome::Expired => self.exit_reason(status, "").await,
        };
        Cause::Finished(Ending::new(outcome, reason))
    }

    async fn exit_reason(&mut self, status: std::io::Result<ExitStatus>, when: &str) -> Reason {
        // What the process wrote last may still be in the pipe; a grandchild that holds the pipe must not hold us.
        const LOG_END: Duration = Duration::from_millis(200);
        if let Some(log_end) = self.log_end.take() {
            let _ = tokio::time::timeout(LOG_END, log_end).await;
        }
        let how = match status {
            Ok(status) => status_words(status),
            Err(error) => format!("could not be waited for ({error})"),
        };
        let space = if when.is_empty() { "" } else { " " };
        Reason::new(format!("it {how}{space}{when}; {}", self.shared.log_tail()))
    }

    /// Ends the child and its group: `shutdown` and the end of stdin, SIGTERM, SIGKILL.
    async fn end(&mut self, child: &mut Child, group: Option<Pid>, cause: Cause) -> AgentEnd {
        let clock = Arc::clone(&self.launcher.clock);
        let now = clock.now();
        let grace = self.spec.persona.stop_grace;
        let mut kill_at = match &cause {
            Cause::Stop { kill_at } => *kill_at,
            Cause::Finished(_) => now + grace,
            Cause::Lost(_) => now,
        };
        // Requests that came before the order are answered as lost: their caller can't know how far they got.
        if let Some(stdin) = lock(&self.shared.stdin).take() {
            let _ = stdin.try_send(rpc::notify("shutdown", b"{}"));
        }
        let polite = kill_at.saturating_since(now) / 4;
        // A plain command knows no `shutdown`: the signal is all it gets.
        let mut term_at = if self.shared.speaks { Some(now + polite) } else { Some(now) };
        while clock.now() < kill_at {
            let next = term_at.map_or(kill_at, |term_at| term_at.min(kill_at));
            tokio::select! {
                biased;
                _ = child.wait() => break,
                Some(sooner) = self.stops.recv() => kill_at = kill_at.min(sooner),
                () = clock.sleep_until(next) => {
                    if term_at.take().is_some() {
                        signal_group(group, Signal::TERM);
                    }
                }
            }
        }
        signal_group(group, Signal::KILL);
        let status = child.wait().await;
        let end = match cause {
            Cause::Stop { .. } => AgentEnd::Stopped,
            Cause::Finished(ending) => AgentEnd::Finished(ending),
            Cause::Lost(reason) => AgentEnd::Lost(reason),
        };
        let reason = match &end {
            AgentEnd::Stopped => Reason::new("it was stopped"),
            AgentEnd::Finished(ending) => ending.reason.clone(),
            AgentEnd::Lost(reason) => reason.clone(),
        };
        self.shared.close(&reason);
        let status = status.map_or_else(|error| error.to_string(), status_words);
        tracing::debug!(session.id = %self.spec.session, agent.status = %status, "agent process ended");
        end
    }
}

/// What the reader tells the supervisor.
enum Told {
    Finished(Ending),
    BrokeProtocol(Reason),
    Closed,
}

/// A reader that has told of its end has nothing more to tell.
async fn next_telling(tellings: &mut mpsc::Receiver<Told>) -> Told {
    match tellings.recv().await {
        Some(told) => told,
        None => std::future::pending().await,
    }
}

fn stop_cause(kill_at: Option<Timestamp>, now: Timestamp) -> Cause {
    // Without a handle left nobody can ask this agent for anything.
    Cause::Stop { kill_at: kill_at.unwrap_or(now) }
}

async fn read_messages(mut lines: Lines<ChildStdout>, shared: Arc<Shared>, told: mpsc::Sender<Told>) {
    loop {
        let line = match lines.next().await {
            Ok(Some(line)) if line.is_empty() => continue,
            Ok(Some(line)) => line,
            Ok(None) | Err(LineError::Io(_)) => {
                let _ = told.send(Told::Closed).await;
                return;
            }
            Err(error @ LineError::TooLong { .. }) => {
                let reason = Reason::new(format!("it broke the protocol: {error}"));
                let _ = told.send(Told::BrokeProtocol(reason)).await;
                return;
            }
        };
        match rpc::read(&line) {
            Ok(Message::Answer { id, result }) => shared.answer(id, result),
            Ok(Message::Notification(Notification::Progress(text))) => *lock(&shared.progress) = Some(text),
            Ok(Message::Notification(Notification::Log(text))) => shared.note(text),
            Ok(Message::Notification(Notification::Finished { outcome, reason })) => {
                let reason = if reason.is_empty() { "the agent finished".to_owned() } else { reason };
                let _ = told.send(Told::Finished(Ending::new(outcome, Reason::new(reason)))).await;
            }
            Ok(Message::Notification(Notification::Other)) => {}
            Err(error) => {
                let _ = told.send(Told::BrokeProtocol(Reason::new(error.to_string()))).await;
                return;
            }
        }
    }
}

async fn write_lines(mut stdin: ChildStdin, mut queue: mpsc::Receiver<Bytes>) {
    while let Some(line) = queue.recv().await {
        if stdin.write_all(&line).await.is_err() {
            // The agent has closed its end; its exit tells why.
            return;
        }
    }
}

/// Reads a log to its end, so that an agent never blocks on it; keeps its last lines.
async fn drain_log(
    stream: impl tokio::io::AsyncRead + Unpin,
    shared: Arc<Shared>,
    session: crate::id::SessionId,
    _drained: Option<oneshot::Sender<()>>,
) {
    let mut lines = Lines::new(stream, LONGEST_LOG_LINE_BYTES);
    loop {
        match lines.next().await {
            Ok(Some(line)) => {
                let text = String::from_utf8_lossy(&line).into_owned();
                tracing::debug!(session.id = %session, line = %Printable(&text), "agent log");
                shared.note(text);
            }
            Ok(None) | Err(LineError::Io(_)) => return,
            Err(LineError::TooLong { .. }) => lines.skip_line(),
        }
    }
}

fn signal_group(group: Option<Pid>, signal: Signal) {
    // The group is gone once its last process is: that is what the signal is for.
    let _ = group.map(|group| rustix::process::kill_process_group(group, signal));
}

fn status_words(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with status {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

fn initialize_params(spec: &AgentSpec, data: &[u8]) -> Vec<u8> {
    let meta = serde_json::json!({
        "EMAIL": &*spec.email,
        "PERSONA_TYPE": &*spec.persona_name,
        "SESSION_ID": spec.session.to_string(),
        "EPOCH": spec.epoch.0,
    });
    let mut params = format!("{{\"META_DATA\":{meta},").into_bytes();
    params.extend_from_slice(data);
    params.push(b'}');
    params
}

fn data_field(name: &str, value: &[u8]) -> Vec<u8> {
    let mut field = format!("\"{name}\":").into_bytes();
    field.extend_from_slice(value);
    field
}

fn json_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing under these locks panics half-way through a change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
