//! One small HTTP/1.1 client, shared by everything in the process that asks another server something.
//!
//! It owns the pool of idle connections, the TLS configuration, and the rule for when a request may be sent again. It
//! follows no redirect, keeps no cookie, reads no proxy variable, speaks no HTTP/2 and knows no content type: it sends
//! one request and returns the whole answer, or its head and the body as it comes, or says why there is none. Called by
//! the remote credential check, agents that are services, and the command line.
//!
//! # When a request is sent twice
//!
//! A server may close an idle connection at the very moment a request goes out on it (RFC 9112 section 9.3.1). hyper-util
//! repeats a request by itself only if no byte of it was ever handed to the socket, so such a race would reach the
//! caller as an error. This client therefore repeats a request itself, once, on a connection opened for the purpose, if
//! all of this holds: the method is idempotent and there is no body, or the caller says that a repetition does no harm; the
//! connection had already carried an answer; and it ended before any byte of an answer to this request. A request on a
//! fresh connection is never sent twice.

mod connector;
#[cfg(test)]
pub(crate) mod stub;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::http::uri::Scheme;
use hyper::{Request, Response, Uri};
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tower::ServiceExt;

use self::connector::{Connector, ended_unanswered};

/// How long an idle connection is kept for the next request.
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);

/// How many idle connections are kept for one server: as many as the credential check may use at once.
const MAX_IDLE_PER_SERVER: usize = 1_024;

/// The longest status line and headers of an answer, in bytes.
const MAX_HEAD_BYTES: usize = 64 * 1_024;

type Inner = legacy::Client<Connector, Full<Bytes>>;

/// A shared HTTP/1.1 client; clones share one pool of connections.
#[derive(Clone)]
pub struct HttpClient {
    inner: Arc<Clients>,
}

struct Clients {
    pooled: Inner,
    /// Never reuses a connection: for the one repetition of a request that a closing idle connection swallowed.
    fresh: Inner,
    connector: Connector,
}

impl HttpClient {
    /// A client that trusts the machine's own certificate authorities.
    ///
    /// Reads the certificate store from disk: call it once, at start. On a machine without one, plain http works and
    /// every https request fails with [`FetchError::Connect`].
    pub fn new() -> Self {
        Self::over(Connector::with_native_roots())
    }

    fn over(connector: Connector) -> Self {
        let mut builder = legacy::Client::builder(TokioExecutor::new());
        builder.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE_TIMEOUT).http1_max_buf_size(MAX_HEAD_BYTES);
        let fresh = builder.pool_max_idle_per_host(0).build(connector.clone());
        let pooled = builder.pool_max_idle_per_host(MAX_IDLE_PER_SERVER).build(connector.clone());
        Self { inner: Arc::new(Clients { pooled, fresh, connector }) }
    }

    /// Connects to a server, TLS included, and hangs up without a request.
    ///
    /// # Errors
    ///
    /// [`FetchError::InvalidUri`], [`FetchError::Timeout`] and [`FetchError::Connect`].
    pub async fn reach(&self, server: &Uri, timeout: Duration) -> Result<(), FetchError> {
        check_uri(server)?;
        match tokio::time::timeout(timeout, self.inner.connector.clone().oneshot(server.clone())).await {
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
        // hyper-util writes a URI it refuses into its debug log, query and all, so none that it refuses gets there.
        check_uri(request.uri())?;
        match tokio::time::timeout(timeout, self.exchange(request, max_bytes)).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => Err(FetchError::Timeout { after: timeout }),
        }
    }

    async fn exchange(&self, request: Request<Full<Bytes>>, max_bytes: usize) -> Result<Response<Bytes>, FetchError> {
        let may_repeat = is_repeatable(&request);
        let (head, body) = self.send(request, may_repeat).await?.into_parts();
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
        request: Request<Full<Bytes>>,
        may_repeat: bool,
    ) -> Result<Response<Incoming>, FetchError> {
        check_uri(request.uri())?;
        self.send(request, may_repeat).await
    }

    async fn send(&self, request: Request<Full<Bytes>>, may_repeat: bool) -> Result<Response<Incoming>, FetchError> {
        let spare = may_repeat.then(|| request.clone());
        let error = match self.inner.pooled.request(request).await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        match spare {
            Some(spare) if ended_unanswered(&error) => {
                self.inner.fresh.request(spare).await.map_err(FetchError::from_client)
            }
            Some(_) | None => Err(FetchError::from_client(error)),
        }
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

impl FetchError {
    fn from_client(error: legacy::Error) -> Self {
        if error.is_connect() { Self::Connect(error.into()) } else { Self::Transport(error.into()) }
    }
}

fn check_uri(uri: &Uri) -> Result<(), FetchError> {
    let fetchable = uri.scheme().is_some_and(|scheme| *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS);
    if fetchable && uri.host().is_some_and(|host| !host.is_empty()) { Ok(()) } else { Err(FetchError::InvalidUri) }
}

fn is_repeatable(request: &Request<Full<Bytes>>) -> bool {
    request.method().is_idempotent() && request.body().is_end_stream()
}

/// Reads the whole body of an answer that [`HttpClient::open`] gave, at most `max_bytes`.
///
/// # Errors
///
/// [`FetchError::TooLarge`] and [`FetchError::Transport`].
pub async fn read_body(body: Incoming, max_bytes: usize) -> Result<Bytes, FetchError> {
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

/// An error and its causes on one line, without the client's own wrapper, which says less than its cause.
struct Causes<'a>(&'a (dyn Error + Send + Sync + 'static));

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outermost: &(dyn Error + 'static) = self.0;
        let mut next = match outermost.source() {
            Some(cause) if outermost.is::<legacy::Error>() => Some(cause),
            Some(_) | None => Some(outermost),
        };
        let mut separator = "";
        while let Some(cause) = next {
            write!(f, "{separator}{cause}")?;
            separator = ": ";
            next = cause.source();
        }
        Ok(())
    }
}
