//! Processes that outlived what they were started for, found by the marks in their environment and ended.
//!
//! Every agent carries `FRONTDESK_DESK` and `FRONTDESK_SESSION`, which its children inherit. A sweep reads
//! `/proc/PID/environ` of all processes and kills the marked ones, again and again until none is left: one that forks
//! while it is looked for is found in the next round. Signals go through a pidfd (`pidfd_open(2)`) that is opened
//! before the marks are read, so that a reused pid is never hit.
//!
//! A process that cleared its environment is not found here.

use std::collections::HashSet;
use std::fs;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal};

use crate::id::SessionId;

/// Names the desk in an agent's environment.
pub const DESK_VARIABLE: &str = "FRONTDESK_DESK";
/// Names the session in an agent's environment.
pub const SESSION_VARIABLE: &str = "FRONTDESK_SESSION";
/// Names the epoch in an agent's environment.
pub const EPOCH_VARIABLE: &str = "FRONTDESK_EPOCH";

/// Sweeps for many sessions at once: whoever asks while a sweep runs shares the next one. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Sweeper {
    desk: Arc<str>,
    waiting: Arc<Mutex<HashSet<SessionId>>>,
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Sweeper {
    /// Sweeps for the desk with this id.
    pub fn new(desk: &str) -> Self {
        Self { desk: desk.into(), waiting: Arc::default(), turn: Arc::default() }
    }

    /// Completes when no process of the session is left.
    pub async fn sweep(&self, session: SessionId) {
        self.waiting().insert(session);
        let turn = self.turn.lock().await;
        let batch = std::mem::take(&mut *self.waiting());
        if batch.is_empty() {
            // Whoever had the turn before has swept for this session, too.
            return;
        }
        let desk = Arc::clone(&self.desk);
        let swept = tokio::task::spawn_blocking(move || end_marked(&desk, |id| batch.contains(&id))).await;
        drop(turn);
        if let Ok(ended @ 1..) = swept {
            tracing::info!(processes = ended, "ended what agents left behind");
        }
    }

    /// Ends every process of the desk, and returns how many those were.
    pub async fn sweep_all(&self) -> usize {
        let desk = Arc::clone(&self.desk);
        tokio::task::spawn_blocking(move || end_marked(&desk, |_| true)).await.unwrap_or(0)
    }

    fn waiting(&self) -> MutexGuard<'_, HashSet<SessionId>> {
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
}

/// The processes that carry the desk's marks at this moment.
pub fn marked(desk: &str) -> Vec<Marked> {
    pids().filter_map(|pid| session_of(pid, desk).map(|session| Marked { pid, session })).collect()
}

fn end_marked(desk: &str, wanted: impl Fn(SessionId) -> bool) -> usize {
    const MOST_ROUNDS: u32 = 2_000;
    const BETWEEN_ROUNDS: Duration = Duration::from_millis(5);
    let mut ended = HashSet::new();
    for _ in 0..MOST_ROUNDS {
        let mut found = 0;
        for pid in pids() {
            if kill_if_marked(pid, desk, &wanted) {
                found += 1;
                ended.insert(pid);
            }
        }
        if found == 0 {
            return ended.len();
        }
        std::thread::sleep(BETWEEN_ROUNDS);
    }
    tracing::error!(processes = ended.len(), "processes of ended agents can't be killed; look at them by hand");
    ended.len()
}

fn kill_if_marked(pid: u32, desk: &str, wanted: impl Fn(SessionId) -> bool) -> bool {
    // Reading the marks first spares a descriptor for each process of the machine.
    if !session_of(pid, desk).is_some_and(&wanted) {
        return false;
    }
    let Some(handle) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return false };
    let Ok(handle) = rustix::process::pidfd_open(handle, PidfdFlags::empty()) else { return false };
    session_of(pid, desk).is_some_and(wanted) && rustix::process::pidfd_send_signal(handle, Signal::KILL).is_ok()
}

fn pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn session_of(pid: u32, desk: &str) -> Option<SessionId> {
    // An ended process has no environment left, one of another user none that we may read.
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let value = |name: &str| {
        environment.split(|byte| *byte == 0).find_map(|entry| {
            entry.strip_prefix(name.as_bytes())?.strip_prefix(b"=").and_then(|value| std::str::from_utf8(value).ok())
        })
    };
    if value(DESK_VARIABLE)? != desk {
        return None;
    }
    value(SESSION_VARIABLE)?.parse().ok()
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

        let ended = end_marked("desk-of-this-test", |id| id == ours);

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
