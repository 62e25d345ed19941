//! An agent: the worker that serves one session.
//!
//! ```text
//!   start ──> wait (backoff) ──> spawn ──> initialize ──> ready ──> … ──> ended, and nothing of it left
//!                                                  \________ stop, or lost ________/
//! ```
//!
//! A [`Launcher`] starts agents; an [`Agent`] is the handle on one: it relays requests and takes the order to stop.
//! What happens to the agent comes back as [`AgentEvent`]s. That is the whole interface between a session and its
//! agent: where the process lives and who its parent is stays behind it.
//!
//! An agent that ended is reported only when its whole process tree is gone. [`restart`] and [`calls`] are pure.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::clock::{Clock, Timestamp};
use crate::config::Persona;
use crate::id::{Epoch, SessionId};
use crate::session::{Ending, Reason};
use crate::shutdown::Tasks;
use crate::store::Store;

pub mod calls;
mod child;
mod conversation;
pub mod echo;
pub mod leftovers;
pub mod lines;
pub mod process;
pub mod restart;
pub mod rpc;

pub use calls::CallError;
pub use process::Agent;

use leftovers::Sweeper;

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

/// Starts agents.
#[derive(Clone)]
pub struct Launcher {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tasks: Tasks,
    pub(crate) sweeper: Sweeper,
    pub(crate) limits: CallLimits,
}

/// The bounds of the conversation with one agent.
#[derive(Clone, Copy, Debug)]
pub struct CallLimits {
    /// Requests in flight to one agent.
    pub requests: usize,
    /// Bytes of one line from an agent.
    pub line_bytes: usize,
}

impl Launcher {
    /// Builds a launcher for the desk that `store` belongs to.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, tasks: Tasks, limits: CallLimits) -> Self {
        let sweeper = Sweeper::new(&store.desk().id);
        Self { store, clock, tasks, sweeper, limits }
    }

    /// Starts an agent; returns at once, and the rest comes as events.
    pub fn start(&self, spec: AgentSpec, events: mpsc::Sender<AgentEvent>) -> Agent {
        process::start(self.clone(), spec, events)
    }

    /// Ends every process that an earlier server of this desk has left, and returns how many those were.
    pub async fn end_leftovers(&self) -> usize {
        self.sweeper.sweep_all().await
    }

    /// Ends every process of one session.
    pub async fn end_leftovers_of(&self, session: SessionId) {
        self.sweeper.sweep(session).await;
    }
}

/// One JSON text on its way to or from an agent.
pub type Json = Bytes;
