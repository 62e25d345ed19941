//! Agents that listen where the server should: found by what they have open, and ended.
//!
//! While no server runs, any process may take its address, and gets the passwords that clients send there. Another
//! user's program is the operator's to end. An agent of this desk is ended by the server that starts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::net::sockopt;

use crate::config::Listen;
use crate::data_dir::DataPaths;
use crate::id::SessionId;
use crate::shim::place::Place;
use crate::shim::proc;
use crate::shim::process_table::{self, Identity};
use crate::store::sqlite;

use super::leftovers;

/// What holds an address.
enum Held {
    /// Sockets with these inodes.
    Sockets(BTreeSet<u64>),
    /// This process.
    Process(u32),
}

/// Kills every agent of this data directory one of whose processes holds the address. Returns whose agents those were.
/// The shims see their agents end, and end the rest of them. Blocks.
pub(crate) fn end_holders(data: &DataPaths, listen: &Listen) -> BTreeSet<SessionId> {
    let Some(held) = held(listen) else { return BTreeSet::new() };
    let processes = processes(data);
    let holders = processes.iter().filter(|(process, _)| holds(process.pid, &held));
    let sessions: BTreeSet<_> = holders.map(|(_, session)| *session).collect();
    for (process, _) in processes.iter().filter(|(_, session)| sessions.contains(*session)) {
        process_table::kill(*process);
    }
    sessions
}

fn held(listen: &Listen) -> Option<Held> {
    match listen {
        Listen::Tcp(address) => {
            let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
            let inodes = tables.iter().flat_map(|table| inodes(table, *address)).collect();
            Some(Held::Sockets(inodes))
        }
        Listen::Unix(path) => {
            // Whoever called listen(2), by the kernel's word.
            let stream = UnixStream::connect(path).ok()?;
            let listener = sockopt::socket_peercred(&stream).ok()?;
            Some(Held::Process(u32::try_from(listener.pid.as_raw_nonzero().get()).ok()?))
        }
    }
}

/// The sockets in a table of `/proc/net` whose own end is this port. See proc(5): the second column is the address and
/// the tenth the inode, which is 0 once no process has the socket.
fn inodes(table: &str, address: SocketAddr) -> impl Iterator<Item = u64> {
    table.lines().skip(1).filter_map(move |line| {
        let mut columns = line.split_ascii_whitespace();
        let (_, port) = columns.nth(1)?.rsplit_once(':')?;
        let inode = columns.nth(7)?.parse().ok().filter(|inode| *inode != 0)?;
        (u16::from_str_radix(port, 16).ok()? == address.port()).then_some(inode)
    })
}

/// The processes of agents: those below a living shim, and those that carry this desk's marks.
fn processes(data: &DataPaths) -> BTreeMap<Identity, SessionId> {
    let known = |pid: u32, session: SessionId| Some((process_table::identity(pid)?, session));
    let mut found = BTreeMap::new();
    if let Ok(desk) = sqlite::desk_id(data.root()) {
        found.extend(leftovers::marked(&desk).into_iter().filter_map(|marked| known(marked.pid, marked.session)));
    }
    for entry in fs::read_dir(data.agents()).into_iter().flatten().flatten() {
        let Some(session) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if let Some(shim) = living_shim(&Place::new(&entry.path())) {
            found.extend(proc::descendants(shim).into_iter().filter_map(|pid| known(pid, session)));
        }
    }
    found
}

fn living_shim(place: &Place) -> Option<u32> {
    let is_held = place.is_held().ok()?;
    let (pid, _) = place.last_shim().ok().flatten().filter(|_| is_held)?;
    u32::try_from(pid).ok()
}

fn holds(pid: u32, held: &Held) -> bool {
    match held {
        Held::Process(holder) => pid == *holder,
        Held::Sockets(inodes) => {
            let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
            descriptors.filter_map(|descriptor| fs::read_link(descriptor.path()).ok()).any(|file| is_one(&file, inodes))
        }
    }
}

/// Whether a descriptor's link is `socket:[INODE]` with one of these.
fn is_one(file: &Path, inodes: &BTreeSet<u64>) -> bool {
    let inode = file.to_str().and_then(|text| text.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
    inode.is_some_and(|inode| inodes.contains(&inode))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_port_is_found_in_the_tables_of_the_kernel_with_the_socket_that_has_it() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let held = held(&Listen::Tcp(listener.local_addr().unwrap())).unwrap();
            assert!(holds(std::process::id(), &held));
            let port = listener.local_addr().unwrap().port();
            drop(listener);
            let none = inodes(&fs::read_to_string("/proc/net/tcp").unwrap(), ([127, 0, 0, 1], port).into()).count();
            assert_eq!(none, 0);
        }
    }

    #[test]
    fn a_unix_sockets_holder_is_who_listens() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("taken.sock");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(holds(std::process::id(), &held(&Listen::Unix(path)).unwrap()));
    }
}
