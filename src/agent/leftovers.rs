//! Processes that outlived what they were started for, found by the marks in their environment and ended.
//!
//! An agent's tree is ended by its shim. This is for when there is none to do it: a shim that was killed, and agents that a
//! starting server finds and no session goes on with. Every agent carries `FRONTDESK_DESK`, `FRONTDESK_SESSION` and
//! `FRONTDESK_EPOCH`, which its children inherit; its shim carries none of them. A sweep reads
//! `/proc/PID/environ` of all processes and kills the marked ones, again and again until none is left: one that forks
//! while it is looked for is found in the next round. Signals go through a pidfd (`pidfd_open(2)`) that is opened
//! before the marks are read, so that a reused pid is never hit.
//!
//! An agent can set any marks in its own children. What is below a living shim is that shim's to end, so that a sweep for
//! another session passes over it, whatever its marks say. A sweep before the server serves is bounded in time, and goes
//! on beside it.
//!
//! A process that cleared its environment is found by what its shim has written down of it (`end_strays`).

use std::cell::LazyCell;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;

use crate::clock::boot_time;
use crate::id::{Epoch, SessionId};
use crate::shim::lineage;
use crate::shim::place::Place;
use crate::shim::process_table::{self, Identity, ProcessTable};

const MOST_ROUNDS: u32 = 2_000;
/// How long a start waits for a sweep of what belongs to no session.
const START_PATIENCE: Duration = Duration::from_secs(2);
/// How long what has left its shim may take to be gone once it was killed.
const TO_DIE: Duration = Duration::from_secs(5);
const BETWEEN_ROUNDS: Duration = Duration::from_millis(5);

/// Names the desk in an agent's environment.
pub const DESK_VARIABLE: &str = "FRONTDESK_DESK";
/// Names the session in an agent's environment.
pub const SESSION_VARIABLE: &str = "FRONTDESK_SESSION";
/// Names the epoch in an agent's environment.
pub const EPOCH_VARIABLE: &str = "FRONTDESK_EPOCH";

/// Sweeps for many sessions at once: whoever asks while a round runs shares the next one, and whoever has processes
/// left after it asks again, so that one session that keeps forking holds up no other. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Sweeper {
    desk: Arc<str>,
    agents: Arc<Path>,
    waiting: Arc<Mutex<Vec<Waiting>>>,
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// A session for which the next round is to look, and who wants to know what it found.
#[derive(Debug)]
struct Waiting {
    session: SessionId,
    tell: oneshot::Sender<usize>,
}

impl Sweeper {
    /// Sweeps for the desk with this id, whose sessions have their directories in `agents`.
    pub fn new(desk: &str, agents: &Path) -> Self {
        Self { desk: desk.into(), agents: agents.into(), waiting: Arc::default(), turn: Arc::default() }
    }

    /// Completes when no process of the session is left.
    pub async fn sweep(&self, session: SessionId) {
        let mut ended = 0;
        for _ in 0..MOST_ROUNDS {
            match self.round(session).await {
                Some(0) => {
                    if ended > 0 {
                        tracing::info!(session.id = %session, "ended what an agent left behind");
                    }
                    return;
                }
                Some(found) => ended += found,
                // Who ran the round was cut off.
                None => {}
            }
            tokio::time::sleep(BETWEEN_ROUNDS).await;
        }
        tracing::error!(session.id = %session, "processes of an ended agent can't be killed; look at them by hand");
    }

    /// Kills what one look at all processes finds of the session; returns how many that were.
    async fn round(&self, session: SessionId) -> Option<usize> {
        let (tell, told) = oneshot::channel();
        self.waiting().push(Waiting { session, tell });
        let turn = self.turn.lock().await;
        let batch = std::mem::take(&mut *self.waiting());
        // Empty if whoever had the turn before has looked for this session, too.
        if !batch.is_empty() {
            let (desk, agents) = (Arc::clone(&self.desk), Arc::clone(&self.agents));
            let wanted: HashSet<_> = batch.iter().map(|waiting| waiting.session).collect();
            let found = tokio::task::spawn_blocking(move || {
                // Most rounds find nothing, and then need none of the directories.
                let shims = LazyCell::new(|| living_shims(&agents));
                kill_marked(&desk, |marked| wanted.contains(&marked.session) && !is_below_other_shim(marked, &shims))
            });
            let found = found.await;
            let found = found.unwrap_or_default();
            for Waiting { session, tell } in batch {
                let _ = tell.send(found.iter().filter(|marked| marked.session == session).count());
            }
        }
        drop(turn);
        told.await.ok()
    }

    /// Ends every process of the desk but those of the given epochs of the given sessions and what is below their shims,
    /// and returns how many those were. What multiplies faster than it can be killed is left to a task of its own.
    pub async fn sweep_all_but(&self, kept: HashMap<SessionId, Epoch>) -> usize {
        let (desk, agents) = (Arc::clone(&self.desk), Arc::clone(&self.agents));
        let first = tokio::task::spawn_blocking(move || {
            let shims = living_shims(&agents);
            // A process that dropped the epoch from its marks is its session's agent's all the same.
            let is_strange = |marked: &Marked| {
                let kept = kept.get(&marked.session);
                kept.is_none_or(|kept| marked.epoch.is_some_and(|epoch| epoch != *kept))
            };
            end_marked(&desk, START_PATIENCE, |marked| is_strange(marked) && shim_above(marked.pid, &shims).is_none())
        });
        let Swept { ended, left } = first.await.unwrap_or_default();
        if !left.is_empty() {
            tracing::warn!(
                processes = left.len(),
                "processes of ended agents multiply while they are killed; a separate task keeps killing them"
            );
            self.go_on(left);
        }
        ended
    }

    /// Kills on beside the server, which may give these sessions other epochs meanwhile.
    fn go_on(&self, left: HashSet<(SessionId, Epoch)>) {
        const PATIENCE: Duration = Duration::from_mins(1);
        let (desk, agents) = (Arc::clone(&self.desk), Arc::clone(&self.agents));
        let is_left = move |marked: &Marked| marked.epoch.is_some_and(|epoch| left.contains(&(marked.session, epoch)));
        tokio::task::spawn_blocking(move || {
            let is_stray =
                |marked: &Marked| is_left(marked) && shim_above(marked.pid, &living_shims(&agents)).is_none();
            if !end_marked(&desk, PATIENCE, is_stray).left.is_empty() {
                tracing::error!("processes of ended agents can't be killed; look at them by hand");
            }
        });
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock()
    }
}

/// A process that carries a desk's marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marked {
    /// Its process id.
    pub pid: u32,
    /// The session that it was started for.
    pub session: SessionId,
    /// Its agent's epoch, unless it has changed its marks.
    pub epoch: Option<Epoch>,
}

/// The processes that carry the desk's marks at this moment.
pub fn marked(desk: &str) -> Vec<Marked> {
    pids().filter_map(|pid| marks_of(pid, desk)).collect()
}

/// The process, if it carries the desk's marks at this moment.
pub fn marked_as(pid: u32, desk: &str) -> Option<Marked> {
    marks_of(pid, desk)
}

/// What a sweep has come to.
#[derive(Debug, Default)]
struct Swept {
    /// How many processes were killed.
    ended: usize,
    /// For which agents there were still some.
    left: HashSet<(SessionId, Epoch)>,
}

/// Kills the wanted processes until none is left, or for so long.
fn end_marked(desk: &str, patience: Duration, wanted: impl Fn(&Marked) -> bool) -> Swept {
    let until = boot_time() + patience;
    let mut ended = HashSet::new();
    loop {
        let found = kill_marked(desk, &wanted);
        ended.extend(found.iter().map(|marked| marked.pid));
        if found.is_empty() || boot_time() > until {
            let left = found.into_iter().filter_map(|marked| Some((marked.session, marked.epoch?))).collect();
            return Swept { ended: ended.len(), left };
        }
        std::thread::sleep(BETWEEN_ROUNDS);
    }
}

/// The shims that have a session's directory, by their process ids.
fn living_shims(agents: &Path) -> HashMap<u32, SessionId> {
    let entries = fs::read_dir(agents).into_iter().flatten().flatten();
    let shims = entries.filter_map(|entry| {
        let session = entry.file_name().to_str()?.parse().ok()?;
        let shim = Place::new(&entry.path()).shim_process().ok()??;
        let is_it =
            process_table::identity(shim.pid).is_some_and(|found| shim.start.is_none_or(|start| start == found.start));
        is_it.then_some((shim.pid, session))
    });
    shims.collect()
}

/// The session of the shim that the process descends from.
fn shim_above(pid: u32, shims: &HashMap<u32, SessionId>) -> Option<SessionId> {
    // No line of parents is as long, unless it changes while it is followed.
    const LONGEST_LINE: usize = 4_096;
    let parent = |pid: &u32| process_table::row(*pid).map(|row| row.parent);
    std::iter::successors(Some(pid), parent).take(LONGEST_LINE).find_map(|pid| shims.get(&pid).copied())
}

fn is_below_other_shim(marked: &Marked, shims: &HashMap<u32, SessionId>) -> bool {
    shim_above(marked.pid, shims).is_some_and(|session| session != marked.session)
}

/// Ends the processes of a session's agents that are below no shim, by what their shims have written down. To be called
/// when the session's shim has let go of its directory. Blocks.
///
/// # Errors
/// How many can't be ended.
pub(super) fn end_strays(place: &Place) -> Result<(), usize> {
    end_found(|table| (!lineage::has_shim(place, table)).then(|| lineage::strays(place, table)))
}

/// Ends what killed shims have left below the launcher that forked them: the kernel gives it what they had below them.
/// Blocks.
///
/// # Errors
/// How many can't be ended.
pub(super) fn end_orphans(launcher: u32) -> Result<(), usize> {
    let arguments = |pid: u32| fs::read(format!("/proc/{pid}/cmdline")).ok().filter(|text| !text.is_empty());
    let of_launcher = arguments(launcher);
    end_found(|table| {
        let children = table.processes().filter(|(_, row)| row.parent == launcher).map(|(process, _)| process);
        // A shim is a fork of the launcher and has its arguments; whatever is another program is an agent's.
        Some(children.filter(|child| arguments(child.pid).is_some_and(|own| Some(own) != of_launcher)).collect())
    })
}

/// Kills what is found, and everything below it, until nothing is. Nothing can be found yet if that is what `find` says.
fn end_found(find: impl Fn(&ProcessTable) -> Option<HashSet<Identity>>) -> Result<(), usize> {
    let until = boot_time() + TO_DIE;
    let mut left = HashSet::new();
    loop {
        let table = ProcessTable::read();
        left.retain(|process| table.has(*process));
        let found = find(&table);
        let is_settled = found.is_some();
        left.extend(found.unwrap_or_default());
        left = table.with_descendants(left);
        if left.is_empty() && is_settled {
            return Ok(());
        }
        if boot_time() > until {
            return Err(left.len());
        }
        for process in &left {
            process_table::kill(*process);
        }
        std::thread::sleep(BETWEEN_ROUNDS);
    }
}

/// Kills the marked processes that there are, and returns them. None means that none is left: a process that is
/// listed and gone before its environment is read may have forked meanwhile, so that its like makes for another look.
fn kill_marked(desk: &str, wanted: impl Fn(&Marked) -> bool) -> Vec<Marked> {
    const MOST_LOOKS: usize = 50;
    const BETWEEN_LOOKS: Duration = Duration::from_millis(5);
    let (mut settled, mut unreadable, mut found) = (HashSet::new(), HashSet::new(), Vec::new());
    for _ in 0..MOST_LOOKS {
        let mut is_certain = true;
        // The youngest first: the time between being listed and being read is when they escape.
        for pid in pids().collect::<Vec<_>>().into_iter().rev() {
            if settled.contains(&pid) {
                continue;
            }
            let Some(environment) = environment(pid) else {
                is_certain &= !unreadable.insert(pid);
                continue;
            };
            settled.insert(pid);
            let marks = marks_in(pid, &environment, desk);
            if let Some(marked) = marks.filter(&wanted) {
                process_table::kill_if(marked.pid, || marks_of(marked.pid, desk) == Some(marked));
                found.push(marked);
            }
        }
        if is_certain {
            break;
        }
        // Who is between two programs shows its environment once it has the processor again.
        std::thread::sleep(BETWEEN_LOOKS);
    }
    found
}

fn pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn marks_of(pid: u32, desk: &str) -> Option<Marked> {
    marks_in(pid, &environment(pid)?, desk)
}

/// A process's environment: `None` when it has ended, or is between two programs. That of another user's process is
/// not ours to read, and is empty.
fn environment(pid: u32) -> Option<Vec<u8>> {
    match fs::read(format!("/proc/{pid}/environ")) {
        Ok(environment) => Some(environment).filter(|environment| !environment.is_empty()),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Some(Vec::new()),
        Err(_) => None,
    }
}

fn marks_in(pid: u32, environment: &[u8], desk: &str) -> Option<Marked> {
    let value = |name: &str| {
        environment.split(|byte| *byte == 0).find_map(|entry| {
            entry.strip_prefix(name.as_bytes())?.strip_prefix(b"=").and_then(|value| std::str::from_utf8(value).ok())
        })
    };
    if value(DESK_VARIABLE)? != desk {
        return None;
    }
    let epoch = value(EPOCH_VARIABLE).and_then(|epoch| epoch.parse().ok()).map(Epoch);
    Some(Marked { pid, session: value(SESSION_VARIABLE)?.parse().ok()?, epoch })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::WallTime;
    use std::cell::RefCell;
    use std::process::{Child, Command};

    #[test]
    fn a_sweep_ends_the_marked_processes_of_its_desk_and_session_only() {
        let (ours, other) = (session(1), session(2));
        let mut marked_child = sleeper("desk-of-this-test", ours);
        let mut other_session = sleeper("desk-of-this-test", other);
        let mut other_desk = sleeper("another-desk", ours);

        let swept = end_marked("desk-of-this-test", START_PATIENCE, |marked| marked.session == ours);

        assert_eq!((swept.ended, swept.left), (1, HashSet::new()));
        assert!(!marked_child.wait().unwrap().success());
        assert!(other_session.try_wait().unwrap().is_none());
        assert!(other_desk.try_wait().unwrap().is_none());
        for mut child in [other_session, other_desk] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    #[test]
    fn what_multiplies_faster_than_it_is_killed_is_left_when_the_time_is_over() {
        const DESK: &str = "desk-where-processes-multiply";
        const MOST: usize = 50;
        const TO_END_ALL: Duration = Duration::from_mins(1);
        let children = RefCell::new(vec![sleeper(DESK, session(1))]);
        // For each that is found another one is there before that is killed.
        let multiplies = |_: &Marked| {
            let mut children = children.borrow_mut();
            if children.len() < MOST {
                children.push(sleeper(DESK, session(1)));
            }
            true
        };

        let swept = end_marked(DESK, Duration::ZERO, multiplies);

        assert_eq!(swept.left, HashSet::from([(session(1), Epoch(1))]));
        assert_eq!(end_marked(DESK, TO_END_ALL, |_| true).left, HashSet::new());
        for mut child in children.into_inner() {
            assert!(!child.wait().unwrap().success());
        }
    }

    #[tokio::test]
    async fn what_a_start_leaves_is_ended_beside_the_server_and_nothing_else_is() {
        const DESK: &str = "desk-with-something-left";
        let agents = tempfile::tempdir().unwrap();
        let (mut left, mut other) = (sleeper(DESK, session(1)), sleeper(DESK, session(2)));
        Sweeper::new(DESK, agents.path()).go_on(HashSet::from([(session(1), Epoch(1))]));
        let ended = tokio::task::spawn_blocking(move || left.wait().unwrap()).await.unwrap();
        assert!(!ended.success());
        assert!(other.try_wait().unwrap().is_none());
        other.kill().unwrap();
        other.wait().unwrap();
    }

    fn session(n: u8) -> SessionId {
        SessionId::new(WallTime::from_unix_millis(1), [n; 10])
    }

    fn sleeper(desk: &str, session: SessionId) -> Child {
        Command::new("sleep")
            .arg("60")
            .env(DESK_VARIABLE, desk)
            .env(SESSION_VARIABLE, session.to_string())
            .env(EPOCH_VARIABLE, "1")
            .spawn()
            .unwrap()
    }
}
