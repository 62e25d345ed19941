//! `frontdesk launcher`: the process that forks shims. The server starts it; nobody types it.

use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use super::Outcome;

#[derive(Debug, Args)]
pub(super) struct Launcher {}

impl Launcher {
    pub(super) fn run(self) -> Outcome {
        crate::shim::launcher::run().context("the launcher takes its orders from the server that starts it")?;
        Ok(ExitCode::SUCCESS)
    }
}
