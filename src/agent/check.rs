//! `frontdesk agent check`: takes an agent through the protocol as the server would, and says in plain words what is
//! wrong with it.
//!
//! ```text
//!   first run    initialize, ping, unknown, requests, two at once, a large one, cancel, shutdown
//!   second run   initialize, end of stdin
//!   third run    initialize, SIGTERM
//! ```
//!
//! | what | module |
//! | --- | --- |
//! | the runs, step by step | `runs` |
//! | one run: calls, answers, and what their absence means | `conversation` |
//! | what a line from the agent is | `listener` |
//! | the agent as the runs see it: a seam | `peer` |
//! | behind the seam: a process with its streams, and its whole tree | `process`, `tree` |
//!
//! All but the last are pure: they judge what they hear and read no clock but the one that they are given.

use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::clock::{Clock, SystemClock};

mod conversation;
mod listener;
mod peer;
mod process;
mod runs;
#[cfg(test)]
mod tests;
mod tree;

pub use tree::{adopt_orphans, end_descendants};

/// What is to be checked.
#[derive(Clone, Debug)]
pub struct Options {
    /// The agent's program and its arguments.
    pub command: Vec<String>,
    /// What it is asked.
    pub requests: Vec<Box<RawValue>>,
    /// The session's `DATA`.
    pub data: Box<RawValue>,
    /// How long it may take for each answer, and for its end.
    pub timeout: Duration,
}

/// What a step has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mark {
    /// It is as it should be.
    Ok,
    /// Frontdesk would lose or kill the agent, or its customers would wait in vain.
    Wrong,
    /// It works, and is worth knowing.
    Note,
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How good that is.
    pub mark: Mark,
    /// What was found.
    pub sentence: String,
    /// The line that is wrong, escaped and cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<String>,
    /// What the protocol asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked: Option<String>,
    /// What to change in the agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<String>,
}

impl Finding {
    fn new(mark: Mark, sentence: impl Into<String>) -> Self {
        Self { mark, sentence: sentence.into(), line: None, asked: None, change: None }
    }

    fn ok(sentence: impl Into<String>) -> Self {
        Self::new(Mark::Ok, sentence)
    }

    fn note(sentence: impl Into<String>) -> Self {
        Self::new(Mark::Note, sentence)
    }

    fn wrong(sentence: impl Into<String>, asked: &str, change: &str) -> Self {
        let (asked, change) = (Some(asked.to_owned()), Some(change.to_owned()));
        Self { asked, change, ..Self::new(Mark::Wrong, sentence) }
    }

    fn quoting(self, line: impl Into<String>) -> Self {
        Self { line: Some(line.into()), ..self }
    }
}

/// What is told as it happens.
#[derive(Clone, Debug)]
pub enum Told {
    /// A run begins: what it is for.
    Run(&'static str),
    /// Something was found.
    Found(Finding),
    /// A line of the agent's log, escaped and cut.
    Log(String),
}

/// Checks an agent; every finding is told as it is made. Returns whether nothing is wrong. Blocks, and ends everything
/// that it started. For a process of its own: it takes all children of this process for the agent's.
pub fn check(options: &Options, told: &mut dyn FnMut(Told)) -> bool {
    let clock = SystemClock::resume(None);
    let mut is_good = true;
    let mut watch = |what: Told| {
        is_good &= !matches!(&what, Told::Found(Finding { mark: Mark::Wrong, .. }));
        told(what);
    };
    check_with(options, &mut process::Starter::new(options), &clock, &mut watch);
    is_good
}

fn check_with(options: &Options, starter: &mut dyn peer::Start, clock: &dyn Clock, told: &mut dyn FnMut(Told)) {
    runs::Runs { options, starter, clock, told }.all();
}
