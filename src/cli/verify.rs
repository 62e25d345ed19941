//! `frontdesk verify`: says what is wrong with a data directory.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::verify::{self, Finding, VerifyError};

use super::progress::Progress;
use super::{Configuration, Failure, Outcome};

#[derive(Debug, Args)]
pub(super) struct Verify {
    /// The data directory, of a running server or a stopped one [default: the configured one]. Nothing in it is changed.
    #[arg(value_name = "DATA_DIR", conflicts_with = "data_dir")]
    directory: Option<PathBuf>,
    #[command(flatten)]
    configuration: Configuration,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl Verify {
    /// 0 if nothing is wrong but what the next start settles, 1 if something is, 2 if the path is no data directory.
    pub(super) fn run(self) -> Outcome {
        let directory = match self.directory {
            Some(directory) => directory,
            None => self.configuration.place()?.data_dir,
        };
        let report = Progress::during("verifying", || verify::verify(&directory)).map_err(|error| match error {
            VerifyError::NoDataDirectory(_) => Failure::Usage(error.to_string()),
            VerifyError::NotAllowed(_) | VerifyError::Unreadable(..) => Failure::Failed(error.to_string()),
        })?;
        if self.json {
            let text = serde_json::to_string(&report).map_err(anyhow::Error::from)?;
            anstream::println!("{text}");
        } else {
            for finding in &report.findings {
                let kind = if finding.is_note() { "note: " } else { "" };
                anstream::println!("{kind}{}", finding.sentence);
            }
            anstream::println!("{}", report.summary());
        }
        Ok(if report.findings.iter().all(Finding::is_note) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
