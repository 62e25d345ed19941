//! The launcher: forks a shim for each order that comes on its stdin, until that ends.
//!
//! It has one thread and a handful of descriptors, so that a fork costs next to nothing. An order is one byte with two
//! descriptors: the shim's end of a socket to the server, and a file in memory that holds the [`Order`] as JSON. Only the
//! shim reads it: the launcher never grows, and an order that makes no sense harms nobody else.
//!
//! It ends with its server, leaving shims alone: nothing of theirs hangs on it. It handles no signal, since shims
//! inherit that; the server starts it in a process group of its own, where a terminal's signals don't reach it.

use std::fs::File;
use std::io::{self, IoSliceMut, Read, Seek, Write};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use rustix::process::WaitOptions;

use crate::failpoint::Failpoint;

use super::cgroup::{self, Parent};
use super::fork::{Side, fork};
use super::order::Order;
use super::wire::{End, How, Kind, frame};

/// How long an ended shim may stay unreaped.
const BETWEEN_REAPS: Duration = Duration::from_millis(500);

/// An order as it came.
struct Ordered {
    order: File,
    stream: OwnedFd,
}

/// Serves orders until stdin ends. In a forked shim it returns when that has ended.
///
/// # Errors
/// That stdin is no socket, or what else the system said.
pub fn run() -> io::Result<()> {
    let orders = rustix::stdio::stdin();
    // Looked for once: every shim has it by the fork.
    let groups = Parent::find(Path::new(cgroup::OWN)).ok();
    loop {
        let has_shims = reap();
        if !await_order(orders, has_shims)? {
            continue;
        }
        match receive(orders)? {
            Received::Order(ordered) => {
                if start(ordered, groups.as_ref()) == Started::Shim {
                    return Ok(());
                }
            }
            Received::Nonsense => {}
            Received::End => return Ok(()),
        }
    }
}

/// Who is back from a start.
#[derive(PartialEq, Eq)]
enum Started {
    /// The launcher.
    Launcher,
    /// The shim, which has ended.
    Shim,
}

fn start(mut ordered: Ordered, groups: Option<&Parent>) -> Started {
    Failpoint::LauncherBeforeFork.hit();
    match fork() {
        Ok(Side::Parent(_)) => Started::Launcher,
        Ok(Side::Child) => {
            match read(&mut ordered.order) {
                Ok(order) => super::run::run(order, groups, ordered.stream),
                Err(error) => refuse(ordered.stream, format!("its order can't be read: {error}")),
            }
            Started::Shim
        }
        Err(error) => {
            refuse(ordered.stream, format!("no process could be made for it: {error}"));
            Started::Launcher
        }
    }
}

/// Tells the server that nothing was started, and why.
pub(super) fn refuse(stream: OwnedFd, why: String) {
    let end = End { how: How::NotStarted(why), because: None };
    // A new socket has room for it, and a server that is gone needs none.
    let _ = File::from(stream).write_all(&frame(Kind::Ended, 0, &serde_json::to_vec(&end).unwrap_or_default()));
}

fn read(file: &mut File) -> io::Result<Order> {
    let mut text = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

/// Reaps the shims that have ended, and returns whether any are left.
fn reap() -> bool {
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

/// Waits for an order, or for the time to reap.
fn await_order(orders: BorrowedFd<'_>, has_shims: bool) -> io::Result<bool> {
    let timeout = has_shims.then(|| Timespec::try_from(BETWEEN_REAPS)).transpose().ok().flatten();
    match rustix::event::poll(&mut [PollFd::from_borrowed_fd(orders, PollFlags::IN)], timeout.as_ref()) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::INTR) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

enum Received {
    Order(Ordered),
    /// Not two descriptors.
    Nonsense,
    /// The server is gone.
    End,
}

fn receive(orders: BorrowedFd<'_>) -> io::Result<Received> {
    let mut byte = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        match rustix::net::recvmsg(orders, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC) {
            Ok(received) => break received,
            Err(Errno::INTR) => {}
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
