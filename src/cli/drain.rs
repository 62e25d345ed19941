//! `frontdesk drain`: has the server take nothing new, and waits until no agent runs.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::clock::boot_time;
use crate::config::Config;
use crate::control::{Command, Reply};
use crate::http::v1::nodes::NodeView;

use super::operate::operate;
use super::progress::Progress;
use super::{Configuration, Failure, Outcome, output};

/// Takes no new sessions and starts no agents, so that the server runs empty; sessions that run are served on.
///
/// `/readyz` goes off, and whoever wants something new gets a 503 that says why. Pending sessions wait. A restart of the
/// server ends the drain, as `--cancel` does.
#[derive(Debug, Args)]
pub(super) struct Drain {
    /// Wait until no agent runs, at most this long, such as 10m; without a duration, as long as it takes.
    #[arg(long, value_name = "DURATION", num_args = 0..=1, default_missing_value = "36500d", value_parser = humantime::parse_duration)]
    wait: Option<Duration>,
    /// Take new sessions and start agents again.
    #[arg(long, conflicts_with = "wait")]
    cancel: bool,
    #[command(flatten)]
    configuration: Configuration,
}

impl Drain {
    pub(super) fn run(self) -> Outcome {
        let config = self.configuration.place()?;
        if let Reply::Done { message } = operate(&config, Command::Drain { cancel: self.cancel })? {
            output::line(&message)?;
        }
        if let Some(patience) = self.wait {
            wait(&config, patience)?;
            output::line("no agent runs: the server can be stopped")?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn wait(config: &Config, patience: Duration) -> Result<(), Failure> {
    const BETWEEN_LOOKS: Duration = Duration::from_millis(250);
    let deadline = boot_time() + patience;
    let progress = Progress::begin();
    let mut first = None;
    loop {
        let node = node(config)?;
        if node.agents_running == 0 {
            return Ok(());
        }
        let running = node.agents_running;
        let at_first = *first.get_or_insert(running);
        let done = at_first.saturating_sub(running) as f64 / at_first as f64;
        progress.show(&still_run(running), Some(done));
        if boot_time() >= deadline {
            return Err(Failure::Failed(format!(
                "{}; the drain goes on: wait again, or stop what is left with `frontdesk session stop`",
                still_run(running)
            )));
        }
        std::thread::sleep(BETWEEN_LOOKS);
    }
}

/// How the server is.
pub(super) fn node(config: &Config) -> Result<NodeView, Failure> {
    if let Reply::Node(node) = operate(config, Command::Status)? {
        return Ok(*node);
    }
    Err(Failure::Failed("the running server does not say how it is; use its own version of this command".to_owned()))
}

fn still_run(number: usize) -> String {
    if number == 1 { "1 agent still runs".to_owned() } else { format!("{number} agents still run") }
}
