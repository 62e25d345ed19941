//! A forced stop, which needs no room on the disk.
//!
//! ```text
//!   store takes it:  audit ──> step stored ──> agent killed ──> end stored
//!   store refuses:   agent killed, caller told ──> own directory removed ──> audit ──> step stored ──> end stored
//! ```
//!
//! An agent that fills the disk would otherwise be safe from its own stop. Until the stop is stored, everybody still
//! sees the session as it was; a server that is restarted before that may start the agent again.

use std::time::Duration;

use crate::agent::{AgentEnd, AgentEvent};
use crate::session::machine::Event;
use crate::store::{AuditEntry, StoreError};

use super::{Command, CommandError, Driver, Next, Reply, next_event};

/// A forced stop that is being carried out.
pub(in crate::session) struct Kill {
    pub(super) event: Event,
    /// What the audit is to say before the stop is stored.
    pub(super) note: Option<Box<AuditEntry>>,
    /// Who waits for it.
    pub(super) reply: Option<Reply>,
    /// Whether the agent was killed already, before the stop was stored.
    pub(super) is_done: bool,
}

impl Driver {
    /// Stores the forced stop, however long that takes, and kills the agent before if the store refuses.
    pub(super) async fn carry_out_kill(&mut self) -> Next {
        while let Some(entry) = self.kill.as_ref().and_then(|kill| kill.note.clone()) {
            match self.context.store.note(*entry).await {
                Ok(()) => {
                    if let Some(kill) = &mut self.kill {
                        kill.note = None;
                    }
                }
                Err(error) => {
                    tracing::warn!(session.id = %self.record().id, error = %error, "forced stop not stored");
                    self.wait_for_store(&error.cause()).await;
                    if self.context.tasks.is_draining() {
                        return self.next();
                    }
                }
            }
        }
        let Some(event) = self.kill.as_ref().map(|kill| kill.event.clone()) else { return self.next() };
        let next = self.apply(&self.record(), &event).await;
        if let Some(Kill { reply: Some(reply), .. }) = self.kill.take() {
            let _ = reply.send(Ok(self.record()));
        }
        next
    }

    /// Waits before the next try to store something. Meanwhile it carries out forced stops, and refuses all other
    /// commands: the store would refuse them as well.
    pub(super) async fn wait_for_store(&mut self, why: &str) {
        const BETWEEN_TRIES: Duration = Duration::from_millis(200);
        self.kill_unstored(why);
        let over = tokio::time::sleep(BETWEEN_TRIES);
        tokio::pin!(over);
        loop {
            let awaits_end = self.heard.is_none() && self.kill.as_ref().is_some_and(|kill| kill.is_done);
            tokio::select! {
                biased;
                () = &mut over => return,
                Some(command) = self.commands.recv() => self.answer_unstored(*command, why),
                event = next_event(&mut self.heard, &mut self.agent), if awaits_end => self.hear_end(event).await,
            }
        }
    }

    fn answer_unstored(&mut self, command: Command, why: &str) {
        let Command { event, note, reply, .. } = command;
        let is_kill = self.agent.is_some() && matches!(event, Event::Stop { force: true, .. });
        match &mut self.kill {
            Some(_) if is_kill => drop(reply.send(Err(CommandError::Killed(unavailable(why))))),
            None if is_kill => {
                self.kill = Some(Kill { event, note, reply: Some(reply), is_done: false });
                self.kill_unstored(why);
            }
            Some(_) | None => drop(reply.send(Err(unavailable(why).into()))),
        }
    }

    /// Kills the agent of a forced stop that could not be stored, once, and says so to whoever asked for it.
    fn kill_unstored(&mut self, why: &str) {
        let Some(kill) = self.kill.as_mut().filter(|kill| !kill.is_done) else { return };
        kill.is_done = true;
        if let Some((agent, _)) = &self.agent {
            agent.stop(self.context.clock.now());
        }
        if let Some(reply) = kill.reply.take() {
            let _ = reply.send(Err(CommandError::Killed(unavailable(why))));
        }
    }

    /// Once nothing of the killed agent is left, its own directory goes, which may be what fills the disk.
    async fn hear_end(&mut self, event: Option<AgentEvent>) {
        let id = self.record().id;
        let end = match event {
            Some(AgentEvent::Ready) => return,
            Some(AgentEvent::Ended(end)) => end,
            None => {
                self.context.launcher.end_survivor(id).await;
                AgentEnd::Stopped
            }
        };
        self.heard = Some(AgentEvent::Ended(end));
        self.context.launcher.remove_own_directory(id).await;
    }
}

fn unavailable(why: &str) -> StoreError {
    StoreError::Unavailable(why.to_owned())
}
