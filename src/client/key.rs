//! The keys under which calls are sent again.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::header::HeaderValue;

use super::ClientError;

/// Names one call, so that it takes effect once however often it is sent.
///
/// A creation's key belongs to its customer for as long as the session is known, a request's to its session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey(HeaderValue);

impl IdempotencyKey {
    /// A key of the caller's own: 1 to 255 bytes without control characters.
    ///
    /// # Errors
    /// [`ClientError::Unsendable`] if it is none.
    pub fn new(text: &str) -> Result<Self, ClientError> {
        let key = HeaderValue::from_str(text).ok().filter(|key| (1..=255).contains(&key.len()));
        key.map(Self).ok_or(ClientError::Unsendable("an idempotency key has 1 to 255 bytes and no control characters"))
    }

    /// A key that nobody has used.
    pub fn random() -> Self {
        let text = URL_SAFE_NO_PAD.encode(crate::random::bytes::<16>());
        Self(HeaderValue::from_str(&text).expect("base64 is a header's value"))
    }

    pub(super) fn header(&self) -> &HeaderValue {
        &self.0
    }
}
