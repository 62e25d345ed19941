//! The child of a run: measures some figures that share what is prepared, and says each row as soon as it is known.
//!
//! It leads a process group, in which all that it starts is, and ends the group when its input is closed: whatever
//! becomes of the run, no server is left behind. Agents and their shims are in groups of their own; they follow their
//! server's directory.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

use crate::customers::Customers;
use crate::report::Row;
use crate::stored::Stored;
use crate::{Setting, Sink, adoption, create, events, memory, peer, relay, remote, signins, start, starts, status};

/// The word by which a run starts its children.
pub const WORD: &str = "measure";

/// The figures that are measured together, in the order of the table, and how many seconds they have at most.
pub const GROUPS: [(&[&str], u64); 7] = [
    (&["starts"], 60),
    (&["adoption"], 60),
    (&["memory", "status", "start"], 300),
    (&["signins", "create", "peer"], 300),
    (&["remote"], 60),
    (&["relay"], 60),
    (&["events"], 60),
];

/// What a child says, one a line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// A row of the table.
    Row(Row),
    /// A figure that could not be measured to its end.
    Failed(String),
}

/// Whether there is a figure of this name.
pub fn is_figure(name: &str) -> bool {
    GROUPS.iter().any(|(names, _)| names.contains(&name))
}

/// Measures some figures of one group.
pub fn figures(setting: &Setting, names: &[String]) -> ExitCode {
    std::thread::spawn(end_with_the_run);
    let mut lines = Lines;
    let wanted: Vec<&str> = names.iter().map(String::as_str).collect();
    let is_wanted = |name: &str| wanted.contains(&name);
    for name in &wanted {
        lines.attempt(name, |lines| match *name {
            "starts" => starts::measure(setting, lines),
            "adoption" => adoption::measure(setting, lines),
            "remote" => remote::measure(setting, lines),
            "relay" => relay::measure(setting, lines),
            "events" => events::measure(setting, lines),
            "memory" => memory::running_and_idle(setting, lines),
            "start" => start::empty(setting, lines),
            _ => {}
        });
    }
    if is_wanted("memory") || is_wanted("status") || is_wanted("start") {
        lines.attempt("memory, status, start", |lines| with_stored(setting, lines, is_wanted));
    }
    if is_wanted("signins") || is_wanted("create") || is_wanted("peer") {
        lines.attempt("signins, create, peer", |lines| with_customers(setting, lines, is_wanted));
    }
    ExitCode::SUCCESS
}

fn with_stored(setting: &Setting, lines: &mut Lines, is_wanted: impl Fn(&str) -> bool) {
    let mut stored = Stored::prepare(setting);
    if is_wanted("memory") {
        lines.attempt("memory", |lines| memory::pending(&stored, lines));
    }
    if is_wanted("status") {
        lines.attempt("status", |lines| status::measure(setting, &stored, lines));
    }
    if is_wanted("start") {
        lines.attempt("start", |lines| start::with_sessions(setting, &mut stored, lines));
    }
}

fn with_customers(setting: &Setting, lines: &mut Lines, is_wanted: impl Fn(&str) -> bool) {
    let mut customers = Customers::prepare(setting);
    // First of all, since it takes customers who have not signed in.
    if is_wanted("signins") {
        lines.attempt("signins", |lines| signins::measure(setting, &mut customers, lines));
    }
    if is_wanted("create") {
        lines.attempt("create", |lines| create::measure(setting, &mut customers, lines));
    }
    if is_wanted("peer") {
        lines.attempt("peer", |lines| peer::measure(setting, &mut customers, lines));
    }
}

/// Rows on stdout.
struct Lines;

impl Lines {
    /// Measures; what fails is said, and does not keep the others from being measured.
    fn attempt(&mut self, name: &str, measure: impl FnOnce(&mut Self)) {
        if catch_unwind(AssertUnwindSafe(|| measure(self))).is_err() {
            say(&Said::Failed(name.to_owned()));
        }
    }
}

impl Sink for Lines {
    fn row(&mut self, row: Row) {
        say(&Said::Row(row));
    }
}

fn say(said: &Said) {
    println!("{}", serde_json::to_string(said).expect("a row serialises"));
}

/// The run holds the other end of stdin as long as it lives.
pub fn end_with_the_run() {
    let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    let _ = rustix::process::kill_current_process_group(rustix::process::Signal::KILL);
}
