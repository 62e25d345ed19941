//! `frontdesk stop`: stops the server, and with `--agents` what it would leave running.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::clock::boot_time;
use crate::control::{Command, Reply};
use crate::data_dir::DataPaths;
use crate::shim::place::Place;

use super::operate::operate;
use super::progress::Progress;
use super::{Configuration, Failure, Outcome, output};

#[derive(Debug, Args)]
pub(super) struct Stop {
    /// End the agents as well. Their sessions go on with new ones at the next start.
    #[arg(long)]
    agents: bool,
    #[command(flatten)]
    configuration: Configuration,
}

impl Stop {
    pub(super) fn run(self) -> Outcome {
        let config = self.configuration.place()?;
        let paths = DataPaths::new(&config.data_dir);
        let was_held = is_held(&paths);
        let reply = operate(&config, Command::Stop { agents: self.agents })?;
        if let Reply::Done { message } = reply {
            output::line(&message)?;
        }
        if !was_held {
            // Without a server the reply says all that was done.
            return Ok(ExitCode::SUCCESS);
        }
        // Ten seconds more than the server takes at most: by then it has cut off what does not end.
        let shutdown = &config.shutdown;
        let progress = Progress::begin();
        let patience = boot_time() + shutdown.readiness_delay + shutdown.grace + Duration::from_secs(10);
        while is_held(&paths) {
            if boot_time() > patience {
                return Err(Failure::Failed("the server has not stopped yet; look at its log".to_owned()));
            }
            let left = living_agents(&paths.agents());
            progress.show(&waited_for(self.agents, left), None);
            std::thread::sleep(Duration::from_millis(20));
        }
        drop(progress);
        output::line(&at_the_end(!self.agents, living_agents(&paths.agents())))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// What a server that stops is about to finish.
fn waited_for(ends_agents: bool, left: usize) -> String {
    match (ends_agents, left) {
        (true, 1) => "stopping: 1 agent has not ended yet".to_owned(),
        (true, 2..) => format!("stopping: {left} agents have not ended yet"),
        (true, 0) | (false, _) => "stopping: finishing requests under way".to_owned(),
    }
}

/// What a server's stop has left.
pub(super) fn at_the_end(leaves_agents: bool, left: usize) -> String {
    match (leaves_agents, left) {
        (true, 1) => {
            "stopped: 1 agent runs on, and the next start takes it up; `frontdesk stop --agents` ends it".to_owned()
        }
        (true, 2..) => format!(
            "stopped: {left} agents run on, and the next start takes them up; `frontdesk stop --agents` ends them"
        ),
        (true, 0) => "stopped: no agent was running".to_owned(),
        (false, _) => "stopped: every agent has ended, sessions that were running go on at the next start".to_owned(),
    }
}

/// How many agents there are: each has a shim that holds its directory.
pub(super) fn living_agents(agents: &Path) -> usize {
    let directories = std::fs::read_dir(agents).into_iter().flatten().flatten();
    directories.filter(|directory| Place::new(&directory.path()).is_held().unwrap_or(false)).count()
}

/// Whether a process has the data directory.
fn is_held(paths: &DataPaths) -> bool {
    let Ok(lock) = std::fs::File::open(paths.lock()) else { return false };
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err()
}
