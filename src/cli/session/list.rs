//! `frontdesk session list`: every session of this machine's server, for its operator.

use std::process::ExitCode;

use clap::Args;

use crate::cli::operate::operate;
use crate::cli::{Configuration, Failure, Outcome, table};
use crate::config::{Config, Overrides};
use crate::control::{Command, Reply, SessionRow};
use crate::id::Printable;

#[derive(Debug, Args)]
pub(in crate::cli) struct List {
    /// Ended sessions, too.
    #[arg(long)]
    all: bool,
    /// Only this customer's.
    #[arg(long, value_name = "EMAIL")]
    customer: Option<String>,
    /// Print JSON, one object a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    configuration: Configuration,
}

impl List {
    pub(super) fn run(self) -> Outcome {
        let config = self.configuration.load(Overrides::default())?.config;
        let rows = self.rows(&config)?;
        if self.json {
            return table::print_json(&rows);
        }
        let empty = if self.all { "no sessions yet" } else { "no live sessions; --all shows ended ones, too" };
        table::print(
            &["ID", "PHASE", "CUSTOMER", "PERSONA", "AGE", "PID", "EPOCH", "REASON"],
            rows.iter().map(cells),
            empty,
        )?;
        Ok(ExitCode::SUCCESS)
    }

    fn rows(&self, config: &Config) -> Result<Vec<SessionRow>, Failure> {
        const A_PAGE: usize = 1_000;
        let mut rows = Vec::new();
        loop {
            let before = rows.last().map(|row: &SessionRow| row.id);
            let command = Command::ListSessions { email: self.customer.clone(), ended: self.all, before, most: A_PAGE };
            let Reply::Sessions(page) = operate(config, command)? else { break };
            let is_last = page.len() < A_PAGE;
            rows.extend(page);
            if is_last {
                break;
            }
        }
        Ok(rows)
    }
}

fn cells(row: &SessionRow) -> Vec<String> {
    let why = [row.outcome.as_deref(), row.reason.as_deref()].into_iter().flatten().collect::<Vec<_>>().join(": ");
    vec![
        row.id.to_string(),
        row.phase.clone(),
        Printable(&row.customer).to_string(),
        Printable(&row.persona).to_string(),
        age(row.age_seconds),
        row.pid.map(|pid| pid.to_string()).unwrap_or_default(),
        row.epoch.to_string(),
        escaped(&why),
    ]
}

/// The whole text made safe to print: only a terminal's width cuts it.
fn escaped(text: &str) -> String {
    text.chars().map(|character| Printable(character.encode_utf8(&mut [0; 4])).to_string()).collect()
}

/// An age in its largest whole unit.
fn age(seconds: i64) -> String {
    match seconds {
        ..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        86_400.. => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::{age, escaped};

    #[test]
    fn a_long_reason_is_escaped_and_kept_whole() {
        assert_eq!(escaped(&"a\u{1b}".repeat(300)), r"a\u{1b}".repeat(300));
    }

    #[test]
    fn an_age_is_told_in_its_largest_whole_unit() {
        let ages = [0, 59, 60, 3_599, 3_600, 86_399, 86_400, 345_601].map(age);
        assert_eq!(ages, ["0s", "59s", "1m", "59m", "1h", "23h", "1d", "4d"]);
    }
}
