//! HTTP/2 on one connection: many requests at once, each a stream of its own.
//!
//! A client that no longer wants an answer resets its stream, and the request is dropped there and then, with the relay
//! it waits for. One that resets streams as fast as it opens them is cut off by the library. What `lingering` does for
//! HTTP/1 is part of the protocol here. The memory of heads is bounded for the whole connection (see [`heads`]), and
//! trailers are thrown away (see [`unread`]).

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::http::error::Refusal;
use crate::http::head::protect;
use crate::shutdown::Tasks;

use super::connection::{Ends, IDLE_TIMEOUT, MOST_HEAD_BYTES, PARTING};

mod heads;
#[cfg(test)]
mod tests;
mod turn;
mod unread;

use heads::Heads;
use turn::{Taken, Turns, idle, read_beside, unless_left_lying};

/// How many requests of one client are answered at once; the protocol asks for at least this many (RFC 9113, section
/// 6.5.2).
const MOST_STREAMS: u32 = 100;

/// How much of bodies that nobody has read yet one stream and one connection may hold.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 512 << 10;

/// How much of an answer is taken from its handler before the client has taken it.
const MOST_UNSENT_BYTES: usize = 64 << 10;

/// How often a client is asked whether it is there, and how long it may take to say so.
const BETWEEN_PINGS: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Serves one client.
pub(super) async fn serve<S>(stream: S, ends: Ends) -> Result<(), Box<dyn std::error::Error + Send + Sync>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let tasks = ends.tasks().clone();
    let (turns, mut changes) = Turns::new();
    let connection = http2::Builder::new(Streams(tasks.clone()))
        .timer(TokioTimer::new())
        .max_concurrent_streams(MOST_STREAMS)
        .max_header_list_size(MOST_HEAD_BYTES)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(MOST_UNSENT_BYTES)
        .keep_alive_interval(BETWEEN_PINGS)
        .keep_alive_timeout(PING_TIMEOUT)
        .serve_connection(TokioIo::new(stream), Requests { ends, turns, heads: Heads::default() });
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        biased;
        () = tasks.draining() => {}
        served = connection.as_mut() => return Ok(served?),
        () = idle(&mut changes, IDLE_TIMEOUT) => {}
    }
    // The client is told by GOAWAY, and may wait for what it has asked.
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        served = connection => Ok(served?),
        () = idle(&mut changes, PARTING) => Ok(()),
    }
}

const TOO_LARGE_HEADS: &str =
    "The requests that wait on this connection have too many header fields; send fewer, or send some requests later.";

/// Runs the streams of a connection as tasks of the server. One that is left lying is reset, by letting go of it.
#[derive(Clone)]
struct Streams(Tasks);

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Streams {
    fn execute(&self, stream: F) {
        self.0.spawn(unless_left_lying(stream, IDLE_TIMEOUT));
    }
}

/// Answers the connection's requests, and notes whose turn it is in each.
struct Requests {
    ends: Ends,
    turns: Turns,
    heads: Heads,
}

impl hyper::service::Service<hyper::Request<Incoming>> for Requests {
    type Response = hyper::Response<Taken>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: hyper::Request<Incoming>) -> Self::Future {
        let turn = self.turns.begin();
        let is_encrypted = self.ends.is_encrypted;
        let (parts, body) = request.into_parts();
        let Some(head) = self.heads.enter(&parts) else {
            let mut answer = Refusal::Busy(TOO_LARGE_HEADS).answer(parts.uri.path());
            protect(&mut answer, is_encrypted);
            return Box::pin(async { Ok(answer.map(|body| Taken::new(body, turn))) });
        };
        let (body, unread) = unread::split(body);
        let answering = self.ends.answer(hyper::Request::from_parts(parts, body));
        Box::pin(async move {
            read_beside(unread);
            let mut answer: Response = answering.reply.await;
            drop(head);
            protect(&mut answer, is_encrypted);
            Ok(answer.map(|body| Taken::new(body, turn)))
        })
    }
}
