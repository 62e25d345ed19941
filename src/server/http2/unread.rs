//! What a handler leaves unread of a request: read beside the answer, and thrown away.
//!
//! The library keeps the trailers of a request until somebody reads them or the stream ends, and an answer may take for
//! ever. A connection could so fill the memory with the trailers of a hundred requests whose bodies nobody reads.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use tokio::sync::oneshot;

/// Completes when nothing of the request is left to come.
pub(super) type Unread = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The body for the handler, and what reads the rest of it once the handler lets go of it; nothing if all of the request is
/// there.
pub(super) fn split(body: Incoming) -> (Body, Option<Unread>) {
    if body.is_end_stream() {
        return (Body::new(body), None);
    }
    let (give_back, given_back) = oneshot::channel();
    let unread = async move {
        // A body that was read to its end is not given back.
        let Ok(mut body): Result<Incoming, _> = given_back.await else { return };
        while let Some(Ok(_)) = body.frame().await {}
    };
    let lent = Lent { body: Some(body), give_back: Some(give_back) };
    (Body::new(lent), Some(Box::pin(unread)))
}

/// A body that is given back when the handler drops it.
struct Lent {
    body: Option<Incoming>,
    give_back: Option<oneshot::Sender<Incoming>>,
}

impl hyper::body::Body for Lent {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        Pin::new(body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(hyper::body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, hyper::body::Body::size_hint)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let (Some(body), Some(give_back)) = (self.body.take(), self.give_back.take())
            && !body.is_end_stream()
        {
            let _ = give_back.send(body);
        }
    }
}
