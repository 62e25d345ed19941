//! One small HTTP/1.1 client, shared by everything in the process that asks another server something.
//!
//! It owns the pool of idle connections, the TLS configuration, and the rule for when a request may be sent again. It
//! follows no redirect, keeps no cookie, reads no proxy variable, speaks no HTTP/2 and knows no content type: it sends
//! one request and returns the whole answer, or its head and the body as it comes, or says why there is none. Called by
//! the remote credential check, agents that are services, and the command line.
//!
//! # When a request is sent twice
//!
//! A server may close an idle connection at the very moment a request goes out on it (RFC 9112 section 9.3.1). A request
//! of which nothing was sent goes out over the next connection. Beyond that this client repeats one, once, on a connection
//! opened for the purpose, if all of this holds: the method is idempotent and there is no body, or the caller says that a repetition does no harm; the
//! connection had already carried an answer; and it ended before any byte of an answer to this request. A request on a
//! fresh connection is never sent twice.

mod answer;
mod connection;
mod connector;
mod pool;
#[cfg(test)]
pub(crate) mod stub;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Body;
use hyper::header::{HOST, HeaderValue};
use hyper::http::uri::{PathAndQuery, Scheme};
use hyper::{Request, Response, Uri};

pub use self::answer::AnswerBody;

use self::connection::Connection;
use self::connector::Connector;
use self::pool::{Pool, Server};

/// A shared HTTP/1.1 client; clones share one pool of connections.
#[derive(Clone)]
pub struct HttpClient {
    connector: Arc<Connector>,
    pool: Arc<Pool>,
}

impl HttpClient {
    /// A client that trusts the machine's own certificate authorities.
    ///
    /// Reads the certificate store from disk: call it once, at start. On a machine without one, plain http works and
    /// every https request fails with [`FetchError::Connect`].
    pub fn new() -> Self {
        Self::over(Connector::with_native_roots())
    }

    /// A client whose every connection leads to the Unix socket at this path, whatever host the URI names. It speaks no
    /// TLS.
    pub fn to_unix(path: PathBuf) -> Self {
        Self::over(Connector::to_unix(path))
    }

    fn over(connector: Connector) -> Self {
        Self { connector: Arc::new(connector), pool: Arc::default() }
    }

    /// Connects to a server, TLS included, and hangs up without a request.
    ///
    /// # Errors
    ///
    /// [`FetchError::InvalidUri`], [`FetchError::Timeout`] and [`FetchError::Connect`].
    pub async fn reach(&self, server: &Uri, timeout: Duration) -> Result<(), FetchError> {
        check_uri(server)?;
        match tokio::time::timeout(timeout, self.connector.connect(server.clone())).await {
            Ok(connected) => connected.map(drop).map_err(FetchError::Connect),
            Err(_elapsed) => Err(FetchError::Timeout { after: timeout }),
        }
    }

    /// Sends one request and reads the whole answer, at most `max_bytes`, within `timeout` from connect to the last byte.
    ///
    /// The URI is absolute, with scheme `http` or `https`, and at most 65,534 bytes, which is all [`Uri`] holds. Any
    /// status is an answer, redirects too. The `Host` header is set from the URI unless the request has one.
    ///
    /// # Errors
    ///
    /// See [`FetchError`]. No error's text holds any part of the URI.
    pub async fn fetch(
        &self,
        request: Request<Full<Bytes>>,
        timeout: Duration,
        max_bytes: usize,
    ) -> Result<Response<Bytes>, FetchError> {
        match tokio::time::timeout(timeout, self.ask(request, max_bytes)).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => Err(FetchError::Timeout { after: timeout }),
        }
    }

    /// The same for a caller who has a timeout of its own: dropping the future closes the connection.
    ///
    /// # Errors
    ///
    /// See [`FetchError`]; never [`FetchError::Timeout`].
    pub async fn ask(&self, request: Request<Full<Bytes>>, max_bytes: usize) -> Result<Response<Bytes>, FetchError> {
        let may_repeat = is_repeatable(&request);
        let (head, body) = self.open(request, may_repeat).await?.into_parts();
        Ok(Response::from_parts(head, read_body(body, max_bytes).await?))
    }

    /// Sends one request and returns the head of its answer with the body still to be read. `may_repeat` says that a
    /// request which a closing idle connection swallowed may be sent once more, whatever its method.
    ///
    /// It has no timeout of its own: dropping the future or the body closes the connection. The URI is as for
    /// [`HttpClient::fetch`].
    ///
    /// # Errors
    ///
    /// See [`FetchError`]; never [`FetchError::Timeout`] or [`FetchError::TooLarge`].
    pub async fn open(
        &self,
        mut request: Request<Full<Bytes>>,
        may_repeat: bool,
    ) -> Result<Response<AnswerBody>, FetchError> {
        check_uri(request.uri())?;
        let server = Server::of(request.uri()).ok_or(FetchError::InvalidUri)?;
        let host = host_of(request.uri())?;
        let target = in_origin_form(&mut request);
        while let Some(mut connection) = self.pool.take(&server) {
            let spare = may_repeat.then(|| request.clone());
            let mut failure = match connection.ask(to_host(request, &host)).await {
                Ok(answer) => return Ok(self.answer(answer, connection, server)),
                Err(failure) => failure,
            };
            match (failure.take_message(), spare) {
                (Some(unsent), _) => request = unsent,
                (None, Some(spare)) if !connection.was_answered() => {
                    request = spare;
                    break;
                }
                (None, _) => return Err(FetchError::Transport(failure.into_error().into())),
            }
        }
        let stream = self.connector.connect(target).await.map_err(FetchError::Connect)?;
        let connection = Connection::over(stream).await.map_err(|error| FetchError::Transport(error.into()))?;
        let mut connection = Box::new(connection);
        match connection.ask(to_host(request, &host)).await {
            Ok(answer) => Ok(self.answer(answer, connection, server)),
            Err(failure) => Err(FetchError::Transport(failure.into_error().into())),
        }
    }

    fn answer(
        &self,
        answer: Response<hyper::body::Incoming>,
        connection: Box<Connection>,
        server: Server,
    ) -> Response<AnswerBody> {
        answer.map(|body| AnswerBody::new(body, connection, server, &self.pool))
    }
}

impl Default for HttpClient {
    fn default() -> Self {
        Self::new()
    }
}

/// Why there is no answer. The texts name causes only: never the URI, whose query may carry a password.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The request's URI cannot be fetched; nothing was sent.
    #[error("the address is no absolute http or https URL")]
    InvalidUri,
    /// The answer was not complete in time; the request may have been acted on.
    #[error("no complete answer within {after:?}")]
    Timeout {
        /// The time that was allowed, from connect to the last byte.
        after: Duration,
    },
    /// No connection: the name does not resolve, nobody listens, or TLS failed. Nothing was sent.
    #[error("cannot connect: {}", Causes(.0.as_ref()))]
    Connect(Box<dyn Error + Send + Sync>),
    /// The connection broke, or what came over it was no HTTP/1.1; the request may have been acted on.
    #[error("the connection failed: {}", Causes(.0.as_ref()))]
    Transport(Box<dyn Error + Send + Sync>),
    /// The answer's body is longer than allowed; the rest was not read.
    #[error("the answer is longer than {limit} bytes")]
    TooLarge {
        /// The length that was allowed, in bytes.
        limit: usize,
    },
}

fn check_uri(uri: &Uri) -> Result<(), FetchError> {
    let fetchable = uri.scheme().is_some_and(|scheme| *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS);
    if fetchable && uri.host().is_some_and(|host| !host.is_empty()) { Ok(()) } else { Err(FetchError::InvalidUri) }
}

fn is_repeatable(request: &Request<Full<Bytes>>) -> bool {
    request.method().is_idempotent() && request.body().is_end_stream()
}

/// Puts the request's URI into the form in which a server takes it; returns the one that it had.
fn in_origin_form(request: &mut Request<Full<Bytes>>) -> Uri {
    let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    std::mem::replace(request.uri_mut(), Uri::from(path))
}

/// The `Host` of a URI: without the port where that follows from the scheme.
fn host_of(uri: &Uri) -> Result<HeaderValue, FetchError> {
    let host = uri.host().unwrap_or_default();
    let of_scheme = if uri.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 };
    let value = match uri.port_u16().filter(|port| *port != of_scheme) {
        Some(port) => HeaderValue::try_from(format!("{host}:{port}")),
        None => HeaderValue::from_str(host),
    };
    value.map_err(|_| FetchError::InvalidUri)
}

/// Adds the `Host`, unless the request has one.
fn to_host(mut request: Request<Full<Bytes>>, host: &HeaderValue) -> Request<Full<Bytes>> {
    request.headers_mut().entry(HOST).or_insert_with(|| host.clone());
    request
}

/// Reads the whole body of an answer that [`HttpClient::open`] gave, at most `max_bytes`.
///
/// # Errors
///
/// [`FetchError::TooLarge`] and [`FetchError::Transport`].
pub async fn read_body(body: AnswerBody, max_bytes: usize) -> Result<Bytes, FetchError> {
    let too_large = || FetchError::TooLarge { limit: max_bytes };
    if body.size_hint().lower() > max_bytes as u64 {
        return Err(too_large());
    }
    match Limited::new(body, max_bytes).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
        Err(error) => Err(FetchError::Transport(error)),
    }
}

/// An error and its causes on one line.
struct Causes<'a>(&'a (dyn Error + Send + Sync + 'static));

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut next = self.0.source();
        while let Some(cause) = next {
            write!(f, ": {cause}")?;
            next = cause.source();
        }
        Ok(())
    }
}
