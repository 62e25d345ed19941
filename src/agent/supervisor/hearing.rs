//! What a supervisor makes of what it hears: the shim's frames, the agent's lines, and how far both are done with.

use std::ops::Range;

use bytes::Bytes;

use crate::agent::journal::{Journal, LOG_PATIENCE, Owner};
use crate::agent::lines::Lines;
use crate::agent::link::Heard;
use crate::agent::rpc::{self, Message, Notification};
use crate::agent::verdict::Cause;
use crate::agent::{AgentEnd, Launcher, survivors};
use crate::events::NewEvent;
use crate::id::Printable;
use crate::session::{Ending, Reason};

use super::Supervisor;

/// After so many bytes the shim is told what is done with.
const ACKNOWLEDGED_AT_ONCE_BYTES: u64 = 256 << 10;

impl Supervisor {
    pub(super) async fn hear(&mut self, heard: Heard) -> Option<AgentEnd> {
        // It may have been waited for since the beginning of this turn.
        self.now = self.launcher.clock.now();
        match heard {
            Heard::Welcome(welcome) => self.welcomed(welcome).await,
            Heard::Output(bytes) => {
                self.heard_at = self.now;
                self.hear_lines(bytes).await;
                if self.done().saturating_sub(self.acknowledged) >= ACKNOWLEDGED_AT_ONCE_BYTES {
                    self.acknowledge();
                }
            }
            Heard::Taken => self.conversation.taken(),
            Heard::Refused { call, why } => {
                self.conversation.taken();
                tracing::warn!(session.id = %self.spec.session, reason = %Printable(&why), "request not handed over");
                self.conversation.fail(call);
            }
            // A plain command's stdout is its log, which it may close.
            Heard::Closed => self.closed_at = self.speaks.then_some(self.now),
            Heard::Usage(usage) => self.show(|shown| shown.usage = Some(usage)),
            Heard::Ended(end) => return Some(self.ended(&end).await),
        }
        None
    }

    /// Takes note of each line that a piece of stdout completes.
    pub(super) async fn hear_lines(&mut self, piece: Bytes) {
        if self.is_deaf {
            return;
        }
        self.lines.push(piece);
        loop {
            self.line_budget.spend().await;
            self.lines.skip_empty();
            let began = self.lines.position();
            let broken = match self.lines.next_line() {
                Ok(Some(line)) if line.is_empty() => continue,
                Ok(Some(line)) => match rpc::read_where_it_fits(line).await {
                    Ok(message) => match self.hear_message(message, began..self.lines.position()) {
                        Ok(()) => continue,
                        Err(reason) => reason,
                    },
                    Err(error) => Reason::new("the agent broke the protocol").with_detail(error),
                },
                Ok(None) => return,
                Err(error) => Reason::new("the agent broke the protocol").with_detail(error),
            };
            self.conversation.note(format!("frontdesk ends this agent: {}", broken.in_full()));
            self.end(Cause::Lost(broken), self.now);
            self.is_deaf = true;
            return;
        }
    }

    /// Takes note of a message whose line stood there in the agent's stdout.
    pub(super) fn hear_message(&mut self, message: Message, line: Range<u64>) -> Result<(), Reason> {
        let (what, params) = match message {
            Message::Answer { id, result } => return self.conversation.answer(id, result, line.start),
            Message::Notification { what, params } => (what, params),
        };
        if let Some(kind) = what.kind() {
            let event = NewEvent { kind, at: self.launcher.clock.wall(), body: params };
            self.journal().keep(Some(line), event);
        }
        match what {
            Notification::Progress(text) => self.conversation.note_progress(text),
            Notification::Log(text) => self.conversation.note(text),
            Notification::Finished { outcome, reason } => {
                let reason = if reason.is_empty() { "the agent finished".to_owned() } else { reason };
                let ending = Ending::new(outcome, Reason::new(reason));
                self.end(Cause::Finished(ending), self.now + self.spec.persona.stop_grace);
            }
            Notification::TooDeep => self.conversation.note(rpc::MESSAGE_TOO_DEEP.to_owned()),
            Notification::Event | Notification::Output | Notification::Other => {}
        }
        Ok(())
    }

    /// Where what it says of itself is kept; most agents say nothing.
    pub(super) fn journal(&mut self) -> &Journal {
        let owner = Owner { session: self.spec.session, epoch: self.spec.epoch };
        let (Launcher { events, tasks, .. }, backlog) = (&self.launcher, self.conversation.backlog());
        self.journal.get_or_insert_with(|| Journal::start(events.clone(), owner, backlog.clone(), tasks))
    }

    /// Up to where the agent's stdout is done with.
    pub(super) fn done(&self) -> u64 {
        let read = self.conversation.done(self.lines.position());
        self.journal.as_ref().map_or(read, |journal| journal.done(read))
    }

    /// Reads what no server has read before the agent ended.
    pub(super) async fn hear_spool(&mut self, from: u64) {
        let mut spool = survivors::Spool::open(&self.place, from);
        self.lines = Lines::new(self.line_bytes(), spool.position());
        // Whichever calls it answers, they were another server's, and it gets no more.
        self.conversation.go_on_after(u64::MAX - 1);
        while let Some(piece) = spool.next().await {
            self.hear_lines(piece).await;
            if let Some(journal) = &self.journal
                && tokio::time::timeout(LOG_PATIENCE, journal.room()).await.is_err()
            {
                tracing::error!(session.id = %self.spec.session, "last events of an agent are lost: they can't be stored");
                return;
            }
        }
    }

    /// Bytes of a line that it may write.
    pub(super) fn line_bytes(&self) -> usize {
        let own = self.spec.persona.line.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        own.unwrap_or(self.launcher.limits.line_bytes)
    }

    pub(super) fn acknowledge(&mut self) {
        self.acknowledged_at = self.now;
        // The word that the agent has finished stays in the spool until its session has ended.
        let is_finished = matches!(self.cause, Some(Cause::Finished(_)));
        let done = self.done();
        if !is_finished && done > self.acknowledged {
            self.acknowledged = done;
            self.conversation.acknowledge(done);
        }
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;
    use std::sync::Arc;

    use tokio::sync::mpsc;

    use super::*;
    use crate::agent::conversation::Conversation;
    use crate::agent::line_budget::tests::turns_of_others;
    use crate::agent::{AgentSpec, news};
    use crate::clock::{Clock, SystemClock, WallTime};
    use crate::data_dir::DataDir;
    use crate::events::EventLog;
    use crate::id::{Epoch, SessionId};
    use crate::store::sqlite::SqliteStore;

    #[tokio::test]
    async fn others_go_on_while_a_piece_of_many_lines_is_read_and_empty_ones_are_passed_over_at_once() {
        const LINES: usize = 6_400;
        let (mut supervisor, _directory) = supervisor();
        let tiny = "{\"jsonrpc\":\"2.0\",\"method\":\"later\"}\n".repeat(LINES);
        let ((), turns) = turns_of_others(supervisor.hear_lines(tiny.into())).await;
        assert!(turns >= LINES / 100, "{turns}");
        let ((), turns) = turns_of_others(supervisor.hear_lines("\r\n\n".repeat(LINES).into())).await;
        assert!(turns < 10, "{turns}");
        assert!(!supervisor.is_deaf);
    }

    /// One that hears what it is told, of an agent that there is not.
    fn supervisor() -> (Supervisor, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let data_dir = DataDir::open(directory.path()).unwrap();
        let store = Arc::new(SqliteStore::open(data_dir.paths()).unwrap());
        let log = EventLog::open(data_dir.paths(), 1 << 20).unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::resume(None));
        let launcher = Launcher::to_end(store, Arc::clone(&clock), log, data_dir.paths().agents());
        let spec = AgentSpec {
            session: SessionId::new(WallTime::from_unix_millis(1), [1; 10]),
            epoch: Epoch(1),
            email: "ada@example.org".into(),
            persona_name: "CUSTOMERS".into(),
            persona: Arc::default(),
            not_before: clock.now(),
            deadline: clock.now(),
        };
        let conversation = Arc::new(Conversation::new(1, clock));
        let shown = Arc::new(Mutex::default());
        let mut supervisor =
            Supervisor::new(launcher, spec, conversation, shown, mpsc::unbounded_channel().1, news().0, true);
        supervisor.lines = Lines::new(1_000, 0);
        (supervisor, directory)
    }
}
