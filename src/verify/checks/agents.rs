//! What must hold of agents: sessions, their directories, shims and processes, each against the others. Pure.
//!
//! A store does not know which sessions are served over HTTP: those have no directory. So a RUNNING session without one
//! is no finding by itself; whatever runs for it is.

use std::collections::{BTreeMap, HashMap};

use crate::id::{Epoch, SessionId};
use crate::session::Phase;
use crate::store::sqlite::inspect::SessionRow;
use crate::verify::{Directory, Nature, Process, Server, Shim, Snapshot};

use super::Findings;

const ENDS: &str = "the next start ends it";
const REPORT: &str = "restart the server, and report this";

/// A snapshot's agents, found by their session.
struct Agents<'a> {
    server: Server,
    rows: HashMap<SessionId, &'a SessionRow>,
    directories: HashMap<SessionId, &'a Directory>,
    /// Those that have their directory.
    shims: BTreeMap<SessionId, Vec<&'a Shim>>,
}

/// What a session's record says of an agent that is there.
enum Claim {
    /// It may act, if it is of this epoch.
    Epoch(Epoch),
    /// There should be none; why, in words.
    None(String),
    /// Nothing that can be read.
    Unknown,
}

pub(super) fn check(snapshot: &Snapshot, findings: &mut Findings) {
    // What a server that starts or stops has under way is about to be settled.
    if snapshot.server == Server::Settling || !snapshot.is_whole() {
        return;
    }
    let agents = Agents::of(snapshot);
    for directory in &snapshot.directories {
        agents.check_directory(directory, findings);
    }
    for shim in &snapshot.shims {
        agents.check_shim(shim, findings);
    }
    for (session, shims) in &agents.shims {
        if let [one, other, ..] = shims[..] {
            let what = format!("two shims have its directory: processes {} and {}", one.pid, other.pid);
            findings.leftover(Some(*session), what, "the next start ends both, and starts one agent");
        }
    }
    for process in &snapshot.processes {
        agents.check_process(process, findings);
    }
    for row in &snapshot.live {
        if let Ok(Phase::Running { epoch, .. }) = &row.phase {
            agents.check_running(row.id, *epoch, findings);
        }
    }
}

/// The agents that run on without a server, each under its session's epoch.
pub(super) fn running_on(snapshot: &Snapshot) -> usize {
    if snapshot.server != Server::Absent {
        return 0;
    }
    let agents = Agents::of(snapshot);
    let is_current = |session: &SessionId| {
        let epoch = agents.directories.get(session).and_then(|directory| directory.epoch);
        epoch.is_some_and(|epoch| matches!(agents.claim(*session), Claim::Epoch(current) if current == epoch))
    };
    agents.shims.keys().filter(|session| is_current(session)).count()
}

impl<'a> Agents<'a> {
    fn of(snapshot: &'a Snapshot) -> Self {
        let mut shims: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for shim in snapshot.shims.iter().filter(|shim| shim.is_in_place) {
            shims.entry(shim.session).or_default().push(shim);
        }
        Self {
            server: snapshot.server,
            rows: snapshot.live.iter().map(|row| (row.id, row)).collect(),
            directories: snapshot.directories.iter().map(|directory| (directory.session, directory)).collect(),
            shims,
        }
    }

    fn claim(&self, session: SessionId) -> Claim {
        let Some(row) = self.rows.get(&session) else { return Claim::None("the session is not live".into()) };
        match &row.phase {
            Ok(Phase::Starting { epoch, .. } | Phase::Running { epoch, .. } | Phase::Stopping { epoch, .. }) => {
                Claim::Epoch(*epoch)
            }
            Ok(phase @ (Phase::Pending { .. } | Phase::Ended { .. })) => {
                Claim::None(format!("the session is {}", phase.name()))
            }
            Err(_) => Claim::Unknown,
        }
    }

    fn check_directory(&self, directory: &Directory, findings: &mut Findings) {
        let session = directory.session;
        if let Some(pid) = directory.stranger {
            let what = format!("process {pid} has the lock of its directory agents/{session}, and is no shim");
            findings.add(Nature::Lasting, Some(session), what, "end that process");
        }
        let Some(row) = self.rows.get(&session) else {
            let what = format!("its directory agents/{session} is there, and the session is not live");
            return findings.leftover(Some(session), what, "the next start removes it");
        };
        // A start that is to come, and the traces of one that failed, leave an older epoch there.
        let (Ok(phase), Some(found)) = (&row.phase, directory.epoch) else { return };
        let epoch = phase.epoch();
        let is_older = found < epoch && matches!(phase, Phase::Running { .. });
        // A server readies the directory while the step that begins a start is on its way to the disk.
        let may_be_about_to_start = self.server == Server::Serving && matches!(phase, Phase::Pending { .. });
        let is_ahead = if may_be_about_to_start { found > epoch.next() } else { found > epoch };
        if is_ahead || is_older {
            let what = format!("its directory agents/{session} is of epoch {found}, and the session's is {epoch}");
            findings.leftover(Some(session), what, "the next start ends what acts there, and starts another agent");
        }
    }

    fn check_shim(&self, shim: &Shim, findings: &mut Findings) {
        let Shim { pid, session, .. } = *shim;
        if !shim.is_in_place {
            let what = format!("its shim, process {pid}, runs, and its directory is gone");
            return findings.leftover(Some(session), what, "it ends itself and its agent within seconds");
        }
        match self.claim(session) {
            Claim::Epoch(epoch) => {
                let found = self.directories.get(&session).and_then(|directory| directory.epoch);
                // With a server, an older one is about to leave, or is made to when the start begins.
                if self.server == Server::Absent && found.is_some_and(|found| found < epoch) {
                    let found = found.unwrap_or_default();
                    let what = format!("its shim, process {pid}, is of epoch {found}, and the session's is {epoch}");
                    findings.leftover(Some(session), what, ENDS);
                }
            }
            Claim::None(why) => {
                findings.leftover(Some(session), format!("its shim, process {pid}, runs, and {why}"), ENDS);
            }
            Claim::Unknown => {}
        }
        let named = self.directories.get(&session).and_then(|directory| directory.named);
        if let Some(named) = named.filter(|named| *named != pid) {
            let what = format!("the lock of its directory names process {named}, and its shim is process {pid}");
            findings.add(Nature::Lasting, Some(session), what, "stop the session, and report this");
        }
    }

    fn check_process(&self, process: &Process, findings: &mut Findings) {
        let Process { pid, session, .. } = *process;
        match self.claim(session) {
            Claim::Epoch(epoch) => {
                if let Some(found) = process.epoch.filter(|found| *found != epoch) {
                    let what = format!("its process {pid} is of epoch {found}, and the session's is {epoch}");
                    findings.leftover(Some(session), what, ENDS);
                } else if process.shim.is_none() {
                    findings.leftover(Some(session), format!("its process {pid} runs without a shim"), ENDS);
                }
            }
            Claim::None(why) => {
                findings.leftover(Some(session), format!("its process {pid} runs, and {why}"), ENDS);
            }
            Claim::Unknown => {}
        }
    }

    fn check_running(&self, session: SessionId, epoch: Epoch, findings: &mut Findings) {
        let Some(directory) = self.directories.get(&session) else { return };
        let shim = self.shims.get(&session).and_then(|shims| shims.first());
        match (self.server, shim) {
            (Server::Serving, Some(shim)) if !shim.has_agent => {
                let what =
                    format!("it is RUNNING under epoch {epoch}, and its shim, process {}, has no agent", shim.pid);
                findings.add(Nature::Lasting, Some(session), what, REPORT);
            }
            (Server::Serving, None) => {
                let what = format!("it is RUNNING under epoch {epoch}, and no shim has its directory");
                findings.add(Nature::Lasting, Some(session), what, REPORT);
            }
            (Server::Absent, None) if directory.ended != Some(epoch) => {
                let what = format!("it is RUNNING under epoch {epoch}, and its shim is gone without a word");
                findings.leftover(Some(session), what, "the next start starts its agent again");
            }
            (Server::Serving | Server::Settling, Some(_)) | (Server::Absent | Server::Settling, _) => {}
        }
    }
}
