//! The body of an answer as it comes. Reading it moves the connection; at its end that is free for the next request.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::connection::Connection;
use super::pool::{Pool, Server};

/// The body of an answer. Dropped before all of it has come it closes the connection.
pub struct AnswerBody {
    /// None while this is dropped.
    incoming: Option<Incoming>,
    /// None once it is the next request's.
    lent: Option<Lent>,
}

struct Lent {
    connection: Box<Connection>,
    server: Server,
    pool: Arc<Pool>,
}

impl AnswerBody {
    pub(super) fn new(incoming: Incoming, connection: Box<Connection>, server: Server, pool: &Arc<Pool>) -> Self {
        Self { incoming: Some(incoming), lent: Some(Lent { connection, server, pool: Arc::clone(pool) }) }
    }

    fn give_back(&mut self) {
        if let Some(Lent { connection, server, pool }) = self.lent.take() {
            pool.put(server, connection);
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        let Some(incoming) = &mut this.incoming else { return Poll::Ready(None) };
        let mut next = |context: &mut Context<'_>| Pin::new(&mut *incoming).poll_frame(context);
        let polled = match &mut this.lent {
            Some(lent) => lent.connection.poll(context, next),
            None => next(context),
        };
        if matches!(polled, Poll::Ready(None)) {
            this.give_back();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        // First, so that the connection knows that nobody waits for the rest of it.
        self.incoming = None;
        self.give_back();
    }
}
