//! `frontdesk reload`: has the server read its configuration again.

use std::process::ExitCode;

use clap::Args;

use crate::config::Overrides;
use crate::control::{Command, Reply};

use super::operate::operate;
use super::{Configuration, Outcome, output};

/// Has the running server read its configuration again, as SIGHUP does: what can change is in force at once, all or
/// nothing, and what needs a restart is listed.
#[derive(Debug, Args)]
pub(super) struct Reload {
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    configuration: Configuration,
}

impl Reload {
    pub(super) fn run(self) -> Outcome {
        let config = self.configuration.load(Overrides::default())?.config;
        let Reply::Reloaded(reloaded) = operate(&config, Command::Reload)? else { return Ok(ExitCode::FAILURE) };
        if self.json {
            output::json(&reloaded)?;
            return Ok(ExitCode::SUCCESS);
        }
        for warning in &reloaded.warnings {
            anstream::eprintln!("{}", super::caution(warning));
        }
        for change in &reloaded.changes {
            let when = if change.in_force { "in force" } else { "needs a restart" };
            output::line(&format!("{change} ({when})"))?;
        }
        output::line(&format!("configuration read again: {reloaded}"))?;
        Ok(ExitCode::SUCCESS)
    }
}
