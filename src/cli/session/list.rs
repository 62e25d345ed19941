//! `frontdesk session list`: every session of this machine's server, for its operator.

use std::process::ExitCode;

use clap::Args;

use crate::cli::operate::operate;
use crate::cli::{Configuration, Failure, Outcome, table};
use crate::config::Config;
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
        let config = self.configuration.place()?;
        let rows = self.rows(&config)?;
        if self.json {
            return table::print_json(&rows);
        }
        let empty = if self.all { "no sessions yet" } else { "no live sessions; --all shows ended ones, too" };
        // What takes the place of the reasons has to be worth it.
        let is_measured = rows.iter().any(|row| row.usage.is_some());
        let heading = ["ID", "PHASE", "CUSTOMER", "PERSONA", "AGE", "PID", "EPOCH", "REASON"];
        let heading = heading.into_iter().flat_map(|name| match name {
            "EPOCH" if is_measured => vec!["MEMORY", name],
            _ => vec![name],
        });
        table::print(&heading.collect::<Vec<_>>(), rows.iter().map(|row| cells(row, is_measured)), empty)?;
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

fn cells(row: &SessionRow, is_measured: bool) -> Vec<String> {
    let why = [row.outcome.as_deref(), row.reason.as_deref()].into_iter().flatten().collect::<Vec<_>>().join(": ");
    let memory = || row.usage.map(|usage| memory(usage.memory)).unwrap_or_default();
    let cells = [
        Some(row.id.to_string()),
        Some(row.phase.clone()),
        Some(Printable(&row.customer).to_string()),
        Some(Printable(&row.persona).to_string()),
        Some(age(row.age_seconds)),
        Some(row.pid.map(|pid| pid.to_string()).unwrap_or_default()),
        is_measured.then(memory),
        Some(row.epoch.to_string()),
        Some(table::escaped(&why)),
    ];
    cells.into_iter().flatten().collect()
}

/// Memory in MiB, and in GiB once that takes more than four digits.
fn memory(bytes: u64) -> String {
    match bytes >> 20 {
        mebibytes @ ..10_000 => format!("{mebibytes}M"),
        mebibytes @ 10_000.. => format!("{}G", mebibytes >> 10),
    }
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
    use super::{age, memory};

    #[test]
    fn an_age_is_told_in_its_largest_whole_unit() {
        let ages = [0, 59, 60, 3_599, 3_600, 86_399, 86_400, 345_601].map(age);
        assert_eq!(ages, ["0s", "59s", "1m", "59m", "1h", "23h", "1d", "4d"]);
    }

    #[test]
    fn memory_is_told_in_five_places_at_most() {
        assert_eq!([0, 412 << 20, 9_999 << 20, 10 << 30].map(memory), ["0M", "412M", "9999M", "10G"]);
    }
}
