//! A shim from its order to its end: it makes sure that it alone may act for the session, starts the agent and serves
//! until nothing of it is left.

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use rustix::fs::Mode;

use crate::clock::boot_time;
use crate::failpoint::Failpoint;
use crate::id::SessionId;

use super::agent::{self, Started};
use super::cgroup::Parent;
use super::input::Input;
use super::launcher::refuse;
use super::log::Log;
use super::order::Order;
use super::output::Output;
use super::place::{Lock, Place};
use super::serve::{Door, Shim};
use super::signals::Signals;
use super::spool::Spool;
use super::tree;

/// Begins a shim's name in the system's table of processes. The end of the session's id follows: the system keeps 15 bytes.
const NAME_PREFIX: &str = "fdshim-";
/// What an earlier version called all of its shims, which may still run.
const EARLIER_NAME: &[u8] = b"frontdesk-shim";
/// How long another shim may take to leave the directory.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);
const BETWEEN_TRIES: Duration = Duration::from_millis(10);

/// What the system's table of processes calls the shim of a session, such as `fdshim-55822e59`.
pub(super) fn process_name(session: SessionId) -> CString {
    const ID_CHARACTERS: usize = 8;
    let id = session.to_string();
    CString::new(format!("{NAME_PREFIX}{}", &id[id.len() - ID_CHARACTERS..])).expect("an id holds no zero byte")
}

/// Whether the system's table of processes calls a shim so.
pub(crate) fn is_name(name: &[u8]) -> bool {
    name.starts_with(NAME_PREFIX.as_bytes()) || name == EARLIER_NAME
}

/// Runs the shim of an order, in a process that has left the launcher; `umask` is the mask of new files' modes that there
/// was, `groups` is where control groups can be made, and `stream` leads to the server. It returns when the shim has
/// nothing more to do, and also in the process that was to become the agent and could not.
pub(super) fn run(order: Order, umask: Mode, groups: Option<&Parent>, stream: OwnedFd) {
    let place = Place::new(&order.directory);
    let (lock, directory) = match begin(&order, &place) {
        Ok(begun) => begun,
        Err(why) => return refuse(stream, why),
    };
    Failpoint::ShimBeforeAgent.hit();
    let (group, no_group) = match groups.map(|parent| parent.group(order.session, &order.limits)).transpose() {
        Ok(group) => (group, None),
        Err(error) => (None, Some(error)),
    };
    let (agent, streams, lock) = match agent::start(&order, &place, group.as_ref(), umask, lock) {
        Ok(Started::Shim(agent, streams, lock)) => (agent, streams, lock),
        Ok(Started::Stage) => return,
        Err(error) => {
            let _ = group.map(|group| group.remove());
            return refuse(stream, format!("no process could be made for it: {error}"));
        }
    };
    Failpoint::ShimAfterAgent.hit();
    // Only now, while the agent is on its way to its program: nobody needs them sooner.
    let (door, spool) = match ready(&order, &place, directory) {
        Ok(ready) => ready,
        Err(error) => {
            tree::end();
            let _ = group.map(|group| group.remove());
            return refuse(stream, unusable(&place, &error));
        }
    };
    let mut log = Log::open(&place, order.log_bytes, order.epoch);
    if let Some(error) = no_group {
        log.note(&format!("its limits are not kept by a control group, since none could be made: {error}"));
    }
    // An agent whose shim gives up is killed by its parent-death signal.
    let Ok(signals) = Signals::take() else { return };
    let input = Input::new(streams.stdin);
    let output = Output::new(streams.stdout, streams.stderr, spool, log, order.limits.output_rate);
    if let Ok(mut shim) = Shim::new(order, door, signals, agent, group, (input, output), stream.into()) {
        shim.serve();
    }
    drop(lock);
}

/// Makes sure that this shim alone may act in its directory, of which nothing is left that an agent before has said.
fn begin(order: &Order, place: &Place) -> Result<(Lock, File), String> {
    let unusable = |error: io::Error| unusable(place, &error);
    let directory = File::open(place.root()).map_err(unusable)?;
    Failpoint::ShimBeforeLock.hit();
    let lock = lock(place, order).map_err(unusable)?.ok_or("the agent before it has not ended")?;
    match place.fence().map_err(unusable)? {
        Some(fence) if fence.epoch == order.epoch => {}
        Some(_) => return Err("a newer agent of the session was started".into()),
        None => return Err("its directory does not say which agent may act".into()),
    }
    for left in [place.root().join("end"), place.spool()] {
        remove(&left).map_err(unusable)?;
    }
    Ok((lock, directory))
}

/// Readies what output goes through, and what the next server comes through.
fn ready(order: &Order, place: &Place, directory: File) -> io::Result<(Door, Spool)> {
    let path = Place::socket(&directory);
    let listener = match UnixListener::bind(&path) {
        // That of the shim before.
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            remove(&path)?;
            UnixListener::bind(&path)?
        }
        bound => bound?,
    };
    listener.set_nonblocking(true)?;
    let spool = Spool::create(&place.spool(), order.spool_bytes)?;
    Ok((Door { directory, listener }, spool))
}

fn unusable(place: &Place, error: &io::Error) -> String {
    format!("its directory {} can't be used: {error}", place.root().display())
}

fn lock(place: &Place, order: &Order) -> io::Result<Option<Lock>> {
    let user = order.user.as_ref().map_or_else(|| rustix::process::getuid().as_raw(), |user| user.uid);
    let until = boot_time() + LOCK_PATIENCE;
    loop {
        match place.lock(order.epoch, user)? {
            None if boot_time() < until => std::thread::sleep(BETWEEN_TRIES),
            lock => return Ok(lock),
        }
    }
}

fn remove(path: &std::path::Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shim_is_named_for_the_end_of_its_sessions_id_within_what_the_system_keeps() {
        let name = process_name("01a2042d-040d-7b4c-9279-4bd955822e59".parse().unwrap());
        assert_eq!(name.to_bytes(), b"fdshim-55822e59");
        assert!(name.to_bytes().len() <= 15);
        assert!(is_name(name.to_bytes()) && is_name(b"frontdesk-shim") && !is_name(b"frontdesk-spare"));
    }
}
