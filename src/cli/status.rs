//! `frontdesk status`: whether the server is ready, for people and for health checks.

use std::process::ExitCode;

use clap::Args;

use super::{Configuration, Outcome, drain, output};

/// Says whether the server is ready, and how much it has to do.
#[derive(Debug, Args)]
pub(super) struct Status {
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    configuration: Configuration,
}

impl Status {
    /// 0 if the server is ready, 1 if it is not or there is none.
    pub(super) fn run(self) -> Outcome {
        let config = self.configuration.place()?;
        let node = drain::node(&config)?;
        if self.json {
            output::json(&node)?;
        } else {
            output::line(&node.in_words())?;
        }
        Ok(if node.ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
