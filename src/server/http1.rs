//! HTTP/1.1 on one connection: one request after the other, and an end in order (see `lingering`).
//!
//! Over TLS it is the same. A client there closes its sending half by an alert of TLS; one that closes the connection
//! below without it is gone.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;

use axum::body::Body;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::http::routes;

use super::connection::{Ends, IDLE_TIMEOUT, MOST_HEAD_BYTES};
use super::lingering::{Lingering, Patience, Progress, Watched};

/// Serves one client.
pub(super) async fn serve<S>(stream: S, ends: Ends) -> Result<(), Box<dyn std::error::Error + Send + Sync>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let tasks = ends.tasks().clone();
    let progress = Progress::default();
    let service = Requests { ends, progress: progress.clone() };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_TIMEOUT)
        // Whether a client that sends no more is gone is decided in `Lingering`.
        .half_close(false)
        .max_headers(100)
        .max_buf_size(MOST_HEAD_BYTES as usize)
        .serve_connection(TokioIo::new(Lingering::new(stream, progress)), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // First of all, so that what is refused because of it also says that the connection closes.
        biased;
        () = tasks.draining() => connection.as_mut().graceful_shutdown(),
        served = connection.as_mut() => return Ok(served?),
    }
    Ok(connection.await?)
}

/// Answers the connection's requests, and notes how far the last one is.
struct Requests {
    ends: Ends,
    progress: Progress,
}

impl hyper::service::Service<hyper::Request<Incoming>> for Requests {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn call(&self, request: hyper::Request<Incoming>) -> Self::Future {
        let progress = self.progress.clone();
        let takes_long = routes::may_take_long(request.method(), request.uri());
        progress.begin(if takes_long { Patience::Seconds } else { Patience::ToTheEnd });
        let request = request.map(|body| Body::new(Watched::new(body, progress.clone())));
        let answering = self.ends.answer(request);
        Box::pin(async move {
            let Ok(answer) = answering.await;
            Ok(progress.answer(answer))
        })
    }
}
