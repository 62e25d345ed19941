//! What an agent's processes are, written down for the day on which their shim is gone.
//!
//! While a shim lives, everything that its agent starts is below it. When a shim is killed, the kernel kills the agent and
//! gives its other processes to the first process, where nothing tells them from any other: a process may have cleared its
//! environment. So a shim writes the processes below it into `tree` in the session's directory, soon after the agent has
//! done something and with each look at what the tree takes. Beside that list, a process of the shim's session
//! (setsid(2)) is the agent's.
//!
//! A process that left the session within the last moments before its shim was killed is in neither. Control groups miss
//! none, and neither does a user of the session's own.

use std::collections::HashSet;
use std::time::Duration;

use crate::clock::{Timestamp, boot_id};

use super::place::{Place, ShimProcess};
use super::proc;
use super::process_table::{Identity, ProcessTable, identity, user};

/// How soon after the agent has done something its processes are written down.
const AFTER_ACTIVITY: Duration = Duration::from_millis(500);

/// A shim's list of the processes below it.
#[derive(Debug)]
pub(super) struct Lineage {
    written: HashSet<Identity>,
    /// What an earlier agent of the session has left, as far as its shim had written it down.
    inherited: HashSet<Identity>,
    due: Option<Timestamp>,
}

impl Lineage {
    /// The list of a shim that begins at `now`.
    pub(super) fn new(place: &Place, now: Timestamp) -> Self {
        let inherited = place.tree().unwrap_or_default();
        Self { written: inherited.clone(), inherited, due: Some(now + AFTER_ACTIVITY) }
    }

    /// Notes that the agent has done something.
    pub(super) fn note_activity(&mut self, now: Timestamp) {
        self.due.get_or_insert(now + AFTER_ACTIVITY);
    }

    /// When the list is to be written next, if the agent has done something since.
    pub(super) fn due(&self) -> Option<Timestamp> {
        self.due
    }

    /// Writes the list if that is due.
    pub(super) fn write_if_due(&mut self, place: &Place, shim: u32, now: Timestamp) {
        if self.due.is_some_and(|at| now >= at) {
            self.write(place, &proc::descendants(shim));
        }
    }

    /// Writes the list if it has changed. A disk that refuses is asked again after the next change.
    pub(super) fn write(&mut self, place: &Place, below: &[u32]) {
        self.due = None;
        self.inherited.retain(|process| identity(process.pid) == Some(*process));
        let below = below.iter().filter_map(|pid| identity(*pid));
        let processes: HashSet<_> = below.chain(self.inherited.iter().copied()).collect();
        if processes != self.written && place.write_tree(&processes).is_ok() {
            self.written = processes;
        }
    }
}

/// The processes of a session's agents that run and are below no shim.
pub(crate) fn strays(place: &Place, table: &ProcessTable) -> HashSet<Identity> {
    // Numbers of an earlier boot mean other processes now.
    if place.fence().ok().flatten().is_none_or(|fence| fence.boot != boot_id()) {
        return HashSet::new();
    }
    let written = place.tree().unwrap_or_default();
    let shim = place.shim_process().ok().flatten();
    let of_session = shim.filter(|shim| !is_there(*shim, table)).into_iter().flat_map(|shim| in_session(shim, table));
    let found = written.into_iter().filter(|process| table.has(*process)).chain(of_session);
    let is_sheltered = |process: &Identity| {
        shim.is_some_and(|shim| is_there(shim, table) && table.line(process.pid).any(|above| above == shim.pid))
    };
    table.with_descendants(found.filter(|process| !is_sheltered(process)).collect())
}

/// Whether the last shim that had the session's directory has not ended. It lets go of its lock a moment before its
/// processes are given to another.
pub(crate) fn has_shim(place: &Place, table: &ProcessTable) -> bool {
    place.shim_process().ok().flatten().is_some_and(|shim| is_there(shim, table))
}

fn is_there(shim: ShimProcess, table: &ProcessTable) -> bool {
    shim.start.is_some_and(|start| table.has(Identity { pid: shim.pid, start }))
}

/// The processes of a session whose leader was this shim. As long as one is there, no other process gets the shim's number,
/// and with it its session.
fn in_session(shim: ShimProcess, table: &ProcessTable) -> HashSet<Identity> {
    let (Some(start), Some(of_agent)) = (shim.start, shim.user) else { return HashSet::new() };
    if table.get(shim.pid).is_some() {
        return HashSet::new();
    }
    let is_of_it = |(process, row): &(Identity, &super::process_table::Row)| {
        row.session == shim.pid && row.start >= start && user(process.pid) == Some(of_agent)
    };
    table.processes().filter(is_of_it).map(|(process, _)| process).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Epoch;
    use crate::shim::place::Fence;
    use std::process::Command;

    #[test]
    fn what_was_written_down_is_found_again_and_what_has_its_number_since_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::new(directory.path());
        drop(place.lock(Epoch(1), 0).unwrap());
        place.write_fence(&Fence { epoch: Epoch(1), boot: boot_id() }).unwrap();
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let process = identity(child.id()).unwrap();
        let other = Identity { pid: std::process::id(), start: 1 };
        let below_this = |processes: &HashSet<Identity>| {
            place.write_tree(processes).unwrap();
            strays(&place, &ProcessTable::read())
        };

        // The lock names this process: what is below it is in its care.
        assert_eq!(below_this(&HashSet::from([process, other])), HashSet::new());
        std::fs::write(place.root().join("lock"), "4194304 1 5 0").unwrap();
        assert_eq!(below_this(&HashSet::from([process, other])), HashSet::from([process]));

        place.write_fence(&Fence { epoch: Epoch(1), boot: "another".into() }).unwrap();
        assert_eq!(below_this(&HashSet::from([process, other])), HashSet::new());
        place.write_fence(&Fence { epoch: Epoch(1), boot: boot_id() }).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(below_this(&HashSet::from([process, other])), HashSet::new());
    }

    #[test]
    fn a_list_is_written_when_something_was_done_and_keeps_what_an_earlier_agent_left() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::new(directory.path());
        let own = identity(std::process::id()).unwrap();
        place.write_tree(&HashSet::from([own, Identity { pid: own.pid, start: 1 }])).unwrap();
        let now = Timestamp::from_micros(1);
        let mut lineage = Lineage::new(&place, now);
        lineage.write(&place, &[]);
        assert_eq!(place.tree().unwrap(), HashSet::from([own]));
        assert_eq!(lineage.due(), None);
        lineage.note_activity(now);
        lineage.write_if_due(&place, own.pid, now);
        assert_eq!(lineage.due(), Some(now + AFTER_ACTIVITY));
        lineage.write_if_due(&place, own.pid, now + AFTER_ACTIVITY);
        assert_eq!(lineage.due(), None);
    }
}
