//! `frontdesk agent`: agents that come with the server.

use clap::Subcommand;

use super::Outcome;

#[derive(Debug, Subcommand)]
pub(super) enum Agent {
    /// Answers each request with what it was asked: an example, and a first agent to try.
    Echo,
}

impl Agent {
    pub(super) fn run(self) -> Outcome {
        match self {
            Self::Echo => Ok(crate::agent::echo::run()?),
        }
    }
}
