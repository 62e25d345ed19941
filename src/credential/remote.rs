//! The contract of a remote credential server: one question, one yes or no.
//!
//! `GET http://ADDRESS/check_node?message=...`, whose message is the percent-encoded JSON of `EMAIL`, `PASSWORD` and
//! `TYPE`. Status 200 with a JSON object whose string `MESSAGE` is exactly `REGISTERED` is a yes; 200 with any other
//! string is a no; everything else is a failure of the check and says nothing about the password.
//!
//! Owns the URL, the reading of the answer, and the number of checks at once. Does not cache, throttle, or retry (but
//! see `http_client` for a connection that closed while idle), and logs nothing. Called by the credential check of
//! [`super::Verifiers`].
//!
//! Secrets: the password is borrowed and written once, encoded, into the request's URL, and is in no error. hyper owns that
//! buffer, and copies it to its connection's; the binary's allocator wipes both when hyper frees them.

#[cfg(test)]
mod tests;

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, StatusCode, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::{Credentials, Verdict, VerifyError};
use crate::http_client::{FetchError, HttpClient};
use crate::service_mapping::Address;

/// The longest URL that is sent, in bytes, scheme and address included: all that [`Uri`] holds.
pub const MAX_URL_BYTES: usize = 65_534;

/// The longest answer that is read, in bytes of its body.
pub const MAX_ANSWER_BYTES: usize = 64 * 1_024;

/// How many checks are on their way at once; further ones wait, within their own timeout.
pub const MAX_CHECKS_AT_ONCE: usize = 1_024;

/// What stays as it is in the message: the unreserved characters of RFC 3986 section 2.3, and nothing else.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Asks remote servers about credentials.
pub struct RemoteVerifier {
    client: HttpClient,
    timeout: Duration,
    slots: Semaphore,
}

impl RemoteVerifier {
    /// Checks over `client`, each within `timeout`, counted from the call to the last byte of the answer.
    pub fn new(client: HttpClient, timeout: Duration) -> Self {
        Self { client, timeout, slots: Semaphore::new(MAX_CHECKS_AT_ONCE) }
    }

    /// Asks the server at `address` whether `credentials` are right.
    ///
    /// `address` is an entry of the service mapping, which must be an [`Address`].
    ///
    /// # Errors
    ///
    /// See [`RemoteError`]; none of them means that the credentials are wrong.
    pub async fn check(&self, address: &str, credentials: &Credentials<'_>) -> Result<Verdict, RemoteError> {
        let request = request(address, credentials)?;
        let answer = match tokio::time::timeout(self.timeout, self.ask(request)).await {
            Ok(outcome) => outcome.map_err(|error| RemoteError::from_fetch(address, &error))?,
            Err(_elapsed) => {
                return Err(RemoteError::Timeout { address: address.into(), after: self.timeout });
            }
        };
        verdict(&answer).map_err(|what| RemoteError::Protocol { address: address.into(), what })
    }

    async fn ask(&self, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, FetchError> {
        // Err means that the semaphore was closed, which nothing does; the check then merely goes uncounted.
        let _slot = self.slots.acquire().await;
        self.client.ask(request, MAX_ANSWER_BYTES).await
    }
}

impl From<RemoteError> for VerifyError {
    fn from(error: RemoteError) -> Self {
        match error {
            RemoteError::UrlTooLong { .. } => Self::TooLong,
            RemoteError::InvalidAddress { .. }
            | RemoteError::Timeout { .. }
            | RemoteError::Unreachable { .. }
            | RemoteError::Broken { .. }
            | RemoteError::Protocol { .. } => Self::Failed(error.to_string()),
        }
    }
}

/// Why a check has no verdict. The texts are for the operator: they name the server, never the credentials, and quote
/// nothing the server said, which might repeat them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RemoteError {
    /// The credentials do not fit into a URL; nothing was sent. The customer's fault, HTTP status 413.
    #[error("the credentials make the URL for credential server {address} longer than {MAX_URL_BYTES} bytes")]
    UrlTooLong {
        /// The server, as configured.
        address: String,
    },
    /// The service mapping's entry is no address; nothing was sent.
    #[error("credential server {address:?} is not host:port, http://host or https://host")]
    InvalidAddress {
        /// The entry, as configured.
        address: String,
    },
    /// No complete answer in time, or no free slot to ask.
    #[error("credential server {address} did not answer completely within {after:?}")]
    Timeout {
        /// The server, as configured.
        address: String,
        /// The time that was allowed.
        after: Duration,
    },
    /// No connection, in TCP or TLS.
    #[error("credential server {address} cannot be reached: {reason}")]
    Unreachable {
        /// The server, as configured.
        address: String,
        /// The cause.
        reason: String,
    },
    /// The connection broke, or what came over it was no HTTP.
    #[error("credential server {address} gave no answer: {reason}")]
    Broken {
        /// The server, as configured.
        address: String,
        /// The cause.
        reason: String,
    },
    /// An answer outside the contract.
    #[error("credential server {address} answered with {what}")]
    Protocol {
        /// The server, as configured.
        address: String,
        /// What is wrong with the answer.
        what: Breach,
    },
}

/// How an answer broke the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Breach {
    /// Any status but 200.
    #[error("status {0} instead of 200")]
    Status(StatusCode),
    /// More than [`MAX_ANSWER_BYTES`].
    #[error("more than {MAX_ANSWER_BYTES} bytes")]
    TooLong,
    /// No JSON object, or one that names `MESSAGE` twice.
    #[error("something that is not one JSON object")]
    NotAnObject,
    /// A JSON object without a string `MESSAGE`.
    #[error("a JSON object without a string MESSAGE")]
    NoMessage,
}

impl RemoteError {
    fn from_fetch(address: &str, error: &FetchError) -> Self {
        let address = address.to_owned();
        match error {
            FetchError::InvalidUri => Self::InvalidAddress { address },
            FetchError::Timeout { after } => Self::Timeout { address, after: *after },
            FetchError::Connect(_) => Self::Unreachable { address, reason: error.to_string() },
            FetchError::Transport(_) => Self::Broken { address, reason: error.to_string() },
            FetchError::TooLarge { .. } => Self::Protocol { address, what: Breach::TooLong },
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "UPPERCASE")]
struct Message<'a> {
    email: &'a str,
    password: &'a str,
    r#type: &'a str,
}

fn request(address: &str, credentials: &Credentials<'_>) -> Result<Request<Full<Bytes>>, RemoteError> {
    let invalid = || RemoteError::InvalidAddress { address: address.into() };
    let Address { scheme, authority } = Address::parse(address).ok_or_else(invalid)?;
    let url = url(scheme, authority, credentials).ok_or_else(|| RemoteError::UrlTooLong { address: address.into() })?;
    let uri = Uri::try_from(url).map_err(|_| invalid())?;
    let mut request = Request::new(Full::default());
    *request.uri_mut() = uri;
    Ok(request)
}

/// The whole URL, or none if it is longer than [`MAX_URL_BYTES`].
fn url(scheme: &str, authority: &str, credentials: &Credentials<'_>) -> Option<String> {
    let message = Message { email: credentials.email, password: credentials.password, r#type: credentials.persona };
    // Every byte may become three; growing the buffer would leave an unfinished copy of the password behind.
    let secrets = message.email.len() + message.password.len() + message.r#type.len();
    let capacity = 192 + authority.len() + secrets.saturating_mul(3);
    let mut url = String::with_capacity(capacity.min(MAX_URL_BYTES));
    url.extend([scheme, "://", authority, "/check_node?message="]);
    // Three strings always serialize: the only error is the writer's.
    serde_json::to_writer(QueryWriter { url: &mut url }, &message).ok()?;
    Some(url)
}

/// Appends what is written, percent-encoded, until the URL would be too long.
struct QueryWriter<'a> {
    url: &'a mut String,
}

impl io::Write for QueryWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for piece in percent_encode(bytes, ENCODED) {
            if self.url.len() + piece.len() > MAX_URL_BYTES {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            self.url.push_str(piece);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "MESSAGE", default)]
    message: serde_json::Value,
}

fn verdict(answer: &Response<Bytes>) -> Result<Verdict, Breach> {
    if answer.status() != StatusCode::OK {
        return Err(Breach::Status(answer.status()));
    }
    // serde would also read a struct from an array.
    if !answer.body().trim_ascii_start().starts_with(b"{") {
        return Err(Breach::NotAnObject);
    }
    let answer: Answer = serde_json::from_slice(answer.body()).map_err(|_| Breach::NotAnObject)?;
    match answer.message.as_str() {
        Some("REGISTERED") => Ok(Verdict::Accepted(None)),
        Some(_) => Ok(Verdict::Refused),
        None => Err(Breach::NoMessage),
    }
}
