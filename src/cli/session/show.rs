//! `frontdesk session show`: everything that is known of one session, whole, for its operator.

use std::process::ExitCode;

use clap::Args;

use crate::cli::operate::operate;
use crate::cli::{Configuration, Failure, Outcome, output, table};
use crate::config::roughly_size;
use crate::control::{Command, Reply, SessionDetail};
use crate::id::SessionId;

#[derive(Debug, Args)]
pub(in crate::cli) struct Show {
    /// The session's id, or its customer's email: then the customer's latest session.
    #[arg(value_name = "ID|EMAIL")]
    session: String,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    configuration: Configuration,
}

impl Show {
    pub(super) fn run(self) -> Outcome {
        let config = self.configuration.place()?;
        let Reply::Session(session) = operate(&config, Command::ShowSession { session: self.session })? else {
            let other = "the running server gave no session; use the server's version of this command";
            return Err(Failure::Failed(other.into()));
        };
        if self.json {
            output::json(&session)?;
        } else {
            output::write(&text(&session))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A fact a line, nothing of it cut.
fn text(session: &SessionDetail) -> String {
    let SessionDetail { id, phase, outcome, epoch, pid, usage, open_requests, .. } = session;
    let known_as = (session.customer != session.email).then(|| session.customer.clone());
    let limits = Some(session.limits.clone()).filter(|limits| !limits.is_empty());
    let facts = [
        ("id", Some(id.to_string())),
        ("customer", Some(session.email.clone())),
        ("known as", known_as),
        ("persona", Some(session.persona.clone())),
        ("phase", Some(phase.clone())),
        ("outcome", outcome.clone()),
        ("reason", session.reason.clone()),
        ("detail", session.reason_detail.clone()),
        ("waits for", session.waits_for.clone()),
        ("progress", session.progress.clone()),
        ("epoch", Some(epoch.to_string())),
        ("pid", pid.map(|pid| pid.to_string())),
        ("memory", usage.map(|usage| roughly_size(usage.memory))),
        ("CPU time", usage.map(|usage| humantime::format_duration(usage.cpu).to_string())),
        ("processes", usage.map(|usage| usage.processes.to_string())),
        ("directory", usage.and_then(|usage| usage.own_directory).map(roughly_size)),
        ("requests", open_requests.map(|open| format!("{open} open"))),
        ("limits", limits),
        ("requested", Some(session.created.clone())),
        ("revision", Some(session.revision.to_string())),
        ("log", session.log_bytes.map(|bytes| kept_log(*id, bytes))),
    ];
    let lines = facts.into_iter().filter_map(|(name, value)| Some((name, value?)));
    lines.map(|(name, value)| format!("{name:9}  {}\n", table::escaped(&value))).collect()
}

fn kept_log(session: SessionId, bytes: u32) -> String {
    format!("{} of it kept; `frontdesk session logs {session}` prints it", roughly_size(bytes.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::WallTime;

    #[test]
    fn a_long_detail_is_shown_whole_and_can_t_command_the_terminal() {
        let detail = format!("last lines of its log: {}\u{1b}[2J", "x".repeat(900));
        let session = SessionDetail {
            id: SessionId::new(WallTime::from_unix_millis(1), [7; 10]),
            email: "ada@example.org".into(),
            customer: "ada@example.org".into(),
            persona: "CUSTOMERS".into(),
            phase: "ENDED".into(),
            outcome: Some("failed".into()),
            reason: Some("the agent exited with status 1".into()),
            reason_detail: Some(detail),
            progress: None,
            waits_for: None,
            epoch: 1,
            pid: None,
            usage: None,
            open_requests: None,
            limits: String::new(),
            created: "2026-01-01T00:00:00Z".into(),
            revision: 4,
            log_bytes: Some(4_096),
        };
        let text = text(&session);
        assert!(text.contains("reason     the agent exited with status 1\n"), "{text}");
        assert!(text.contains(&format!("{}\\u{{1b}}[2J\n", "x".repeat(900))), "{text}");
        let logs = format!("log        4.0 KiB of it kept; `frontdesk session logs {}` prints it\n", session.id);
        assert!(text.contains(&logs), "{text}");
        assert!(!text.contains("pid") && !text.contains("known as"), "{text}");
    }
}
