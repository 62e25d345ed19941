//! Request bodies: bounded one by one, in all, for each address, and in time.
//!
//! The memory of all bodies in flight is one `budget`. A body takes from it as bytes arrive, never by what a
//! Content-Length promises, so that promises block nobody. What is made of a body counts as well: the JSON of a pickle,
//! and the tables that a check of it needs. A body that comes too slowly (see `pace`) is ended, and when the server
//! drains, every one that is not there yet.

use std::net::IpAddr;
use std::time::Duration;

use axum::body::HttpBody;
use axum::http::header::{CONTENT_LENGTH, EXPECT};
use axum::http::request::Parts;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout_at};

use crate::config::Limits;
use crate::shutdown::Tasks;
use crate::turns::{Turn, Turns};

use super::auth::{Peer, network};
use super::error::Refusal;

mod budget;
mod pace;

use budget::Budget;
pub use budget::Share;
use pace::Pace;

const LARGE_PICKLES_AT_ONCE: usize = 2;

/// The budget for all bodies in flight. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Bodies {
    budget: Budget,
    most_bytes: usize,
    tasks: Tasks,
    large_pickles: Turns<IpAddr>,
}

/// A request's body that nobody has read yet.
pub struct Unread {
    body: axum::body::Body,
    /// Whose memory it counts as; nothing for a proxy that does not name its clients.
    address: Option<IpAddr>,
}

impl Unread {
    /// The body of a request of this peer.
    pub fn new(body: axum::body::Body, peer: Peer) -> Self {
        Self { body, address: (!peer.is_proxy).then(|| network(peer.client)) }
    }
}

/// Why a body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// It is larger than one body may be.
    #[error("the body is too large")]
    TooLarge,
    /// The budget of all bodies is used up.
    #[error("the memory for bodies is used up")]
    NoMemory,
    /// The address that it comes from holds as much as one may.
    #[error("this address holds as much memory for bodies as one may")]
    AddressHoldsTooMuch,
    /// It comes too slowly.
    #[error("the body comes too slowly")]
    TooSlow,
    /// The server drains: nobody waits for the rest.
    #[error("the server is shutting down")]
    Draining,
    /// The client went away, or its chunks are malformed.
    #[error("the body is broken")]
    Broken,
}

/// A body that was read whole. Its memory counts until it is dropped, so it goes where its bytes go.
#[derive(Debug)]
pub struct Body {
    /// The bytes.
    pub bytes: Bytes,
    share: Share,
    most_bytes: usize,
}

/// A body that is taken part by part.
pub struct Streamed {
    bodies: Bodies,
    body: Unread,
    pace: Pace,
    /// Since when nobody waits for the next part.
    away_since: Instant,
    bytes: u64,
    most_bytes: u64,
}

impl Streamed {
    /// The next part, whose memory counts until it is dropped; `None` at the end. The time in which it is not asked for
    /// is not the client's.
    ///
    /// # Errors
    /// A [`BodyError`].
    pub async fn next(&mut self) -> Result<Option<Body>, BodyError> {
        self.pace.pause(self.away_since.elapsed());
        let part = self.bodies.next(&mut self.body, &mut self.pace, 0).await?;
        self.away_since = Instant::now();
        let Some(bytes) = part else { return Ok(None) };
        self.bytes += bytes.len() as u64;
        if self.bytes > self.most_bytes {
            return Err(BodyError::TooLarge);
        }
        let mut share = self.bodies.budget.share(self.body.address);
        share.take(bytes.len())?;
        Ok(Some(Body { bytes, share, most_bytes: self.bodies.most_bytes }))
    }

    /// Gives up the rest, as [`discard`] does.
    pub async fn discard(self, parts: &Parts) {
        discard(parts, self.body).await;
    }

    /// Memory for a check of the whole body, which holds nothing yet.
    pub fn scratch(&self) -> Scratch {
        Scratch {
            share: self.bodies.budget.share(self.body.address),
            most_bytes: self.bodies.most_bytes,
            refusal: BodyError::NoMemory,
        }
    }
}

impl Body {
    /// Takes a further part of the budget for what is made of the body.
    ///
    /// # Errors
    /// [`BodyError::NoMemory`], [`BodyError::AddressHoldsTooMuch`] or [`BodyError::TooLarge`].
    pub fn charge(&mut self, bytes: usize) -> Result<(), BodyError> {
        if bytes == 0 { Ok(()) } else { self.share.take(bytes) }
    }

    /// Memory for a check of the body, which holds nothing yet.
    pub fn scratch(&self) -> Scratch {
        let share = self.share.another();
        // The body itself holds its share all the while.
        let most_bytes = self.most_bytes.min(share.most_bytes().saturating_sub(self.share.held()));
        Scratch { share, most_bytes, refusal: BodyError::NoMemory }
    }
}

/// Memory for the tables that the check of a body needs: at most as much as one body may have.
#[derive(Debug)]
pub struct Scratch {
    share: Share,
    most_bytes: usize,
    /// Why there was no room.
    refusal: BodyError,
}

impl Scratch {
    /// Takes what is missing to hold `bytes` in all, and says whether there was room.
    pub fn hold(&mut self, bytes: usize) -> bool {
        let held = if bytes > self.most_bytes { Err(BodyError::TooLarge) } else { self.share.hold(bytes) };
        if let Err(error) = held {
            self.refusal = error;
        }
        held.is_ok()
    }

    /// Why there was no room: `too_large` if there never will be.
    pub fn refusal(&self, too_large: &'static str) -> Refusal {
        if self.refusal == BodyError::TooLarge { Refusal::TooLarge(too_large) } else { self.refusal.into() }
    }
}

impl Bodies {
    /// The memory that `limits` allow, until `tasks` are told to drain.
    pub fn new(limits: &Limits, tasks: Tasks) -> Self {
        let bytes = |limit: u64| usize::try_from(limit).unwrap_or(usize::MAX);
        let most_bytes = bytes(limits.body);
        let most_bytes_an_address = bytes(limits.bodies_per_address).max(most_bytes);
        let budget = Budget::new(bytes(limits.bodies), most_bytes, most_bytes_an_address);
        Self { budget, most_bytes, tasks, large_pickles: Turns::new(LARGE_PICKLES_AT_ONCE) }
    }

    /// How large one body may be.
    pub fn most_bytes(&self) -> usize {
        self.most_bytes
    }

    /// Waits for a turn to decode a large pickle, which for a while needs a multiple of its length.
    pub(super) async fn large_pickle(&self, body: &Body) -> Turn<IpAddr> {
        self.large_pickles.wait(body.share.address()).await
    }

    /// Reads a body to its end.
    ///
    /// # Errors
    /// A [`BodyError`].
    pub async fn read(&self, parts: &Parts, mut body: Unread) -> Result<Body, BodyError> {
        let length = content_length(parts);
        if length.is_some_and(|length| length > self.most_bytes as u64) {
            discard(parts, body).await;
            return Err(BodyError::TooLarge);
        }
        let mut share = self.budget.share(body.address);
        let mut pace = Pace::new();
        let most_bytes = self.most_bytes;
        let Some(first) = self.next(&mut body, &mut pace, 0).await? else {
            return Ok(Body { bytes: Bytes::new(), share, most_bytes });
        };
        share.take(first.len())?;
        let Some(second) = self.next(&mut body, &mut pace, share.held()).await? else {
            // The common case: one read, no copy.
            return Ok(Body { bytes: first, share, most_bytes });
        };
        let mut whole = Growing { bytes: BytesMut::new(), share, length, most_bytes };
        whole.append(&first)?;
        drop(first);
        whole.append(&second)?;
        drop(second);
        loop {
            let Some(part) = self.next(&mut body, &mut pace, whole.share.held()).await? else { break };
            whole.append(&part)?;
        }
        Ok(Body { bytes: whole.bytes.freeze(), share: whole.share, most_bytes })
    }

    /// Begins to take a body of up to `most_bytes` part by part.
    ///
    /// # Errors
    /// [`BodyError::TooLarge`] for one that says so.
    pub async fn stream(&self, parts: &Parts, body: Unread, most_bytes: u64) -> Result<Streamed, BodyError> {
        if content_length(parts).is_some_and(|length| length > most_bytes) {
            discard(parts, body).await;
            return Err(BodyError::TooLarge);
        }
        let (bodies, pace) = (self.clone(), Pace::new());
        Ok(Streamed { bodies, body, pace, away_since: Instant::now(), bytes: 0, most_bytes })
    }

    async fn next(&self, body: &mut Unread, pace: &mut Pace, held_bytes: usize) -> Result<Option<Bytes>, BodyError> {
        tokio::select! {
            // What has come already is a body like any other.
            biased;
            part = pace.next(&mut body.body, held_bytes) => part,
            () = self.tasks.draining() => Err(BodyError::Draining),
        }
    }
}

/// A body that comes in several parts.
struct Growing {
    bytes: BytesMut,
    share: Share,
    /// How long it says that it will be.
    length: Option<u64>,
    most_bytes: usize,
}

impl Growing {
    fn append(&mut self, part: &[u8]) -> Result<(), BodyError> {
        let (capacity, length) = (self.bytes.capacity(), self.bytes.len() + part.len());
        if length > self.most_bytes {
            return Err(BodyError::TooLarge);
        }
        if length > capacity {
            let promised = self.length.map_or(self.most_bytes, |length| usize::try_from(length).unwrap_or(usize::MAX));
            let wanted = length.max((capacity * 2).min(promised.min(self.most_bytes)));
            self.share.hold(wanted)?;
            self.bytes.reserve(wanted - self.bytes.len());
        }
        self.bytes.extend_from_slice(part);
        Ok(())
    }
}

/// Reads a small body that nobody wants, so that the connection stays usable; leaves a large one, or one that the
/// client has not begun to send (RFC 9110, section 10.1.1), to the end of the connection.
pub async fn discard(parts: &Parts, Unread { mut body, .. }: Unread) {
    const MOST_BYTES: usize = 1 << 20;
    const LONGEST: Duration = Duration::from_secs(2);
    if body.is_end_stream() {
        return;
    }
    if parts.headers.contains_key(EXPECT) {
        return;
    }
    let deadline = Instant::now() + LONGEST;
    let mut bytes = 0;
    while let Ok(Some(Ok(frame))) = timeout_at(deadline, body.frame()).await {
        bytes += frame.data_ref().map_or(0, Bytes::len);
        if bytes > MOST_BYTES {
            return;
        }
    }
}

fn content_length(parts: &Parts) -> Option<u64> {
    parts.headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::pace::tests::Drip;
    use super::*;

    fn bodies() -> (Bodies, Parts) {
        let bodies = Bodies::new(&Limits::default(), Tasks::default());
        (bodies, axum::http::Request::new(()).into_parts().0)
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_holds_much_memory_and_hardly_moves_is_ended() {
        let (bodies, parts) = bodies();
        let body = axum::body::Body::new(Drip::new(6 << 20, 1_200));
        let read = bodies.read(&parts, Unread { body, address: None }).await;
        assert_eq!(read.err(), Some(BodyError::TooSlow), "it would be fast enough if it held nothing");
    }

    #[tokio::test]
    async fn an_address_decodes_one_large_pickle_at_a_time_and_the_others_do_not_wait_for_it() {
        let (bodies, parts) = bodies();
        let from = async |last: u8| {
            let address = Some(IpAddr::from([192, 0, 2, last]));
            bodies.read(&parts, Unread { body: axum::body::Body::empty(), address }).await.unwrap()
        };
        let (first, second, other) = (from(1).await, from(1).await, from(2).await);

        let turn = bodies.large_pickle(&first).await;
        let mut next = pin!(bodies.large_pickle(&second));

        let waiting = next.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(waiting, Poll::Pending));
        drop(bodies.large_pickle(&other).await);
        drop(turn);
        next.await;
    }
}
