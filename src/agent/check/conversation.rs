//! One run: calls, answers, and what their absence means.

use std::time::Duration;

use crate::agent::rpc;
use crate::clock::{Clock, Timestamp};

use super::listener::{Answer, Listener, quoted};
use super::peer::{Exit, Heard, Peer};
use super::{Finding, Told};

/// How long the rest of its output may take to arrive once an agent has ended.
const REST: Duration = Duration::from_millis(500);
/// How long an answer may take that was held back until stdin was closed.
const HELD_BACK: Duration = Duration::from_secs(2);

/// A conversation with a started agent.
pub(super) struct Conversation<'a> {
    peer: Box<dyn Peer>,
    listener: Listener,
    clock: &'a dyn Clock,
    timeout: Duration,
    told: &'a mut dyn FnMut(Told),
    last_id: u64,
    output_ended: bool,
    exit: Option<Exit>,
}

/// A call on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    id: u64,
    /// When it was sent.
    pub(super) sent: Timestamp,
}

impl Call {
    /// A call that the agent was never given, as far as this one.
    pub(super) fn never_made(self) -> Self {
        Self { id: self.id + 1_000_000, ..self }
    }
}

/// That the agent can't be asked any further; why was told.
#[derive(Debug)]
pub(super) struct Over;

impl<'a> Conversation<'a> {
    pub(super) fn new(
        peer: Box<dyn Peer>,
        clock: &'a dyn Clock,
        timeout: Duration,
        told: &'a mut dyn FnMut(Told),
    ) -> Self {
        let listener = Listener::default();
        Self { peer, listener, clock, timeout, told, last_id: 0, output_ended: false, exit: None }
    }

    pub(super) fn tell(&mut self, finding: Finding) {
        (self.told)(Told::Found(finding));
    }

    /// Makes a call; `params` is JSON without line breaks.
    pub(super) fn call(&mut self, method: &str, params: &str) -> Call {
        self.last_id += 1;
        let id = self.last_id;
        self.listener.ask(id);
        let line = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"{method}\",\"params\":{params}}}\n");
        self.peer.send(line.into_bytes());
        Call { id, sent: self.clock.now() }
    }

    /// Sends a notification.
    pub(super) fn notify(&mut self, method: &str, params: &str) {
        self.peer.send(rpc::notify(method, params.as_bytes()).to_vec());
    }

    /// Tells it that nobody waits for a call any longer.
    pub(super) fn cancel(&mut self, call: Call) {
        self.notify("cancel", &format!("{{\"ID\":{}}}", call.id));
    }

    /// Waits for the answer to a call that is named so in sentences.
    ///
    /// # Errors
    /// [`Over`] if none came in time, or the agent has ended; both were told.
    pub(super) fn expect(&mut self, call: Call, named: &str) -> Result<Answer, Over> {
        if let Some(answer) = self.answer_within(call, self.timeout) {
            return Ok(answer);
        }
        let finding = self.explain(call, named);
        self.tell(finding);
        Err(Over)
    }

    /// The answer to a call if it comes within this time.
    pub(super) fn answer_within(&mut self, call: Call, time: Duration) -> Option<Answer> {
        self.listen(time, |this| this.listener.answer(call.id).is_some());
        self.listener.answer(call.id).cloned()
    }

    /// Hears what else comes within this time.
    pub(super) fn settle(&mut self, time: Duration) {
        self.listen(time, |_| false);
    }

    /// Whether the process has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.exit.is_some()
    }

    /// What was heard, all in all.
    pub(super) fn listener(&self) -> &Listener {
        &self.listener
    }

    pub(super) fn close_input(&mut self) {
        self.peer.close_input();
    }

    pub(super) fn terminate(&mut self) {
        self.peer.terminate();
    }

    /// Waits for the agent's end.
    pub(super) fn await_exit(&mut self) -> Option<Exit> {
        let deadline = self.clock.now() + self.timeout;
        while self.exit.is_none() && self.now() < deadline {
            self.hear(deadline);
        }
        if self.exit.is_some() && !self.output_ended {
            self.listen(REST, |_| false);
        }
        self.exit.clone()
    }

    pub(super) fn left_behind(&mut self) -> Vec<String> {
        self.peer.left_behind()
    }

    /// Listens until something holds, the time is over, or nothing more can come.
    fn listen(&mut self, time: Duration, until: impl Fn(&Self) -> bool) {
        let mut deadline = self.now() + time;
        let mut is_last = false;
        while !until(self) && !self.output_ended && self.now() < deadline {
            if self.exit.is_some() && !is_last {
                is_last = true;
                deadline = deadline.min(self.now() + REST);
            }
            self.hear(deadline);
        }
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn hear(&mut self, deadline: Timestamp) {
        const ASKED: &str = "a line of at most 16 MiB";
        const CHANGE: &str = "send large results in parts with `output`, or write them elsewhere and answer with where";
        let finding = match self.peer.hear(deadline.saturating_since(self.now())) {
            Heard::Line(line) => self.listener.hear(&line, self.clock.now()),
            Heard::TooLong => Some(Finding::wrong("it writes a line without end to stdout", ASKED, CHANGE)),
            Heard::OutputEnded(rest) => {
                self.output_ended = true;
                unfinished(&rest)
            }
            Heard::Log(text) => {
                (self.told)(Told::Log(text));
                None
            }
            Heard::Exited(exit) => {
                self.exit = Some(exit);
                None
            }
            Heard::Nothing => None,
        };
        if let Some(finding) = finding {
            self.tell(finding);
        }
    }

    /// Why there is no answer.
    fn explain(&mut self, call: Call, named: &str) -> Finding {
        const ASKED: &str = "an answer to every call; an agent that ends without having said `finished` is lost";
        if self.exit.is_some() || self.output_ended {
            self.await_exit();
            let what = self.exit.as_ref().map_or("closed its stdout and goes on running", |exit| &exit.words);
            return Finding::wrong(
                format!("it {what} before it answered {named}"),
                ASKED,
                "see its log, and answer with an error instead of ending",
            );
        }
        self.peer.close_input();
        let within = humantime::format_duration(self.timeout);
        if self.answer_within(call, HELD_BACK).is_some() {
            return Finding::wrong(
                format!("its answer to {named} came only when stdin was closed"),
                "each answer at once, whole and with its line's end",
                "flush stdout after each line, and read stdin line by line rather than to its end",
            );
        }
        Finding::wrong(
            format!("no answer to {named} within {within}"),
            "an answer to every call",
            "answer with the call's `id`, one line, and flush stdout; if it needs longer, see --timeout",
        )
    }
}

fn unfinished(rest: &[u8]) -> Option<Finding> {
    let finding = Finding::wrong(
        "its last line on stdout has no end",
        "a line ends with LF; what has none does not count",
        "write a line's end after each message",
    );
    (!rest.trim_ascii().is_empty()).then(|| finding.quoting(quoted(rest)))
}
