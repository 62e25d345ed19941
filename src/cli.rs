//! The command line: one command a file.
//!
//! Exit codes: 0 done, 1 it could not be done, 2 the command line or the configuration is wrong.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, Loaded, Overrides, Sources};
use crate::service_mapping::MappingError;
use crate::store::{CURE, StoreError};

mod agent;
mod audit;
mod backup;
mod completions;
mod config;
mod customer;
mod doctor;
mod drain;
mod launcher;
mod operate;
mod output;
mod progress;
mod reload;
mod serve;
mod session;
mod status;
mod stop;
mod table;
mod token;
mod torture;
mod verify;
mod welcome;

/// A customer session server: every customer has exactly one live agent.
#[derive(Debug, Parser)]
#[command(name = "frontdesk", version, about, propagate_version = true, after_help = EXAMPLES)]
#[command(args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: serve::Serve,
}

const EXAMPLES: &str = "\
Examples:
  frontdesk                                        start the server with its defaults
  frontdesk customer add ada@example.org           add a customer
  frontdesk session request ada@example.org        ask for a session, as that customer
  frontdesk session list                           see every session
  frontdesk config example > frontdesk.toml        begin a configuration

Every setting is in frontdesk.toml, or in the environment: FRONTDESK_LIMITS__MAX_RUNNING=10.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the server (the default command).
    Serve(serve::Serve),
    /// Manage the customers of the embedded credential server.
    #[command(subcommand)]
    Customer(customer::Customer),
    /// Stop the server; its agents run on, unless they are to end as well.
    Stop(stop::Stop),
    /// Take no new sessions and start no agents; with --wait, until no agent runs.
    Drain(drain::Drain),
    /// Make the server read its configuration again.
    Reload(reload::Reload),
    /// Say whether the server is ready.
    Status(status::Status),
    /// Request, use, stop and list sessions.
    #[command(subcommand)]
    Session(session::Session),
    /// Make, list and revoke operators' tokens.
    #[command(subcommand)]
    Token(token::Token),
    /// Show who did what to which session or customer, from where.
    Audit(audit::Audit),
    /// Check and show the configuration.
    #[command(subcommand)]
    Config(config::Config),
    /// Find what keeps a server from running well on this machine, and say how to mend it.
    Doctor(doctor::Doctor),
    /// Write all stored data into one file, with or without a running server.
    Backup(backup::Backup),
    /// Make a data directory out of a backup.
    Restore(backup::Restore),
    /// Check a data directory against every promise, with or without a running server.
    Verify(verify::Verify),
    /// Kill a server of its own at random, and check that no session was stuck, doubled, lost or orphaned.
    Torture(torture::Torture),
    /// Check your own agent, or run the built-in one.
    #[command(subcommand)]
    Agent(agent::Agent),
    /// Fork the shims of agents, by order of the server that started this process.
    #[command(hide = true)]
    Launcher(launcher::Launcher),
    /// Print a shell's completion script.
    Completions(completions::Completions),
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
        Config::load(&self.sources(overrides)).map_err(|error| Failure::Usage(error.to_string()))
    }

    /// The configuration of a command that needs no more of it than the data directory: a server that runs can be looked at
    /// and stopped whatever has since been written into its file.
    fn place(&self) -> Result<Config, Failure> {
        let sources = self.sources(Overrides::default());
        let error = match Config::load(&sources) {
            Ok(loaded) => return Ok(loaded.config),
            Err(error) => error.to_string(),
        };
        let Some(config) = Config::salvage(&sources) else { return Err(Failure::Usage(error)) };
        for problem in error.lines() {
            anstream::eprintln!("{}", caution(problem));
        }
        let place = config.data_dir.display();
        anstream::eprintln!("{}", caution(&format!("going on with the data directory {place} and defaults")));
        Ok(config)
    }

    fn sources(&self, overrides: Overrides) -> Sources {
        Sources {
            file: self.config.clone(),
            environment: std::env::vars().collect(),
            overrides: Overrides { data_dir: self.data_dir.clone(), ..overrides },
            ..Sources::default()
        }
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
        let text = format!("{}{}", with_causes(&error), what_to_do(&error));
        if error.is::<MappingError>() { Self::Usage(text) } else { Self::Failed(text) }
    }
}

/// The error and its causes, without those that it tells itself.
fn with_causes(error: &anyhow::Error) -> String {
    error.chain().skip(1).fold(error.to_string(), |text, cause| {
        let cause = cause.to_string();
        if text.contains(&cause) { text } else { format!("{text}: {cause}") }
    })
}

/// What helps against errors that do not say so themselves.
fn what_to_do(error: &anyhow::Error) -> String {
    if error.is::<MappingError>() {
        return "; correct that file, or name another with --service-mapping".into();
    }
    match error.chain().find_map(|cause| cause.downcast_ref()) {
        Some(StoreError::Unavailable(_) | StoreError::Full) => {
            "; check that the disk has room and can be written, then try again".into()
        }
        Some(StoreError::Corrupt(_) | StoreError::SetAside(_) | StoreError::Malformed(_)) => format!("; {CURE}"),
        Some(StoreError::Conflict | StoreError::Missing | StoreError::Busy | StoreError::Unsupported(_)) | None => {
            String::new()
        }
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
        Command::Stop(stop) => stop.run(),
        Command::Drain(drain) => drain.run(),
        Command::Reload(reload) => reload.run(),
        Command::Status(status) => status.run(),
        Command::Session(session) => session.run(),
        Command::Token(token) => token.run(),
        Command::Audit(audit) => audit.run(),
        Command::Config(config) => config.run(),
        Command::Doctor(doctor) => doctor.run(),
        Command::Backup(backup) => backup.run(),
        Command::Restore(restore) => restore.run(),
        Command::Verify(verify) => verify.run(),
        Command::Torture(torture) => torture.run(),
        Command::Agent(agent) => agent.run(),
        Command::Launcher(launcher) => launcher.run(),
        Command::Completions(completions) => completions.run(),
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

/// A line for what is worth knowing and no error.
fn caution(text: &str) -> String {
    let yellow = anstyle::AnsiColor::Yellow.on_default().bold();
    format!("{yellow}note:{yellow:#} {text}")
}

fn complaint(text: &str) -> String {
    let red = anstyle::AnsiColor::Red.on_default().bold();
    text.lines().map(|line| format!("{red}error:{red:#} {line}")).collect::<Vec<_>>().join("\n")
}
