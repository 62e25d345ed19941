//! `frontdesk verify`: looks at a data directory and says, a sentence each, what breaks the promises of this server.
//!
//! [`look()`] takes a [`Snapshot`] of the store, the data files, the sessions' directories, the shims, the agents'
//! processes and the log of events; [`check`] is pure and finds what is wrong in it. Nothing is changed or locked, and a
//! running server goes on; but as long as the store is being read, its write-ahead log can't start over and grows with
//! what is written.
//!
//! The parts of a snapshot are not of one moment, and a live server moves, as do shims without one. So a finding counts
//! only if it is still there in further looks, word for word: a sentence about an agent names its epoch or its process,
//! so that two steps of a session that were under way one after the other are not taken for one that lasts. Agents that
//! run on without a server are in order; what a crash leaves beside them counts as a finding, and is said to be what the
//! next start settles.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::agent::kept_logs::KeptLog;
use crate::clock::Timestamp;
use crate::events::inspect::Inspected;
use crate::id::{Epoch, SessionId};
use crate::store::Customer;
use crate::store::sqlite::inspect::{self, OperatorRows, SessionRow};

mod checks;
mod look;

pub use checks::check;
pub use look::look;
pub(crate) use look::{holder, may_not_read, server};

/// Everything that is checked, as it was found.
#[derive(Debug)]
pub struct Snapshot {
    /// Whether a server has the directory.
    pub server: Server,
    /// The desk's own time.
    pub now: Timestamp,
    /// What is wrong with the store's file itself, in words.
    pub faults: Vec<String>,
    /// The version of the store's schema.
    pub version: i64,
    /// Live sessions.
    pub live: Vec<SessionRow>,
    /// Ended sessions.
    pub history: Vec<SessionRow>,
    /// The sessions that have keyed requests on record.
    pub noted: Vec<SessionId>,
    /// The embedded credential server's customers.
    pub customers: Vec<Customer>,
    /// What is kept of operators, and the audit.
    pub operators: OperatorRows,
    /// The files of large session data.
    pub files: Vec<DataFile>,
    /// The kept logs of sessions that failed.
    pub logs: Vec<KeptLog>,
    /// The directories of sessions with an agent.
    pub directories: Vec<Directory>,
    /// The shims.
    pub shims: Vec<Shim>,
    /// The processes that carry the desk's marks.
    pub processes: Vec<Process>,
    /// The log of what agents said.
    pub events: Inspected,
}

/// Whether a server has the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// No process has it.
    Absent,
    /// A process has it and does not serve: it starts, stops, or is a command.
    Settling,
    /// A server serves.
    Serving,
}

/// A file in the directory of session data.
#[derive(Clone, Debug)]
pub struct DataFile {
    /// Its name.
    pub name: String,
    /// The session that it is for.
    pub session: SessionId,
    /// Whether its name is a finished file's.
    pub is_finished: bool,
    /// What is wrong with its content.
    pub fault: Option<String>,
}

/// The directory of a session with an agent.
#[derive(Clone, Copy, Debug)]
pub struct Directory {
    /// The session.
    pub session: SessionId,
    /// The only epoch that may act there, if that can be read.
    pub epoch: Option<Epoch>,
    /// The epoch whose agent's end is noted there.
    pub ended: Option<Epoch>,
    /// The process that its lock names.
    pub named: Option<u32>,
    /// A process that has its lock open while no shim has.
    pub stranger: Option<u32>,
}

/// A process that has, or had, a session's directory.
#[derive(Clone, Copy, Debug)]
pub struct Shim {
    /// Its id.
    pub pid: u32,
    /// The session.
    pub session: SessionId,
    /// Whether the directory that it has is the one that is there.
    pub is_in_place: bool,
    /// Whether it has a child.
    pub has_agent: bool,
}

/// A process that carries the desk's marks.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// The session that it was started for.
    pub session: SessionId,
    /// The epoch that it was started under, unless it has changed its marks.
    pub epoch: Option<Epoch>,
    /// The shim that it descends from.
    pub shim: Option<u32>,
}

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The session that it concerns.
    pub session: Option<SessionId>,
    /// What is wrong and what to do, in one sentence.
    pub sentence: String,
    /// What may become of it.
    pub nature: Nature,
}

/// What may become of a finding by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Nature {
    /// It stays until somebody mends it.
    Damage,
    /// It may be a step under way, and is wrong if it lasts.
    Lasting,
    /// A crash leaves it, and the next start settles it.
    Leftover,
    /// Something is gone that nothing needs, and stays so.
    Gone,
}

/// What a verification found.
#[derive(Debug, Serialize)]
pub struct Report {
    /// How many live sessions there are.
    pub live: usize,
    /// How many ended sessions are on record.
    pub ended: usize,
    /// How many customers there are.
    pub customers: usize,
    /// How many processes of agents there are.
    pub processes: usize,
    /// How many agents run on, in order, without a server.
    pub running_on: usize,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// Why a directory can't be verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It holds no store.
    #[error("{0} is not a data directory of frontdesk: it has no frontdesk.db")]
    NoDataDirectory(String),
    /// This user may not read it.
    #[error("this user may not read {0}; run this as the user that the server runs as, such as with `sudo -u USER`")]
    NotAllowed(String),
    /// It can't be read.
    #[error("{0} can't be read: {1}")]
    Unreadable(String, String),
}

/// Verifies a directory. What is wrong is looked at again: only what is found every time counts. Blocks.
///
/// # Errors
/// A [`VerifyError`].
pub fn verify(directory: &Path) -> Result<Report, VerifyError> {
    const BETWEEN_LOOKS: Duration = Duration::from_secs(1);
    let mut snapshot = look(directory)?;
    let mut findings = check(&snapshot);
    // Without a server, only shims and agents still move.
    let looks_again = if snapshot.server == Server::Absent { 1 } else { 2 };
    for _ in 0..looks_again {
        if findings.is_empty() {
            break;
        }
        std::thread::sleep(BETWEEN_LOOKS);
        snapshot = look(directory)?;
        let before = std::mem::replace(&mut findings, check(&snapshot));
        findings.retain(|finding| before.contains(finding));
    }
    Ok(Report {
        live: snapshot.live.len(),
        ended: snapshot.history.len(),
        customers: snapshot.customers.len(),
        processes: snapshot.processes.len(),
        running_on: checks::running_on(&snapshot),
        findings,
    })
}

impl Snapshot {
    /// Whether every session on record could be read, so that one that is not there is not on record.
    fn is_whole(&self) -> bool {
        self.version == inspect::VERSION && self.faults.is_empty()
    }
}

impl Finding {
    /// Whether nothing is wrong: the next start settles it, or nothing needs what is gone.
    pub fn is_note(&self) -> bool {
        matches!(self.nature, Nature::Leftover | Nature::Gone)
    }
}

impl Report {
    /// One closing line.
    pub fn summary(&self) -> String {
        let notes = self.findings.iter().filter(|finding| finding.is_note()).count();
        let wrong = self.findings.len() - notes;
        let gone = self.findings.iter().filter(|finding| finding.nature == Nature::Gone).count();
        let about = if gone == 0 { " on what the next start settles" } else { "" };
        let noted = format!("{}{about}", count(notes, "note", "notes"));
        let found = match (wrong, notes) {
            (0, 0) => "nothing wrong".to_owned(),
            (0, _) => noted,
            (_, 0) => count(wrong, "finding", "findings"),
            (_, _) => format!("{}; {noted}", count(wrong, "finding", "findings")),
        };
        let on = match self.running_on {
            0 => String::new(),
            1 => "; 1 agent runs on without a server".to_owned(),
            number => format!("; {number} agents run on without a server"),
        };
        format!(
            "checked {}, {} ended, {}, {}: {found}{on}",
            count(self.live, "live session", "live sessions"),
            self.ended,
            count(self.customers, "customer", "customers"),
            count(self.processes, "agent process", "agent processes"),
        )
    }
}

fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests;
