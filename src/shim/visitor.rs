//! A connection that has not yet said whose it is. It may say [`Kind::Hello`] and nothing else, and soon.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use subtle::ConstantTimeEq;

use crate::clock::Timestamp;

use super::order::Order;
use super::wire::{HEADER_BYTES, Header, Kind};

/// How long a visitor may take.
const PATIENCE: Duration = Duration::from_secs(1);
const SECRET_BYTES: usize = 32;

/// A visitor at the door.
#[derive(Debug)]
pub(super) struct Visitor {
    stream: UnixStream,
    // Never more than the hello: what follows it is read by whoever has the connection then.
    said: [u8; HEADER_BYTES + SECRET_BYTES],
    length: usize,
    until: Timestamp,
}

/// What a visitor is.
#[derive(Debug)]
pub(super) enum Visit {
    /// Not yet known.
    Undecided,
    /// The session's server.
    Welcome(UnixStream),
    /// Somebody else.
    Refused,
}

impl Visitor {
    /// Takes an accepted connection, if a process of this user made it.
    pub(super) fn new(stream: UnixStream, now: Timestamp) -> Option<Self> {
        let peer = rustix::net::sockopt::socket_peercred(&stream).ok()?;
        if peer.uid != rustix::process::geteuid() {
            return None;
        }
        stream.set_nonblocking(true).ok()?;
        Some(Self { stream, said: [0; _], length: 0, until: now + PATIENCE })
    }

    /// The descriptor to be waited for.
    pub(super) fn wants(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// When its time is over.
    pub(super) fn until(&self) -> Timestamp {
        self.until
    }

    /// Hears what it says.
    pub(super) fn hear(&mut self, order: &Order) -> Visit {
        while self.length < self.said.len() {
            match self.stream.read(&mut self.said[self.length..]) {
                Ok(0) => return Visit::Refused,
                Ok(count) => self.length += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Visit::Undecided,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Visit::Refused,
            }
        }
        if !is_hello(&self.said, order) {
            return Visit::Refused;
        }
        self.stream.try_clone().map_or(Visit::Refused, Visit::Welcome)
    }
}

fn is_hello(said: &[u8; HEADER_BYTES + SECRET_BYTES], order: &Order) -> bool {
    let (head, secret) = said.split_at(HEADER_BYTES);
    let header = head.try_into().ok().and_then(|head| Header::read(head).ok());
    let expected = Header::new(Kind::Hello, order.epoch.0.into(), secret);
    header == Some(expected) && bool::from(secret.ct_eq(&order.secret))
}
