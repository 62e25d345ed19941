//! A body that is written while it is sent, in bounded memory.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use hyper::body::Frame;
use tokio::sync::mpsc;

/// What is written and not yet sent: so many parts at most. Dropping it ends the body.
pub(super) type Writer = mpsc::Sender<io::Result<Bytes>>;

struct Streamed(mpsc::Receiver<io::Result<Bytes>>);

/// A body, and where its parts are to be written. An error breaks it off, so that nobody takes a part for the whole.
pub(super) fn body() -> (Writer, Body) {
    const PARTS: usize = 4;
    let (writer, parts) = mpsc::channel(PARTS);
    (writer, Body::new(Streamed(parts)))
}

impl hyper::body::Body for Streamed {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0.poll_recv(cx).map(|part| part.map(|part| part.map(Frame::data)))
    }
}
