//! Reads the configuration again while the server runs: all that can change is put in force, or nothing.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::agent;
use crate::config::{Change, Config, Sources};
use crate::credential::throttle::ThrottleConfig;
use crate::http::App;
use crate::telemetry::{self, LogLevel};

/// Reads the configuration again.
pub struct Reloader {
    app: Arc<App>,
    sources: Sources,
    log: LogLevel,
    /// One at a time, so that what is told is what was put in force.
    turn: Mutex<()>,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// What is in force, and what needs a restart.
    pub changes: Vec<Change>,
    /// What is allowed but deserves a word.
    pub warnings: Vec<String>,
}

impl Reloader {
    /// Reads what the server was started with: the same file, environment and flags.
    pub fn new(app: Arc<App>, sources: Sources, log: LogLevel) -> Self {
        Self { app, sources, log, turn: Mutex::default() }
    }

    /// Reads, checks and puts in force. Blocks for as long as the disk does.
    ///
    /// # Errors
    /// Everything that is wrong, a line each; nothing has changed then.
    pub fn reload(&self) -> Result<Reloaded, String> {
        let _turn = self.turn.lock();
        let loaded = Config::load(&self.sources).map_err(|error| error.to_string())?;
        let current = self.app.config();
        let taken = current.taking_over(&loaded.config);
        // What is new may not go together with what waits for a restart.
        taken.check().map_err(|conflicts| {
            let texts: Vec<_> = conflicts.into_iter().map(|conflict| conflict.text).collect();
            format!("{}; restart the server to put all of it in force", texts.join("\n"))
        })?;
        agent::check_users(&taken)?;
        let filter = telemetry::filter(&taken.log.level)?;
        // Nothing from here on can fail.
        self.log.put(filter);
        self.app.gate.reconfigure(ThrottleConfig::of(&taken.throttle));
        self.app.registry.reconfigure(&taken.personas, taken.limits.max_running as usize);
        self.app.settings.put(taken);
        Ok(Reloaded { changes: current.changes(&loaded.config), warnings: loaded.warnings })
    }

    /// The same, told in the log.
    pub fn reload_and_log(&self) -> Result<Reloaded, String> {
        let reloaded = self.reload();
        match &reloaded {
            Ok(reloaded) => {
                for warning in &reloaded.warnings {
                    tracing::warn!("{warning}");
                }
                for change in &reloaded.changes {
                    let in_force = change.in_force;
                    tracing::info!(change = %change, in_force, "configuration changed");
                }
                tracing::info!(outcome = %reloaded, "configuration read again");
            }
            Err(why) => {
                for problem in why.lines() {
                    tracing::error!(problem, "configuration refused; the one before stays in force");
                }
            }
        }
        reloaded
    }
}

/// One sentence that counts.
impl fmt::Display for Reloaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.changes.iter().filter(|change| !change.in_force).count();
        match (self.changes.len(), waiting) {
            (0, _) => write!(f, "nothing has changed"),
            (all, 0) => write!(f, "{all} changed, all in force"),
            (all, waiting) => {
                write!(f, "{} changed and in force, {waiting} after a restart", all - waiting)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Difference;

    use super::*;

    #[test]
    fn the_sentence_counts_what_is_in_force_and_what_is_not() {
        let change = |in_force| Change { key: "a".into(), what: Difference::Hidden, in_force };
        let told = |changes| Reloaded { changes, warnings: Vec::new() }.to_string();
        assert!(told(vec![]).ends_with("nothing has changed"));
        assert!(told(vec![change(true)]).ends_with("1 changed, all in force"));
        assert!(told(vec![change(true), change(false)]).ends_with("1 changed and in force, 1 after a restart"));
    }
}
