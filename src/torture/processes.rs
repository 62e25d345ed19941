//! The processes of a run, out of `/proc`.
//!
//! The server gets a mark in its environment that its launcher and its shims inherit, and agents do not; agents carry
//! the desk's marks. So every process of the run is found whoever its parent is by then.

use std::fs;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal};

use crate::agent::leftovers;
use crate::id::{Epoch, SessionId};
pub(super) use crate::shim::hardening::RUN_VARIABLE;
use crate::shim::run;

/// How those call themselves that have no order yet.
const SPARE: &str = "frontdesk-spare";

/// What a process is to the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The server, or a command on its directory.
    Server,
    /// The launcher, or what it has just forked.
    Launcher,
    /// A shim that has no order yet.
    Spare,
    /// A shim, or what it has just forked.
    Shim,
    /// An agent, or what it has started.
    Agent(SessionId, Option<Epoch>),
}

/// A process of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Process {
    /// Its id.
    pub(super) pid: u32,
    /// Its parent's id.
    pub(super) parent: u32,
    /// What it is.
    pub(super) role: Role,
}

/// How the processes of a run are told from all others.
#[derive(Clone, Debug)]
pub(super) struct Marks {
    /// The mark as it stands in the server's environment.
    pub(super) run: String,
    /// The desk's id, once it is known.
    pub(super) desk: Option<String>,
}

impl Marks {
    /// All processes of the run that there are.
    pub(super) fn look(&self) -> Vec<Process> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let own = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter_map(|pid| self.own(pid));
        let agents = self.desk.as_deref().map(leftovers::marked).unwrap_or_default().into_iter();
        let agents = agents.filter_map(|marked| {
            let role = Role::Agent(marked.session, marked.epoch);
            Some(Process { pid: marked.pid, parent: parent(marked.pid)?, role })
        });
        own.chain(agents).collect()
    }

    /// Sends a signal to a process, provided that it still is what it was.
    pub(super) fn signal(&self, process: Process, signal: Signal) -> Option<Handle> {
        let handle = Handle::open(process.pid)?;
        let is_same = match process.role {
            Role::Agent(..) => self.desk.as_deref().is_some_and(|desk| {
                let found = leftovers::marked_as(process.pid, desk);
                found.is_some_and(|found| Role::Agent(found.session, found.epoch) == process.role)
            }),
            Role::Server | Role::Launcher | Role::Spare | Role::Shim => {
                self.own(process.pid).is_some_and(|found| found.role == process.role)
            }
        };
        is_same.then(|| handle.signal(signal))?.then_some(handle)
    }

    /// Kills every process of the run, again and again until none is left; false if some can't be killed.
    pub(super) fn end_all(&self) -> bool {
        const MOST_ROUNDS: u32 = 1_000;
        for _ in 0..MOST_ROUNDS {
            let left = self.look();
            if left.is_empty() {
                return true;
            }
            for process in left {
                self.signal(process, Signal::KILL);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }

    fn own(&self, pid: u32) -> Option<Process> {
        let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
        let has_mark = environment.split(|byte| *byte == 0).any(|entry| {
            entry.strip_prefix(RUN_VARIABLE.as_bytes()).and_then(|rest| rest.strip_prefix(b"="))
                == Some(self.run.as_bytes())
        });
        if !has_mark {
            return None;
        }
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let role = if run::is_name(name.trim_end().as_bytes()) {
            Role::Shim
        } else if name.trim_end() == SPARE {
            Role::Spare
        } else if arguments.split(|byte| *byte == 0).any(|argument| argument == b"launcher") {
            Role::Launcher
        } else {
            Role::Server
        };
        Some(Process { pid, parent: parent(pid)?, role })
    }
}

/// A process that can be signalled without hitting another that got its id.
#[derive(Debug)]
pub(super) struct Handle(OwnedFd);

impl Handle {
    /// Of the process that has the id now.
    pub(super) fn open(pid: u32) -> Option<Self> {
        let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
        rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok().map(Self)
    }

    /// Sends a signal; false if the process has ended.
    pub(super) fn signal(&self, signal: Signal) -> bool {
        rustix::process::pidfd_send_signal(&self.0, signal).is_ok()
    }
}

/// A process's parent; nothing for one that has ended, even if it was not reaped yet.
fn parent(pid: u32) -> Option<u32> {
    let (state, parent) = state_and_parent(pid)?;
    (!matches!(state, 'Z' | 'X')).then_some(parent)
}

/// Whether a process is held: it runs nothing until it is let go.
pub(super) fn is_held(pid: u32) -> bool {
    state_and_parent(pid).is_some_and(|(state, _)| state == 'T')
}

/// See `proc_pid_stat(5)`.
fn state_and_parent(pid: u32) -> Option<(char, u32)> {
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = status.rsplit_once(')')?.1.split_ascii_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// A name for a run that no other has.
pub(super) fn new_run() -> String {
    format!("{:016x}", u64::from_be_bytes(crate::random::bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_marked_process_is_found_signalled_and_ended_and_no_other_is() {
        let marks = Marks { run: new_run(), desk: None };
        let mut marked = Command::new("sleep").arg("60").env(RUN_VARIABLE, &marks.run).spawn().unwrap();
        let mut other = Command::new("sleep").arg("60").env(RUN_VARIABLE, "another").spawn().unwrap();

        let found = marks.look();
        assert!(marks.end_all());

        assert_eq!(found.iter().map(|process| process.pid).collect::<Vec<_>>(), [marked.id()]);
        assert!(!marked.wait().unwrap().success());
        assert!(other.try_wait().unwrap().is_none());
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
