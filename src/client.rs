//! A typed client of `/v1`, for Rust programs and our own command line. It sends again what may be sent again.
//!
//! ```text
//! a method ──> a call: what is sent, and whether twice is as good as once ──> attempts ──> http_client
//! ```
//!
//! Its types are those of the server's own handlers. A call that fails for a reason that passes (no connection, a broken
//! answer, 503 or 429 with `Retry-After`) is made again within [`Retries`], with pauses that grow; but one that the server
//! may have acted on only where a repetition changes nothing: GET, PUT and DELETE, an initialisation, and what goes under
//! an [`IdempotencyKey`], which is made if the caller gives none. No error and no log has a password or a token in it.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use frontdesk::client::{Client, Creation, NewSession};
//!
//! let desk = Client::new("http://127.0.0.1:5500")?;
//! let (email, password) = ("ada@example.org".into(), "correct horse".into());
//! let new = NewSession { email, password, persona: "CUSTOMERS".into(), data: None };
//! let (id, token) = match desk.create_session(&new, None).await? {
//!     Creation::Created(created) => (created.id, created.token),
//!     Creation::AlreadyRunning { session, token } => (session, token),
//! };
//! let desk = desk.with_token(token);
//! desk.initialize(id, Duration::from_secs(30)).await?;
//! let answer = desk.ask(id, serde_json::from_str("{\"say\": \"hello\"}")?, None).await?;
//! # Ok(())
//! # }
//! ```

mod call;
mod error;
mod events;
mod key;
mod operators;
mod parts;
mod retries;
mod sessions;
mod sse;
#[cfg(test)]
mod tests;

use hyper::Uri;
use secrecy::SecretString;

use crate::config::Listen;
use crate::config::listen::UNIX;
use crate::http_client::HttpClient;

pub use crate::http::code::Code;
pub use crate::http::v1::audit::list::Query as AuditFilter;
pub use crate::http::v1::audit::view::EntryView;
pub use crate::http::v1::customers::view::CustomerView;
pub use crate::http::v1::event::{EventView, Gap};
pub use crate::http::v1::nodes::NodeView;
pub use crate::http::v1::page::Page;
pub use crate::http::v1::personas::PersonaView;
pub use crate::http::v1::sessions::create::{CreatedView, NewSession};
pub use crate::http::v1::sessions::list::Query as SessionFilter;
pub use crate::http::v1::sessions::logs::Query as LogQuery;
pub use crate::http::v1::sessions::stop_many::{Stopped, Wanted as StopFilter};
pub use crate::http::v1::sessions::view::{OperatorsView, SessionView};
pub use crate::http::v1::tokens::create::{CreatedToken, NewToken};
pub use crate::http::v1::tokens::list::TokenView;
pub use error::{ClientError, Refused, Tried};
pub use events::{Events, Happened};
pub use key::IdempotencyKey;
pub use operators::{Logs, Pages};
pub use parts::{AnswerInParts, Part};
pub use retries::Retries;
pub use sessions::Creation;

/// A client of one server, with or without a token. Clones share their connections.
#[derive(Clone)]
pub struct Client {
    http: HttpClient,
    server: String,
    token: Option<SecretString>,
    retries: Retries,
}

impl Client {
    /// A client of the server at this address, such as `https://desk.example.org` or `unix:/run/frontdesk.sock`. Nothing
    /// is sent yet.
    ///
    /// # Errors
    /// [`ClientError::Unsendable`] if that is neither an http or https URL nor a Unix socket, or a URL with a query, a
    /// user or a password.
    pub fn new(server: &str) -> Result<Self, ClientError> {
        let (http, server) = transport(server)?;
        Ok(Self { http, server, token: None, retries: Retries::default() })
    }

    /// The same with a token: a session's, or an operator's.
    #[must_use]
    pub fn with_token(self, token: impl Into<SecretString>) -> Self {
        Self { token: Some(token.into()), ..self }
    }

    /// The same with another patience.
    #[must_use]
    pub fn with_retries(self, retries: Retries) -> Self {
        Self { retries, ..self }
    }
}

/// What reaches the server at an address, and the beginning of its URLs.
///
/// # Errors
/// As [`Client::new`].
pub(crate) fn transport(server: &str) -> Result<(HttpClient, String), ClientError> {
    let address = address(server)?;
    match address.parse() {
        Ok(Listen::Unix(path)) => Ok((HttpClient::to_unix(path), "http://localhost".to_owned())),
        Ok(Listen::Tcp(_)) | Err(_) => Ok((HttpClient::new(), address)),
    }
}

/// A server's address: a URL without the slashes at its end, or the path of a Unix socket.
///
/// # Errors
/// As [`Client::new`].
pub fn address(server: &str) -> Result<String, ClientError> {
    if server.starts_with(UNIX) && server.parse::<Listen>().is_ok() {
        return Ok(server.to_owned());
    }
    let trimmed = server.trim_end_matches('/');
    let uri: Option<Uri> = trimmed.parse().ok();
    let is_good = |uri: &Uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.query().is_none()
            && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
    };
    match uri.filter(is_good) {
        Some(_) => Ok(trimmed.to_owned()),
        None => Err(ClientError::Unsendable("the server's address is no URL such as http://127.0.0.1:5500")),
    }
}
