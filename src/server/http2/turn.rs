//! Whose turn it is in each request of a connection: ours, to answer, or the client's, to take what was answered.
//!
//! A connection on which nothing is our turn and nothing happens is idle, also if a client leaves an answer lying: by
//! the window that it grants, it could leave it there for ever. Nor may it do so while another request of the same
//! connection has its time: each is judged for itself as well.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use hyper::body::{Frame, SizeHint};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep};

use super::unread::Unread;

/// How much of an answer is handed over at once: one frame. The rest stays with its request, so that what a client has not taken
/// is known, but for this much.
const PIECE_BYTES: usize = 16 << 10;

tokio::task_local! {
    /// Since when the client has taken nothing of what this task answers, if it is its turn.
    static LYING_SINCE: Cell<Option<Instant>>;
    /// What this task's request has to come, though its handler does not read it.
    static UNREAD: RefCell<Option<Unread>>;
}

/// Carries a request out, until its client has left the answer lying for so long.
pub(super) async fn unless_left_lying(request: impl Future<Output = ()>, time: Duration) {
    let judged = LYING_SINCE.scope(Cell::new(None), judged(request, time));
    UNREAD.scope(RefCell::new(None), judged).await;
}

/// Reads the rest of the request in the task that answers it, as long as the answer takes.
pub(super) fn read_beside(unread: Option<Unread>) {
    UNREAD.with(|slot| slot.replace(unread));
}

async fn judged(request: impl Future<Output = ()>, time: Duration) {
    let mut request = std::pin::pin!(request);
    let mut patience: Option<Pin<Box<Sleep>>> = None;
    std::future::poll_fn(|cx| {
        if request.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        UNREAD.with(|unread| {
            let mut unread = unread.borrow_mut();
            if unread.as_mut().is_some_and(|unread| unread.as_mut().poll(cx).is_ready()) {
                *unread = None;
            }
        });
        let Some(since) = LYING_SINCE.with(Cell::get) else { return Poll::Pending };
        let patience = patience.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(since + time)));
        if patience.deadline() != since + time {
            patience.as_mut().reset(since + time);
        }
        patience.as_mut().poll(cx)
    })
    .await;
}

/// The requests of one connection: how many are our turn. Whoever watches also sees that something happened.
#[derive(Clone)]
pub(super) struct Turns(watch::Sender<usize>);

impl Turns {
    pub(super) fn new() -> (Self, watch::Receiver<usize>) {
        let (ours, changes) = watch::channel(0);
        (Self(ours), changes)
    }

    /// Begins a request, which is our turn first.
    pub(super) fn begin(&self) -> Turn {
        self.0.send_modify(|ours| *ours += 1);
        Turn { turns: self.clone(), is_ours: true }
    }
}

/// Completes when nothing has been our turn and nothing has happened for so long.
pub(super) async fn idle(changes: &mut watch::Receiver<usize>, time: Duration) {
    loop {
        // The sender goes only with the connection.
        if changes.wait_for(|ours| *ours == 0).await.is_err() {
            return std::future::pending().await;
        }
        match tokio::time::timeout(time, changes.changed()).await {
            Err(_) => return,
            Ok(Ok(())) => {}
            Ok(Err(_)) => return std::future::pending().await,
        }
    }
}

/// Whose turn it is in one request, until that ends.
pub(super) struct Turn {
    turns: Turns,
    is_ours: bool,
}

impl Turn {
    fn pass(&mut self, to_us: bool) {
        self.turns.0.send_modify(|ours| match (self.is_ours, to_us) {
            (false, true) => *ours += 1,
            (true, false) => *ours -= 1,
            (true, true) | (false, false) => {}
        });
        self.is_ours = to_us;
    }

    /// Passes the turn in the task that answers the request.
    fn pass_on(&mut self, to_us: bool) {
        self.pass(to_us);
        LYING_SINCE.with(|since| since.set((!to_us).then(Instant::now)));
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // One that the client has left lying ends without its doing: nothing has happened.
        if self.is_ours {
            self.pass(false);
        }
    }
}

/// The body of an answer, which is looked at when the client takes some of it.
pub(super) struct Taken {
    body: Body,
    rest: Bytes,
    turn: Turn,
}

impl Taken {
    /// The answer is there, so that it is the client's turn.
    pub(super) fn new(body: Body, mut turn: Turn) -> Self {
        turn.pass_on(false);
        Self { body, rest: Bytes::new(), turn }
    }
}

impl hyper::body::Body for Taken {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        if this.rest.is_empty() {
            let polled = Pin::new(&mut this.body).poll_frame(cx);
            this.turn.pass_on(polled.is_pending());
            match polled {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => this.rest = data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                ended @ (Poll::Ready(None | Some(Err(_))) | Poll::Pending) => return ended,
            }
        } else {
            this.turn.pass_on(false);
        }
        let piece = this.rest.split_to(this.rest.len().min(PIECE_BYTES));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.len() as u64;
        self.body.size_hint().exact().map_or_else(SizeHint::new, |body| SizeHint::with_exact(body + rest))
    }
}
