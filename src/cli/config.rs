//! `frontdesk config`: checks and shows the configuration without starting anything.

use std::path::Path;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::config::{self, DEFAULT_FILE, Loaded, Overrides};
use crate::doctor;
use crate::service_mapping::ServiceMapping;
use crate::telemetry;

use super::{Configuration, Failure, Outcome, output};

#[derive(Debug, Subcommand)]
pub(super) enum Config {
    /// Say whether the configuration is good, and if not, everything that is wrong with it.
    Check(Source),
    /// Print the configuration in force, and where each value was written.
    Show(Source),
    /// Print a commented frontdesk.toml with every key and its default.
    Example,
}

#[derive(Debug, Args)]
pub(super) struct Source {
    #[command(flatten)]
    configuration: Configuration,
}

impl Config {
    pub(super) fn run(self) -> Outcome {
        match self {
            Self::Check(source) => source.check()?,
            Self::Show(source) => output::write(&source.configuration.load(Overrides::default())?.to_toml())?,
            Self::Example => output::write(config::EXAMPLE)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Source {
    fn check(&self) -> Result<(), Failure> {
        let loaded = self.configuration.load(Overrides::default())?;
        let config = &loaded.config;
        telemetry::filter(&config.log.level).map_err(Failure::Usage)?;
        let mapping = ServiceMapping::load(config.service_mapping_path(), config.service_mapping.is_some())
            .map_err(anyhow::Error::from)?;
        output::line(&verdict(self.configuration.config.as_deref(), &loaded))?;
        let of_mapping = doctor::mapping::unmapped(config.service_mapping_path(), &mapping, config);
        let of_machine = of_mapping.into_iter().chain(doctor::agents::unusable(config)).map(|finding| finding.text());
        for warning in loaded.warnings.iter().cloned().chain(of_machine) {
            anstream::eprintln!("{}", super::caution(&warning));
        }
        Ok(())
    }
}

fn verdict(named: Option<&Path>, loaded: &Loaded) -> String {
    let default = Path::new(DEFAULT_FILE);
    let subject = match named {
        Some(file) => format!("{} is good", file.display()),
        None if default.exists() => "frontdesk.toml is good".to_owned(),
        None => "no frontdesk.toml here, the defaults are good".to_owned(),
    };
    let names: Vec<_> = loaded.config.personas.keys().map(ToString::to_string).collect();
    let personas = if names.len() == 1 { "1 persona".to_owned() } else { format!("{} personas", names.len()) };
    let (names, config) = (names.join(", "), &loaded.config);
    format!("{subject}: {personas} ({names}), listens on {}, data in {}", config.listen, config.data_dir.display())
}
