//! `frontdesk verify`: says what is wrong with a data directory.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::verify::{self, VerifyError};

use super::progress::Progress;
use super::{Failure, Outcome};

#[derive(Debug, Args)]
pub(super) struct Verify {
    /// The data directory, of a running server or a stopped one. Nothing in it is changed.
    #[arg(value_name = "DATA_DIR")]
    data_dir: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl Verify {
    /// 0 if nothing is wrong, 1 if something is, 2 if the path is no data directory.
    pub(super) fn run(self) -> Outcome {
        let report = Progress::during("verifying", || verify::verify(&self.data_dir)).map_err(|error| match error {
            VerifyError::NoDataDirectory(_) => Failure::Usage(error.to_string()),
            VerifyError::Unreadable(..) => Failure::Failed(error.to_string()),
        })?;
        if self.json {
            let text = serde_json::to_string(&report).map_err(anyhow::Error::from)?;
            anstream::println!("{text}");
        } else {
            for finding in &report.findings {
                anstream::println!("{}", finding.sentence);
            }
            anstream::println!("{}", report.summary());
        }
        Ok(if report.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
