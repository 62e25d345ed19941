//! The handle on an agent that is a process, and what is shown of it.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::clock::Timestamp;
use crate::config::Protocol;
use crate::shim::wire::Usage;

use super::calls::CallError;
use super::conversation::{Conversation, Fate, KeptCall};
use super::supervisor::{Origin, Supervisor};
use super::{AgentSpec, Herald, Json, Launcher};

/// The handle on one agent that is a process. Cloning shares it.
#[derive(Clone, Debug)]
pub struct ProcessAgent {
    conversation: Arc<Conversation>,
    shown: Arc<Mutex<Shown>>,
    speaks: bool,
    stop: mpsc::UnboundedSender<Timestamp>,
}

/// What is known of the process.
#[derive(Clone, Debug, Default)]
pub(super) struct Shown {
    pub(super) pid: Option<u32>,
    pub(super) limits: String,
    pub(super) usage: Option<Usage>,
}

/// What an earlier server has had to do with an agent.
#[derive(Clone, Debug, Default)]
pub struct Before {
    /// Whether it has seen it ready.
    pub is_ready: bool,
    /// The numbers of calls that it has made and whose answers are to be stored.
    pub calls: Vec<u64>,
}

/// Starts the supervisor of an agent.
pub(super) fn start(
    launcher: Launcher,
    spec: AgentSpec,
    events: Herald,
    origin: Origin,
    before: Before,
) -> ProcessAgent {
    let conversation = Arc::new(Conversation::new(launcher.limits.requests, Arc::clone(&launcher.clock)));
    // Unbounded, and short all the same: a driver sends a stop and perhaps a harder one.
    let (stop, stops) = mpsc::unbounded_channel();
    let speaks = spec.persona.protocol == Protocol::JsonRpc;
    let agent = ProcessAgent { conversation: Arc::clone(&conversation), shown: Arc::default(), speaks, stop };
    match &origin {
        Origin::New(_) => {}
        Origin::Alive(alive) => conversation.inherit(&before.calls, alive.2.last_call),
        Origin::Ended(end, _) => conversation.inherit_from_dead(&before.calls, end.last_begun),
        Origin::Lost(_) => conversation.inherit_from_dead(&before.calls, None),
    }
    let tasks = launcher.tasks.clone();
    let shown = Arc::clone(&agent.shown);
    let supervisor = Supervisor::new(launcher, spec, conversation, shown, stops, events, before.is_ready);
    tasks.spawn(Box::new(supervisor).run(origin));
    agent
}

impl ProcessAgent {
    /// Hands a request to the agent and waits for its answer. `request` is JSON text, and so is the answer; `begun` is
    /// given the number of the call before the agent is. A caller that goes away cancels the request.
    ///
    /// # Errors
    /// A [`CallError`] if the agent refused, was lost, took longer than `timeout`, or has too much to do.
    pub(super) async fn request(
        &self,
        request: &[u8],
        timeout: Duration,
        begun: impl FnOnce(u64),
    ) -> Result<Json, CallError> {
        if !self.speaks {
            return Err(CallError::NotSpoken);
        }
        self.conversation.request(request, timeout, begun).await
    }

    /// Waits until everything that the agent said before is durable, but not longer than this; whether it is.
    pub(super) async fn flushed(&self, patience: Duration) -> bool {
        self.conversation.backlog().flushed(patience).await
    }

    /// Hands over a request whose answer stays in the spool until it is stored; `note` is given its number first and may
    /// prevent it. A caller that goes away does not cancel it.
    pub(super) async fn request_once<E: From<CallError>>(
        &self,
        request: &[u8],
        timeout: Duration,
        note: impl AsyncFnOnce(u64) -> Result<(), E>,
    ) -> Result<KeptCall<'_>, E> {
        if !self.speaks {
            return Err(CallError::NotSpoken.into());
        }
        self.conversation.call_and_keep(request, timeout, note).await
    }

    /// What has become of a call that an earlier server made.
    pub(super) async fn inherited(&self, number: u64, timeout: Duration) -> Fate<'_> {
        self.conversation.inherited(number, timeout).await
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

    /// How many requests wait for its answer.
    pub fn open_requests(&self) -> usize {
        self.conversation.open_requests()
    }

    /// What the agent last said of its progress.
    pub fn progress(&self) -> Option<String> {
        self.conversation.progress()
    }

    /// The process, while there is one.
    pub fn pid(&self) -> Option<u32> {
        self.shown().pid
    }

    /// What its processes take, if that was measured.
    pub fn usage(&self) -> Option<Usage> {
        self.shown().usage
    }

    /// Which limits are in force and by what, in words; empty if there are none.
    pub fn limits(&self) -> String {
        self.shown().limits
    }

    fn shown(&self) -> Shown {
        self.shown.lock().clone()
    }
}
