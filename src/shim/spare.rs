//! A spare: a shim that was forked ahead of need. It does what does not depend on an order, waits for one, and goes on as
//! the shim of that.
//!
//! Spares take orders from the launcher's socket by themselves, each one order: so a start waits neither for the launcher
//! nor for a fork. Until it has an order a spare lives only as long as its launcher, and holds nothing of any session.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;

use rustix::fs::Mode;
use rustix::process::{Pid, Signal};

use super::cgroup::Parent;
use super::launcher::{Ordered, Received, receive, refuse};
use super::order::{self, Order};
use super::run;

/// What the system's table of processes calls a spare.
pub(crate) const SPARE_NAME: &CStr = c"frontdesk-spare";
/// How a spare says which one it is.
pub(super) const PID_BYTES: usize = size_of::<i32>();

/// What the launcher hands to a spare.
pub(super) struct Spare<'a> {
    /// The socket on which orders come.
    pub(super) orders: OwnedFd,
    /// Where a spare that has an order says so, by its process id.
    pub(super) tell: OwnedFd,
    /// The launcher.
    pub(super) launcher: Pid,
    /// Where control groups can be made.
    pub(super) groups: Option<&'a Parent>,
    /// Whether it waits for longer than the socket's timeout.
    pub(super) stays: bool,
}

impl Spare<'_> {
    /// Waits for an order and serves it to its end. It returns as [`run::run`] does, and if no order comes.
    pub(super) fn serve(self) {
        let Self { orders, tell, launcher, groups, stays } = self;
        let Ok(true) = die_with(launcher) else { return };
        let ready = leave_launcher();
        order::rehearse();
        let ordered = loop {
            match receive(&orders) {
                Ok(Received::Order(ordered)) => break ordered,
                Ok(Received::Nonsense) => {}
                Ok(Received::Nothing) if stays => {}
                Ok(Received::Nothing | Received::End) | Err(_) => return,
            }
        };
        drop(orders);
        if rustix::process::set_parent_process_death_signal(None).is_err() {
            return;
        }
        // A launcher that is gone forks no other.
        let _ = File::from(tell).write_all(&rustix::process::getpid().as_raw_nonzero().get().to_ne_bytes());
        let Ordered { mut order, stream } = ordered;
        let order = read(&mut order);
        let ready = ready.and_then(|umask| {
            if let Ok(order) = &order {
                rustix::thread::set_name(&run::process_name(order.session))?;
            }
            Ok(umask)
        });
        match (ready, order) {
            (Ok(umask), Ok(order)) => run::run(order, umask, groups, stream),
            (Err(error), _) => refuse(stream, format!("its shim can't be set up: {error}")),
            (Ok(_), Err(error)) => refuse(stream, format!("its order can't be read: {error}")),
        }
    }
}

/// Has this process killed when its launcher ends; false if that has ended.
fn die_with(launcher: Pid) -> io::Result<bool> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    Ok(rustix::process::getppid() == Some(launcher))
}

/// Becomes a process of its own, and returns the mask of new files' modes that there was.
fn leave_launcher() -> io::Result<Mode> {
    rustix::thread::set_name(SPARE_NAME)?;
    rustix::process::setsid()?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let nothing = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nothing)?;
    rustix::stdio::dup2_stdout(&nothing)?;
    rustix::stdio::dup2_stderr(&nothing)?;
    Ok(rustix::process::umask(Mode::from_raw_mode(0o077)))
}

fn read(file: &mut File) -> io::Result<Order> {
    let mut text = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}
