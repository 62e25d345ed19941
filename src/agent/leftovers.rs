//! Processes that outlived what they were started for, found by the marks in their environment and ended.
//!
//! An agent's tree is ended by its shim. This is for when there is none to do it: a shim that was killed, and agents that a
//! starting server finds and no session goes on with. Every agent carries `FRONTDESK_DESK`, `FRONTDESK_SESSION` and
//! `FRONTDESK_EPOCH`, which its children inherit; its shim carries none of them. A sweep reads
//! `/proc/PID/environ` of all processes and kills the marked ones, again and again until none is left: one that forks
//! while it is looked for is found in the next round. Signals go through a pidfd (`pidfd_open(2)`) that is opened
//! before the marks are read, so that a reused pid is never hit.
//!
//! A process that cleared its environment is not found here; while its shim lives, that does not matter.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::ErrorKind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal};
use tokio::sync::oneshot;

use crate::id::{Epoch, SessionId};

const MOST_ROUNDS: u32 = 2_000;
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
    /// Sweeps for the desk with this id.
    pub fn new(desk: &str) -> Self {
        Self { desk: desk.into(), waiting: Arc::default(), turn: Arc::default() }
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
            let desk = Arc::clone(&self.desk);
            let wanted: HashSet<_> = batch.iter().map(|waiting| waiting.session).collect();
            let found = tokio::task::spawn_blocking(move || kill_marked(&desk, |id, _| wanted.contains(&id))).await;
            let found = found.unwrap_or_default();
            for Waiting { session, tell } in batch {
                let _ = tell.send(found.iter().filter(|marked| marked.session == session).count());
            }
        }
        drop(turn);
        told.await.ok()
    }

    /// Ends every process of the desk but those of the given epochs of the given sessions, and returns how many those
    /// were.
    pub async fn sweep_all_but(&self, kept: HashMap<SessionId, Epoch>) -> usize {
        let desk = Arc::clone(&self.desk);
        // A process that dropped the epoch from its marks is its session's agent's all the same.
        let wanted = move |session: SessionId, epoch: Option<Epoch>| {
            kept.get(&session).is_none_or(|kept| epoch.is_some_and(|epoch| epoch != *kept))
        };
        tokio::task::spawn_blocking(move || end_marked(&desk, wanted)).await.unwrap_or(0)
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
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

fn end_marked(desk: &str, wanted: impl Fn(SessionId, Option<Epoch>) -> bool) -> usize {
    let mut ended = HashSet::new();
    for _ in 0..MOST_ROUNDS {
        let found = kill_marked(desk, &wanted);
        if found.is_empty() {
            return ended.len();
        }
        ended.extend(found.iter().map(|marked| marked.pid));
        std::thread::sleep(BETWEEN_ROUNDS);
    }
    tracing::error!(processes = ended.len(), "processes of ended agents can't be killed; look at them by hand");
    ended.len()
}

/// Kills the marked processes that there are, and returns them. None means that none is left: a process that is
/// listed and gone before its environment is read may have forked meanwhile, so that its like makes for another look.
fn kill_marked(desk: &str, wanted: impl Fn(SessionId, Option<Epoch>) -> bool) -> Vec<Marked> {
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
            if let Some(marked) = marks.filter(|marked| wanted(marked.session, marked.epoch)) {
                kill_if_marked(marked, desk);
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

/// The handle is opened before the marks are read for good: a pid that was reused since is not hit.
fn kill_if_marked(marked: Marked, desk: &str) -> Option<()> {
    let handle = Pid::from_raw(i32::try_from(marked.pid).ok()?)?;
    let handle = rustix::process::pidfd_open(handle, PidfdFlags::empty()).ok()?;
    marks_of(marked.pid, desk).filter(|again| *again == marked)?;
    rustix::process::pidfd_send_signal(handle, Signal::KILL).ok()
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
    use std::process::{Child, Command};

    #[test]
    fn a_sweep_ends_the_marked_processes_of_its_desk_and_session_only() {
        let (ours, other) = (session(1), session(2));
        let mut marked_child = sleeper("desk-of-this-test", ours);
        let mut other_session = sleeper("desk-of-this-test", other);
        let mut other_desk = sleeper("another-desk", ours);

        let ended = end_marked("desk-of-this-test", |id, _| id == ours);

        assert_eq!(ended, 1);
        assert!(!marked_child.wait().unwrap().success());
        assert!(other_session.try_wait().unwrap().is_none());
        assert!(other_desk.try_wait().unwrap().is_none());
        for mut child in [other_session, other_desk] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn session(n: u8) -> SessionId {
        SessionId::new(WallTime::from_unix_millis(1), [n; 10])
    }

    fn sleeper(desk: &str, session: SessionId) -> Child {
        Command::new("sleep")
            .arg("60")
            .env(DESK_VARIABLE, desk)
            .env(SESSION_VARIABLE, session.to_string())
            .spawn()
            .unwrap()
    }
}
