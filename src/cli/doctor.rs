//! `frontdesk doctor`: what keeps a server from running well here, and what to do about it.

use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use anyhow::Context;
use clap::Args;

use crate::config::{Config, Overrides};
use crate::doctor::{self, Finding, Level};

use super::{Configuration, Outcome, output};

#[derive(Debug, Args)]
pub(super) struct Doctor {
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    configuration: Configuration,
}

impl Doctor {
    /// 0 if nothing keeps the server from running, 1 if something does.
    pub(super) fn run(self) -> Outcome {
        let sources = self.configuration.sources(Overrides::default());
        let loaded = Config::load(&sources);
        let salvaged = if loaded.is_err() { Config::salvage(&sources) } else { None };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start the asynchronous runtime")?;
        let report = runtime.block_on(doctor::examine(&loaded, salvaged.as_ref()));
        if self.json {
            output::json(&report)?;
        } else {
            for finding in &report.findings {
                output::line(&line(finding))?;
            }
            output::line(&report.summary())?;
        }
        Ok(if report.is_healthy() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn line(finding: &Finding) -> String {
    let style = match finding.level {
        Level::Ok => AnsiColor::Green.on_default(),
        Level::Note => Style::new().bold(),
        Level::Warning => AnsiColor::Yellow.on_default().bold(),
        Level::Error => AnsiColor::Red.on_default().bold(),
    };
    format!("{style}{:7}{style:#} {}: {}", finding.level.name(), finding.about, finding.text())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_begins_with_the_level_and_ends_with_the_cure() {
        let finding =
            Finding { about: "disk", level: Level::Error, sentence: "it is full".into(), cure: Some("free it".into()) };
        assert_eq!(anstream::adapter::strip_str(&line(&finding)).to_string(), "error   disk: it is full; free it");
    }
}
