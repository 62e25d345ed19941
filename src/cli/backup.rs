//! `frontdesk backup` and `frontdesk restore`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::backup::{self, BackupError, Manifest};
use crate::clock::{Clock, SystemClock};
use crate::config::{Overrides, roughly_size};

use super::progress::Progress;
use super::{Configuration, Failure, Outcome, output};

/// Writes everything that the server stores into one file, beside the running server or without one.
///
/// All that was answered before is in it. It holds passwords' hashes and the key of all tokens: keep it as safe as the
/// data directory itself.
#[derive(Debug, Args)]
pub(super) struct Backup {
    /// The file to write, which must not exist; in a directory, it is named by the time.
    #[arg(value_name = "FILE|DIR")]
    target: PathBuf,
    #[command(flatten)]
    configuration: Configuration,
}

/// Makes a data directory out of a backup. There must be none yet, or an empty one.
///
/// Customers, tokens, passwords and sessions are as they were; the agents of running sessions are started anew when the
/// server starts. The desk gets an id of its own, so that it may run beside the one that it comes from.
#[derive(Debug, Args)]
pub(super) struct Restore {
    /// A file that `frontdesk backup` wrote.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    configuration: Configuration,
}

impl Backup {
    pub(super) fn run(self) -> Outcome {
        let config = self.configuration.place()?;
        let target = if self.target.is_dir() { self.target.join(by_time()) } else { self.target };
        let progress = Progress::begin();
        let manifest = backup::take(&config.data_dir, &target, &|what, done, whole| progress.count(what, done, whole));
        drop(progress);
        output::line(&format!("backed up to {}: {}", target.display(), holds(&manifest.map_err(failure)?)))?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Restore {
    pub(super) fn run(self) -> Outcome {
        let config = self.configuration.load(Overrides::default())?.config;
        let progress = Progress::begin();
        let restored =
            backup::restore(&self.file, &config.data_dir, &|what, done, whole| progress.count(what, done, whole));
        drop(progress);
        let restored = restored.map_err(failure)?;
        for finding in &restored.findings {
            anstream::eprintln!("{}", super::caution(&finding.sentence));
        }
        if restored.manifest.live > 0 {
            anstream::eprintln!("{}", super::caution(SERVICES));
        }
        let Manifest { taken, .. } = &restored.manifest;
        let place = config.data_dir.display();
        output::line(&format!("restored the backup of {taken} to {place}: {}", holds(&restored.manifest)))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// A service knows a session by its id and epoch, which both desks have.
const SERVICES: &str = "agents that are services can't tell this desk from the one that the backup is of; if there are any, \
                        start it only when that one is gone";

fn by_time() -> String {
    let now = SystemClock::resume(None).wall().to_string();
    format!("frontdesk-{}.tar", now.replace(':', "-"))
}

fn holds(manifest: &Manifest) -> String {
    let bytes = manifest.members.iter().map(|member| member.bytes).sum();
    let Manifest { live, ended, customers, .. } = manifest;
    format!("live sessions: {live}, ended: {ended}, customers: {customers} ({})", roughly_size(bytes))
}

fn failure(error: BackupError) -> Failure {
    match error {
        BackupError::NoDataDirectory(_)
        | BackupError::Untrusted(_)
        | BackupError::Missing(_)
        | BackupError::Exists(_)
        | BackupError::NotEmpty(_) => Failure::Usage(error.to_string()),
        BackupError::Store(_) => anyhow::Error::from(error).into(),
        BackupError::NotAllowed(_)
        | BackupError::UnderWay(_)
        | BackupError::Damaged { .. }
        | BackupError::Lost(_)
        | BackupError::Io { .. } => Failure::Failed(error.to_string()),
    }
}
