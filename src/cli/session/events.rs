//! `frontdesk session events`: a session's steps and what its agents said of themselves, for its operator.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use crate::cli::operate::operate;
use crate::cli::{Configuration, Failure, Outcome, output, table};
use crate::config::Config;
use crate::control::{Command, EventPage, EventRow, Reply};
use crate::events::Kind;
use crate::id::Printable;

/// Between two looks for new events.
const BETWEEN_LOOKS: Duration = Duration::from_millis(500);
const HEADING: [&str; 5] = ["NUMBER", "TIME", "EPOCH", "KIND", "TEXT"];

#[derive(Debug, Args)]
pub(in crate::cli) struct Events {
    /// The session's id, or its customer's email: then the customer's latest session.
    #[arg(value_name = "ID|EMAIL")]
    session: String,
    /// Only events after this number.
    #[arg(long, value_name = "N", default_value_t = 0)]
    after: u64,
    /// Go on with new events until the session ends.
    #[arg(long)]
    follow: bool,
    /// Print JSON, one object a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    configuration: Configuration,
}

impl Events {
    pub(super) fn run(self) -> Outcome {
        let config = self.configuration.place()?;
        let (mut session, mut after, mut is_first) = (self.session.clone(), self.after, true);
        loop {
            let page = page(&config, &session, after)?;
            // An email may mean another session by the next look.
            session = page.session.to_string();
            let gone = page.first.saturating_sub(1);
            if gone > after {
                anstream::eprintln!("note: events {} to {gone} are no longer kept (`events.keep`)", after + 1);
            }
            self.print(&page, is_first)?;
            is_first = false;
            after = page.events.last().map_or(after.max(gone), |event| event.number);
            if page.events.is_empty() || after >= page.last {
                if !(self.follow && page.goes_on) {
                    return Ok(ExitCode::SUCCESS);
                }
                std::thread::sleep(BETWEEN_LOOKS);
            }
        }
    }

    fn print(&self, page: &EventPage, is_first: bool) -> Result<(), Failure> {
        if self.json {
            return table::print_json(&page.events).map(drop);
        }
        if is_first {
            return table::print(&HEADING, page.events.iter().map(cells), "no events after that number yet");
        }
        page.events.iter().try_for_each(|event| output::line(&cells(event).join(table::GAP)))
    }
}

fn page(config: &Config, session: &str, after: u64) -> Result<EventPage, Failure> {
    const A_PAGE: usize = 500;
    page_of(config, Command::ListEvents { session: session.to_owned(), after, most: A_PAGE })
}

/// What the command that lists events gives.
pub(super) fn page_of(config: &Config, command: Command) -> Result<EventPage, Failure> {
    if let Reply::Events(page) = operate(config, command)? {
        return Ok(page);
    }
    Err(anyhow::anyhow!("the running server gave no events; use the server's version of this command").into())
}

fn cells(event: &EventRow) -> Vec<String> {
    vec![
        event.number.to_string(),
        event.at.clone(),
        event.epoch.to_string(),
        Printable(&event.kind).to_string(),
        table::escaped(&text(event)),
    ]
}

/// What a person reads first: of a transition the phase and why, else an event's own `TEXT` if that is all that it says,
/// else all of it.
fn text(event: &EventRow) -> String {
    let body = event.body.get();
    let words = if event.kind == Kind::Transition.name() { step(body) } else { lone_text(body) };
    words.unwrap_or_else(|| body.to_owned())
}

fn step(body: &str) -> Option<String> {
    let transition: Value = serde_json::from_str(body).ok()?;
    let why = ["outcome", "reason"].iter().filter_map(|key| transition[key].as_str()).collect::<Vec<_>>().join(", ");
    let phase = transition["phase"].as_str()?;
    Some(if why.is_empty() { phase.to_owned() } else { format!("{phase}: {why}") })
}

fn lone_text(body: &str) -> Option<String> {
    match serde_json::from_str(body) {
        Ok(Value::Object(fields)) if fields.len() == 1 => fields.get("TEXT")?.as_str().map(str::to_owned),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_that_says_nothing_but_a_text_is_that_text_and_any_other_is_shown_whole() {
        assert_eq!(text(&row("progress", r#"{"TEXT": "halfway"}"#)), "halfway");
        for whole in [r#"{"TEXT":"halfway","DONE":2}"#, r#"[{"ID":1}]"#, r#"{"TEXT":7}"#, "null"] {
            assert_eq!(text(&row("event", whole)), whole);
        }
    }

    #[test]
    fn what_an_agent_says_can_t_command_the_terminal() {
        assert_eq!(table::escaped(&text(&row("log", r#"{"TEXT":"\u001b[2J\n"}"#))), r"\u{1b}[2J\n");
    }

    #[test]
    fn a_transition_is_its_phase_and_why() {
        let running = row("transition", r#"{"phase":"RUNNING","epoch":1,"revision":3}"#);
        assert_eq!(text(&running), "RUNNING");
        let ended =
            row("transition", r#"{"phase":"ENDED","epoch":1,"revision":5,"outcome":"expired","reason":"idle"}"#);
        assert_eq!(text(&ended), "ENDED: expired, idle");
    }

    fn row(kind: &str, body: &str) -> EventRow {
        let body = serde_json::from_str(body).unwrap();
        EventRow { number: 1, at: String::new(), epoch: 1, kind: kind.to_owned(), body }
    }
}
