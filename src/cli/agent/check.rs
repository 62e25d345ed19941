//! `frontdesk agent check`: says what is wrong with an agent.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::anyhow;
use clap::Args;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::signal::unix::{SignalKind, signal};

use crate::agent::check::{self, Finding, Mark, Options, Told};
use crate::cli::{Failure, Outcome, output};

/// Lines of the agent's log in the JSON object.
const MOST_LOG_LINES: usize = 1_000;

#[derive(Debug, Args)]
pub(in crate::cli) struct Check {
    /// A request to send to the agent; may be repeated [default: {"hello":"world"}].
    #[arg(long = "request", value_name = "JSON", value_parser = json, allow_hyphen_values = true)]
    requests: Vec<Box<RawValue>>,
    /// The session's DATA.
    #[arg(long, value_name = "JSON", value_parser = object, default_value = "{}", hide_default_value = true)]
    data: Box<RawValue>,
    /// How long the agent may take for each answer, and for its end.
    #[arg(long, value_name = "TIME", value_parser = timeout, default_value = "10s")]
    timeout: Duration,
    /// Print one JSON object at the end.
    #[arg(long)]
    json: bool,
    /// The agent's program and its arguments, after `--`.
    #[arg(value_name = "COMMAND", required = true, last = true)]
    command: Vec<String>,
}

#[derive(Serialize)]
struct Report<'a> {
    command: &'a [String],
    ok: bool,
    findings: &'a [Finding],
    log: &'a [String],
}

impl Check {
    /// 0 if nothing is wrong, 1 if something is.
    pub(super) fn run(self) -> Outcome {
        check::adopt_orphans().map_err(|error| anyhow!("orphans can't be adopted: {error}"))?;
        let is_interrupted = end_on_signals()?;
        let requests = if self.requests.is_empty() {
            vec![json(r#"{"hello":"world"}"#).map_err(Failure::Failed)?]
        } else {
            self.requests
        };
        let options = Options { command: self.command, requests, data: self.data, timeout: self.timeout };
        let (mut findings, mut log, mut written) = (Vec::new(), Vec::new(), Ok(()));
        let ok = check::check(&options, &mut |told| {
            while is_interrupted.load(Ordering::SeqCst) {
                // The process is about to exit: nothing is started or said any more.
                std::thread::park();
            }
            if !self.json && written.is_ok() {
                written = output::line(&shown(&told));
            }
            match told {
                Told::Found(finding) => findings.push(finding),
                Told::Log(line) if log.len() < MOST_LOG_LINES => log.push(line),
                Told::Log(_) | Told::Run(_) => {}
            }
        });
        written?;
        if self.json {
            let report = Report { command: &options.command, ok, findings: &findings, log: &log };
            output::json(&report)?;
        } else {
            output::line(&summary(&findings))?;
        }
        Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Ends what was started, and this process, when somebody ends the check; what it returns is true from then on.
fn end_on_signals() -> Result<Arc<AtomicBool>, Failure> {
    const INTERRUPTED: i32 = 130;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    let is_interrupted = Arc::new(AtomicBool::new(false));
    let tell = Arc::clone(&is_interrupted);
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        tell.store(true, Ordering::SeqCst);
        check::end_descendants();
        std::process::exit(INTERRUPTED);
    });
    Ok(is_interrupted)
}

fn shown(told: &Told) -> String {
    match told {
        Told::Run(run) => format!("{0}{run}{0:#}", anstyle::Style::new().bold()),
        Told::Log(line) => format!("       {0}| {line}{0:#}", anstyle::Style::new().dimmed()),
        Told::Found(finding) => {
            let details =
                [("line: ", &finding.line), ("the protocol: ", &finding.asked), ("to change: ", &finding.change)];
            let details = details.into_iter().filter_map(|(name, text)| Some((name, text.as_deref()?)));
            let mut text = format!("{} {}", mark(finding.mark), finding.sentence);
            for (name, detail) in details {
                text.push_str(&format!("\n         {name}{detail}"));
            }
            text
        }
    }
}

fn mark(mark: Mark) -> String {
    let (word, colour) = match mark {
        Mark::Ok => ("   ok", anstyle::AnsiColor::Green),
        Mark::Wrong => ("WRONG", anstyle::AnsiColor::Red),
        Mark::Note => (" note", anstyle::AnsiColor::Yellow),
    };
    let style = colour.on_default().bold();
    format!("{style}{word}{style:#}")
}

fn summary(findings: &[Finding]) -> String {
    match findings.iter().filter(|finding| finding.mark == Mark::Wrong).count() {
        0 => "Nothing is wrong.".to_owned(),
        1 => "1 thing is wrong.".to_owned(),
        number => format!("{number} things are wrong."),
    }
}

fn json(text: &str) -> Result<Box<RawValue>, String> {
    serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))
}

fn object(text: &str) -> Result<Box<RawValue>, String> {
    let data = json(text)?;
    if data.get().starts_with('{') { Ok(data) } else { Err("DATA is an object, such as {\"room\": 12}".to_owned()) }
}

fn timeout(text: &str) -> Result<Duration, String> {
    let range = Duration::from_millis(1)..=Duration::from_hours(1);
    let given = humantime::parse_duration(text).ok().filter(|timeout| range.contains(timeout));
    given.ok_or_else(|| "it is a duration from 1ms to 1h, such as 10s".to_owned())
}
