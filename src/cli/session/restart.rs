//! `frontdesk session restart`: the operator has a session go on with another agent.

use std::process::ExitCode;

use clap::Args;

use crate::cli::operate::operate;
use crate::cli::{Configuration, Outcome, output};
use crate::control::{Command, Reply};

#[derive(Debug, Args)]
pub(in crate::cli) struct Restart {
    /// The session's id, or its customer's email.
    #[arg(value_name = "ID|EMAIL")]
    session: String,
    #[command(flatten)]
    configuration: Configuration,
}

impl Restart {
    pub(super) fn run(self) -> Outcome {
        let config = self.configuration.place()?;
        if let Reply::Done { message } = operate(&config, Command::RestartSession { session: self.session })? {
            output::line(&message)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
