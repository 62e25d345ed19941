//! An agent: the worker that serves one session.
//!
//! ```text
//!   start ──> wait (backoff, turn) ──> shim ordered ──> initialize ──> ready ──> … ──> ended, and nothing of it left
//!   take up ──────────────────────────────┴────────────────┘    \______ stop, or lost ______/
//! ```
//!
//! A [`Launcher`] starts agents, and takes up those of an earlier server ([`survivors`]); an [`Agent`] is the handle on
//! one: it relays requests and takes the order to stop. What happens to the agent comes back as [`AgentEvent`]s. That
//! is the whole interface between a session and its agent: that the process is the child of a shim ([`crate::shim`]), or
//! that there is a service elsewhere, stays behind it.
//!
//! | what | module |
//! | --- | --- |
//! | brings a process up: its turn, its directory, the order to its shim | `ahead`, `start`, `command`, `initialize` |
//! | speaks with a shim for as long as the agent lives, or until the server leaves the agent to the next one | `supervisor`, `link`, `conversation` |
//! | finds what an earlier server has left, and ends what nobody goes on with | [`survivors`], [`leftovers`] |
//! | ends an agent that listens where the server should | `port_holder` |
//! | what an agent's end means | `verdict`, [`restart`], [`log_tail`] |
//! | the log of a failed session, which stays with its history | `kept_logs` |
//! | calls and their answers; lines; messages | [`calls`], [`lines`], [`rpc`] |
//! | a service over HTTP | [`http`] |
//!
//! An agent that ended is reported only when its whole process tree is gone. [`restart`], [`calls`], [`lines`], [`rpc`]
//! and `verdict` are pure.
//!
//! For people who write agents there are the crate `frontdesk-agent`, their side of the protocol, and [`mod@check`], which says
//! what is wrong.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::clock::{Clock, Timestamp};
use crate::config::{AgentKind, Config, InForce, Persona, RunAs};
use crate::data_dir::UIDS;
use crate::events::EventLog;
use crate::id::{Epoch, SessionId};
use crate::metrics::Metrics;
use crate::removal::Removals;
use crate::session::{Ending, Reason};
use crate::shim::launch::Launch;
use crate::shim::place::Place;
use crate::shim::wire::Usage;
use crate::shutdown::Tasks;
use crate::store::Store;

pub use frontdesk_model::restart;

mod ahead;
pub mod calls;
pub mod check;
mod command;
mod conversation;
pub mod echo;
pub mod http;
mod initialize;
mod journal;
pub(crate) mod kept_logs;
pub mod leftovers;
mod line_budget;
pub mod lines;
mod link;
pub mod log_tail;
mod news;
pub(crate) mod port_holder;
mod process;
mod queued_line;
pub mod rpc;
mod start;
mod supervisor;
pub mod survivors;
pub(crate) mod uids;
mod verdict;
mod within;

pub use ahead::Ahead;
pub use calls::CallError;
pub(crate) use command::{check_user, check_users, users};
pub use conversation::{Fate, KeptCall};
pub use news::{Herald, News, news};
pub use process::Before;

use http::{HttpAgent, Services};
use kept_logs::KeptLogs;
use leftovers::Sweeper;
use process::ProcessAgent;
use supervisor::Origin;

use survivors::Survivor;
use uids::Uids;

/// How long an agent has to end when nobody is left who knows its persona.
const LEFT_AGENT_GRACE: Duration = Duration::from_secs(10);

/// What an agent is started for.
#[derive(Clone, Debug)]
pub struct AgentSpec {
    /// The session that it serves.
    pub session: SessionId,
    /// Its fencing number, stored before.
    pub epoch: Epoch,
    /// The customer's email as the customer wrote it.
    pub email: Box<str>,
    /// The persona's name.
    pub persona_name: Arc<str>,
    /// The persona's configuration.
    pub persona: Arc<Persona>,
    /// When the start may begin.
    pub not_before: Timestamp,
    /// When the agent must be ready.
    pub deadline: Timestamp,
}

/// The handle on one agent. Cloning shares it.
#[derive(Clone, Debug)]
pub enum Agent {
    /// A process behind a shim.
    Process(ProcessAgent),
    /// A session that a service serves.
    Http(HttpAgent),
}

impl Agent {
    /// Hands a request to the agent and waits for its answer. `request` is JSON text, and so is the answer. A caller
    /// that goes away cancels the request.
    ///
    /// # Errors
    /// A [`CallError`] if the agent refused, was lost, took longer than `timeout`, or has too much to do.
    pub async fn request(&self, request: &[u8], timeout: Duration) -> Result<Json, CallError> {
        self.request_numbered(request, timeout, |_| ()).await
    }

    /// The same; `begun` is given the number of the call before the agent is given the request.
    pub(crate) async fn request_numbered(
        &self,
        request: &[u8],
        timeout: Duration,
        begun: impl FnOnce(u64),
    ) -> Result<Json, CallError> {
        match self {
            Self::Process(agent) => agent.request(request, timeout, begun).await,
            Self::Http(agent) => agent.request(request, timeout, begun).await,
        }
    }

    /// Waits until everything that the agent said before is durable; a log of events that is away is not waited for
    /// for long.
    pub(crate) async fn flushed(&self) {
        const PATIENCE: Duration = Duration::from_secs(5);
        let is_flushed = match self {
            Self::Process(agent) => agent.flushed(PATIENCE).await,
            Self::Http(agent) => agent.flushed(PATIENCE).await,
        };
        if !is_flushed {
            tracing::warn!("an answer goes ahead of what its agent said before: the log of events does not take it");
        }
    }

    /// Hands over a request whose answer is to be stored; `note` is given the number of the call first and may prevent it.
    /// A caller that goes away does not cancel it.
    ///
    /// # Errors
    /// What `note` said, or why it can't be handed over.
    pub(crate) async fn request_once<E: From<CallError>>(
        &self,
        request: &[u8],
        timeout: Duration,
        note: impl AsyncFnOnce(u64) -> Result<(), E>,
    ) -> Result<KeptCall<'_>, E> {
        match self {
            Self::Process(agent) => agent.request_once(request, timeout, note).await,
            Self::Http(agent) => agent.request_once(request, timeout, note).await,
        }
    }

    /// What has become of a call that an earlier server made. With that server the connection to a service was gone.
    pub(crate) async fn inherited(&self, number: u64, timeout: Duration) -> Fate<'_> {
        match self {
            Self::Process(agent) => agent.inherited(number, timeout).await,
            Self::Http(_) => Fate::Unknown,
        }
    }

    /// Orders the agent to end: politely, and by force at `kill_at`. A later order can only make it sooner.
    pub fn stop(&self, kill_at: Timestamp) {
        match self {
            Self::Process(agent) => agent.stop(kill_at),
            Self::Http(agent) => agent.stop(kill_at),
        }
    }

    /// When the last request was handed over or answered: now, while one is in flight.
    pub fn last_activity(&self) -> Timestamp {
        match self {
            Self::Process(agent) => agent.last_activity(),
            Self::Http(agent) => agent.last_activity(),
        }
    }

    /// How many requests wait for its answer.
    pub fn open_requests(&self) -> usize {
        match self {
            Self::Process(agent) => agent.open_requests(),
            Self::Http(agent) => agent.open_requests(),
        }
    }

    /// What the agent last said of its progress.
    pub fn progress(&self) -> Option<String> {
        match self {
            Self::Process(agent) => agent.progress(),
            Self::Http(agent) => agent.progress(),
        }
    }

    /// What its processes take, if that was measured.
    pub fn usage(&self) -> Option<Usage> {
        match self {
            Self::Process(agent) => agent.usage(),
            Self::Http(_) => None,
        }
    }

    /// Which limits are in force and by what, in words; empty if there are none.
    pub fn limits(&self) -> String {
        match self {
            Self::Process(agent) => agent.limits(),
            Self::Http(_) => String::new(),
        }
    }

    /// The agent's process, while there is one; a service has none that could be shown.
    pub fn pid(&self) -> Option<u32> {
        match self {
            Self::Process(agent) => agent.pid(),
            Self::Http(_) => None,
        }
    }
}

/// What happens to an agent. Each carries the epoch by being sent on a channel of one agent only.
#[derive(Clone, Debug)]
pub enum AgentEvent {
    /// It answered `initialize`, or a plain command was spawned.
    Ready,
    /// It ended, and nothing of it is left.
    Ended(AgentEnd),
}

/// How an agent ended.
#[derive(Clone, Debug)]
pub enum AgentEnd {
    /// It was told to.
    Stopped,
    /// It said that its work was done, or was a plain command that exited.
    Finished(Ending),
    /// It could not be started, broke the protocol, or died.
    Lost(Reason),
}

impl AgentEnd {
    /// Why the requests in flight have no answer.
    fn reason(&self) -> Reason {
        match self {
            Self::Stopped => Reason::new("it was stopped"),
            Self::Finished(ending) => ending.reason.clone(),
            Self::Lost(reason) => reason.clone(),
        }
    }

    /// How requests are refused from then on.
    fn refusal(&self) -> CallError {
        match self {
            Self::Finished(_) => CallError::Finished,
            Self::Stopped | Self::Lost(_) => CallError::NotGiven(self.reason()),
        }
    }
}

/// Starts agents.
#[derive(Clone)]
pub struct Launcher {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tasks: Tasks,
    pub(crate) sweeper: Sweeper,
    pub(crate) limits: AgentLimits,
    pub(crate) launch: Arc<Launch>,
    /// Where the sessions' directories are.
    pub(crate) agents: PathBuf,
    /// Removes those that are no longer needed.
    pub(crate) removals: Arc<Removals>,
    /// The users that sessions have for themselves.
    pub(crate) uids: Uids,
    /// The logs of sessions that failed.
    pub(crate) kept_logs: KeptLogs,
    /// Starts that may go on at once.
    pub(crate) turns: Arc<Semaphore>,
    pub(crate) services: Services,
    pub(crate) events: EventLog,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) settings: InForce,
}

/// What agents are started with and reached by.
pub struct Means {
    /// Forks the shims of processes.
    pub launch: Launch,
    /// Where the sessions' directories are.
    pub agents: PathBuf,
    /// Where services are, and how they are spoken to.
    pub services: Services,
    /// Where what they say is kept.
    pub events: EventLog,
    /// Counts what happens to them.
    pub metrics: Arc<Metrics>,
    /// How much is kept of their logs.
    pub settings: InForce,
}

/// The bounds of this node on each agent, and on all starts.
#[derive(Clone, Copy, Debug)]
pub struct AgentLimits {
    /// Requests in flight to one agent.
    pub requests: usize,
    /// Bytes of one line from an agent.
    pub line_bytes: usize,
    /// Agents that may be starting at once.
    pub starting: usize,
    /// Bytes of stdout that may wait for a server before the agent has to.
    pub spool_bytes: u64,
    /// Bytes of an agent's log before it is begun anew.
    pub log_bytes: u64,
    /// Bytes of the answers that are kept of one session, for requests under a key.
    pub answers_bytes: u64,
}

impl Launcher {
    /// Builds a launcher for the desk that `store` belongs to.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, tasks: Tasks, limits: AgentLimits, means: Means) -> Self {
        let turns = Arc::new(Semaphore::new(limits.starting));
        let Means { launch, agents, services, events, metrics, settings } = means;
        let launch = Arc::new(launch);
        let removals = Arc::new(Removals::new(&agents));
        let sweeper = Sweeper::new(&store.desk().id, &agents);
        let uids = Uids::new(agents.with_file_name(UIDS));
        let kept_logs = KeptLogs::beside(&agents);
        Self {
            store,
            clock,
            tasks,
            sweeper,
            limits,
            launch,
            agents,
            removals,
            uids,
            kept_logs,
            turns,
            services,
            events,
            metrics,
            settings,
        }
    }

    /// A launcher that only ends agents, where no server runs.
    pub fn to_end(store: Arc<dyn Store>, clock: Arc<dyn Clock>, events: EventLog, agents: PathBuf) -> Self {
        let limits =
            AgentLimits { requests: 1, line_bytes: 1, starting: 1, spool_bytes: 1, log_bytes: 1, answers_bytes: 1 };
        let (launch, services, metrics) = (Launch::default(), Services::default(), Arc::default());
        let settings = InForce::new(Config::default());
        let means = Means { launch, agents, services, events, metrics, settings };
        Self::new(store, clock, Tasks::default(), limits, means)
    }

    /// Starts an agent, of which so much is done `ahead`; returns at once, and the rest comes as events.
    pub fn start(&self, spec: AgentSpec, ahead: Ahead, events: Herald) -> Agent {
        match spec.persona.agent {
            AgentKind::Process => {
                Agent::Process(process::start(self.clone(), spec, events, Origin::New(ahead), Before::default()))
            }
            AgentKind::Http => Agent::Http(http::start(self.clone(), spec, events)),
        }
    }

    /// Finds the agents that an earlier server has left, within little more than a second.
    ///
    /// # Errors
    /// What the file system said.
    pub async fn survivors(&self) -> io::Result<HashMap<SessionId, Survivor>> {
        let launcher = self.clone();
        tokio::task::spawn_blocking(move || launcher.uids.load(&launcher.agents)).await.map_err(io::Error::other)??;
        survivors::find(self).await
    }

    /// Takes up an agent of an earlier server. `None` if the machine was started anew
    /// since, or if it is of another epoch than the session: then it is ended.
    pub async fn adopt(&self, spec: AgentSpec, survivor: Survivor, before: Before, events: Herald) -> Option<Agent> {
        let (session, epoch) = (spec.session, survivor.epoch);
        if survivor.is_of_another_boot() {
            self.forget(session).await;
            return None;
        }
        match survivor.origin() {
            Some(origin) if epoch == spec.epoch => {
                Some(Agent::Process(process::start(self.clone(), spec, events, origin, before)))
            }
            Some(_) | None => {
                self.end_survivor(session).await;
                None
            }
        }
    }

    /// Goes on with a service that an earlier server has seen ready for the session under this epoch.
    pub fn adopt_service(&self, spec: AgentSpec, events: Herald) -> Agent {
        Agent::Http(http::adopt(self.clone(), spec, events))
    }

    /// Ends every process of the desk that belongs to none of these agents, and returns how many those were.
    pub async fn end_strangers(&self, adopted: HashMap<SessionId, Epoch>) -> usize {
        self.sweeper.sweep_all_but(adopted).await
    }

    /// Ends whatever there is of a session's agents, and its directory. Returns whether nothing has that any more.
    pub async fn end_survivor(&self, session: SessionId) -> bool {
        let place = self.place(session);
        let remains = survivors::end_shim(self, session, Epoch::default(), &place).await;
        let is_free = remains.is_free();
        remains.remove(self, session).await;
        is_free
    }

    /// Ends every agent that a server has left, with the time that each has to end by itself, and returns how many
    /// those were.
    ///
    /// # Errors
    /// What the file system said.
    pub async fn end_all(&self) -> io::Result<usize> {
        let mut ending = JoinSet::new();
        for (session, survivor) in self.survivors().await? {
            let launcher = self.clone();
            let is_alive = survivor.is_alive();
            ending.spawn(async move {
                survivor.end(LEFT_AGENT_GRACE).await;
                launcher.end_survivor(session).await;
                is_alive
            });
        }
        let ended = ending.join_all().await.into_iter().filter(|was_alive| *was_alive).count();
        self.end_strangers(HashMap::new()).await;
        for session in self.uids.sessions() {
            self.forget(session).await;
        }
        Ok(ended)
    }

    /// Removes the directory of a session that has no agent, and frees the user that it had for itself.
    pub async fn forget(&self, session: SessionId) {
        let root = self.place(session).root().to_owned();
        let (removals, place) = (Arc::clone(&self.removals), root.clone());
        let removed = tokio::task::spawn_blocking(move || removals.discard(&place)).await;
        match removed.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(directory = %root.display(), error = %error, "directory of an ended agent not removed");
            }
            // What is being removed aside is out of reach of every agent.
            Ok(()) | Err(_) => self.uids.release(session).await,
        }
    }

    /// Completes when a user that a session had for itself has become free since the last call.
    pub(crate) async fn user_freed(&self) {
        self.uids.freed().await;
    }

    /// The sessions that have a user for themselves.
    pub(crate) fn sessions_with_user(&self) -> Vec<SessionId> {
        self.uids.sessions()
    }

    /// Removes what is left of a session that has ended, whenever that is done.
    pub(crate) fn forget_soon(&self, session: SessionId) {
        let launcher = self.clone();
        self.tasks.spawn(async move { launcher.forget(session).await });
    }

    /// Whether the session could have a user, if each of its persona's has one for itself.
    pub(crate) fn has_user_for(&self, session: SessionId, persona: &Persona) -> bool {
        let range = persona.user.as_ref().and_then(RunAs::range);
        range.is_none_or(|range| self.uids.has_room(session, range))
    }

    /// Removes the directory in which a session's agent ran, and leaves what it has said. Needs no room on the disk.
    pub async fn remove_own_directory(&self, session: SessionId) {
        let directory = self.place(session).work();
        let own = directory.clone();
        let removed = tokio::task::spawn_blocking(move || crate::removal::remove(&own)).await;
        if let Err(error) = removed.unwrap_or_else(|error| Err(io::Error::other(error)))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(directory = %directory.display(), error = %error, "own directory of a killed agent not removed");
        }
    }

    pub(crate) fn place(&self, session: SessionId) -> Place {
        Place::new(&self.agents.join(session.to_string()))
    }
}

/// One JSON text on its way to or from an agent.
pub type Json = Bytes;
