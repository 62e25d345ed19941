//! Request bodies: bounded one by one, in all, and in time.
//!
//! The memory of all bodies in flight is one budget. It is taken as bytes arrive, never by what a Content-Length
//! promises, so that promises block nobody. A body that comes slower than 1 KiB a second over ten seconds is ended, and
//! when the server drains, every one that is not there yet.

use std::sync::Arc;
use std::time::Duration;

use axum::body::HttpBody;
use axum::http::header::{CONTENT_LENGTH, EXPECT};
use axum::http::request::Parts;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::shutdown::Tasks;

const WINDOW: Duration = Duration::from_secs(10);
const LEAST_BYTES_A_WINDOW: usize = 10 * 1_024;
const LARGE_PICKLES_AT_ONCE: usize = 2;

/// The budget for all bodies in flight. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Bodies {
    budget: Arc<Semaphore>,
    most_bytes: usize,
    tasks: Tasks,
    large_pickles: Arc<Semaphore>,
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
}

/// A body that is taken part by part.
pub struct Streamed {
    bodies: Bodies,
    body: axum::body::Body,
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
        self.pace.window_end += self.away_since.elapsed();
        let part = self.bodies.next(&mut self.body, &mut self.pace).await?;
        self.away_since = Instant::now();
        let Some(bytes) = part else { return Ok(None) };
        self.bytes += bytes.len() as u64;
        if self.bytes > self.most_bytes {
            return Err(BodyError::TooLarge);
        }
        let mut share = self.bodies.share();
        share.take(bytes.len())?;
        Ok(Some(Body { bytes, share }))
    }

    /// Gives up the rest, as [`discard`] does.
    pub async fn discard(self, parts: &Parts) {
        discard(parts, self.body).await;
    }
}

/// What one body holds of the budget.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Semaphore>,
    held: Option<OwnedSemaphorePermit>,
}

impl Body {
    /// Takes a further part of the budget for what is made of the body.
    ///
    /// # Errors
    /// [`BodyError::NoMemory`].
    pub fn charge(&mut self, bytes: usize) -> Result<(), BodyError> {
        self.share.take(bytes)
    }
}

const KIB: usize = 1_024;

impl Bodies {
    /// A budget of `all_bytes`, of which one body may have `most_bytes`; until `tasks` are told to drain.
    pub fn new(all_bytes: u64, most_bytes: u64, tasks: Tasks) -> Self {
        let kib = usize::try_from(all_bytes / 1_024).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let most_bytes = usize::try_from(most_bytes).unwrap_or(usize::MAX);
        let large_pickles = Arc::new(Semaphore::new(LARGE_PICKLES_AT_ONCE));
        Self { budget: Arc::new(Semaphore::new(kib)), most_bytes, tasks, large_pickles }
    }

    /// How large one body may be.
    pub fn most_bytes(&self) -> usize {
        self.most_bytes
    }

    /// Waits for a turn to decode a large pickle, which for a while needs a multiple of its length.
    pub async fn large_pickle(&self) -> Option<OwnedSemaphorePermit> {
        // Never closed.
        Arc::clone(&self.large_pickles).acquire_owned().await.ok()
    }

    /// Reads a body to its end.
    ///
    /// # Errors
    /// A [`BodyError`].
    pub async fn read(&self, parts: &Parts, mut body: axum::body::Body) -> Result<Body, BodyError> {
        if content_length(parts).is_some_and(|length| length > self.most_bytes as u64) {
            discard(parts, body).await;
            return Err(BodyError::TooLarge);
        }
        let mut share = self.share();
        let mut pace = Pace::new();
        let Some(first) = self.next(&mut body, &mut pace).await? else {
            return Ok(Body { bytes: Bytes::new(), share });
        };
        share.take(first.len())?;
        let Some(second) = self.next(&mut body, &mut pace).await? else {
            // The common case: one read, no copy.
            return Ok(Body { bytes: first, share });
        };
        let mut whole = BytesMut::new();
        self.append(&mut whole, &first, &mut share)?;
        drop(first);
        self.append(&mut whole, &second, &mut share)?;
        drop(second);
        loop {
            let Some(part) = self.next(&mut body, &mut pace).await? else { break };
            self.append(&mut whole, &part, &mut share)?;
        }
        Ok(Body { bytes: whole.freeze(), share })
    }

    /// Begins to take a body of up to `most_bytes` part by part.
    ///
    /// # Errors
    /// [`BodyError::TooLarge`] for one that says so.
    pub async fn stream(&self, parts: &Parts, body: axum::body::Body, most_bytes: u64) -> Result<Streamed, BodyError> {
        if content_length(parts).is_some_and(|length| length > most_bytes) {
            discard(parts, body).await;
            return Err(BodyError::TooLarge);
        }
        let (bodies, pace) = (self.clone(), Pace::new());
        Ok(Streamed { bodies, body, pace, away_since: Instant::now(), bytes: 0, most_bytes })
    }

    /// A share of the budget that holds nothing yet.
    pub fn share(&self) -> Share {
        Share { budget: Arc::clone(&self.budget), held: None }
    }

    async fn next(&self, body: &mut axum::body::Body, pace: &mut Pace) -> Result<Option<Bytes>, BodyError> {
        tokio::select! {
            // What has come already is a body like any other.
            biased;
            part = next(body, pace) => part,
            () = self.tasks.draining() => Err(BodyError::Draining),
        }
    }

    fn append(&self, whole: &mut BytesMut, part: &[u8], share: &mut Share) -> Result<(), BodyError> {
        let length = whole.len() + part.len();
        if length > self.most_bytes {
            return Err(BodyError::TooLarge);
        }
        if length > whole.capacity() {
            let wanted = length.max(whole.capacity() * 2).min(self.most_bytes);
            share.hold(wanted)?;
            whole.reserve(wanted - whole.len());
        }
        whole.extend_from_slice(part);
        Ok(())
    }
}

impl Share {
    fn take(&mut self, bytes: usize) -> Result<(), BodyError> {
        let kib = u32::try_from(bytes.div_ceil(KIB)).map_err(|_| BodyError::TooLarge)?;
        let more = Arc::clone(&self.budget).try_acquire_many_owned(kib).map_err(|_| BodyError::NoMemory)?;
        match &mut self.held {
            Some(held) => held.merge(more),
            None => self.held = Some(more),
        }
        Ok(())
    }

    /// Takes what is missing to hold `bytes` in all.
    ///
    /// # Errors
    /// [`BodyError::NoMemory`].
    pub fn hold(&mut self, bytes: usize) -> Result<(), BodyError> {
        let held = self.held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits) * KIB;
        self.take(bytes.saturating_sub(held))
    }
}

/// Watches how fast a body comes.
struct Pace {
    window_end: Instant,
    bytes: usize,
}

impl Pace {
    fn new() -> Self {
        Self { window_end: Instant::now() + WINDOW, bytes: 0 }
    }

    /// Begins the next window, if the one that has passed was fast enough.
    fn turn(&mut self) -> Result<(), BodyError> {
        if self.bytes < LEAST_BYTES_A_WINDOW {
            return Err(BodyError::TooSlow);
        }
        *self = Self::new();
        Ok(())
    }
}

async fn next(body: &mut axum::body::Body, pace: &mut Pace) -> Result<Option<Bytes>, BodyError> {
    loop {
        match timeout_at(pace.window_end, body.frame()).await {
            Err(_) => pace.turn()?,
            Ok(None) => return Ok(None),
            Ok(Some(Err(_))) => return Err(BodyError::Broken),
            Ok(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    pace.bytes += data.len();
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// Reads a small body that nobody wants, so that the connection stays usable; leaves a large one, or one that the
/// client has not begun to send (RFC 9110, section 10.1.1), to the end of the connection.
pub async fn discard(parts: &Parts, mut body: axum::body::Body) {
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
