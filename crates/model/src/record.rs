//! What is stored of a session, and in which form. Pure.
//!
//! A record is read by later versions of the server, and by older ones while nodes upgrade one by one. Its phase is
//! stored as JSON, tagged by the phase's name: a reader ignores fields that it does not know, a field added later
//! has a default, and none is ever given another meaning. A change that an older reader would get wrong takes a new
//! schema version, which makes the older binary refuse the store.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use crate::id::{CustomerKey, Revision, SessionId};
use crate::phase::Phase;
use crate::time::WallTime;

/// One session as the store knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRecord {
    /// Its identity.
    pub id: SessionId,
    /// Whose it is.
    pub customer: CustomerKey,
    /// The email as the customer wrote it; `None` if that is the key itself.
    pub email: Option<Box<str>>,
    /// The persona's name. The configuration may have lost it since.
    pub persona: Arc<str>,
    /// When it was requested.
    pub created: WallTime,
    /// Rises with each stored change.
    pub revision: Revision,
    /// Where it is in its life.
    pub phase: Phase,
}

impl SessionRecord {
    /// The email as the customer wrote it.
    pub fn email(&self) -> &str {
        self.email.as_deref().unwrap_or(self.customer.as_str())
    }

    /// The record after a step: the given phase and the next revision.
    #[must_use]
    pub fn after(&self, phase: Phase) -> Self {
        Self { phase, revision: self.revision.next(), ..self.clone() }
    }
}

/// An idempotency key of a customer's, and the call that it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreationKey {
    /// The hash of the key as the caller wrote it.
    pub key: [u8; 32],
    /// The hash of what was asked: a key that comes again with something else is a mistake.
    pub digest: [u8; 32],
}

/// The customer's `DATA`: one JSON object, checked once and opaque since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionData {
    /// The text itself.
    Inline(Bytes),
    /// A file that holds the text.
    File(PathBuf),
}
