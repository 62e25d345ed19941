//! An agent as a child process of the server.
//!
//! One task, the supervisor, owns the child from the spawn until nothing of its tree is left. Three small tasks feed
//! it: one reads stdout (the protocol), one drains stderr (the log), one writes stdin, so that an agent that reads or
//! writes nothing blocks nobody.

use std::process::ExitStatus;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::Signal;
use tokio::sync::mpsc;

use crate::clock::Timestamp;
use crate::config::Protocol;
use crate::failpoint::Failpoint;
use crate::session::{Ending, Outcome, Reason, SessionData};

use super::calls::CallError;
use super::child::AgentProcess;
use super::conversation::{Conversation, Told, drain_log, read_messages};
use super::{AgentEnd, AgentEvent, AgentSpec, Json, Launcher};

/// Data above this many bytes is handed over as the name of a file.
const LARGEST_INLINE_DATA_BYTES: usize = 1 << 20;
/// What a process wrote last may still be in its pipes when it has ended.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The handle on one agent. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Agent {
    conversation: Arc<Conversation>,
    pid: Arc<Mutex<Option<u32>>>,
    speaks: bool,
    stop: mpsc::UnboundedSender<Timestamp>,
}

/// Starts an agent and its supervisor.
pub(super) fn start(launcher: Launcher, spec: AgentSpec, events: mpsc::Sender<AgentEvent>) -> Agent {
    let conversation = Arc::new(Conversation::new(launcher.limits.requests, Arc::clone(&launcher.clock)));
    // Unbounded, and short all the same: a driver sends a stop and perhaps a harder one.
    let (stop, stops) = mpsc::unbounded_channel();
    let speaks = spec.persona.protocol == Protocol::JsonRpc;
    let agent = Agent { conversation: Arc::clone(&conversation), pid: Arc::default(), speaks, stop };
    let pid = Arc::clone(&agent.pid);
    let (told, tellings) = mpsc::channel(8);
    let streams = Streams { told: Some(told), tellings, log_end: None };
    let tasks = launcher.tasks.clone();
    tasks.spawn(Supervisor { launcher, spec, conversation, pid, speaks, stops, events, streams }.run());
    agent
}

impl Agent {
    /// Hands a request to the agent and waits for its answer. `request` is JSON text, and so is the answer. A caller
    /// that goes away cancels the request.
    ///
    /// # Errors
    /// A [`CallError`] if the agent refused, was lost, took longer than `timeout`, or has too much to do.
    pub async fn request(&self, request: &[u8], timeout: Duration) -> Result<Json, CallError> {
        if !self.speaks {
            return Err(CallError::NotSpoken);
        }
        self.conversation.request(request, timeout).await
    }

    /// Orders the agent to end: politely, and by force at `kill_at`. A later order can only make it sooner.
    pub fn stop(&self, kill_at: Timestamp) {
        // Without a supervisor the agent has ended already.
        let _ = self.stop.send(kill_at);
    }

    /// When the last request was handed over or answered: now, while one is in flight.
    pub fn last_activity(&self) -> Timestamp {
        self.conversation.last_activity()
    }

    /// What the agent last said of its progress.
    pub fn progress(&self) -> Option<String> {
        self.conversation.progress()
    }

    /// The process, while there is one.
    pub fn pid(&self) -> Option<u32> {
        *self.pid.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Supervisor {
    launcher: Launcher,
    spec: AgentSpec,
    conversation: Arc<Conversation>,
    pid: Arc<Mutex<Option<u32>>>,
    speaks: bool,
    stops: mpsc::UnboundedReceiver<Timestamp>,
    events: mpsc::Sender<AgentEvent>,
    streams: Streams,
}

/// What comes from the tasks that read the child's streams.
struct Streams {
    told: Option<mpsc::Sender<Told>>,
    tellings: mpsc::Receiver<Told>,
    /// Ends when the log does.
    log_end: Option<mpsc::Receiver<()>>,
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
        self.conversation.close(&reason_of(&end));
        self.launcher.sweeper.sweep(self.spec.session).await;
        Failpoint::AfterAgentEnd.hit();
        // A driver that is gone has nobody to tell.
        let _ = self.events.send(AgentEvent::Ended(end)).await;
    }

    async fn live(&mut self) -> AgentEnd {
        if let Some(end) = self.wait_for_start().await {
            return end;
        }
        let data = match self.load_data().await {
            Ok(data) => data,
            Err(end) => return end,
        };
        Failpoint::BeforeSpawn.hit();
        let mut process = match AgentProcess::spawn(&self.spec, &self.launcher.store.desk().id) {
            Ok(process) => process,
            Err(reason) => return AgentEnd::Lost(reason),
        };
        Failpoint::AfterSpawn.hit();
        self.note_pid(process.pid());
        self.attach(&mut process);
        let cause = self.serve(&mut process, data).await;
        let end = self.end(&mut process, cause).await;
        self.note_pid(None);
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

    /// The session's data as a field of `initialize`. A store that hangs uses up the time for the start.
    async fn load_data(&mut self) -> Result<Vec<u8>, AgentEnd> {
        let Launcher { store, clock, .. } = self.launcher.clone();
        let session = self.spec.session;
        tokio::select! {
            biased;
            _ = self.stops.recv() => Err(AgentEnd::Stopped),
            data = data_field(&*store, session) => data.map_err(AgentEnd::Lost),
            () = clock.sleep_until(self.spec.deadline) => {
                Err(AgentEnd::Lost(Reason::new("its session data could not be read in time")))
            }
        }
    }

    /// Connects the child's streams.
    fn attach(&mut self, process: &mut AgentProcess) {
        let tasks = &self.launcher.tasks;
        let (drained, log_end) = mpsc::channel(1);
        let log = |drained| (Arc::clone(&self.conversation), self.spec.session, drained);
        let (stdin, stdout, stderr) = process.streams();
        if let Some(stdin) = stdin {
            self.conversation.write_to(stdin, tasks);
        }
        match (stdout, self.streams.told.take()) {
            (Some(stdout), Some(told)) if self.speaks => {
                let most_bytes = self.launcher.limits.line_bytes;
                tasks.spawn(read_messages(stdout, most_bytes, Arc::clone(&self.conversation), told));
            }
            (Some(stdout), _) => {
                let (conversation, session, drained) = log(drained.clone());
                tasks.spawn(drain_log(stdout, conversation, session, drained));
            }
            (None, _) => {}
        }
        if let Some(stderr) = stderr {
            let (conversation, session, drained) = log(drained);
            tasks.spawn(drain_log(stderr, conversation, session, drained));
        }
        self.streams.log_end = Some(log_end);
    }

    /// Brings the agent to ready and keeps it until something ends it.
    async fn serve(&mut self, process: &mut AgentProcess, data: Vec<u8>) -> Cause {
        const BEFORE_READY: &str = " before it was ready";
        let clock = Arc::clone(&self.launcher.clock);
        let conversation = Arc::clone(&self.conversation);
        if self.speaks {
            let params = initialize_params(&self.spec, &data);
            let params = [params.as_slice()];
            let answered = tokio::select! {
                biased;
                kill_at = self.stops.recv() => return stop_cause(kill_at, clock.now()),
                answer = conversation.call("initialize", &params) => answer,
                told = self.streams.next_telling() => return self.told(told, process, BEFORE_READY).await,
                () = process.ended() => return self.exited(process, BEFORE_READY).await,
                () = clock.sleep_until(self.spec.deadline) => {
                    let timeout = humantime::format_duration(self.spec.persona.start_timeout);
                    return Cause::Lost(Reason::new(format!(
                        "no answer to initialize in {timeout}; {}", conversation.log_tail()
                    )));
                }
            };
            if let Err(error) = answered {
                return Cause::Lost(Reason::new(format!("it refused to start: {error}")));
            }
        }
        drop(data);
        if self.events.send(AgentEvent::Ready).await.is_err() {
            return Cause::Stop { kill_at: clock.now() };
        }
        let when = if self.speaks { " without saying that it had finished" } else { "" };
        tokio::select! {
            biased;
            kill_at = self.stops.recv() => stop_cause(kill_at, clock.now()),
            told = self.streams.next_telling() => self.told(told, process, when).await,
            () = process.ended() => self.exited(process, when).await,
        }
    }

    async fn told(&mut self, told: Told, process: &mut AgentProcess, when: &str) -> Cause {
        match told {
            Told::Finished(ending) => Cause::Finished(ending),
            Told::BrokeProtocol(reason) => Cause::Lost(reason),
            Told::Closed => match tokio::time::timeout(LAST_WORDS, process.ended()).await {
                Ok(()) => self.exited(process, when).await,
                Err(_) => {
                    let tail = self.conversation.log_tail();
                    Cause::Lost(Reason::new(format!("it closed its stdout and went on running; {tail}")))
                }
            },
        }
    }

    /// The end of an agent that nobody asked to end.
    async fn exited(&mut self, process: &mut AgentProcess, when: &str) -> Cause {
        // Whatever of its group holds its pipes would keep us from its last words.
        process.signal(Signal::KILL);
        if let Ok(Some(cause)) = tokio::time::timeout(LAST_WORDS, self.streams.last_words()).await {
            return cause;
        }
        let status = process.status().await;
        if self.speaks {
            return Cause::Lost(self.exit_reason(status, when));
        }
        Cause::Finished(match &status {
            Ok(status) if status.success() => {
                Ending::new(Outcome::Completed, Reason::new("the command exited with status 0"))
            }
            Ok(_) | Err(_) => Ending::new(Outcome::Failed, self.exit_reason(status, when)),
        })
    }

    fn exit_reason(&self, status: std::io::Result<ExitStatus>, when: &str) -> Reason {
        let how = match status {
            Ok(status) => status_words(status),
            Err(error) => format!("could not be waited for ({error})"),
        };
        Reason::new(format!("it {how}{when}; {}", self.conversation.log_tail()))
    }

    /// Ends the child and its group: `shutdown` and the end of stdin, SIGTERM, SIGKILL.
    async fn end(&mut self, process: &mut AgentProcess, cause: Cause) -> AgentEnd {
        let clock = Arc::clone(&self.launcher.clock);
        let now = clock.now();
        let (mut kill_at, end) = match cause {
            Cause::Stop { kill_at } => (kill_at, AgentEnd::Stopped),
            Cause::Finished(ending) => (now + self.spec.persona.stop_grace, AgentEnd::Finished(ending)),
            Cause::Lost(reason) => (now, AgentEnd::Lost(reason)),
        };
        self.conversation.refuse(&reason_of(&end));
        self.conversation.say_goodbye();
        let polite = kill_at.saturating_since(now) / 4;
        // A plain command knows no `shutdown`: the signal is all it gets.
        let mut term_at = if self.speaks { Some(now + polite) } else { Some(now) };
        while clock.now() < kill_at {
            let next = term_at.map_or(kill_at, |term_at| term_at.min(kill_at));
            tokio::select! {
                biased;
                () = process.ended() => break,
                Some(sooner) = self.stops.recv() => kill_at = kill_at.min(sooner),
                () = clock.sleep_until(next) => {
                    if term_at.take().is_some() {
                        process.signal(Signal::TERM);
                    }
                }
            }
        }
        process.signal(Signal::KILL);
        let status = process.status().await.map_or_else(|error| error.to_string(), status_words);
        tracing::debug!(session.id = %self.spec.session, agent.status = %status, "agent process ended");
        end
    }

    fn note_pid(&self, pid: Option<u32>) {
        *self.pid.lock().unwrap_or_else(PoisonError::into_inner) = pid;
    }
}

impl Streams {
    /// A reader that has told of its end has nothing more to tell, and a plain command is not read at all.
    async fn next_telling(&mut self) -> Told {
        match self.tellings.recv().await {
            Some(told) => told,
            None => std::future::pending().await,
        }
    }

    /// Waits until everything that an ended agent wrote is read; `Some` if that explains its end.
    async fn last_words(&mut self) -> Option<Cause> {
        let cause = match self.tellings.recv().await {
            Some(Told::Finished(ending)) => Some(Cause::Finished(ending)),
            Some(Told::BrokeProtocol(reason)) => Some(Cause::Lost(reason)),
            Some(Told::Closed) | None => None,
        };
        if let Some(log_end) = &mut self.log_end {
            log_end.recv().await;
        }
        cause
    }
}

fn reason_of(end: &AgentEnd) -> Reason {
    match end {
        AgentEnd::Stopped => Reason::new("it was stopped"),
        AgentEnd::Finished(ending) => ending.reason.clone(),
        AgentEnd::Lost(reason) => reason.clone(),
    }
}

fn stop_cause(kill_at: Option<Timestamp>, now: Timestamp) -> Cause {
    // Without a handle left nobody can ask this agent for anything.
    Cause::Stop { kill_at: kill_at.unwrap_or(now) }
}

fn status_words(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with status {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// The session's data as a field of `initialize`.
async fn data_field(store: &dyn crate::store::Store, session: crate::id::SessionId) -> Result<Vec<u8>, Reason> {
    let data = store.data(session).await;
    let data = data.map_err(|error| Reason::new(format!("its session data could not be read: {error}")))?;
    let path = match data {
        Some(SessionData::Inline(text)) => return Ok(field("SESSION_DATA", &text)),
        None => return Ok(field("SESSION_DATA", b"{}")),
        Some(SessionData::File(path)) => path,
    };
    // The agent may run in another directory.
    let path = std::path::absolute(&path).unwrap_or(path);
    let size = tokio::fs::metadata(&path).await.map(|metadata| metadata.len());
    let small = size.is_ok_and(|size| size <= LARGEST_INLINE_DATA_BYTES as u64);
    match if small { tokio::fs::read(&path).await.ok() } else { None } {
        Some(text) => Ok(field("SESSION_DATA", &text)),
        None => Ok(field("SESSION_DATA_FILE", serde_json::Value::from(path.to_string_lossy()).to_string().as_bytes())),
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

fn field(name: &str, value: &[u8]) -> Vec<u8> {
    let mut field = format!("\"{name}\":").into_bytes();
    field.extend_from_slice(value);
    field
}
