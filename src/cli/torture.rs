//! `frontdesk torture`: shows on this very machine that agents outlive the server.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Context;
use clap::Args;

use crate::removal;
use crate::torture::{self, Plan, Progress, Report, Tally};

use super::progress::Progress as Screen;
use super::{Failure, Outcome, output};

/// Runs a server of its own in a temporary directory and kills it, its shims and its agents at random; then checks
/// that nothing was stuck, doubled, lost or orphaned.
///
/// Nothing else on this machine is touched, and everything that was started is ended, also on Ctrl-C. The exit code is 0
/// if nothing is wrong and 1 if something is; the directory is then kept.
#[derive(Debug, Args)]
pub(super) struct Torture {
    /// Customers, each with one session at a time.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    sessions: u32,
    /// Sessions with an agent at once; each is two processes.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    running: u32,
    /// How long to kill, such as 8s or 10m.
    #[arg(long = "for", value_name = "DURATION", default_value = "1m", value_parser = humantime::parse_duration)]
    duration: Duration,
    /// Makes the same choices as an earlier run, though not at the same moments.
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// The agents: `echo`, or a command and its arguments, parted by spaces.
    #[arg(long, value_name = "echo|COMMAND", default_value = "echo")]
    agents: String,
    /// Keep the directory with the server's log and store even if nothing was found.
    #[arg(long)]
    keep: bool,
}

impl Torture {
    pub(super) fn run(self) -> Outcome {
        let seed = self.seed.unwrap_or_else(|| u64::from(u32::from_ne_bytes(crate::random::bytes())));
        let plan = Plan {
            sessions: self.sessions as usize,
            running: self.running as usize,
            duration: self.duration,
            seed,
            agents: command(&self.agents)?,
        };
        let interrupted = interrupts().context("cannot watch for signals")?;
        let directory = directory().context("cannot make a temporary directory; set TMPDIR to one with room")?;
        anstream::eprintln!("seed {seed}, in {}", directory.display());
        let (screen, whole) = (Screen::begin(), self.duration);
        let report = torture::run(&plan, &directory, &interrupted, &|progress: Progress| {
            let done = progress.elapsed.as_secs_f64() / whole.as_secs_f64().max(f64::MIN_POSITIVE);
            screen.show(&progress_of(&progress, whole), Some(done));
        });
        drop(screen);
        let has_findings = report.as_ref().is_ok_and(|report| !report.findings.is_empty() && !report.is_interrupted);
        if self.keep || has_findings {
            anstream::eprintln!("kept {}", directory.display());
        } else if let Err(error) = removal::remove(&directory) {
            anstream::eprintln!("{}", super::caution(&format!("{} was not removed: {error}", directory.display())));
        }
        conclude(&report.context("the server could not be started")?)
    }
}

fn conclude(report: &Report) -> Outcome {
    for finding in &report.findings {
        output::line(finding)?;
    }
    output::line(&happened(&report.tally))?;
    if report.is_interrupted {
        return Err(Failure::Failed("interrupted: nothing was checked, and everything was ended".into()));
    }
    let found = report.tally.findings;
    output::line(&match found {
        0 => "nothing was stuck, doubled, lost or orphaned".to_owned(),
        1 => "1 finding".to_owned(),
        found => format!("{found} findings"),
    })?;
    Ok(if found == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn happened(tally: &Tally) -> String {
    format!(
        "sessions: {} created, {} initialised, {} stopped; requests: {} answered; calls without an answer: {}\n\
         killed: {} servers, {} launchers, {} shims, {} agents; held: {}",
        tally.created,
        tally.initialised,
        tally.stopped,
        tally.answered,
        tally.lost,
        tally.servers,
        tally.launchers,
        tally.shims,
        tally.agents,
        tally.held
    )
}

fn command(text: &str) -> Result<Vec<String>, Failure> {
    if text == "echo" {
        return Ok(["frontdesk", "agent", "echo"].map(str::to_owned).to_vec());
    }
    let words: Vec<_> = text.split_whitespace().map(str::to_owned).collect();
    if words.is_empty() {
        return Err(Failure::Usage("--agents names no command; write echo, or a program with its arguments".into()));
    }
    Ok(words)
}

fn interrupts() -> std::io::Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [rustix::process::Signal::INT, rustix::process::Signal::TERM, rustix::process::Signal::HUP] {
        signal_hook::flag::register(signal.as_raw(), Arc::clone(&interrupted))?;
    }
    Ok(interrupted)
}

fn directory() -> std::io::Result<PathBuf> {
    let name = format!("frontdesk-torture-{:08x}", u32::from_ne_bytes(crate::random::bytes()));
    let path = std::env::temp_dir().join(name);
    DirBuilder::new().mode(0o700).create(&path)?;
    Ok(path)
}

fn progress_of(progress: &Progress, whole: Duration) -> String {
    let tally = &progress.tally;
    let kills = tally.servers + tally.launchers + tally.shims + tally.agents;
    format!(
        "{} of {} s, {} running, {} created, {} answered, {kills} killed, {} held, {} findings",
        progress.elapsed.as_secs(),
        whole.as_secs(),
        tally.running,
        tally.created,
        tally.answered,
        tally.held,
        tally.findings
    )
}
