//! One connection to a server, moved along by whoever waits for its answer.
//!
//! hyper's connection has two halves: one takes requests and the other reads and writes, usually as a task of its own. Then
//! each exchange wakes two tasks in turn, several times. Here the second half is polled by the task that waits, and while
//! nobody waits nobody is woken: an idle connection does nothing, and that it was closed is seen when it is next used, before
//! anything of the request is sent.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use parking_lot::{Mutex, MutexGuard};

use super::connector::Tracked;

/// The longest status line and headers of an answer, in bytes.
const MAX_HEAD_BYTES: usize = 64 * 1_024;

/// A connection, over which one request after the other is sent.
pub(super) struct Connection {
    requests: SendRequest<Full<Bytes>>,
    /// None once it has ended.
    wire: Option<http1::Connection<TokioIo<Tracked>, Full<Bytes>>>,
    heard: Arc<AtomicBool>,
    bell: Arc<Bell>,
    /// Rings the bell.
    waker: Waker,
}

impl Connection {
    /// A connection over which nothing was sent yet.
    pub(super) async fn over(stream: Tracked) -> hyper::Result<Self> {
        let heard = stream.heard();
        let (requests, wire) =
            http1::Builder::new().max_buf_size(MAX_HEAD_BYTES).handshake(TokioIo::new(stream)).await?;
        let bell = Arc::<Bell>::default();
        let waker = Waker::from(Arc::clone(&bell));
        Ok(Self { requests, wire: Some(wire), heard, bell, waker })
    }

    /// Sends a request and returns the head of its answer; the body comes while [`Connection::poll`] is called. If it
    /// fails the connection is of no more use, and the error has the request if nothing of it was sent.
    pub(super) async fn ask(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Full<Bytes>>>> {
        self.heard.store(false, Ordering::Relaxed);
        let mut answer = pin!(self.requests.try_send_request(request));
        std::future::poll_fn(|context| self.poll(context, |context| answer.as_mut().poll(context))).await
    }

    /// Whether a byte has come since the last request was sent.
    pub(super) fn was_answered(&self) -> bool {
        self.heard.load(Ordering::Relaxed)
    }

    /// Whether a request may be sent: the last answer is whole, and the server was not seen to close.
    pub(super) fn is_idle(&mut self) -> bool {
        if !self.requests.is_ready() {
            self.bell.silence();
            self.go_on();
        }
        self.wire.is_some() && self.requests.is_ready()
    }

    /// Polls what depends on the connection and moves that, until the former is ready or there is nothing to do at once.
    pub(super) fn poll<T>(
        &mut self,
        context: &mut Context<'_>,
        mut wanted: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        /// More than the two halves have to tell each other; others shall have their turn.
        const MOST_ROUNDS: usize = 8;
        for _ in 0..MOST_ROUNDS {
            self.bell.silence();
            if let Poll::Ready(outcome) = wanted(&mut Context::from_waker(&self.waker)) {
                return Poll::Ready(outcome);
            }
            self.go_on();
            if let Poll::Ready(outcome) = wanted(&mut Context::from_waker(&self.waker)) {
                return Poll::Ready(outcome);
            }
            if self.bell.will_wake(context.waker()) {
                return Poll::Pending;
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    fn go_on(&mut self) {
        let Some(wire) = &mut self.wire else { return };
        // What went wrong is told to whoever waits for the answer.
        if Pin::new(wire).poll(&mut Context::from_waker(&self.waker)).is_ready() {
            self.wire = None;
        }
    }
}

/// Passes on to the task that waits what wakes the connection, and remembers what comes while that task is at it anyway.
#[derive(Default)]
struct Bell {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    has_rung: bool,
    task: Option<Waker>,
}

impl Bell {
    /// Wakes nobody from here on.
    fn silence(&self) {
        *self.state() = State::default();
    }

    /// Wakes this task when it rings next; `false` if it has rung since it was silenced.
    fn will_wake(&self, task: &Waker) -> bool {
        let mut state = self.state();
        if !state.has_rung {
            state.task = Some(task.clone());
        }
        !state.has_rung
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let task = {
            let mut state = self.state();
            state.has_rung = true;
            state.task.take()
        };
        if let Some(task) = task {
            task.wake();
        }
    }
}
