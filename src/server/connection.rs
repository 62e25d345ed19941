//! One connection, from its handshake to its end.
//!
//! ```text
//! TCP or Unix socket ──> TLS, if there is a certificate ──> ALPN ───┬──> HTTP/2
//!                    └─> plain ──> preface ─────────────────────────┴──> HTTP/1.1
//! ```

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::http::auth;
use crate::http::forwarded::Proxies;
use crate::http::router::{Answering, Answers};
use crate::shutdown::Tasks;

use super::socket::Socket;
use super::stream::Stream;
use super::tls::Tls;
use super::{http1, http2, preface};

/// How long a client may take to send a request's head, and how long a connection may be idle. Proxies and load
/// balancers close what was idle for 60 seconds, so that with a little more it is they who close: a server that does it
/// first may do it while a request is on its way, which then fails.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

/// The longest head of a request: room for the longest URL that the HTTP library takes, 64 KiB, and as much beside it.
pub(super) const MOST_HEAD_BYTES: u32 = 128 << 10;

/// How long a connection may be silent before the kernel asks whether the client's machine is still there.
const SILENCE: Duration = Duration::from_secs(60);

/// How long what was sent may go without the client's machine taking any of it. Then the client is gone, or wants no
/// answer: it may not hold one for ever.
const MOST_STALLED_MILLIS: u32 = 120_000;

/// How long a client may do nothing once the server goes, if it waits for no answer: neither take any of what it was
/// sent nor, in HTTP/2, begin anything.
pub(super) const PARTING: Duration = Duration::from_secs(5);

/// What all connections share.
pub(super) struct Surface {
    pub(super) answers: Arc<dyn Answers>,
    pub(super) proxies: Proxies,
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) tasks: Tasks,
}

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Serves one client until it leaves, or until the tasks are told to drain and what is under way is answered.
pub(super) async fn serve(stream: Stream, surface: Arc<Surface>) {
    let Ok(addresses) = stream.ends() else { return };
    if let Stream::Tcp(stream) = &stream {
        prepare(stream);
    }
    let ends = Ends { addresses, is_encrypted: surface.tls.is_some(), surface };
    if let Err(error) = speak(stream, ends).await {
        let peer = addresses.map_or_else(|| "unix".to_owned(), |addresses| addresses.remote.to_string());
        tracing::debug!(peer, error = %error, "connection broke");
    }
}

/// None of this is needed to serve, so that a socket that refuses it is served all the same.
fn prepare(stream: &TcpStream) {
    // Answers are written whole: waiting for more to send would only delay them.
    let _ = stream.set_nodelay(true);
    let _ = sockopt::set_socket_keepalive(stream, true);
    let _ = sockopt::set_tcp_keepidle(stream, SILENCE);
    let _ = sockopt::set_tcp_user_timeout(stream, MOST_STALLED_MILLIS);
}

/// Each way of speaking is boxed: a connection has the room that its own takes, not that of the largest.
async fn speak(stream: Stream, ends: Ends) -> Result<(), Error> {
    let tasks = ends.surface.tasks.clone();
    let mut socket = Socket::new(stream, tasks.clone());
    if let Some(tls) = ends.surface.tls.clone() {
        let (stream, is_http2) = tokio::select! {
            () = tasks.draining() => return Ok(()),
            accepted = Box::pin(tls.accept(socket)) => accepted?,
        };
        return if is_http2 { speak_http2(stream, ends).await } else { speak_http1(stream, ends).await };
    }
    let is_http2 = tokio::select! {
        () = tasks.draining() => return Ok(()),
        read = tokio::time::timeout(IDLE_TIMEOUT, preface::read(&mut socket)) => read??,
    };
    if is_http2 { speak_http2(socket, ends).await } else { speak_http1(socket, ends).await }
}

type Spoken = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

fn speak_http1<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S, ends: Ends) -> Spoken {
    Box::pin(http1::serve(stream, ends))
}

fn speak_http2<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S, ends: Ends) -> Spoken {
    Box::pin(http2::serve(stream, ends))
}

/// The two ends of a connection, and what answers its requests. Cloning shares it.
#[derive(Clone)]
pub(super) struct Ends {
    /// Nothing if the connection came over a Unix socket.
    pub(super) addresses: Option<auth::Ends>,
    pub(super) is_encrypted: bool,
    pub(super) surface: Arc<Surface>,
}

impl Ends {
    pub(super) fn tasks(&self) -> &Tasks {
        &self.surface.tasks
    }

    /// Begins to answer a request, whoever has passed it on.
    pub(super) fn answer(&self, mut request: Request<Body>) -> Answering {
        let peer = self.surface.proxies.peer(self.addresses, self.is_encrypted, request.headers_mut());
        self.surface.answers.answer(peer, request)
    }
}
