//! `frontdesk agent`: for people who write agents.

use clap::Subcommand;

use super::Outcome;

mod check;

#[derive(Debug, Subcommand)]
pub(super) enum Agent {
    /// Run an agent as the server would, and say what is wrong with it.
    Check(check::Check),
    /// Answer each request with the request itself: an example, and a first agent to try.
    Echo,
}

impl Agent {
    pub(super) fn run(self) -> Outcome {
        match self {
            Self::Check(check) => check.run(),
            Self::Echo => Ok(crate::agent::echo::run()),
        }
    }
}
