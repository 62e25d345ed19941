//! An agent as the runs see it.

use std::time::Duration;

/// Starts the agent, once for each run.
pub(super) trait Start {
    /// Starts it.
    ///
    /// # Errors
    /// Why it can't be started, in words.
    fn start(&mut self) -> Result<Box<dyn Peer>, String>;
}

/// A started agent. Dropping it ends whatever is left of it.
pub(super) trait Peer {
    /// Sends a line, with its end. Does not wait until the agent has read it.
    fn send(&mut self, line: Vec<u8>);

    /// Closes its stdin once all lines are written.
    fn close_input(&mut self);

    /// Sends SIGTERM to its process group.
    fn terminate(&mut self);

    /// The next thing that happens to it.
    fn hear(&mut self, within: Duration) -> Heard;

    /// After its end: the processes that it has left behind, in words.
    fn left_behind(&mut self) -> Vec<String>;
}

/// What happens to an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// It wrote a line to stdout; without its end.
    Line(Vec<u8>),
    /// It wrote a line to stdout that goes on beyond what a line may have; more is not read.
    TooLong,
    /// Its stdout ends; what came after the last line's end.
    OutputEnded(Vec<u8>),
    /// It wrote a line to stderr.
    Log(String),
    /// Its process ended: how, in words.
    Exited(Exit),
    /// Nothing within the time.
    Nothing,
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Exit {
    /// In words that follow "it".
    pub(super) words: String,
    /// Whether it exited with status 0.
    pub(super) is_success: bool,
}
