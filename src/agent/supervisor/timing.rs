//! When a supervisor has to act although nothing is heard, and what it does then.

use std::time::Duration;

use crate::agent::log_tail::log_tail;
use crate::agent::verdict::Cause;
use crate::agent::within::STALL;
use crate::agent::{AgentEnd, survivors};
use crate::clock::Timestamp;
use crate::session::Reason;

use super::Supervisor;

/// How often the shim is told at least what is done with, if there is anything new.
const BETWEEN_ACKNOWLEDGEMENTS: Duration = Duration::from_secs(1);
/// How long an agent may go on with its stdout closed.
const AFTER_CLOSING: Duration = Duration::from_secs(1);
/// A shim that has not ended its agent so long after it should have is ended itself.
const SHIM_GRACE: Duration = Duration::from_secs(5);
/// How often a supervisor that is leaving looks whether the last request was answered.
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

impl Supervisor {
    /// When the loop has to look again although nothing is heard.
    pub(super) fn next_wake(&self, is_leaving: bool) -> Option<Timestamp> {
        let unacknowledged = self.done() > self.acknowledged;
        let persona = &self.spec.persona;
        let is_kept = self.cause.is_none();
        [
            (is_kept && !self.is_ready).then_some(self.deadline),
            is_kept.then_some(self.closed_at).flatten().map(|at| at + AFTER_CLOSING),
            self.pinged_at.filter(|_| is_kept).map(|at| at + persona.ping_timeout),
            self.next_ping(),
            unacknowledged.then(|| self.acknowledged_at + BETWEEN_ACKNOWLEDGEMENTS),
            self.kill_at.map(|at| at + SHIM_GRACE),
            self.is_held_up().then(|| self.now + BETWEEN_ACKNOWLEDGEMENTS),
            is_leaving.then(|| self.now + BETWEEN_LOOKS),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Does what was due then. Every branch changes what [`Supervisor::next_wake`] says.
    pub(super) async fn wake(&mut self, due: Option<Timestamp>) -> Option<AgentEnd> {
        let now = self.launcher.clock.now();
        self.now = now;
        if now >= self.acknowledged_at + BETWEEN_ACKNOWLEDGEMENTS {
            self.acknowledge();
        }
        if self.kill_at.is_some_and(|at| now >= at + SHIM_GRACE) {
            return Some(self.give_up_shim().await);
        }
        if self.is_held_up() || due.is_some_and(|due| now.saturating_since(due) >= STALL) {
            // It was not heard: what it has to say waits for the log of events, or the server itself was stopped.
            self.heard_at = now;
            self.deadline = self.deadline.max(now + BETWEEN_ACKNOWLEDGEMENTS);
            self.pinged_at = self.pinged_at.map(|_| now);
            self.closed_at = self.closed_at.map(|_| now);
        }
        if self.cause.is_some() {
            return None;
        }
        if !self.is_ready && now >= self.deadline {
            let timeout = humantime::format_duration(self.spec.persona.start_timeout);
            self.give_up(format!("no answer to initialize in {timeout}")).await;
        } else if self.closed_at.is_some_and(|at| now >= at + AFTER_CLOSING) {
            self.give_up("it closed its stdout and went on running".to_owned()).await;
        } else if self.pinged_at.is_some_and(|at| now >= at + self.spec.persona.ping_timeout) {
            if self.pinged_at > Some(self.heard_at) {
                let timeout = humantime::format_duration(self.spec.persona.ping_timeout);
                self.give_up(format!("no answer to ping in {timeout}, and nothing else either")).await;
            } else {
                // Busy, and alive: it has said something else since.
                self.pinged_at = Some(now);
            }
        }
        None
    }

    /// Ends a shim that should have ended its agent, or whose word of that has not been heard.
    async fn give_up_shim(&mut self) -> AgentEnd {
        let position = self.lines.position();
        let end = survivors::end_shim(&self.launcher, self.spec.session, self.spec.epoch, &self.place).await.end;
        if end.is_none() {
            tracing::warn!(session.id = %self.spec.session, "shim did not end its agent and was ended itself");
        }
        self.hear_spool(position).await;
        self.cause.take().unwrap_or(Cause::Stop).into()
    }

    /// Whether the agent has to wait until what it said of itself is durable.
    pub(super) fn is_held_up(&self) -> bool {
        self.journal.as_ref().is_some_and(|journal| !journal.has_room())
    }

    pub(super) async fn give_up(&mut self, why: String) {
        let tail = log_tail(&self.place).await;
        self.end(Cause::Lost(Reason::new(why).with_detail(tail)), self.now);
    }

    /// When the agent is to be asked whether it still answers: after a silence in which nothing was asked of it.
    pub(super) fn next_ping(&self) -> Option<Timestamp> {
        let asks = self.speaks && self.is_ready && self.cause.is_none() && self.pinged_at.is_none();
        let interval = self.spec.persona.ping_interval.filter(|_| asks)?;
        Some(self.heard_at.max(self.conversation.last_activity()) + interval)
    }

    pub(super) fn ping_is_due(&self) -> bool {
        self.next_ping().is_some_and(|at| self.now >= at) && self.conversation.is_idle()
    }

    pub(super) fn may_leave(&self) -> bool {
        self.cause.is_none() && (!self.is_ready || self.conversation.is_idle() || self.pinged_at.is_some())
    }
}
