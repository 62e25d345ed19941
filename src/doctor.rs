//! `frontdesk doctor`: what keeps a server from running well on this machine, a sentence each with its cure.
//!
//! Each check has a file of its own: it looks at one thing, or is handed what was looked at, and returns findings. Nothing
//! is changed, nothing is locked, and no credentials are asked, so that a doctor may come at any time, beside a running
//! server or before the first start. What must hold of the store itself is [`crate::verify`]'s to say.

use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use crate::config::{Config, ConfigError, Loaded};
use crate::service_mapping::{CREDENTIAL_SERVER, ServiceMapping};
use crate::store::sqlite::inspect;

use server::Running;

pub(crate) mod agents;
mod certificate;
mod clocks;
mod configuration;
mod data_directory;
mod listener;
mod machine;
pub(crate) mod mapping;
mod process;
mod server;
mod services;
mod store;

/// What one look has shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is about.
    pub about: &'static str,
    /// How bad it is.
    pub level: Level,
    /// What was found, in one sentence without its end.
    pub sentence: String,
    /// What to do about it, unless the sentence says so or there is nothing to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cure: Option<String>,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Worth knowing.
    Note,
    /// It works, and will not for ever or not for all.
    Warning,
    /// It does not work.
    Error,
}

/// Everything that was found, in the order of the looks.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The findings.
    pub findings: Vec<Finding>,
}

/// Looks at everything that the configuration leads to; of one that is not good, at what the data directory that was
/// `salvaged` leads to. Blocks but for what it asks of others over the network.
pub async fn examine(loaded: &Result<Loaded, ConfigError>, salvaged: Option<&Config>) -> Report {
    let mut findings = configuration::check(loaded, salvaged);
    if let Some(config) = loaded.as_ref().map_or(salvaged, |loaded| Some(&loaded.config)) {
        let (running, found) = examine_place(config).await;
        findings.extend(found);
        if loaded.is_ok() {
            findings.extend(examine_settings(config, &running).await);
        }
    }
    Report { findings }
}

/// The server, what it stores, and the machine.
async fn examine_place(config: &Config) -> (Running, Vec<Finding>) {
    let directory = Path::new(&config.data_dir);
    let (running, mut findings) = server::check(directory).await;
    findings.extend(data_directory::check(directory));
    findings.extend(store::check(directory));
    findings.extend(machine::check(config, &machine::Facts::look(running.pid())));
    findings.extend(clocks::check(&clocks::Facts::look(inspect::heartbeat(directory))));
    (running, findings)
}

/// What the settings name.
async fn examine_settings(config: &Config, running: &Running) -> Vec<Finding> {
    let directory = Path::new(&config.data_dir);
    let mut findings = Vec::new();
    findings.extend(listener::check(config, running.listener()));
    findings.extend(certificate::check(config));
    findings.extend(agents::check(config));
    let path = config.service_mapping_path();
    let mapping = ServiceMapping::load(path, config.service_mapping.is_some());
    let written = mapping.as_ref().ok().and_then(|mapping| mapping.get(CREDENTIAL_SERVER));
    match &mapping {
        Ok(mapping) => findings.extend(mapping::check(path, mapping, config, running.credential_server())),
        Err(error) => findings.push(mapping::broken(error)),
    }
    // What the running server does counts, whatever stands in the file.
    let in_force = running.credential_server().map(|server| server.map(Arc::from));
    if let Some(server) = in_force.or_else(|| mapping.is_ok().then_some(written)) {
        findings.extend(services::check_credentials(server, directory).await);
    }
    if let Ok(mapping) = &mapping {
        findings.extend(services::check_agents(config, mapping).await);
    }
    findings
}

impl Finding {
    fn ok(about: &'static str, sentence: impl Into<String>) -> Self {
        Self { about, level: Level::Ok, sentence: sentence.into(), cure: None }
    }

    fn note(about: &'static str, sentence: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { about, level: Level::Note, sentence: sentence.into(), cure: Some(cure.into()) }
    }

    fn warning(about: &'static str, sentence: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { level: Level::Warning, ..Self::note(about, sentence, cure) }
    }

    fn error(about: &'static str, sentence: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { level: Level::Error, ..Self::note(about, sentence, cure) }
    }

    /// A finding whose sentence says what to do.
    fn told(about: &'static str, level: Level, sentence: impl Into<String>) -> Self {
        Self { about, level, sentence: sentence.into(), cure: None }
    }

    /// The whole of it: what was found, and what to do.
    pub fn text(&self) -> String {
        match &self.cure {
            Some(cure) => format!("{}; {cure}", self.sentence),
            None => self.sentence.clone(),
        }
    }
}

impl Level {
    /// Its name, as it is printed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl Report {
    /// Whether nothing keeps the server from running.
    pub fn is_healthy(&self) -> bool {
        self.findings.iter().all(|finding| finding.level < Level::Error)
    }

    /// One closing line.
    pub fn summary(&self) -> String {
        let count = |level| self.findings.iter().filter(|finding| finding.level == level).count();
        let worded = |number, one: &str| format!("{number} {one}{}", if number == 1 { "" } else { "s" });
        format!(
            "{} looked at: {}, {}, {}",
            worded(self.findings.len(), "thing"),
            worded(count(Level::Error), "error"),
            worded(count(Level::Warning), "warning"),
            worded(count(Level::Note), "note"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_error_is_a_failure_and_the_last_line_counts_all_that_is_worth_a_look() {
        let mut report = Report {
            findings: vec![
                Finding::ok("a", "all is well"),
                Finding::note("a", "a", "b"),
                Finding::warning("a", "a", "b"),
                Finding::warning("a", "a", "b"),
            ],
        };
        assert!(report.is_healthy());
        assert_eq!(report.summary(), "4 things looked at: 0 errors, 2 warnings, 1 note");
        report.findings.push(Finding::error("disk", "the disk is full", "free some space"));
        assert!(!report.is_healthy());
        assert_eq!(report.findings[4].text(), "the disk is full; free some space");
    }
}
