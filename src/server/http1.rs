//! HTTP/1.1 on one connection: one request after the other, and an end in order (see `lingering`).
//!
//! Over TLS it is the same. A client there closes its sending half by an alert of TLS; one that closes the connection
//! below without it is gone.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::http::call::Reply;
use crate::http::head::protect;

use super::connection::{Ends, MOST_HEAD_BYTES};
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
        // Whether a client that sends no more is gone is decided in `Lingering`, and how long it may wait with a head.
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
    type Future = Noted;

    fn call(&self, request: hyper::Request<Incoming>) -> Self::Future {
        let progress = self.progress.clone();
        let request = request.map(|body| Watched::body(body, &progress));
        let answering = self.ends.answer(request);
        progress.begin(if answering.may_take_long { Patience::Seconds } else { Patience::ToTheEnd });
        Noted { reply: answering.reply, progress, is_encrypted: self.ends.is_encrypted }
    }
}

/// An answer that is noted once it is there.
struct Noted {
    reply: Reply,
    progress: Progress,
    is_encrypted: bool,
}

impl Future for Noted {
    type Output = Result<Response, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut answer = ready!(self.reply.as_mut().poll(cx));
        protect(&mut answer, self.is_encrypted);
        Poll::Ready(Ok(self.progress.answer(answer)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::Instant;

    use super::*;
    use crate::config::Config;
    use crate::http::forwarded::Proxies;
    use crate::server::connection::{PARTING, Surface};
    use crate::server::socket::Socket;
    use crate::shutdown::{AtStop, Tasks};

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_no_more_of_its_answer_does_not_hold_a_server_that_goes() {
        let tasks = Tasks::default();
        let answers = Arc::new(axum::Router::new().fallback(|| async { vec![7; 1 << 20] }));
        let surface =
            Surface { answers, proxies: Proxies::new(&Config::default(), None), tls: None, tasks: tasks.clone() };
        let ends = Ends { addresses: None, is_encrypted: false, surface: Arc::new(surface) };
        let (ours, mut theirs) = tokio::io::duplex(1 << 10);
        let socket = Socket::new(ours, tasks.clone());
        tasks.spawn(async move {
            let _ = serve(socket, ends).await;
        });
        theirs.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let mut beginning = [0; 12];
        theirs.read_exact(&mut beginning).await.unwrap();
        assert_eq!(&beginning, b"HTTP/1.1 200");

        tasks.drain(AtStop::LeaveAgents);

        let told_at = Instant::now();
        tasks.ended().await;
        assert!((PARTING..PARTING * 2).contains(&told_at.elapsed()));
    }
}
