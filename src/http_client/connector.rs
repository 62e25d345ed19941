//! How the HTTP client opens connections, and what it notes of each.
//!
//! Owns the TCP and TLS settings, and for every connection a record of how far its current exchange got, by which the
//! client decides whether a failed request may be sent again. Decides nothing itself. Called by `http_client` only.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::Uri;
use hyper::http::Extensions;
use hyper::http::uri::Scheme;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tower::Service;

/// How often the kernel asks whether the other end of an idle connection is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// Opens plain and TLS connections.
#[derive(Clone)]
pub(super) struct Connector {
    plain: HttpConnector,
    /// None on a machine without certificate authorities, where no server could prove who it is.
    tls: Option<HttpsConnector<HttpConnector>>,
}

impl Connector {
    pub(super) fn with_native_roots() -> Self {
        match HttpsConnectorBuilder::new().with_native_roots() {
            Ok(roots) => {
                let plain = tcp();
                let tls = roots.https_or_http().enable_http1().wrap_connector(plain.clone());
                Self { plain, tls: Some(tls) }
            }
            Err(error) => {
                tracing::warn!(%error, "no certificate authorities: https addresses will fail, plain http works");
                Self::without_roots()
            }
        }
    }

    pub(super) fn without_roots() -> Self {
        Self { plain: tcp(), tls: None }
    }
}

fn tcp() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(KEEPALIVE));
    tcp
}

type BoxError = Box<dyn Error + Send + Sync>;
type Connecting = Pin<Box<dyn Future<Output = Result<TokioIo<Tracked>, BoxError>> + Send>>;

impl Service<Uri> for Connector {
    type Response = TokioIo<Tracked>;
    type Error = BoxError;
    type Future = Connecting;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.plain.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, server: Uri) -> Connecting {
        if server.scheme() == Some(&Scheme::HTTP) {
            let connecting = self.plain.call(server);
            return Box::pin(async move { Ok(Tracked::over(MaybeHttpsStream::Http(connecting.await?))) });
        }
        let Some(tls) = &mut self.tls else {
            return Box::pin(async { Err("this machine has no certificate authorities to trust for https".into()) });
        };
        let connecting = tls.call(server);
        Box::pin(async move { Ok(Tracked::over(connecting.await?)) })
    }
}

/// Whether a request failed because a connection that had served before ended before any byte of an answer.
pub(super) fn ended_unanswered(error: &legacy::Error) -> bool {
    let mut extras = Extensions::new();
    if let Some(connected) = error.connect_info() {
        connected.get_extras(&mut extras);
    }
    extras.get::<Arc<Progress>>().is_some_and(|progress| progress.ended_unanswered())
}

/// How far one connection's latest exchange got. Written by the connection's task, read once a request on it failed.
///
/// HTTP/1.1 without pipelining alternates strictly: a request, flushed when complete, then an answer. The first byte
/// written after a flush and at least one byte read therefore begins the next exchange. A body that followed its head
/// only after part of an answer came would be taken for a new exchange; bodies are in memory as a whole, so that hyper
/// flushes them together with their head.
#[derive(Default)]
struct Progress {
    /// Exchanges begun on the connection, the latest included.
    exchanges: AtomicU32,
    /// Whether any byte was read since the latest exchange began.
    answered: AtomicBool,
}

impl Progress {
    fn ended_unanswered(&self) -> bool {
        self.exchanges.load(Ordering::Acquire) > 1 && !self.answered.load(Ordering::Acquire)
    }
}

/// A connection that keeps its [`Progress`]; above TLS, so that the bytes it sees are HTTP's.
pub(super) struct Tracked {
    stream: TokioIo<MaybeHttpsStream<TokioIo<TcpStream>>>,
    progress: Arc<Progress>,
    /// Whether all that was written so far was also flushed; true before the first byte.
    flushed: bool,
}

impl Tracked {
    fn over(stream: MaybeHttpsStream<TokioIo<TcpStream>>) -> TokioIo<Self> {
        TokioIo::new(Self { stream: TokioIo::new(stream), progress: Arc::default(), flushed: true })
    }

    fn wrote(&mut self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        let first = self.progress.exchanges.load(Ordering::Acquire) == 0;
        if first || (self.flushed && self.progress.answered.load(Ordering::Acquire)) {
            self.progress.answered.store(false, Ordering::Release);
            self.progress.exchanges.fetch_add(1, Ordering::AcqRel);
        }
        self.flushed = false;
    }
}

impl Connection for Tracked {
    fn connected(&self) -> Connected {
        self.stream.inner().connected().extra(Arc::clone(&self.progress))
    }
}

impl AsyncRead for Tracked {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.progress.answered.store(true, Ordering::Release);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tracked {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, buf))?;
        self.wrote(written);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, bufs))?;
        self.wrote(written);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.flushed = true;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
