//! Whether all promises were kept: the store, the processes and `verify` against what the customers know.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::Duration;

use crate::clock::boot_time;
use crate::data_dir::DataPaths;
use crate::id::SessionId;
use crate::store::sqlite::inspect::{self, Tables};
use crate::verify;

use super::customer::{Customer, Known};
use super::desk::Desk;
use super::processes::{Process, Role};

/// Ends that were promised may be on their way, up to the grace of agents and what follows it.
const TO_SETTLE: Duration = Duration::from_secs(30);

/// What the store and the processes have to be like.
#[derive(Debug, Default)]
struct Expected {
    pending: HashSet<SessionId>,
    running: HashSet<SessionId>,
    ended: Vec<SessionId>,
}

/// Returns what is wrong, a sentence each. Blocks until everything is right, or as long as that may take.
pub(super) fn check(desk: &Desk, customers: &[Customer]) -> Vec<String> {
    let expected = Expected::of(customers);
    let deadline = boot_time() + TO_SETTLE;
    loop {
        let findings = look(desk, &expected);
        if findings.is_empty() || boot_time() > deadline {
            return findings;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Returns a sentence for each of these ended sessions whose directory the running server leaves behind.
pub(super) fn directories_of(ended: &[SessionId], data: &Path) -> Vec<String> {
    let agents = DataPaths::new(data).agents();
    let deadline = boot_time() + TO_SETTLE;
    loop {
        let left = ended.iter().filter(|session| agents.join(session.to_string()).exists());
        let findings: Vec<_> = left.copied().map(left_behind).collect();
        if findings.is_empty() || boot_time() > deadline {
            return findings;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn left_behind(session: SessionId) -> String {
    format!("session {session} has ended, and its directory is still there")
}

fn look(desk: &Desk, expected: &Expected) -> Vec<String> {
    let mut findings = match inspect::read(&DataPaths::new(&desk.data()).database()) {
        Ok(tables) => expected.against_store(&tables),
        Err(error) => vec![format!("the store can't be read: {error}")],
    };
    findings.extend(expected.against_processes(&desk.marks().look()));
    findings.extend(expected.against_directories(&DataPaths::new(&desk.data()).agents()));
    if findings.is_empty() {
        match verify::verify(&desk.data()) {
            Ok(report) => findings.extend(report.findings.into_iter().map(|finding| finding.sentence)),
            Err(error) => findings.push(error.to_string()),
        }
    }
    findings
}

impl Expected {
    fn of(customers: &[Customer]) -> Self {
        let mut expected = Self::default();
        for customer in customers {
            expected.ended.extend(customer.ended());
            match customer.known() {
                Known::Pending(session) => drop(expected.pending.insert(session.id)),
                Known::Running(session) => drop(expected.running.insert(session.id)),
                // Those that did not settle are findings already.
                Known::Nothing | Known::Stopped | Known::Starting(_) | Known::Stopping(..) => {}
            }
        }
        expected
    }

    fn against_store(&self, tables: &Tables) -> Vec<String> {
        let mut findings = Vec::new();
        let live: HashMap<_, _> = tables.live.iter().map(|row| (row.id, row)).collect();
        let sets = [("PENDING", &self.pending), ("RUNNING", &self.running)];
        for (phase, id) in sets.into_iter().flat_map(|(phase, ids)| ids.iter().map(move |id| (phase, id))) {
            match live.get(id).map(|row| row.phase.as_ref()) {
                Some(Ok(found)) if found.name() == phase => {}
                Some(Ok(found)) => {
                    findings.push(format!("session {id} was promised to be {phase} and is {}", found.name()));
                }
                Some(Err(error)) => findings.push(format!("the phase of session {id} can't be read: {error}")),
                None => findings.push(format!("session {id} was promised to be {phase} and is lost")),
            }
        }
        for id in live.keys().filter(|id| !self.pending.contains(*id) && !self.running.contains(*id)) {
            findings.push(format!("session {id} lives, and no customer has it"));
        }
        let history: HashSet<_> = tables.history.iter().map(|row| row.id).collect();
        let missing = self.ended.iter().filter(|id| !history.contains(*id));
        findings.extend(missing.map(|id| format!("session {id} was promised to end and is not among those that have")));
        findings
    }

    /// A session without an agent has no directory.
    fn against_directories(&self, agents: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(agents).into_iter().flatten().flatten();
        let sessions = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<SessionId>().ok());
        sessions.filter(|session| self.ended.contains(session)).map(left_behind).collect()
    }

    fn against_processes(&self, processes: &[Process]) -> Vec<String> {
        let mut findings = Vec::new();
        let shims: HashSet<_> = processes.iter().filter(|one| one.role == Role::Shim).map(|one| one.pid).collect();
        let mut served: HashMap<SessionId, Vec<u32>> = HashMap::new();
        let mut busy = HashSet::new();
        for process in processes {
            let Role::Agent(session, _) = process.role else { continue };
            if !self.running.contains(&session) {
                findings.push(format!("process {} runs for session {session}, which does not", process.pid));
            }
            // What an agent has started itself is its own business.
            if shims.contains(&process.parent) {
                served.entry(session).or_default().push(process.pid);
                busy.insert(process.parent);
            }
        }
        for id in &self.running {
            match served.get(id).map_or(0, Vec::len) {
                1 => {}
                0 => findings.push(format!("session {id} runs without an agent")),
                agents => findings.push(format!("session {id} has {agents} agents")),
            }
        }
        findings.extend(shims.difference(&busy).map(|pid| format!("shim {pid} has no agent")));
        let others = |role| processes.iter().filter(|one| one.role == role).count();
        for (role, name, most) in [(Role::Server, "servers", 1), (Role::Launcher, "launchers", 1)] {
            if others(role) > most {
                findings.push(format!("{} {name} run", others(role)));
            }
        }
        findings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::WallTime;
    use crate::id::Epoch;

    fn session(n: u8) -> SessionId {
        SessionId::new(WallTime::from_unix_millis(1), [n; 10])
    }

    fn process(pid: u32, parent: u32, role: Role) -> Process {
        Process { pid, parent, role }
    }

    fn agent(pid: u32, parent: u32, of: u8) -> Process {
        process(pid, parent, Role::Agent(session(of), Some(Epoch(1))))
    }

    fn expected() -> Expected {
        Expected { running: HashSet::from([session(1)]), ..Expected::default() }
    }

    #[test]
    fn a_running_session_has_one_shim_with_one_agent_which_may_have_children() {
        let right = [process(1, 0, Role::Server), process(2, 1, Role::Shim), agent(3, 2, 1), agent(4, 3, 1)];
        assert_eq!(expected().against_processes(&right), [""; 0]);
    }

    #[test]
    fn whatever_else_the_processes_are_is_found() {
        let without = expected().against_processes(&[]);
        assert!(without[0].contains("without an agent"), "{without:?}");
        let doubled = [process(2, 1, Role::Shim), agent(3, 2, 1), process(4, 1, Role::Shim), agent(5, 4, 1)];
        assert!(expected().against_processes(&doubled)[0].contains("2 agents"));
        let idle = [process(2, 1, Role::Shim), agent(3, 2, 1), process(4, 1, Role::Shim)];
        assert_eq!(expected().against_processes(&idle), ["shim 4 has no agent"]);
        let orphan = [process(2, 1, Role::Shim), agent(3, 2, 1), agent(9, 1, 2)];
        assert!(expected().against_processes(&orphan)[0].starts_with("process 9 runs for session"));
    }

    #[test]
    fn the_directory_of_an_ended_session_is_found_and_that_of_a_running_one_is_right() {
        let agents = tempfile::tempdir().unwrap();
        let mut expected = expected();
        expected.ended.push(session(2));
        for of in [1, 2] {
            std::fs::create_dir(agents.path().join(session(of).to_string())).unwrap();
        }
        let findings = expected.against_directories(agents.path());
        assert_eq!(findings, [format!("session {} has ended, and its directory is still there", session(2))]);
    }

    #[test]
    fn a_session_that_the_store_does_not_have_as_promised_is_found() {
        let mut expected = expected();
        expected.ended.push(session(2));
        let findings = expected.against_store(&Tables::default());
        assert!(findings[0].contains("promised to be RUNNING and is lost"), "{findings:?}");
        assert!(findings[1].contains("promised to end"), "{findings:?}");
    }
}
