//! How the HTTP client opens connections, and what it notes of each.
//!
//! Owns the TCP and TLS settings, knows the Unix socket if there is one, and notes of every connection whether anything has come of an answer, by which the
//! client decides whether a failed request may be sent again. Decides nothing itself. Called by `http_client` only.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::Uri;
use hyper::http::uri::Scheme;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tower::ServiceExt;

use crate::server::unix;

/// How often the kernel asks whether the other end of an idle connection is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// Opens plain and TLS connections.
#[derive(Clone)]
pub(super) struct Connector {
    plain: HttpConnector,
    /// None on a machine without certificate authorities, where no server could prove who it is.
    tls: Option<HttpsConnector<HttpConnector>>,
    /// Where every connection leads, whatever the URI.
    unix: Option<Arc<Path>>,
}

impl Connector {
    pub(super) fn with_native_roots() -> Self {
        match HttpsConnectorBuilder::new().with_native_roots() {
            Ok(roots) => {
                let plain = tcp();
                let tls = roots.https_or_http().enable_http1().wrap_connector(plain.clone());
                Self { plain, tls: Some(tls), unix: None }
            }
            Err(error) => {
                tracing::warn!(%error, "no certificate authorities: https addresses will fail, plain http works");
                Self::without_roots()
            }
        }
    }

    pub(super) fn without_roots() -> Self {
        Self { plain: tcp(), tls: None, unix: None }
    }

    pub(super) fn to_unix(path: PathBuf) -> Self {
        Self { unix: Some(path.into()), ..Self::without_roots() }
    }
}

fn tcp() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(KEEPALIVE));
    tcp
}

/// A boxed error, as hyper's own connectors have it.
pub(super) type BoxError = Box<dyn Error + Send + Sync>;

impl Connector {
    /// Opens a connection to the server of a URI, TLS included.
    pub(super) async fn connect(&self, server: Uri) -> Result<Tracked, BoxError> {
        if let Some(path) = &self.unix {
            return Ok(Tracked::over(Wire::Unix(unix::connect(path).await?)));
        }
        if server.scheme() == Some(&Scheme::HTTP) {
            let stream = self.plain.clone().oneshot(server).await?;
            return Ok(Tracked::over(Wire::Net(TokioIo::new(MaybeHttpsStream::Http(stream)))));
        }
        let Some(tls) = &self.tls else {
            return Err("this machine has no certificate authorities to trust for https".into());
        };
        Ok(Tracked::over(Wire::Net(TokioIo::new(tls.clone().oneshot(server).await?))))
    }
}

/// A connection that notes whether anything was read from it; above TLS, so that the bytes it sees are HTTP's.
pub(super) struct Tracked {
    stream: Wire,
    heard: Arc<AtomicBool>,
}

#[expect(clippy::large_enum_variant, reason = "a connection is boxed as a whole, and nearly all are of the large kind")]
enum Wire {
    Net(TokioIo<MaybeHttpsStream<TokioIo<TcpStream>>>),
    Unix(UnixStream),
}

impl Tracked {
    fn over(stream: Wire) -> Self {
        Self { stream, heard: Arc::default() }
    }

    /// Becomes true when a byte is read; whoever begins an exchange makes it false.
    pub(super) fn heard(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.heard)
    }
}

/// Polls whichever connection there is.
macro_rules! poll_wire {
    ($wire:expr, $poll:ident, $($argument:expr),+) => {
        match &mut $wire {
            Wire::Net(stream) => Pin::new(stream).$poll($($argument),+),
            Wire::Unix(stream) => Pin::new(stream).$poll($($argument),+),
        }
    };
}

impl AsyncRead for Tracked {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(poll_wire!(self.stream, poll_read, cx, buf))?;
        if buf.filled().len() > before {
            self.heard.store(true, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tracked {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        poll_wire!(self.stream, poll_write, cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        poll_wire!(self.stream, poll_write_vectored, cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Wire::Net(stream) => stream.is_write_vectored(),
            Wire::Unix(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        poll_wire!(self.stream, poll_flush, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        poll_wire!(self.stream, poll_shutdown, cx)
    }
}
