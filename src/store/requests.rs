//! Requests that carry an idempotency key: what is noted of each before its agent gets it, and its answer.

use std::fmt;

use bytes::Bytes;

use crate::id::Epoch;

/// At most this many keys of a session are noted; a further one drops the oldest that is answered.
pub const KEYS_PER_SESSION: usize = 1_024;

/// The hash of the key that a caller gave.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestKey([u8; 32]);

impl RequestKey {
    /// Hashes the key as the caller wrote it.
    pub fn of(key: &[u8]) -> Self {
        Self(*blake3::hash(key).as_bytes())
    }

    /// Reads what [`RequestKey::as_bytes`] gave.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The hash.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for RequestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RequestKey(")?;
        self.0[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("…)")
    }
}

/// What is noted of a request under its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestNote {
    /// The hash of the request's bytes: a key that comes again with other ones is a mistake.
    pub digest: [u8; 32],
    /// The epoch of the agent that gets it.
    pub epoch: Epoch,
    /// The number of the call to that agent.
    pub call: u64,
    /// What came of it, once that is known.
    pub answer: Option<KeyedAnswer>,
}

/// What came of a noted request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyedAnswer {
    /// The agent's result, as it wrote it.
    Result(Bytes),
    /// The agent refused it: its message.
    Refused(String),
    /// The agent ended before it answered, or its answer is kept no longer: why, in words.
    Lost(String),
    /// The agent did not answer in time.
    TimedOut,
    /// The agent's service gave no answer that counts: why, in words.
    NoAnswer(String),
}

/// Why an answer is lost that made room for newer ones.
pub const ANSWER_DROPPED: &str = "its answer is kept no longer, since newer ones took its room (`limits.answers`)";

/// The answer to a request that asks to be noted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Noted {
    /// It is noted, and the caller's to hand over.
    New,
    /// The key has been used before: this is noted.
    Known(RequestNote),
}
