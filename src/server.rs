//! Connections: accepts them, speaks HTTP/1 on them, and lets them end in order.
//!
//! It owns the listening socket and the number of open connections. Above the limit nothing is accepted and clients
//! wait in the kernel's queue. When the server drains, idle connections are closed at once and busy ones after the
//! answer under way.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Method;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::Service;

use crate::http::auth::Peer;
use crate::shutdown::{AtStop, Tasks};

mod lingering;

use lingering::{Lingering, Patience, Progress, Watched};

/// How long a client may take to send a request's head, or keep an idle connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);

/// The longest head of a request: room for the longest URL that the HTTP library takes, 64 KiB, and as much beside it.
const MOST_HEAD_BYTES: usize = 128 << 10;

/// Serves until the tasks are told to drain; the connections' tasks end by themselves after that.
pub async fn run(listener: TcpListener, router: Router, connections: usize, tasks: Tasks) {
    let room = Arc::new(Semaphore::new(connections));
    loop {
        let permit = tokio::select! {
            () = tasks.draining() => return,
            permit = Arc::clone(&room).acquire_owned() => permit,
        };
        let Ok(permit) = permit else { return };
        let (stream, remote) = tokio::select! {
            () = tasks.draining() => return,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    pause_after(&error).await;
                    continue;
                }
            },
        };
        tasks.spawn(connection(stream, remote, router.clone(), permit, tasks.clone()));
    }
}

/// A client that went away while it waited is nothing; a lack of descriptors needs others to end first.
async fn pause_after(error: &std::io::Error) {
    const PAUSE: Duration = Duration::from_millis(100);
    if !matches!(error.kind(), std::io::ErrorKind::ConnectionAborted | std::io::ErrorKind::ConnectionReset) {
        tracing::error!(error = %error, "no connection could be accepted");
        tokio::time::sleep(PAUSE).await;
    }
}

async fn connection(stream: TcpStream, remote: SocketAddr, router: Router, permit: OwnedSemaphorePermit, tasks: Tasks) {
    let Ok(local) = stream.local_addr() else { return };
    // Answers are written whole: waiting for more to send would only delay them.
    let _ = stream.set_nodelay(true);
    let progress = Progress::default();
    let service = WithPeer { router, peer: Peer { remote, local }, progress: progress.clone() };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        // Whether a client that sends no more is gone is decided below, in `Lingering`.
        .half_close(false)
        .max_headers(100)
        .max_buf_size(MOST_HEAD_BYTES)
        .serve_connection(TokioIo::new(Lingering::new(stream, progress)), service);
    let mut connection = std::pin::pin!(connection);
    let served = tokio::select! {
        // First of all, so that what is refused because of it also says that the connection closes.
        biased;
        () = tasks.draining() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        served = connection.as_mut() => served,
    };
    if let Err(error) = served {
        tracing::debug!(peer = %remote, error = %error, "connection broke");
    }
    drop(permit);
}

/// The router, told on which connection each request came.
struct WithPeer {
    router: Router,
    peer: Peer,
    progress: Progress,
}

impl hyper::service::Service<hyper::Request<Incoming>> for WithPeer {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn call(&self, request: hyper::Request<Incoming>) -> Self::Future {
        let progress = self.progress.clone();
        // Only a relay is answered by somebody who may take any time, and is told when nobody waits.
        progress.begin(if request.method() == Method::PUT { Patience::Seconds } else { Patience::ToTheEnd });
        let mut request = request.map(|body| Body::new(Watched::new(body, progress.clone())));
        request.extensions_mut().insert(self.peer);
        let answering = self.router.clone().call(request);
        Box::pin(async move {
            let answer = answering.await;
            progress.decide();
            answer
        })
    }
}

/// Completes at the first SIGTERM or Ctrl-C, and says which it was. SIGTERM is what an upgrade or a service manager
/// sends, and leaves the agents running; whoever presses Ctrl-C wants everything gone.
///
/// # Errors
/// What the system said when a signal could not be watched.
pub fn stop_signal() -> std::io::Result<impl Future<Output = (&'static str, AtStop)>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => ("SIGTERM", AtStop::LeaveAgents),
            _ = interrupt.recv() => ("Ctrl-C", AtStop::EndAgents),
        }
    })
}
