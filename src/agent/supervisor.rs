//! One agent's supervisor in the server: starts it or takes it up again, keeps it until something ends it, and reports.
//!
//! The agent's process belongs to its shim ([`crate::shim`]); this task is at the other end of the shim's socket. It
//! lives from the start of the agent until nothing of its tree is left, or until the server goes and leaves the agent
//! to the next one.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::clock::{Clock, Timestamp};
use crate::config::Protocol;
use crate::failpoint::Failpoint;
use crate::session::Reason;
use crate::shim::place::Place;
use crate::shim::wire::{End, Welcome};

use super::calls::CallError;
use super::conversation::Conversation;
use super::journal::{Journal, LOG_PATIENCE};
use super::line_budget::LineBudget;
use super::lines::Lines;
use super::link::{self, Ear, Mouth};
use super::log_tail::log_tail;
use super::process::Shown;
use super::start::{self, Started};
use super::verdict::{self, Cause, Moment};
use super::{AgentEnd, AgentEvent, AgentSpec, Ahead, Herald, Json, Launcher, initialize, survivors};

mod hearing;
mod timing;

/// With what a supervisor begins.
#[derive(Debug)]
pub(super) enum Origin {
    /// There is no agent yet, and so much is done for its start.
    New(Ahead),
    /// An earlier server's agent lives, and its shim has said so.
    Alive(Box<(Ear, Mouth, Welcome)>),
    /// An earlier server's agent ended while nobody looked; so much of its stdout was acknowledged.
    Ended(End, u64),
    /// An earlier server's agent was lost with its shim.
    Lost(Reason),
}

/// One agent's supervisor. What it makes of what it hears is in `hearing`; when it acts by itself, in `timing`.
pub(super) struct Supervisor {
    launcher: Launcher,
    spec: AgentSpec,
    place: Place,
    conversation: Arc<Conversation>,
    shown: Arc<Mutex<Shown>>,
    speaks: bool,
    stops: mpsc::UnboundedReceiver<Timestamp>,
    events: Herald,
    lines: Lines,
    line_budget: LineBudget,
    /// Nothing as long as it has said nothing of itself.
    journal: Option<Journal>,
    is_ready: bool,
    /// Whether it has broken the protocol, so that nothing that follows is worth reading.
    is_deaf: bool,
    /// When it has to be ready.
    deadline: Timestamp,
    /// Its turn among the starts that may go on at once, until it is ready.
    turn: Option<OwnedSemaphorePermit>,
    /// Why the agent is being ended, once it is.
    cause: Option<Cause>,
    /// When it is to be killed.
    kill_at: Option<Timestamp>,
    /// When it closed its stdout.
    closed_at: Option<Timestamp>,
    /// When it last said anything.
    heard_at: Timestamp,
    /// When it was asked whether it still answers.
    pinged_at: Option<Timestamp>,
    acknowledged: u64,
    acknowledged_at: Timestamp,
    /// The time at the beginning of this turn of the loop.
    now: Timestamp,
}

/// An answer that the supervisor itself waits for.
type Call = std::pin::Pin<Box<dyn Future<Output = Result<Json, CallError>> + Send>>;

impl Supervisor {
    /// A supervisor that has yet to run. `is_ready` says whether an earlier server has seen the agent ready.
    pub(super) fn new(
        launcher: Launcher,
        spec: AgentSpec,
        conversation: Arc<Conversation>,
        shown: Arc<Mutex<Shown>>,
        stops: mpsc::UnboundedReceiver<Timestamp>,
        events: Herald,
        is_ready: bool,
    ) -> Self {
        let now = launcher.clock.now();
        Self {
            place: launcher.place(spec.session),
            speaks: spec.persona.protocol == Protocol::JsonRpc,
            deadline: spec.deadline,
            launcher,
            spec,
            conversation,
            shown,
            stops,
            events,
            lines: Lines::new(0, 0),
            line_budget: LineBudget::default(),
            journal: None,
            is_ready,
            is_deaf: false,
            turn: None,
            cause: None,
            kill_at: None,
            closed_at: None,
            heard_at: now,
            pinged_at: None,
            acknowledged: 0,
            acknowledged_at: now,
            now,
        }
    }

    /// Supervises the agent to its end, or until the server leaves it.
    ///
    /// There are as many as agents, and each mostly waits: what it seldom does has no room kept for it.
    pub(super) async fn run(mut self: Box<Self>, origin: Origin) {
        match self.live(origin).await {
            Some(end) => {
                self.conversation.close(&end.reason(), end.refusal());
                self.flush().await;
                self.show(|shown| *shown = Shown::default());
                Failpoint::AfterAgentEnd.hit();
                // A driver that is gone has nobody to tell.
                let _ = self.events.tell(AgentEvent::Ended(end)).await;
            }
            None => {
                let reason = Reason::new("the server was stopped; its agent runs on");
                self.conversation.close(&reason, CallError::NotGiven(reason.clone()));
            }
        }
    }

    /// Waits until what the agent said is durable: with its session its spool goes.
    async fn flush(&self) {
        if !self.conversation.backlog().flushed(LOG_PATIENCE).await {
            tracing::error!(session.id = %self.spec.session, "last events of an agent may be lost: they can't be stored");
        }
    }

    /// `None` if the agent is left to the next server.
    async fn live(&mut self, origin: Origin) -> Option<AgentEnd> {
        match origin {
            Origin::New(ahead) => {
                let tasks = self.launcher.tasks.clone();
                let brought_up = tokio::select! {
                    biased;
                    () = tasks.leaving() => return None,
                    brought_up = Box::pin(start::bring_up(
                        &self.launcher,
                        &self.spec,
                        &self.place,
                        ahead,
                        &mut self.stops,
                    )) => brought_up,
                };
                match brought_up {
                    Ok(Started { stream, data, turn, deadline }) => {
                        (self.turn, self.deadline) = (Some(turn), deadline);
                        let (ear, mouth) = link::split(stream);
                        let call = self.speaks.then(|| self.initialize(&data));
                        self.serve(ear, mouth, call).await
                    }
                    Err(end) => Some(end),
                }
            }
            Origin::Alive(alive) => {
                let (ear, mouth, welcome) = *alive;
                if !self.is_ready {
                    // It may have waited for its turn, and the time that it has had since is not known.
                    let timeout = self.spec.persona.start_timeout;
                    self.deadline = self.deadline.max(self.launcher.clock.now() + timeout);
                    self.turn = Arc::clone(&self.launcher.turns).try_acquire_owned().ok();
                }
                let call =
                    if self.speaks && !self.is_ready { Box::pin(self.go_on_with_start(&welcome)).await } else { None };
                self.welcomed(welcome).await;
                self.serve(ear, mouth, call).await
            }
            Origin::Ended(end, acknowledged) => {
                Box::pin(self.hear_spool(acknowledged)).await;
                Some(Box::pin(self.ended(&end)).await)
            }
            Origin::Lost(reason) => {
                Box::pin(self.hear_spool(0)).await;
                Some(self.cause.take().map_or(AgentEnd::Lost(reason), AgentEnd::from))
            }
        }
    }

    /// Talks to the agent until its end. `starting` is the call after which it is ready.
    async fn serve(&mut self, mut ear: Ear, mouth: Mouth, mut starting: Option<Call>) -> Option<AgentEnd> {
        let (clock, tasks) = (Arc::clone(&self.launcher.clock), self.launcher.tasks.clone());
        tasks.spawn(mouth.speak(self.conversation.open()));
        let (mut ping, mut has_handle, mut is_leaving) = (None, true, false);
        loop {
            self.now = clock.now();
            if is_leaving && self.may_leave() {
                self.acknowledge();
                return None;
            }
            if ping.is_none() && self.ping_is_due() {
                self.pinged_at = Some(self.now);
                ping = Some(self.ping());
            }
            let wake = self.next_wake(is_leaving);
            tokio::select! {
                biased;
                kill_at = self.stops.recv(), if has_handle => {
                    has_handle = kill_at.is_some();
                    // Without a handle left nobody can ask this agent for anything.
                    self.end(Cause::Stop, kill_at.unwrap_or(self.now));
                }
                () = tasks.leaving(), if !is_leaving => is_leaving = true,
                () = sleep_until(&*clock, wake) => {
                    if let Some(end) = Box::pin(self.wake(wake)).await {
                        return Some(end);
                    }
                }
                answer = answered(&mut starting) => self.started(answer).await,
                // Any answer will do; that none comes shows elsewhere.
                _ = answered(&mut ping) => self.pinged_at = None,
                () = more_room(self.journal.as_ref()) => {}
                // While much of what it said is not durable yet, it has to wait.
                heard = ear.next(), if self.journal.as_ref().is_none_or(Journal::has_room) => {
                    let Ok(Some(heard)) = heard else {
                        match Box::pin(self.reach_again()).await {
                            Some(again) => ear = again,
                            None => return Some(Box::pin(self.shim_is_gone()).await),
                        }
                        continue;
                    };
                    if let Some(end) = self.hear(heard).await {
                        return Some(end);
                    }
                }
            }
        }
    }

    fn initialize(&self, data_field: &[u8]) -> Call {
        let (conversation, params) = (Arc::clone(&self.conversation), initialize::params(&self.spec, data_field));
        Box::pin(async move { conversation.call("initialize", &[params.as_slice()]).await })
    }

    /// Goes on with a start that an earlier server began: the agent was told about its session, or is told now.
    async fn go_on_with_start(&mut self, welcome: &Welcome) -> Option<Call> {
        if welcome.last_call == 0 {
            return match initialize::data_field(&self.launcher, &self.spec, None).await {
                Ok(data) => Some(self.initialize(&data)),
                Err(reason) => {
                    self.end(Cause::Lost(reason), self.now);
                    None
                }
            };
        }
        let conversation = Arc::clone(&self.conversation);
        Some(Box::pin(async move { conversation.await_answer(start::INITIALIZE_CALL).await }))
    }

    fn ping(&self) -> Call {
        let conversation = Arc::clone(&self.conversation);
        Box::pin(async move { conversation.ping().await })
    }

    /// The answer to `initialize` has come.
    async fn started(&mut self, answer: Result<Json, CallError>) {
        match answer {
            Ok(_) => self.ready().await,
            Err(error) => {
                self.end(Cause::Lost(Reason::new(format!("it refused to start: {error}"))), self.now);
            }
        }
    }

    async fn ready(&mut self) {
        if !self.is_ready && self.cause.is_none() {
            self.is_ready = true;
            self.turn = None;
            if !self.events.tell(AgentEvent::Ready).await {
                self.end(Cause::Stop, self.now);
            }
        }
    }

    /// The shim has said what there is.
    async fn welcomed(&mut self, welcome: Welcome) {
        self.conversation.go_on_after(welcome.last_call);
        self.acknowledged = welcome.acknowledged;
        self.lines = Lines::new(self.line_bytes(), welcome.acknowledged);
        self.show(|shown| (shown.pid, shown.limits) = (Some(welcome.pid), welcome.limits));
        if !self.speaks {
            self.ready().await;
        }
    }

    /// Has the agent ended by `kill_at` at the latest. Why is decided by the first who asks.
    fn end(&mut self, cause: Cause, kill_at: Timestamp) {
        let cause = self.cause.get_or_insert(cause);
        self.conversation.refuse(match cause {
            Cause::Finished(_) => CallError::Finished,
            Cause::Stop | Cause::Lost(_) => CallError::NotGiven(cause.reason()),
        });
        let kill_at = self.kill_at.map_or(kill_at, |earlier| earlier.min(kill_at));
        self.now = self.launcher.clock.now();
        self.kill_at = Some(kill_at);
        self.conversation.order_end(kill_at.saturating_since(self.now));
    }

    /// What the agent's end means.
    async fn ended(&mut self, end: &End) -> AgentEnd {
        let end_of_agent = match self.cause.take() {
            Some(cause) => cause.into(),
            None => {
                let moment = if self.is_ready { Moment::AfterReady } else { Moment::BeforeReady };
                verdict::of(end, self.speaks, moment, &log_tail(&self.place).await)
            }
        };
        if let Some(last) = end.last_begun {
            self.conversation.fail_above(last, end_of_agent.reason());
        }
        end_of_agent
    }

    /// Connects again to a shim that lives: it may have been unable to take a line, and that ends no agent.
    async fn reach_again(&mut self) -> Option<Ear> {
        let (ear, mouth, welcome) =
            survivors::reach(&self.launcher, self.spec.session, self.spec.epoch, &self.place).await?;
        tracing::warn!(session.id = %self.spec.session, "connection to a shim was lost and made again");
        let reason = Reason::new("the connection to its shim was lost");
        self.conversation.fail_above(welcome.last_call, reason);
        self.launcher.tasks.spawn(mouth.speak(self.conversation.open()));
        self.welcomed(welcome).await;
        if let Some(kill_at) = self.kill_at {
            self.conversation.order_end(kill_at.saturating_since(self.now));
        }
        Some(ear)
    }

    /// The connection broke without a word about the agent's end.
    async fn shim_is_gone(&mut self) -> AgentEnd {
        let position = self.lines.position();
        self.conversation.refuse(CallError::NotGiven(Reason::new("its shim is gone")));
        self.conversation.hang_up();
        let end = survivors::end_shim(&self.launcher, self.spec.session, self.spec.epoch, &self.place).await.end;
        self.hear_spool(position).await;
        match end {
            Some(end) => self.ended(&end).await,
            None => {
                let lost =
                    || Cause::Lost(Reason::new("killed: its shim, the process that watches over it, was killed"));
                self.cause.take().unwrap_or_else(lost).into()
            }
        }
    }

    fn show(&self, change: impl FnOnce(&mut Shown)) {
        change(&mut self.shown.lock());
    }
}

/// Completes when there may be room again for what an agent says; never, if there is.
async fn more_room(journal: Option<&Journal>) {
    match journal.filter(|journal| !journal.has_room()) {
        Some(journal) => journal.room().await,
        None => std::future::pending().await,
    }
}

/// Completes with the answer, once; a call that is not there is never answered.
async fn answered(call: &mut Option<Call>) -> Result<Json, CallError> {
    let answer = match call {
        Some(answer) => answer.await,
        None => std::future::pending().await,
    };
    *call = None;
    answer
}

async fn sleep_until(clock: &dyn Clock, deadline: Option<Timestamp>) {
    match deadline {
        Some(deadline) => clock.sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
