//! The sessions that this node drives: finds a session's driver, or claims the session and starts one.
//!
//! Whoever wants to change a session's phase does it through here, so that a session has one owner at a time: its
//! entry in the table of drivers is the claim. Reading needs no owner and goes to the store.
//!
//! It also holds the node's room for agents, and looks after those sessions that nobody calls for (`upkeep`): it
//! expires pending ones and starts those of personas with `auto_initialize` in order of arrival.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::agent::survivors::Survivor;
use crate::agent::{Agent, CallError, Json, Launcher, News};
use crate::clock::Clock;
use crate::config::{Persona, PersonaName};
use crate::id::{Epoch, SessionId};
use crate::session::counted::Counted;
use crate::session::driver::{Command, CommandError, Context, Driver, View};
use crate::session::machine::{self, Event, Limits};
use crate::session::new_session::NewSession;
use crate::session::phase::{Phase, Reason};
use crate::session::record::SessionRecord;
use crate::session::sequence::Sequences;
use crate::shim::wire::Usage;
use crate::shutdown::Tasks;
use crate::store::{Admission, AuditEntry, Store, StoreError};

mod change;
mod initialise;
mod join;
mod keyed;
mod parts;
mod personas;
mod queue;
mod recovery;
mod relayed;
mod room;
mod set_aside;
mod troubles;
mod upkeep;
mod waiting;

pub use initialise::InitialiseError;
pub use join::Initialised;
use keyed::Followed;
pub use parts::{Part, Parts};
use personas::Personas;
pub use queue::Places;
use queue::Queue;
pub use relayed::OUTCOMES as RELAY_OUTCOMES;
pub(super) use room::Place;
use room::Room;
pub use troubles::Troubles;

/// The sessions of this node. Cloning shares them.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    context: Context,
    personas: ArcSwap<Personas>,
    drivers: Mutex<HashMap<SessionId, Handle>>,
    room: Room,
    /// Whether no agents are to be started and no sessions to be admitted.
    drained: watch::Sender<bool>,
    /// Pending sessions of personas with `auto_initialize`, in order of arrival.
    queue: Mutex<Queue>,
    queue_changed: Notify,
    claims: AtomicU64,
    followed: Mutex<Followed>,
    /// Agents of sessions whose records are damaged.
    held: Mutex<HashMap<SessionId, Survivor>>,
    /// Held while one of those sessions is given up.
    giving_up: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
struct Handle {
    number: u64,
    commands: mpsc::Sender<Box<Command>>,
    view: watch::Receiver<View>,
}

/// Why a request was not relayed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RelayError {
    /// The session has no running agent.
    #[error("no session is running")]
    NotRunning,
    /// Its agent is being started again.
    #[error("the agent is restarting")]
    Restarting {
        /// How long to wait before asking again.
        retry_after: Duration,
    },
    /// The agent did not answer.
    #[error(transparent)]
    Call(#[from] CallError),
    /// Its answer is kept no longer.
    #[error("the answer to this request is no longer kept")]
    AnswerDropped,
    /// Its idempotency key came before with another request.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// It could not be noted, or its answer not be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A session as operators see it.
#[derive(Clone, Debug)]
pub struct Driven {
    /// Its agent's process, if it has one.
    pub pid: Option<u32>,
    /// How many requests wait for its agent's answer, if it has one that is ready.
    pub open_requests: Option<usize>,
    /// What the agent last said of its progress.
    pub progress: Option<String>,
    /// Why an agent of the session was last lost.
    pub lost: Option<Reason>,
    /// What its processes take, if that was measured.
    pub usage: Option<Usage>,
    /// Which limits are in force and by what, in words; empty if there are none.
    pub limits: String,
}

/// How much this node has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Sessions with an agent, or with one that is being started.
    pub running: usize,
    /// Agents that are being brought up, of as many as may be at once.
    pub starting: usize,
    /// Sessions that wait for the node to start them.
    pub queued: usize,
    /// The one among them that was requested first.
    pub oldest_queued: Option<SessionId>,
}

impl Registry {
    /// Builds the registry of a node with room for `max_running` agents.
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        launcher: Launcher,
        tasks: Tasks,
        personas: &BTreeMap<PersonaName, Persona>,
        max_running: usize,
        drain_grace: Duration,
    ) -> Self {
        let sequences = Sequences::new(Arc::clone(&store), Arc::clone(&clock), launcher.events.clone());
        let inner = Inner {
            context: Context { store, clock, launcher, sequences, tasks, drain_grace },
            personas: ArcSwap::from_pointee(Personas::of(personas)),
            drivers: Mutex::default(),
            room: Room::new(max_running),
            drained: watch::Sender::new(false),
            queue: Mutex::default(),
            queue_changed: Notify::new(),
            claims: AtomicU64::new(0),
            followed: Mutex::default(),
            held: Mutex::default(),
            giving_up: tokio::sync::Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// What happened in each session, to be read and followed.
    pub fn sequences(&self) -> &Sequences {
        &self.inner.context.sequences
    }

    /// The persona with exactly this name, if a customer may ask for it.
    pub fn persona(&self, name: &str) -> Option<Arc<Persona>> {
        self.inner.personas.load().offered(name).cloned()
    }

    /// The persona of a session, which may have been taken out of the configuration since.
    fn persona_of(&self, record: &SessionRecord) -> Option<Arc<Persona>> {
        self.inner.personas.load().known(&record.persona).cloned()
    }

    /// Starts the tasks that look after sessions nobody calls for.
    pub fn look_after(&self) {
        let registry = self.clone();
        self.inner.context.tasks.spawn(async move { registry.expire_pending().await });
        let registry = self.clone();
        self.inner.context.tasks.spawn(async move { registry.start_waiting().await });
    }

    /// Admits a session to the store, and to the queue if its persona starts its sessions by itself; who follows all
    /// sessions is told. Where there is more to do than to store it, it goes through to the end even if the caller goes
    /// away: a session that was stored and never queued would wait in vain.
    ///
    /// # Errors
    /// What the store said.
    pub async fn admit(&self, new: NewSession) -> Result<Admission, StoreError> {
        if !self.starts_by_itself(&new.record.persona) && !self.sequences().are_followed() {
            return self.inner.context.store.admit(new).await;
        }
        let (reply, answer) = oneshot::channel();
        let registry = self.clone();
        self.inner.context.tasks.spawn(async move {
            let admission = registry.inner.context.store.admit(new).await;
            match &admission {
                Ok(Admission::Admitted(record)) => {
                    registry.sequences().announce_creation(record.id);
                    registry.admitted(record);
                }
                // It may have been stored by a call that never learned it, and is queued again.
                Ok(Admission::AlreadyLive(record) | Admission::Repeated(record, _)) => registry.admitted(record),
                Ok(Admission::AccountChanged) | Err(_) => {}
            }
            let _ = reply.send(admission);
        });
        answer.await.unwrap_or(Err(StoreError::Busy))
    }

    fn starts_by_itself(&self, persona: &str) -> bool {
        self.persona(persona).is_some_and(|persona| persona.auto_initialize)
    }

    /// Queues a pending session whose persona starts its sessions by itself.
    pub(super) fn admitted(&self, record: &SessionRecord) {
        if self.starts_by_itself(&record.persona) && matches!(record.phase, Phase::Pending { .. }) {
            self.inner.queue.lock().add(record.id);
            self.inner.queue_changed.notify_one();
        }
    }

    /// Asks for the end of a session. What was already asked for, or has already happened, is answered alike. `note` goes
    /// to the audit first. With `force` the agent is killed even if neither can be stored yet.
    ///
    /// # Errors
    /// A [`CommandError`]; [`StoreError::Missing`] if there is no such session.
    pub async fn stop(
        &self,
        id: SessionId,
        force: bool,
        reason: Reason,
        note: Option<&AuditEntry>,
    ) -> Result<Arc<SessionRecord>, CommandError> {
        self.command(id, &Event::Stop { force, reason }, note).await
    }

    /// Asks for another agent in place of the one of `epoch`, or of whichever there is. It is under way when this
    /// returns, and was before if the session has a later agent. The audit says `note` before.
    ///
    /// # Errors
    /// A [`CommandError`]; [`Rejection::NotRunning`](crate::session::machine::Rejection::NotRunning) of a session without an agent.
    pub async fn restart(
        &self,
        id: SessionId,
        epoch: Option<Epoch>,
        reason: Reason,
        note: AuditEntry,
    ) -> Result<Arc<SessionRecord>, CommandError> {
        self.command(id, &Event::Restart { epoch, reason }, Some(&note)).await
    }

    /// Has the session's driver carry a command out, or a new one if it has none.
    async fn command(
        &self,
        id: SessionId,
        event: &Event,
        note: Option<&AuditEntry>,
    ) -> Result<Arc<SessionRecord>, CommandError> {
        loop {
            let (reply, answer) = oneshot::channel();
            let note = note.cloned().map(Box::new);
            let command = Command { event: event.clone(), room: None, note, reply };
            if let Some(handle) = self.handle(id) {
                // A driver that has just left has closed its queue: the session is to be looked at again.
                if handle.commands.send(Box::new(command)).await.is_ok()
                    && let Ok(answer) = answer.await
                {
                    return answer;
                }
                if self.inner.context.tasks.is_draining() {
                    return Err(CommandError::Draining);
                }
                tokio::task::yield_now().await;
                continue;
            }
            let stored = self.inner.context.store.session(id).await?.ok_or(StoreError::Missing)?;
            let is_pending = matches!(stored.record.phase, Phase::Pending { .. });
            if !stored.record.phase.is_live() || (is_pending && matches!(event, Event::Restart { .. })) {
                // It needs no driver to hear what the machine says to it: it stays as it is, or that is refused.
                let persona = self.persona_of(&stored.record).unwrap_or_default();
                machine::step(&stored.record.phase, event, &limits(&persona), self.inner.context.clock.now())?;
                return Ok(Arc::new(stored.record.clone()));
            }
            if self.claim(&stored.record, command).is_some()
                && let Ok(answer) = answer.await
            {
                return answer;
            }
        }
    }

    /// Relays a request to the session's agent. `request` is JSON text, and so is the answer.
    ///
    /// # Errors
    /// A [`RelayError`].
    pub async fn relay(&self, id: SessionId, request: &[u8]) -> Result<Json, RelayError> {
        let began = self.inner.context.clock.now();
        let answer = match self.running(id) {
            Ok((agent, _, timeout)) => agent.request(request, timeout).await.map_err(RelayError::from),
            Err(error) => Err(error),
        };
        self.count_relay(began, &answer);
        answer
    }

    /// The session's running agent, with its epoch and the time that it has for an answer.
    fn running(&self, id: SessionId) -> Result<(Agent, Epoch, Duration), RelayError> {
        let view = self.handle(id).ok_or(RelayError::NotRunning)?.view.borrow().clone();
        let now = self.inner.context.clock.now();
        match (&view.agent, &view.record.phase) {
            (Some(agent), Phase::Running { epoch, .. }) => {
                let timeout = self.persona_of(&view.record).map(|persona| persona.request_timeout);
                Ok((agent.clone(), *epoch, timeout.unwrap_or(Duration::ZERO)))
            }
            (_, phase) => Err(relayed::refusal(phase, now)),
        }
    }

    /// What is known of the session's agent, if this node drives it.
    pub fn driven(&self, id: SessionId) -> Option<Driven> {
        let view = self.handle(id)?.view.borrow().clone();
        let agent = view.agent.as_ref();
        let is_running = matches!(view.record.phase, Phase::Running { .. });
        Some(Driven {
            pid: agent.and_then(Agent::pid),
            open_requests: agent.filter(|_| is_running).map(Agent::open_requests),
            progress: agent.and_then(Agent::progress),
            lost: view.lost,
            usage: agent.and_then(Agent::usage),
            limits: agent.map(Agent::limits).unwrap_or_default(),
        })
    }

    /// Where those of these sessions stand that wait for the node to start them, and for what.
    pub fn places(&self, sessions: Vec<SessionId>) -> Places {
        let why = self.what_is_waited_for();
        self.inner.queue.lock().places(sessions, why)
    }

    /// Where one session stands among them, in words; `None` if it does not wait.
    pub fn place(&self, id: SessionId) -> Option<String> {
        let queue = self.inner.queue.lock();
        let (place, length) = (queue.place(id)?, queue.length());
        drop(queue);
        Some(queue::in_words(place, length, &self.what_is_waited_for()))
    }

    /// What a pending session waits for that the node does not start by itself, or not again, in words.
    pub fn waits_for(&self, record: &SessionRecord) -> Option<&'static str> {
        let Phase::Pending { last_failure, .. } = &record.phase else { return None };
        let is_left_to_its_customer = last_failure.is_some() || !self.starts_by_itself(&record.persona);
        is_left_to_its_customer.then_some("waits for its customer to start it")
    }

    fn what_is_waited_for(&self) -> String {
        let turns = &self.inner.context.launcher.turns;
        if self.is_drained() {
            "the server is being drained and starts no agents".to_owned()
        } else if self.inner.context.store.room().is_err() {
            "the disk is full".to_owned()
        } else if self.inner.room.is_full() {
            format!("all {} agent slots are in use", self.inner.room.most())
        } else if turns.available_permits() == 0 {
            format!("{} agents are starting, the most at once", self.inner.context.launcher.limits.starting)
        } else {
            "about to start".to_owned()
        }
    }

    /// How much the node has to do at the moment.
    pub fn load(&self) -> Load {
        let launcher = &self.inner.context.launcher;
        let queue = self.inner.queue.lock();
        Load {
            running: self.inner.room.taken(),
            starting: launcher.limits.starting.saturating_sub(launcher.turns.available_permits()),
            queued: queue.length(),
            oldest_queued: queue.first(1).pop(),
        }
    }

    fn handle(&self, id: SessionId) -> Option<Handle> {
        self.inner.drivers.lock().get(&id).cloned()
    }

    /// Claims the session for a new driver whose first command this is; `None` if another has it. `seen` is what the
    /// caller knows of the session; the driver reads it again, because until here nobody owned it.
    fn claim(&self, seen: &SessionRecord, command: Command) -> Option<watch::Receiver<View>> {
        self.claim_with_agent(seen, command, None)
    }

    /// The same for a session whose agent is there already.
    fn claim_with_agent(
        &self,
        seen: &SessionRecord,
        command: Command,
        agent: Option<(Agent, News)>,
    ) -> Option<watch::Receiver<View>> {
        let drivers = self.inner.drivers.lock();
        self.insert_driver(drivers, seen, command, agent)
    }

    /// The same for a command that needs room for one more agent. Both are taken in one step: who is too late for the
    /// session hears so, whether or not there is room.
    fn claim_with_room(
        &self,
        seen: &SessionRecord,
        command: Command,
    ) -> Result<watch::Receiver<View>, InitialiseError> {
        let drivers = self.inner.drivers.lock();
        if drivers.contains_key(&seen.id) {
            return Err(InitialiseError::NotPending);
        }
        let room = self.inner.room.try_enter().ok_or(InitialiseError::NoCapacity)?;
        if !self.has_user_for(seen) {
            tracing::warn!(persona = %seen.persona, "no agent started: every number in the `user` of its persona is in use");
            return Err(InitialiseError::NoCapacity);
        }
        // Who drains the node sees this place taken, or this sees the drain.
        if self.is_drained() {
            return Err(InitialiseError::Drained);
        }
        // It would find no room for its directory, and a start would be lost.
        self.inner.context.store.room()?;
        let command = Command { room: Some(room), ..command };
        self.insert_driver(drivers, seen, command, None).ok_or(InitialiseError::NotPending)
    }

    /// Whether the session could have a user for itself, if its persona gives it one.
    pub(super) fn has_user_for(&self, record: &SessionRecord) -> bool {
        let launcher = &self.inner.context.launcher;
        self.persona(&record.persona).is_none_or(|persona| launcher.has_user_for(record.id, &persona))
    }

    fn insert_driver(
        &self,
        mut drivers: MutexGuard<'_, HashMap<SessionId, Handle>>,
        seen: &SessionRecord,
        command: Command,
        agent: Option<(Agent, News)>,
    ) -> Option<watch::Receiver<View>> {
        const COMMANDS: usize = 16;
        let view = watch::Sender::new(View::first(seen.clone(), agent.as_ref().map(|(agent, _)| agent)));
        let (commands, queue) = mpsc::channel(COMMANDS);
        let number = self.inner.claims.fetch_add(1, Ordering::Relaxed);
        let handle = Handle { number, commands: commands.clone(), view: view.subscribe() };
        let shown = handle.view.clone();
        match drivers.entry(seen.id) {
            Entry::Occupied(_) => return None,
            Entry::Vacant(place) => place.insert(handle),
        };
        drop(drivers);
        let claim = Claim { inner: Arc::clone(&self.inner), id: seen.id, number };
        // The queue is new and has room.
        let _ = commands.try_send(Box::new(command));
        let persona = self.persona_of(seen).unwrap_or_default();
        let driver = Box::new(Driver {
            context: self.inner.context.clone(),
            limits: limits(&persona),
            persona,
            view,
            commands: queue,
            room: None,
            agent,
            told: None,
            kill: None,
            heard: None,
            counted: Counted::new(Arc::clone(&self.inner.context.launcher.metrics)),
        });
        let registry = self.clone();
        self.inner.context.tasks.spawn(async move {
            let record = driver.run(|queue| claim.release(queue)).await;
            drop(claim);
            if matches!(record.phase, Phase::Pending { .. }) {
                registry.admitted(&record);
            } else {
                registry.inner.queue.lock().remove(record.id);
            }
        });
        Some(shown)
    }
}

/// A driver's entry in the table. Dropping it gives the session free, also when the driver panics.
struct Claim {
    inner: Arc<Inner>,
    id: SessionId,
    number: u64,
}

impl Claim {
    /// Gives the session free, unless a command has come meanwhile.
    fn release(&self, queue: &mpsc::Receiver<Box<Command>>) -> bool {
        let mut drivers = self.inner.drivers.lock();
        if !queue.is_empty() {
            return false;
        }
        drivers.remove(&self.id);
        true
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut drivers = self.inner.drivers.lock();
        if drivers.get(&self.id).is_some_and(|handle| handle.number == self.number) {
            drivers.remove(&self.id);
        }
        drop(drivers);
        if std::thread::panicking() {
            // What fails every time must not take all of the machine's time.
            const PAUSE: Duration = Duration::from_secs(1);
            let (registry, id) = (Registry { inner: Arc::clone(&self.inner) }, self.id);
            tracing::error!(session.id = %id, "the session's task failed; another one takes over");
            self.inner.context.tasks.spawn(async move {
                tokio::time::sleep(PAUSE).await;
                registry.take_over(id).await;
            });
        }
    }
}

/// The persona's limits on a session.
fn limits(persona: &Persona) -> Limits {
    Limits {
        pending_timeout: persona.pending_timeout,
        start_timeout: persona.start_timeout,
        start_attempts: persona.start_attempts,
        idle_timeout: persona.idle_timeout,
        max_lifetime: persona.max_lifetime,
        stop_grace: persona.stop_grace,
    }
}
