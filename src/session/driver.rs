//! The task that owns one session while something happens to it.
//!
//! A driver is born with a claim on its session and a first event, from STARTING on stays until the session is over,
//! and leaves a session that is pending again to the store's deadlines. Events come from one queue of commands and
//! one of the agent's; commands go first, so that a stop is never behind a flood of news.
//!
//! For each event: [`machine::step`], keep the log of a session that fails, store the record, append the transition to the session's sequence, publish the
//! record, start the effects. Nothing is shown or done that is not stored; only the next step waits for the transition.
//! When the store fails, whoever commanded is told at once, and the driver waits for the store to come back
//! and reads what became of the write: events of the agent are facts and are stored then, commands are not retried.
//! The exception is a forced stop ([`kill`]): if it can't be stored, the driver kills the agent first and stores it later.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use crate::agent::{self, Agent, AgentEnd, AgentEvent, AgentSpec, Ahead, Launcher, News};
use crate::clock::{Clock, Timestamp};
use crate::config::Persona;
use crate::failpoint::Failpoint;
use crate::id::{Epoch, Revision};
use crate::session::counted::Counted;
use crate::session::machine::{self, Effect, Event, Limits, Rejection};
use crate::session::phase::{Outcome, Phase, Reason};
use crate::session::record::{SessionData, SessionRecord};
use crate::session::registry::Place;
use crate::session::sequence::{Sequences, Told};
use crate::shutdown::Tasks;
use crate::store::{AuditEntry, Store, StoreError};

use kill::Kill;

mod kill;

/// What others see of a driven session. A newer view has a higher revision.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) record: Arc<SessionRecord>,
    /// The agent that is being started, serves the session or is being ended. Only a RUNNING session's takes requests.
    pub(super) agent: Option<Agent>,
    /// The last epoch that has been RUNNING under this driver; a reader may come too late to see the phase itself.
    pub(super) ran: Epoch,
    /// Why this driver last lost an agent.
    pub(super) lost: Option<Reason>,
}

impl View {
    /// What is seen before a driver has done anything.
    pub(super) fn first(record: SessionRecord, agent: Option<&Agent>) -> Self {
        let ran = match &record.phase {
            Phase::Running { epoch, .. } => *epoch,
            Phase::Pending { .. } | Phase::Starting { .. } | Phase::Stopping { .. } | Phase::Ended { .. } => {
                Epoch::default()
            }
        };
        Self { record: Arc::new(record), agent: agent.cloned(), ran, lost: None }
    }
}

/// An event that somebody waits for.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) event: Event,
    /// Room for one more agent on this node, if the event may start one.
    pub(super) room: Option<Place>,
    /// What the audit is to say before anything is done; nothing of an event that does not apply, or changes nothing.
    pub(super) note: Option<Box<AuditEntry>>,
    pub(super) reply: oneshot::Sender<Result<Arc<SessionRecord>, CommandError>>,
}

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It does not apply.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// It could not be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A forced stop killed the agent, and could not be stored. The driver stores it as soon as the store takes it.
    #[error(
        "the agent was killed, but the session's end is not stored yet ({0}); the server stores it as soon as it can"
    )]
    Killed(StoreError),
    /// The server is shutting down.
    #[error("the server is shutting down")]
    Draining,
}

/// What a driver needs besides its session.
#[derive(Clone)]
pub(super) struct Context {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) launcher: Launcher,
    pub(super) sequences: Sequences,
    pub(super) tasks: Tasks,
    pub(super) drain_grace: Duration,
}

pub(super) struct Driver {
    pub(super) context: Context,
    pub(super) persona: Arc<Persona>,
    pub(super) limits: Limits,
    pub(super) view: watch::Sender<View>,
    /// Boxed: a queue has room for many, also while there are none.
    pub(super) commands: mpsc::Receiver<Box<Command>>,
    pub(super) room: Option<Place>,
    pub(super) agent: Option<(Agent, News)>,
    /// The last transition, on its way to the session's sequence.
    pub(super) told: Option<Told>,
    /// The forced stop that is being carried out.
    pub(super) kill: Option<Kill>,
    /// The end of the agent, heard while a step could not be stored.
    pub(super) heard: Option<AgentEvent>,
    pub(super) counted: Counted,
}

/// Whether a driver still has something to own.
enum Next {
    GoOn,
    Leave,
}

impl Driver {
    /// Drives the session until it needs no owner, and returns its last record. `may_leave` is asked before, and says
    /// no if a command has come.
    ///
    /// A driver mostly waits, and there are as many as sessions that run: what it does meanwhile has no room kept for it.
    pub(super) async fn run(
        mut self: Box<Self>,
        may_leave: impl Fn(&mpsc::Receiver<Box<Command>>) -> bool,
    ) -> Arc<SessionRecord> {
        Box::pin(self.begin()).await;
        loop {
            let tasks = self.context.tasks.clone();
            let clock = Arc::clone(&self.context.clock);
            let next_tick = self.next_tick();
            let next = tokio::select! {
                biased;
                () = tasks.draining() => {
                    Box::pin(self.drain()).await;
                    return self.record();
                }
                () = std::future::ready(()), if self.kill.is_some() => Box::pin(self.carry_out_kill()).await,
                Some(command) = self.commands.recv() => Box::pin(self.obey(*command)).await,
                () = std::future::ready(()), if self.lacks_its_agent() => Box::pin(self.settle()).await,
                event = next_event(&mut self.heard, &mut self.agent) => Box::pin(self.learn(event)).await,
                () = sleep_until(&*clock, next_tick) => Box::pin(self.tick()).await,
            };
            if matches!(next, Next::Leave) && may_leave(&self.commands) {
                return self.record();
            }
        }
    }

    async fn begin(&mut self) {
        self.refresh().await;
        self.tell_again().await;
    }

    /// Reads the record that the claim now protects: what the claimer saw may have changed before.
    async fn refresh(&self) {
        let id = self.record().id;
        // Where the store can't answer, a step on the older record fails by its revision.
        if let Ok(Some(stored)) = self.context.store.session(id).await {
            self.view.send_modify(|view| view.record = Arc::new(stored.record.clone()));
        }
    }

    /// Appends the last transition once more: whoever made that step may not have come to it.
    async fn tell_again(&mut self) {
        let record = self.record();
        if record.revision > Revision::FIRST {
            self.tell(&record).await;
        }
    }

    /// Appends the transition that led to the record, beside whatever follows.
    async fn tell(&mut self, record: &SessionRecord) {
        let Context { sequences, tasks, .. } = &self.context;
        self.told = Some(sequences.tell(record, self.told.take(), tasks).await);
    }

    /// Waits until the transition before is durable, so that no crash can lose more than the last one. A log of events
    /// that is away must not keep a session from its end.
    async fn await_told(&mut self) {
        const PATIENCE: Duration = Duration::from_secs(5);
        let Some(told) = &mut self.told else { return };
        if tokio::time::timeout(PATIENCE, told.durable()).await.is_ok() {
            self.told = None;
        } else {
            tracing::warn!(session.id = %self.record().id,
                "a transition is not yet in the session's sequence; the session goes on without it");
        }
    }

    /// Whether the phase asks for an agent and there is none: an earlier driver failed, the step that was to start one
    /// could not be stored, or there was none left to stop.
    fn lacks_its_agent(&self) -> bool {
        self.agent.is_none()
            && match self.record().phase {
                Phase::Starting { .. } | Phase::Running { .. } | Phase::Stopping { .. } => true,
                Phase::Pending { .. } | Phase::Ended { .. } => false,
            }
    }

    /// Goes on with a session whose agent is gone without a word, as a restarted server does.
    async fn settle(&mut self) -> Next {
        let record = self.record();
        self.context.launcher.end_survivor(record.id).await;
        self.apply(&record, &Event::Recovered).await
    }

    fn record(&self) -> Arc<SessionRecord> {
        Arc::clone(&self.view.borrow().record)
    }

    fn last_activity(&self) -> Timestamp {
        self.agent.as_ref().map_or(Timestamp::from_micros(i64::MIN), |(agent, _)| agent.last_activity())
    }

    /// A pending session's deadline is not this task's to watch, so that it is not kept for it.
    fn next_tick(&self) -> Option<Timestamp> {
        let record = self.record();
        if matches!(record.phase, Phase::Pending { .. }) {
            return None;
        }
        record.phase.next_tick(self.last_activity(), &self.limits)
    }

    async fn obey(&mut self, command: Command) -> Next {
        let Command { event, room, note, reply } = command;
        let record = self.record();
        let step = match machine::step(&record.phase, &event, &self.limits, self.context.clock.now()) {
            Ok(step) => step,
            Err(rejection) => {
                let _ = reply.send(Err(rejection.into()));
                return self.next();
            }
        };
        let note = note.filter(|_| step.phase != record.phase);
        if self.agent.is_some() && matches!(event, Event::Stop { force: true, .. }) {
            self.kill = Some(Kill { event, note, reply: Some(reply), is_done: false });
            return self.next();
        }
        if let Some(entry) = note
            && let Err(error) = self.context.store.note(*entry).await
        {
            let _ = reply.send(Err(error.into()));
            return self.next();
        }
        if self.room.is_none() {
            self.room = room;
        }
        let mut reply = Some(reply);
        if self.advance(&record, step, &mut reply).await
            && let Some(reply) = reply
        {
            let _ = reply.send(Ok(self.record()));
        }
        self.next()
    }

    /// Takes note of what the agent's supervisor reports; `None` means that it failed itself.
    async fn learn(&mut self, event: Option<AgentEvent>) -> Next {
        let record = self.record();
        let event = match event {
            Some(event) => event,
            None => {
                // A supervisor that failed has not seen to it that nothing of its agent is left.
                self.context.launcher.end_survivor(record.id).await;
                AgentEvent::Ended(AgentEnd::Lost(Reason::new("its supervisor failed")))
            }
        };
        let epoch = record.phase.epoch();
        let event = match event {
            AgentEvent::Ready => Event::AgentReady { epoch },
            AgentEvent::Ended(end) => {
                self.agent = None;
                match end {
                    AgentEnd::Stopped => Event::AgentGone { epoch },
                    AgentEnd::Finished(ending) => Event::AgentFinished { epoch, ending },
                    AgentEnd::Lost(reason) => {
                        tracing::warn!(session.id = %record.id, customer = %record.customer, persona = %record.persona,
                            epoch = %epoch, reason = reason.in_full(), "agent lost");
                        self.view.send_modify(|view| view.lost = Some(reason.clone()));
                        self.counted.loss(&record.persona, &reason.in_full());
                        Event::AgentLost { epoch, reason, jitter: u16::from_ne_bytes(crate::random::bytes()) }
                    }
                }
            }
        };
        self.apply(&record, &event).await
    }

    async fn tick(&mut self) -> Next {
        let record = self.record();
        let event = Event::Tick { last_activity: self.last_activity() };
        self.apply(&record, &event).await
    }

    /// Applies a fact: it is stored, however long that takes.
    async fn apply(&mut self, record: &Arc<SessionRecord>, event: &Event) -> Next {
        match machine::step(&record.phase, event, &self.limits, self.context.clock.now()) {
            Ok(step) => {
                self.advance(record, step, &mut None).await;
            }
            Err(rejection) => {
                tracing::warn!(session.id = %record.id, event = ?event, rejection = %rejection, "event does not apply");
            }
        }
        self.next()
    }

    /// Stores a step, publishes it and starts its effects; false if it was a command's and could not be stored.
    async fn advance(&mut self, record: &SessionRecord, step: machine::Step, reply: &mut Option<Reply>) -> bool {
        if step.phase != record.phase {
            let next = record.after(self.with_log(step.phase).await);
            let ahead = self.begin_ahead(record, &step.effects);
            self.await_told().await;
            let (stored, ahead) = match self.persist(next, ahead, reply).await {
                Ok(stored) => stored,
                Err(ahead) => {
                    // Without an epoch it never had an agent, so that nobody else would remove what is left.
                    if record.phase.epoch() == Epoch::default() {
                        self.context.launcher.take_back(ahead, record.id).await;
                    }
                    return false;
                }
            };
            Failpoint::AfterStep.hit();
            self.tell(&stored).await;
            self.publish(record, stored);
            self.start_all(step.effects, ahead);
            // Last, since others wait for what comes before.
            log_move(record, &self.record());
        } else {
            self.start_all(step.effects, Ahead::default());
        }
        true
    }

    /// The same phase, once the log of a session that fails is kept: its directory goes when its end is stored.
    async fn with_log(&self, phase: Phase) -> Phase {
        let Phase::Ended { epoch, ending, log_bytes: 0 } = phase else { return phase };
        let has_failed = ending.outcome == Outcome::Failed;
        let log_bytes = if has_failed { self.context.launcher.keep_log(self.record().id).await } else { 0 };
        Phase::Ended { epoch, ending, log_bytes }
    }

    /// Begins with the start of an agent for a pending session, which has none and nothing of one that still counts.
    fn begin_ahead(&self, record: &SessionRecord, effects: &[Effect]) -> Ahead {
        match effects {
            [Effect::StartAgent { epoch, not_before, deadline }] if matches!(record.phase, Phase::Pending { .. }) => {
                self.context.launcher.begin_ahead(&spec(record, &self.persona, *epoch, *not_before, *deadline))
            }
            _ => Ahead::default(),
        }
    }

    /// Stores the record, and returns it with what is done for its start. Only the latter if it was a command's and is not
    /// stored after all.
    async fn persist(
        &mut self,
        next: SessionRecord,
        ahead: Ahead,
        reply: &mut Option<Reply>,
    ) -> Result<(SessionRecord, Ahead), Ahead> {
        let was_commanded = reply.is_some();
        loop {
            match self.put(next.clone(), ahead.wants_data()).await {
                Ok(data) => return Ok((next, ahead.with_data(data))),
                Err(error) => {
                    tracing::warn!(session.id = %next.id, error = %error, "session step not stored");
                    let why = error.cause();
                    if let Some(reply) = reply.take() {
                        let _ = reply.send(Err(error.into()));
                    }
                    self.wait_for_store(&why).await;
                }
            }
            // Whether the failed write took place shows only in what is stored, and that only once the store is back.
            if self.context.store.ready().is_ok()
                && let Ok(Some(stored)) = self.context.store.session(next.id).await
            {
                if stored.record.revision == next.revision {
                    return Ok((stored.record.clone(), ahead));
                }
                if was_commanded {
                    return Err(ahead);
                }
            }
            if self.context.tasks.is_draining() {
                return Err(ahead);
            }
        }
    }

    async fn put(&self, record: SessionRecord, with_data: bool) -> Result<Option<SessionData>, StoreError> {
        let Context { store, clock, .. } = &self.context;
        match with_data {
            true => store.put_with_data(record, clock.now()).await,
            false => store.put(record, clock.now()).await.map(|()| None),
        }
    }

    fn publish(&mut self, before: &SessionRecord, after: SessionRecord) {
        self.counted.step(&after.persona, &before.phase, &after.phase, self.context.clock.now());
        let ran = match &after.phase {
            Phase::Running { epoch, .. } => *epoch,
            Phase::Pending { .. } | Phase::Starting { .. } | Phase::Stopping { .. } | Phase::Ended { .. } => {
                self.view.borrow().ran
            }
        };
        let agent = self.agent.as_ref().map(|(agent, _)| agent.clone());
        let lost = self.view.borrow().lost.clone();
        self.view.send_replace(View { record: Arc::new(after), agent, ran, lost });
    }

    fn start_all(&mut self, effects: Vec<Effect>, mut ahead: Ahead) {
        for effect in effects {
            self.start(effect, std::mem::take(&mut ahead));
        }
    }

    fn start(&mut self, effect: Effect, ahead: Ahead) {
        match effect {
            Effect::StartAgent { epoch, not_before, deadline } => {
                let spec = spec(&self.record(), &self.persona, epoch, not_before, deadline);
                let (events, news) = agent::news();
                let agent = self.context.launcher.start(spec, ahead, events);
                self.view.send_modify(|view| view.agent = Some(agent.clone()));
                self.agent = Some((agent, news));
            }
            Effect::StopAgent { deadline, .. } => {
                if let Some((agent, _)) = &self.agent {
                    agent.stop(deadline);
                }
            }
        }
    }

    fn next(&mut self) -> Next {
        match self.record().phase {
            Phase::Pending { .. } => {
                self.room = None;
                Next::Leave
            }
            Phase::Ended { epoch, .. } => {
                self.room = None;
                if epoch != Epoch::default() {
                    self.forget_agent();
                }
                Next::Leave
            }
            Phase::Starting { .. } | Phase::Running { .. } | Phase::Stopping { .. } => Next::GoOn,
        }
    }

    /// The session has ended, and that is stored: nobody needs its agent's directory any more.
    fn forget_agent(&self) {
        self.context.launcher.forget_soon(self.record().id);
    }

    /// Ends the agent, unless it is left to the next server, and leaves the record as it is: the next start goes on
    /// from there. A session that was being stopped, or whose agent says that it has finished, is brought to its end.
    async fn drain(&mut self) {
        let deadline = self.context.clock.now() + self.context.drain_grace.min(self.limits.stop_grace);
        if let Some((agent, _)) = &self.agent
            && !self.context.tasks.leaves_agents()
        {
            agent.stop(deadline);
        }
        let is_stopping = matches!(self.record().phase, Phase::Stopping { .. });
        if let Some(event) = self.heard.take() {
            self.agent = None;
            if is_stopping {
                self.learn(Some(event)).await;
            }
        }
        while let Some((_, news)) = &mut self.agent {
            match news.next().await {
                Some(AgentEvent::Ready) => {}
                Some(event @ AgentEvent::Ended(AgentEnd::Finished(_))) => {
                    self.learn(Some(event)).await;
                }
                Some(event @ AgentEvent::Ended(_)) if is_stopping => {
                    self.learn(Some(event)).await;
                }
                Some(AgentEvent::Ended(AgentEnd::Stopped)) => {
                    self.agent = None;
                    // It ended because the server does: the next start has no loss to settle.
                    self.context.launcher.forget(self.record().id).await;
                }
                Some(AgentEvent::Ended(AgentEnd::Lost(_))) | None => self.agent = None,
            }
        }
        self.commands.close();
        while let Some(command) = self.commands.recv().await {
            let _ = command.reply.send(Err(CommandError::Draining));
        }
    }
}

fn log_move(before: &SessionRecord, after: &SessionRecord) {
    let reason = after.phase.ending().map(|ending| ending.reason.in_full()).unwrap_or_default();
    tracing::info!(
        session.id = %after.id,
        customer = %after.customer,
        from = before.phase.name(),
        to = after.phase.name(),
        epoch = %after.phase.epoch(),
        reason,
        "session moved"
    );
}

/// What an agent of the session is started or taken up for.
pub(super) fn spec(
    record: &SessionRecord,
    persona: &Arc<Persona>,
    epoch: Epoch,
    not_before: Timestamp,
    deadline: Timestamp,
) -> AgentSpec {
    AgentSpec {
        session: record.id,
        epoch,
        email: record.email().into(),
        persona_name: Arc::clone(&record.persona),
        persona: Arc::clone(persona),
        not_before,
        deadline,
    }
}

type Reply = oneshot::Sender<Result<Arc<SessionRecord>, CommandError>>;

async fn next_event(heard: &mut Option<AgentEvent>, agent: &mut Option<(Agent, News)>) -> Option<AgentEvent> {
    if heard.is_some() {
        return heard.take();
    }
    match agent {
        // The supervisor reports the end before it goes: without a report it has panicked.
        Some((_, news)) => news.next().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(clock: &dyn Clock, deadline: Option<Timestamp>) {
    match deadline {
        Some(deadline) => clock.sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
