//! The phases of a session's life, each with the data that only it has. Pure; stored as JSON.
//!
//! The stored form is read by other versions of the server: see `record.rs` for what may change in it.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::Epoch;
use crate::restart::Failures;
use crate::time::Timestamp;

pub use crate::reason::Reason;

/// Where a session is in its life, with the data that only this phase has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Phase {
    /// Admitted; waits for initialise.
    Pending {
        /// When it expires.
        deadline: Timestamp,
        /// The epoch of the last agent, zero if there was none.
        epoch: Epoch,
        /// How many starts have failed.
        #[serde(default, skip_serializing_if = "is_zero")]
        failed_starts: u32,
        /// Why the last start failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        last_failure: Option<Box<Reason>>,
    },
    /// An agent is being started.
    Starting {
        /// The agent's fencing number.
        epoch: Epoch,
        /// When the start may begin: later than now while a restart backs off, or an agent has time to end first.
        not_before: Timestamp,
        /// When the agent must have answered `initialize`.
        deadline: Timestamp,
        /// Whether this agent is the session's first to be.
        start: Start,
    },
    /// The agent is ready.
    Running {
        /// The agent's fencing number.
        epoch: Epoch,
        /// Since when this agent is ready.
        since: Timestamp,
        /// Since when the session has been running, over all its agents.
        first_ready: Timestamp,
        /// The recent losses of its agents.
        #[serde(default, skip_serializing_if = "Failures::is_none")]
        failures: Failures,
    },
    /// The agent is being ended.
    Stopping {
        /// The agent's fencing number.
        epoch: Epoch,
        /// When what is left of the agent is killed.
        deadline: Timestamp,
        /// How the session will have ended.
        ending: Ending,
    },
    /// Over; kept as history.
    Ended {
        /// The last agent's fencing number.
        epoch: Epoch,
        /// How it ended.
        ending: Ending,
        /// Bytes of its agent's log that are kept with it; none unless it failed.
        #[serde(default, skip_serializing_if = "is_zero")]
        log_bytes: u32,
    },
}

/// A phase without its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PhaseName {
    /// Admitted; waits for initialise.
    Pending,
    /// An agent is being started.
    Starting,
    /// The agent is ready.
    Running,
    /// The agent is being ended.
    Stopping,
    /// Over; kept as history.
    Ended,
}

impl PhaseName {
    /// All of them, in the order of a life.
    pub const ALL: [Self; 5] = [Self::Pending, Self::Starting, Self::Running, Self::Stopping, Self::Ended];

    /// Its name, as the interface and the store spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Starting => "STARTING",
            Self::Running => "RUNNING",
            Self::Stopping => "STOPPING",
            Self::Ended => "ENDED",
        }
    }

    /// Whether a session in this phase is in `until`, or will not come to it any more.
    pub fn has_reached(self, until: Self) -> bool {
        let order = |phase| match phase {
            Self::Pending => 0,
            Self::Starting => 1,
            Self::Running => 2,
            Self::Stopping => 3,
            Self::Ended => 4,
        };
        order(self) >= order(until)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for this signature")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Whether a start is the first one, follows the loss of a running agent, or takes the place of one that lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Start {
    /// The session has never been running.
    First {
        /// How many starts have failed before this one.
        failed_starts: u32,
        /// Why the last of them failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        last_failure: Option<Box<Reason>>,
    },
    /// A running agent was lost.
    Restart {
        /// Since when the session has been running, over all its agents.
        first_ready: Timestamp,
        /// The recent losses, this one included.
        failures: Failures,
        /// Who asked for it; nothing after a loss.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Box<Reason>>,
    },
    /// Somebody wants another agent: the one of this epoch is ended first, politely until `not_before`, and nothing of
    /// it is left when the next one is started.
    Replacement {
        /// Since when the session has been running, over all its agents.
        first_ready: Timestamp,
        /// The recent losses; this is none.
        failures: Failures,
        /// Who asked for it.
        reason: Box<Reason>,
    },
}

impl Start {
    /// Whether the session has been running before.
    pub fn is_again(&self) -> bool {
        match self {
            Self::First { .. } => false,
            Self::Restart { .. } | Self::Replacement { .. } => true,
        }
    }
}

/// How a session ended, for whom to blame and whom to bill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The agent said that it had finished.
    Completed,
    /// The agent could not be started or kept alive.
    Failed,
    /// Somebody stopped it.
    Stopped,
    /// A time limit ended it.
    Expired,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Completed, Self::Failed, Self::Stopped, Self::Expired];
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
            Self::Expired => "expired",
        })
    }
}

/// The end of a session: its outcome and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// How it ended.
    pub outcome: Outcome,
    /// Why.
    pub reason: Reason,
}

impl Ending {
    /// Pairs an outcome with the reason for it.
    pub fn new(outcome: Outcome, reason: Reason) -> Self {
        Self { outcome, reason }
    }
}

impl Phase {
    /// The phase of a session that was just admitted.
    pub fn admitted(deadline: Timestamp) -> Self {
        Self::Pending { deadline, epoch: Epoch::default(), failed_starts: 0, last_failure: None }
    }

    /// The phase's name, as the interface and the store spell it.
    pub fn name(&self) -> &'static str {
        self.kind().name()
    }

    /// Which phase it is.
    pub fn kind(&self) -> PhaseName {
        match self {
            Self::Pending { .. } => PhaseName::Pending,
            Self::Starting { .. } => PhaseName::Starting,
            Self::Running { .. } => PhaseName::Running,
            Self::Stopping { .. } => PhaseName::Stopping,
            Self::Ended { .. } => PhaseName::Ended,
        }
    }

    /// The epoch of the current or last agent; zero if there was none.
    pub fn epoch(&self) -> Epoch {
        match self {
            Self::Pending { epoch, .. }
            | Self::Starting { epoch, .. }
            | Self::Running { epoch, .. }
            | Self::Stopping { epoch, .. }
            | Self::Ended { epoch, .. } => *epoch,
        }
    }

    /// Whether the session still counts as its customer's one.
    pub fn is_live(&self) -> bool {
        !matches!(self, Self::Ended { .. })
    }

    /// How the session ended or is about to.
    pub fn ending(&self) -> Option<&Ending> {
        match self {
            Self::Stopping { ending, .. } | Self::Ended { ending, .. } => Some(ending),
            Self::Pending { .. } | Self::Starting { .. } | Self::Running { .. } => None,
        }
    }

    /// Bytes of its agent's log that are kept with it, if it has ended and any are.
    pub fn kept_log(&self) -> Option<u32> {
        match self {
            Self::Ended { log_bytes, .. } => Some(*log_bytes).filter(|bytes| *bytes > 0),
            Self::Pending { .. } | Self::Starting { .. } | Self::Running { .. } | Self::Stopping { .. } => None,
        }
    }

    /// Why the session is where it is, if there is more to say than the phase's name.
    pub fn why(&self) -> Option<&Reason> {
        match self {
            Self::Pending { last_failure, .. } | Self::Starting { start: Start::First { last_failure, .. }, .. } => {
                last_failure.as_deref()
            }
            Self::Starting { start: Start::Restart { reason, .. }, .. } => reason.as_deref(),
            Self::Starting { start: Start::Replacement { reason, .. }, .. } => Some(reason),
            Self::Stopping { ending, .. } | Self::Ended { ending, .. } => Some(&ending.reason),
            Self::Running { .. } => None,
        }
    }

    /// The recent losses of its agents, if it has or had one that was ready.
    pub fn failures(&self) -> Option<&Failures> {
        match self {
            Self::Starting { start: Start::Restart { failures, .. } | Start::Replacement { failures, .. }, .. }
            | Self::Running { failures, .. } => Some(failures),
            Self::Starting { start: Start::First { .. }, .. }
            | Self::Pending { .. }
            | Self::Stopping { .. }
            | Self::Ended { .. } => None,
        }
    }

    /// Whether an agent of this epoch is there that was ready, as far as the record tells.
    pub fn has_agent(&self) -> bool {
        match self {
            Self::Starting { start: Start::Replacement { .. }, .. } | Self::Running { .. } | Self::Stopping { .. } => {
                true
            }
            Self::Pending { .. } | Self::Starting { .. } | Self::Ended { .. } => false,
        }
    }

    /// The epoch of the agent that is to be ready next; the current one if none is being started.
    pub fn next_ready(&self) -> Epoch {
        match self {
            Self::Starting { epoch, start: Start::Replacement { .. }, .. } => epoch.next(),
            Self::Pending { .. }
            | Self::Starting { .. }
            | Self::Running { .. }
            | Self::Stopping { .. }
            | Self::Ended { .. } => self.epoch(),
        }
    }
}
