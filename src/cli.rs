//! The command line: one command a file.
//!
//! Exit codes: 0 done, 1 it could not be done, 2 the command line or the configuration is wrong.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "printing is what a command line is for")]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, Loaded, Overrides, Sources};

mod agent;
mod customer;
mod operate;
mod serve;
mod table;
mod verify;
mod welcome;

/// A customer session server: every customer has exactly one live agent.
#[derive(Debug, Parser)]
#[command(name = "frontdesk", version, about, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: serve::Serve,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the server (what happens without a command).
    Serve(serve::Serve),
    /// Manage the customers of the embedded credential server.
    #[command(subcommand)]
    Customer(customer::Customer),
    /// Check a data directory, of a running server or without one, for everything that must not be.
    Verify(verify::Verify),
    /// Built-in agents.
    #[command(subcommand)]
    Agent(agent::Agent),
}

/// Where the configuration comes from.
#[derive(Clone, Debug, Default, Args)]
struct Configuration {
    /// The configuration file [default: ./frontdesk.toml, if it exists].
    #[arg(long, value_name = "FILE", env = "FRONTDESK_CONFIG")]
    config: Option<PathBuf>,
    /// The directory that holds everything the server stores [default: ./frontdesk-data].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl Configuration {
    fn load(&self, overrides: Overrides) -> Result<Loaded, Failure> {
        let sources = Sources {
            file: self.config.clone(),
            environment: std::env::vars().collect(),
            overrides: Overrides { data_dir: self.data_dir.clone(), ..overrides },
            ..Sources::default()
        };
        Config::load(&sources).map_err(|error| Failure::Usage(error.to_string()))
    }
}

/// Why a command failed, in words for whoever typed it.
#[derive(Debug)]
enum Failure {
    /// What was typed or configured is wrong.
    Usage(String),
    /// It could not be done.
    Failed(String),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(format!("{error:#}"))
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

type Outcome = Result<ExitCode, Failure>;

/// Runs the command that the process's arguments name.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command.unwrap_or(Command::Serve(cli.serve)) {
        Command::Serve(serve) => serve.run(),
        Command::Customer(customer) => customer.run(),
        Command::Verify(verify) => verify.run(),
        Command::Agent(agent) => agent.run(),
    };
    match outcome {
        Ok(code) => code,
        Err(Failure::Usage(text)) => {
            anstream::eprintln!("{}", complaint(&text));
            ExitCode::from(2)
        }
        Err(Failure::Failed(text)) => {
            anstream::eprintln!("{}", complaint(&text));
            ExitCode::FAILURE
        }
    }
}

fn complaint(text: &str) -> String {
    let red = anstyle::AnsiColor::Red.on_default().bold();
    text.lines().map(|line| format!("{red}error:{red:#} {line}")).collect::<Vec<_>>().join("\n")
}
