//! Whose program is at the other end of a connection from this machine: the kernel knows (`sock_diag(7)`).
//!
//! One question costs a socket and two system calls, some microseconds. The message has the layout of the kernel's
//! `inet_diag_req_v2`, its answer that of `inet_diag_msg`.

use std::io;
use std::net::IpAddr;

use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::auth::Ends;

const REQUEST_BYTES: usize = 72;
const ANSWER_BYTES: usize = 88;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const TCP: u8 = 6;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// A socket that listens is none of a connection's ends.
const LISTEN: u8 = 10;

/// The user whose program has the other end of a connection; nothing if no program on this machine has it.
///
/// # Errors
/// What the system said.
pub(super) fn owner(ends: Ends) -> io::Result<Option<u32>> {
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        Some(netlink::SOCK_DIAG),
    )?;
    let kernel = SocketAddrNetlink::new(0, 0);
    rustix::net::sendto(&socket, &request(ends), SendFlags::empty(), &kernel)?;
    let mut answer = [0; 256];
    // The kernel has answered before the question returns.
    let (length, _) = rustix::net::recv(&socket, &mut answer[..], RecvFlags::empty())?;
    Ok(read(&answer[..length]))
}

fn request(ends: Ends) -> [u8; REQUEST_BYTES] {
    // To the kernel we ask about, the far end is the local one.
    let (theirs, ours) = (ends.remote.ip().to_canonical(), ends.local.ip().to_canonical());
    let family = if theirs.is_ipv4() { AF_INET } else { AF_INET6 };
    let mut message = [0; REQUEST_BYTES];
    let mut put = |at: usize, bytes: &[u8]| message[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &72_u32.to_ne_bytes());
    put(4, &SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    put(6, &NLM_F_REQUEST.to_ne_bytes());
    put(16, &[family, TCP]);
    put(20, &u32::MAX.to_ne_bytes());
    put(24, &ends.remote.port().to_be_bytes());
    put(26, &ends.local.port().to_be_bytes());
    for (at, address) in [(28, theirs), (44, ours)] {
        match address {
            IpAddr::V4(address) => put(at, &address.octets()),
            IpAddr::V6(address) => put(at, &address.octets()),
        }
    }
    // No cookie: whatever socket there is.
    put(64, &[0xff; 8]);
    message
}

fn read(answer: &[u8]) -> Option<u32> {
    let number = |at: usize| Some(u32::from_ne_bytes(*answer.get(at..)?.first_chunk()?));
    let kind = u16::from_ne_bytes(*answer.get(4..)?.first_chunk()?);
    if kind != SOCK_DIAG_BY_FAMILY || answer.len() < ANSWER_BYTES || answer[17] == LISTEN {
        return None;
    }
    let (uid, inode) = (number(80)?, number(84)?);
    // Without an inode the program has closed it, and the user is no longer told.
    (inode != 0).then_some(uid)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn connected(address: &str) -> Option<(TcpStream, TcpStream, Ends)> {
        let listener = TcpListener::bind(address).ok()?;
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, remote) = listener.accept().unwrap();
        let local = accepted.local_addr().unwrap();
        Some((client, accepted, Ends { remote, local }))
    }

    #[test]
    fn the_kernel_tells_whose_program_has_connected() {
        let own = rustix::process::geteuid().as_raw();
        for address in ["127.0.0.1:0", "[::1]:0", "[::ffff:127.0.0.1]:0"] {
            let Some((_client, _accepted, ends)) = connected(address) else { continue };
            assert_eq!(owner(ends).unwrap(), Some(own), "{address}");
        }
    }

    #[test]
    fn of_a_connection_that_was_closed_or_never_was_nobody_is_told() {
        let (client, _accepted, ends) = connected("127.0.0.1:0").unwrap();
        drop(client);
        assert_eq!(owner(ends).unwrap(), None);
        let foreign = Ends { remote: "192.0.2.1:4711".parse().unwrap(), ..ends };
        assert_eq!(owner(foreign).unwrap(), None);
    }
}
