//! The launcher: forks shims ahead of the orders that come on its stdin, until that ends.
//!
//! It has one thread and a handful of descriptors, so that a fork costs next to nothing. An order is one message of one
//! byte with two descriptors: the shim's end of a socket to the server, and a file in memory that holds the order as JSON.
//! Only the shim that takes it reads it: the launcher never grows, and an order that makes no sense harms nobody else.
//!
//! ```text
//!   server ──order──> socket ──> the spare that has waited longest ──"I have one"──> launcher ──fork──> spare
//! ```
//!
//! It ends with its server, leaving shims alone: nothing of theirs hangs on it. Spares end with it. It handles no signal,
//! since shims inherit that; the server starts it in a process group of its own, where a terminal's signals don't reach
//! it.

use std::fs::File;
use std::io::{self, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, WaitOptions};

use crate::clock::boot_time;
use crate::failpoint::Failpoint;

use super::cgroup::{self, Parent};
use super::fork::{Side, fork};
use super::hardening;
use super::spare::{PID_BYTES, Spare};
use super::spares::Spares;
use super::wire::{End, How, Kind, frame};

/// How long an ended shim may stay unreaped, and how soon a fork that was refused is tried again.
const BETWEEN_REAPS: Duration = Duration::from_millis(500);
/// The same for an ended spare.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);
/// How long a spare that is one too many waits for an order.
const PATIENCE: Duration = Duration::from_secs(60);

/// An order as it came.
pub(super) struct Ordered {
    pub(super) order: File,
    pub(super) stream: OwnedFd,
}

/// What came on the socket of orders.
pub(super) enum Received {
    Order(Ordered),
    /// Not two descriptors.
    Nonsense,
    /// Nothing for [`PATIENCE`].
    Nothing,
    /// The server is gone.
    End,
}

/// Serves orders until stdin ends. In a forked shim it returns when that has ended.
///
/// # Errors
/// That stdin is no socket, or what else the system said.
pub fn run() -> io::Result<()> {
    hardening::close_to_others()?;
    let orders = take_stdin()?;
    // What a killed shim had below it comes here, where it can be told from everything else.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    sockopt::set_socket_timeout(&orders, Timeout::Recv, Some(PATIENCE))?;
    let (told, tell) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    // Looked for once: every shim has it by the fork.
    let groups = Parent::find(Path::new(cgroup::OWN)).ok();
    let launcher = Launcher { orders, told: told.into(), tell, groups, spares: Spares::new(boot_time()) };
    launcher.serve()
}

/// Keeps the socket of orders from what is forked, which gets its own stdin.
fn take_stdin() -> io::Result<OwnedFd> {
    let orders = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let nothing = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nothing)?;
    Ok(orders)
}

struct Launcher {
    orders: OwnedFd,
    /// Which spares have an order.
    told: File,
    tell: OwnedFd,
    groups: Option<Parent>,
    spares: Spares,
}

/// Who is back from a fork.
enum Forked {
    /// The launcher, with as many spares as it needs at the moment.
    Launcher,
    /// The launcher, which can't fork, and why.
    Unable(io::Error),
    /// A spare of this launcher; whether it stays however long no order comes.
    Spare { launcher: Pid, stays: bool },
}

impl Launcher {
    fn serve(mut self) -> io::Result<()> {
        loop {
            self.take_note();
            let error = match self.fill() {
                Forked::Launcher => None,
                Forked::Unable(error) => Some(error),
                Forked::Spare { launcher, stays } => {
                    let Self { orders, told, tell, groups, .. } = self;
                    drop(told);
                    Spare { orders, tell, launcher, groups: groups.as_ref(), stays }.serve();
                    return Ok(());
                }
            };
            match self.wait()? {
                Woken::ByOrder => self.refuse_order(error)?,
                Woken::ByServersEnd => return Ok(()),
                Woken::Otherwise => {}
            }
        }
    }

    /// Notes which spares have an order, and which processes have ended.
    fn take_note(&mut self) {
        // What has ended may have had an order, and has said so before.
        let ended = reap();
        let now = boot_time();
        let mut pid = [0; PID_BYTES];
        while matches!(self.told.read(&mut pid), Ok(PID_BYTES)) {
            if let Some(spare) = Pid::from_raw(i32::from_ne_bytes(pid)) {
                self.spares.took_order(spare, now);
            }
        }
        for pid in ended {
            self.spares.ended(pid);
        }
    }

    /// Forks the spares that are due.
    fn fill(&mut self) -> Forked {
        while self.spares.next(boot_time()).is_some_and(|at| at <= boot_time()) {
            Failpoint::LauncherBeforeFork.hit();
            let launcher = rustix::process::getpid();
            match fork() {
                Ok(Side::Parent(spare)) => self.spares.forked(spare),
                Ok(Side::Child) => return Forked::Spare { launcher, stays: self.spares.next_stays() },
                Err(error) => return Forked::Unable(error),
            }
        }
        Forked::Launcher
    }

    /// Sleeps until something happens, or it is time for something.
    fn wait(&self) -> io::Result<Woken> {
        let now = boot_time();
        let is_unable = self.spares.is_empty();
        let nap = if is_unable || self.spares.has_busy() { BETWEEN_REAPS } else { BETWEEN_LOOKS };
        let due = self.spares.next(now).filter(|_| !is_unable).map(|at| at.saturating_since(now));
        let timeout = Timespec::try_from(due.map_or(nap, |due| due.min(nap))).ok();
        // Orders are the spares', unless there is none.
        let of_orders = if is_unable { PollFlags::IN } else { PollFlags::empty() };
        let mut watched =
            [PollFd::from_borrowed_fd(self.orders.as_fd(), of_orders), PollFd::new(&self.told, PollFlags::IN)];
        match rustix::event::poll(&mut watched, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let happened = watched[0].revents();
        Ok(if happened.contains(PollFlags::IN) {
            Woken::ByOrder
        } else if happened.intersects(PollFlags::HUP | PollFlags::ERR) {
            Woken::ByServersEnd
        } else {
            Woken::Otherwise
        })
    }

    /// Says of an order why nobody can take it, unless somebody can by now.
    fn refuse_order(&self, error: Option<io::Error>) -> io::Result<()> {
        if let Some(error) = error
            && let Received::Order(Ordered { stream, .. }) = receive(&self.orders)?
        {
            refuse(stream, format!("no process could be made for it: {error}"));
        }
        Ok(())
    }
}

/// Why the launcher does not sleep any more.
enum Woken {
    ByOrder,
    ByServersEnd,
    Otherwise,
}

/// Tells the server that nothing was started, and why.
pub(super) fn refuse(stream: OwnedFd, why: String) {
    let end = End { how: How::NotStarted(why), because: None, last_begun: Some(0) };
    // A new socket has room for it, and a server that is gone needs none.
    let _ = File::from(stream).write_all(&frame(Kind::Ended, 0, &serde_json::to_vec(&end).unwrap_or_default()));
}

/// Reaps the children that have ended, and returns them.
fn reap() -> Vec<Pid> {
    let mut ended = Vec::new();
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, _))) => ended.push(pid),
            Err(Errno::INTR) => {}
            Ok(None) | Err(_) => return ended,
        }
    }
}

/// Waits for the next order and takes it.
///
/// # Errors
/// What the system said.
pub(super) fn receive(orders: &OwnedFd) -> io::Result<Received> {
    let mut byte = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        match rustix::net::recvmsg(orders, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC) {
            Ok(received) => break received,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(Received::Nothing),
            // A server that was killed with orders under way resets the connection.
            Err(Errno::CONNRESET) => return Ok(Received::End),
            Err(errno) => return Err(errno.into()),
        }
    };
    if received.bytes == 0 {
        return Ok(Received::End);
    }
    let mut descriptors = Vec::with_capacity(2);
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    Ok(match <[OwnedFd; 2]>::try_from(descriptors) {
        Ok([stream, order]) => Received::Order(Ordered { order: order.into(), stream }),
        Err(_) => Received::Nonsense,
    })
}
