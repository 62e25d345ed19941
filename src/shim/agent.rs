//! The agent as its shim has it: the process, and this side of its pipes.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, WaitStatus};

use super::cgroup::Group;
use super::fork::{Side, fork};
use super::order::Order;
use super::place::{Lock, Place};
use super::stage::Stage;
use super::wire::How;

/// An agent on its way to its program, or running, or ended.
#[derive(Debug)]
pub(super) struct Agent {
    pid: Pid,
    start: Start,
    end: Option<How>,
}

#[derive(Debug)]
enum Start {
    /// In the exec stage, which says here what is in its way.
    Underway { pipe: File, complaint: Vec<u8> },
    /// Its program runs.
    Done,
    /// It never ran, and why.
    Failed(String),
}

/// This side of the agent's streams. None of them blocks.
#[derive(Debug)]
pub(super) struct Streams {
    /// Of an agent that speaks.
    pub(super) stdin: Option<OwnedFd>,
    /// Of an agent that speaks.
    pub(super) stdout: Option<OwnedFd>,
    /// What goes to the log.
    pub(super) stderr: Option<OwnedFd>,
}

/// Who is back from a start.
pub(super) enum Started {
    /// The shim, with its agent.
    Shim(Agent, Streams, Lock),
    /// The agent that could not be: the process has nothing more to do.
    Stage,
}

/// Forks the agent into its control group, if there is one for it. The lock is the shim's: the agent lets go of it before all else.
///
/// # Errors
/// Why there is no process.
pub(super) fn start(
    order: &Order,
    place: &Place,
    group: Option<&Group>,
    umask: Mode,
    lock: Lock,
) -> io::Result<Started> {
    let parent = rustix::process::getpid();
    let (theirs_in, ours_in) = pipe_with(PipeFlags::CLOEXEC)?;
    let (ours_out, theirs_out) = pipe_with(PipeFlags::CLOEXEC)?;
    let (ours_error, theirs_error) = pipe_with(PipeFlags::CLOEXEC)?;
    let (complaint, complain) = pipe_with(PipeFlags::CLOEXEC)?;
    for ours in [&ours_in, &ours_out, &ours_error, &complaint] {
        rustix::fs::fcntl_setfl(ours, OFlags::NONBLOCK)?;
    }
    // From here on each side reports for itself: an error returned by one would be told to the server beside the other.
    match fork()? {
        Side::Child => {
            drop(lock);
            let stdin = order.speaks.then_some(theirs_in);
            let stdout = order.speaks.then_some(theirs_out);
            let why = Stage { order, place, group, parent, umask, stdin, stdout, stderr: theirs_error }.run();
            // A shim that is gone does not ask.
            let _ = File::from(complain).write_all(why.as_bytes());
            Ok(Started::Stage)
        }
        Side::Parent(pid) => {
            let speaks = order.speaks;
            let streams = Streams {
                stdin: speaks.then_some(ours_in),
                stdout: speaks.then_some(ours_out),
                stderr: Some(ours_error),
            };
            let start = Start::Underway { pipe: complaint.into(), complaint: Vec::new() };
            Ok(Started::Shim(Agent { pid, start, end: None }, streams, lock))
        }
    }
}

impl Agent {
    /// Its process.
    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// Whether its program runs, or ran.
    pub(super) fn has_started(&self) -> bool {
        matches!(self.start, Start::Done)
    }

    /// The descriptor that tells how the start goes on, until that is known.
    pub(super) fn starting(&self) -> Option<BorrowedFd<'_>> {
        match &self.start {
            Start::Underway { pipe, .. } => Some(pipe.as_fd()),
            Start::Done | Start::Failed(_) => None,
        }
    }

    /// Hears what the exec stage says. Its silence means that the program runs.
    pub(super) fn hear_start(&mut self) {
        let Start::Underway { pipe, complaint } = &mut self.start else { return };
        match pipe.read_to_end(complaint) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(_) | Err(_) => {
                self.start = match String::from_utf8_lossy(complaint).into_owned() {
                    why if why.is_empty() => Start::Done,
                    why => Start::Failed(why),
                };
            }
        }
    }

    /// What became of it, once its process has ended.
    pub(super) fn end(&self) -> Option<&How> {
        self.end.as_ref()
    }

    /// Notes the status of its process, which was reaped.
    pub(super) fn note_end(&mut self, status: WaitStatus) {
        // The pipe is at its end: the process was the last to have it.
        self.hear_start();
        self.end = Some(match (&self.start, status.exit_status(), status.terminating_signal()) {
            (Start::Failed(why), _, _) => How::NotStarted(why.clone()),
            (Start::Underway { .. } | Start::Done, Some(code), _) => How::Exited(code),
            (Start::Underway { .. } | Start::Done, None, signal) => How::Signaled(signal.unwrap_or(0)),
        });
    }

    /// Asks its whole group to end. Until it is reaped nobody else has its pid.
    pub(super) fn terminate(&self) {
        if self.end.is_none() {
            let _ = rustix::process::kill_process_group(self.pid, Signal::TERM);
        }
    }
}
