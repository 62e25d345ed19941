//! The two halves of a connection, which need not end together.
//!
//! A client may close its sending half behind its last request and wait for the answer (RFC 9112, section 9.6). To its
//! server that looks like a client that is gone. The end is therefore hidden while a request is being answered, but not
//! for longer than that request's [`Patience`]. An answer that is a stream may go on for ever, and writes nothing while
//! there is nothing to tell: its patience is some seconds, whatever the request.
//!
//! A socket that is closed with unread bytes in it resets the connection, and the reset may destroy the answer before the
//! client has read it (RFC 9112, section 9.6). After a body that nobody read to its end, the connection therefore ends
//! in two steps: first the answer's direction, then, once the client has closed too or some seconds have passed, the
//! rest. What arrives meanwhile is thrown away.
//!
//! A client may let some time pass before it sends a request's head, and take no longer over sending it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use axum::response::Response;
use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::connection::IDLE_TIMEOUT;

/// How long a client may go on sending after its answer, and how long one that has ceased to send waits for a long one.
const LONGEST: Duration = Duration::from_secs(5);

/// How far the last request of a connection is. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress(Arc<Marks>);

#[derive(Debug, Default)]
struct Marks {
    /// A part of the request is still to come.
    unread: AtomicBool,
    /// The answer is not written yet.
    unanswered: AtomicBool,
    /// The answer is there to be written.
    decided: AtomicBool,
    /// The client's patience is that of a short request with a short answer.
    waits_on: AtomicBool,
    /// How many parts of the body its reader has got.
    parts: AtomicUsize,
    /// The body's reader has looked since it was asked to, and found nothing.
    starved: AtomicBool,
    /// Who reads the body, and who reads the connection.
    body_reader: Mutex<Option<Waker>>,
    reader: Mutex<Option<Waker>>,
}

/// How long a request is worked on for a client that has closed its sending half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// To its end, which is near.
    ToTheEnd,
    /// Some seconds: it may take long, and for a client that is gone all of it would be in vain.
    Seconds,
}

impl Progress {
    /// A request begins.
    pub(super) fn begin(&self, patience: Patience) {
        self.0.decided.store(false, Ordering::Relaxed);
        self.0.waits_on.store(patience == Patience::ToTheEnd, Ordering::Relaxed);
        self.0.unanswered.store(true, Ordering::Relaxed);
    }

    /// Its answer is there. One of unknown length is a stream, of which only the beginning is.
    pub(super) fn answer(&self, answer: Response) -> Response {
        if answer.body().size_hint().exact().is_some() {
            self.decide();
            return answer;
        }
        self.0.waits_on.store(false, Ordering::Relaxed);
        wake(&self.0.reader);
        answer.map(|body| axum::body::Body::new(Streamed { body, progress: self.clone() }))
    }

    /// All of its answer is there.
    fn decide(&self) {
        self.0.decided.store(true, Ordering::Relaxed);
    }

    /// What was to be written is written; if that was the answer, or the end of it, nobody waits any longer, and the
    /// next request is waited for.
    fn flushed(&self) -> bool {
        let is_over = self.0.decided.load(Ordering::Relaxed) && self.0.unanswered.load(Ordering::Relaxed);
        if is_over {
            self.0.decided.store(false, Ordering::Relaxed);
            self.0.unanswered.store(false, Ordering::Relaxed);
            wake(&self.0.reader);
        }
        is_over
    }

    /// Bytes have come. Between two requests they begin a head, which may turn out to be none.
    fn receive(&self) {
        if !self.0.unanswered.load(Ordering::Relaxed) {
            self.set_unread(true);
        }
    }

    fn set_unread(&self, unread: bool) {
        self.0.unread.store(unread, Ordering::Relaxed);
        if !unread {
            wake(&self.0.reader);
        }
    }

    /// Asks the body's reader to look once more; tells how many parts it has got so far.
    fn ask(&self, reader: &Waker) -> usize {
        let parts = self.0.parts.load(Ordering::Relaxed);
        self.0.starved.store(false, Ordering::Relaxed);
        keep(&self.0.reader, reader);
        wake(&self.0.body_reader);
        parts
    }

    /// What the body's reader found when it looked.
    fn looked(&self, found: bool, reader: &Waker) {
        if found {
            self.0.parts.fetch_add(1, Ordering::Relaxed);
        } else {
            keep(&self.0.body_reader, reader);
            self.0.starved.store(true, Ordering::Relaxed);
            wake(&self.0.reader);
        }
    }

    /// Whether the reader has looked after it was asked, when it had got so many parts, and there were no more.
    fn is_starved_at(&self, parts: usize) -> bool {
        self.0.starved.load(Ordering::Relaxed) && self.0.parts.load(Ordering::Relaxed) == parts
    }

    fn is_unanswered(&self) -> bool {
        self.0.unanswered.load(Ordering::Relaxed)
    }

    fn is_unread(&self) -> bool {
        self.0.unread.load(Ordering::Relaxed)
    }

    /// Whether a client that has closed its sending half may wait for an answer, and nothing else.
    fn is_awaited(&self) -> bool {
        self.0.unanswered.load(Ordering::Relaxed) && !self.is_unread()
    }

    /// Whether the answer is worth any wait.
    fn is_near(&self) -> bool {
        self.0.waits_on.load(Ordering::Relaxed) || self.0.decided.load(Ordering::Relaxed)
    }
}

fn keep(place: &Mutex<Option<Waker>>, waker: &Waker) {
    *place.lock() = Some(waker.clone());
}

fn wake(place: &Mutex<Option<Waker>>) {
    let waker = place.lock().take();
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// A request's body that notes when it has been read.
pub(super) struct Watched {
    body: Incoming,
    progress: Progress,
}

impl Watched {
    /// Watches a body, if there is any.
    pub(super) fn body(body: Incoming, progress: &Progress) -> axum::body::Body {
        let is_empty = body.is_end_stream();
        progress.set_unread(!is_empty);
        if is_empty {
            axum::body::Body::empty()
        } else {
            axum::body::Body::new(Self { body, progress: progress.clone() })
        }
    }
}

impl Body for Watched {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        if this.body.is_end_stream() || matches!(polled, Poll::Ready(None)) {
            this.progress.set_unread(false);
        } else {
            this.progress.looked(polled.is_ready(), cx.waker());
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of a streamed answer, which notes when it has ended.
struct Streamed {
    body: axum::body::Body,
    progress: Progress,
}

impl Body for Streamed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        if this.body.is_end_stream() || matches!(polled, Poll::Ready(None)) {
            this.progress.decide();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A connection's stream, plain or decrypted.
pub(super) struct Lingering<S> {
    stream: S,
    progress: Progress,
    /// Since when the head of a request is waited for.
    waits_since: Instant,
    /// When it was last thought that none would come.
    alarm: Option<Pin<Box<Sleep>>>,
    deadline: Option<Pin<Box<Sleep>>>,
    /// How long the end of the client's sending half, which was not told yet, can be hidden.
    hidden_end: Option<Pin<Box<Sleep>>>,
    /// How many parts of the body had been got when its reader was last asked to look.
    asked_at: Option<usize>,
}

impl<S: AsyncRead + Unpin> Lingering<S> {
    pub(super) fn new(stream: S, progress: Progress) -> Self {
        let (deadline, hidden_end, alarm, asked_at) = (None, None, None, None);
        Self { stream, progress, waits_since: Instant::now(), alarm, deadline, hidden_end, asked_at }
    }

    /// Ready when the client has let more than [`IDLE_TIMEOUT`] pass without a whole head of a request. The alarm is set
    /// to ring once in that time, not once a request.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.progress.is_unanswered() {
            return Poll::Pending;
        }
        loop {
            let until = self.waits_since + IDLE_TIMEOUT;
            let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(until)));
            ready!(alarm.as_mut().poll(cx));
            if until <= Instant::now() {
                return Poll::Ready(());
            }
            alarm.as_mut().reset(until);
        }
    }

    /// Ready when the end of the client's sending half is to be told.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.progress.is_unanswered() && self.progress.is_unread() && self.is_body_under_way(cx) {
            return Poll::Pending;
        }
        if !self.progress.is_awaited() {
            return Poll::Ready(());
        }
        let patience = self.hidden_end.get_or_insert_with(|| Box::pin(tokio::time::sleep(LONGEST)));
        keep(&self.progress.0.reader, cx.waker());
        if self.progress.is_near() { Poll::Pending } else { patience.as_mut().poll(cx) }
    }

    /// Whether the rest of the body may be on its way from here to its reader. What has arrived is handed over part by
    /// part, and the end of the connection is seen before the reader has got the last: it is asked to look until it
    /// finds nothing more, which means that the client has left in the middle.
    fn is_body_under_way(&mut self, cx: &Context<'_>) -> bool {
        if self.asked_at.is_some_and(|parts| self.progress.is_starved_at(parts)) {
            return false;
        }
        self.asked_at = Some(self.progress.ask(cx.waker()));
        true
    }

    /// Throws away what comes until the client closes, or the time is over.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(LONGEST)));
        let mut scratch = [0; 16 << 10];
        while deadline.as_mut().poll(cx).is_pending() {
            let mut bytes = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut bytes)) {
                Ok(()) if !bytes.filled().is_empty() => {}
                Ok(()) | Err(_) => break,
            }
        }
        Poll::Ready(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lingering<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.hidden_end.is_none() {
            let before = bytes.filled().len();
            let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(cx, bytes) else {
                // To its server it looks as if the client had closed the connection.
                return self.poll_idle(cx).map(Ok);
            };
            read?;
            if bytes.filled().len() > before || bytes.remaining() == 0 {
                self.progress.receive();
                return Poll::Ready(Ok(()));
            }
        }
        self.poll_end(cx).map(Ok)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        if self.progress.flushed() {
            self.waits_since = Instant::now();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        if self.progress.is_unread() {
            ready!(self.poll_discard(cx));
        }
        Poll::Ready(Ok(()))
    }
}
