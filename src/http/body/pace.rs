//! How fast a body has to come.
//!
//! In every ten seconds a body must bring 10 KiB, and a thirtieth of the memory that it holds already. So a client
//! keeps much memory only by sending much: a body of 60 MiB has to come at 200 KiB a second by then.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout_at};

use super::BodyError;

const WINDOW: Duration = Duration::from_secs(10);
const LEAST_BYTES_A_WINDOW: usize = 10 * 1_024;
const LEAST_PART_A_WINDOW: usize = 30;

/// Watches how fast a body comes.
pub(super) struct Pace {
    window_end: Instant,
    bytes: usize,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { window_end: Instant::now() + WINDOW, bytes: 0 }
    }

    /// Leaves out a time in which nobody asked for the body.
    pub(super) fn pause(&mut self, time: Duration) {
        self.window_end += time;
    }

    /// The next part of a body that holds so much memory already; `None` at its end.
    ///
    /// # Errors
    /// [`BodyError::TooSlow`] or [`BodyError::Broken`].
    pub(super) async fn next(
        &mut self,
        body: &mut axum::body::Body,
        held_bytes: usize,
    ) -> Result<Option<Bytes>, BodyError> {
        loop {
            match timeout_at(self.window_end, body.frame()).await {
                Err(_) => self.turn(held_bytes)?,
                Ok(None) => return Ok(None),
                Ok(Some(Err(_))) => return Err(BodyError::Broken),
                Ok(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        self.bytes += data.len();
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// Begins the next window, if the one that has passed was fast enough.
    fn turn(&mut self, held_bytes: usize) -> Result<(), BodyError> {
        if self.bytes < LEAST_BYTES_A_WINDOW.max(held_bytes / LEAST_PART_A_WINDOW) {
            return Err(BodyError::TooSlow);
        }
        *self = Self::new();
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll, ready};

    use hyper::body::Frame;
    use tokio::time::{Sleep, sleep};

    use super::*;

    const BETWEEN_PARTS: Duration = Duration::from_secs(1);

    /// A body without end: a first part, and then one a second.
    pub(in crate::http::body) struct Drip {
        first_bytes: Option<usize>,
        part_bytes: usize,
        next: Pin<Box<Sleep>>,
    }

    impl Drip {
        pub(in crate::http::body) fn new(first_bytes: usize, part_bytes: usize) -> Self {
            Self { first_bytes: Some(first_bytes), part_bytes, next: Box::pin(sleep(BETWEEN_PARTS)) }
        }
    }

    impl axum::body::HttpBody for Drip {
        type Data = Bytes;
        type Error = std::io::Error;

        fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<std::io::Result<Frame<Bytes>>>> {
            ready!(self.next.as_mut().poll(cx));
            self.next = Box::pin(sleep(BETWEEN_PARTS));
            let bytes = self.first_bytes.take().unwrap_or(self.part_bytes);
            Poll::Ready(Some(Ok(Frame::data(vec![0; bytes].into()))))
        }
    }

    /// How long a body of a part a second is taken that holds so much memory.
    async fn taken_for(part_bytes: usize, held_bytes: usize) -> Option<Duration> {
        let mut body = axum::body::Body::new(Drip::new(part_bytes, part_bytes));
        let (began, mut pace) = (Instant::now(), Pace::new());
        while began.elapsed() < WINDOW * 5 {
            match pace.next(&mut body, held_bytes).await {
                Ok(_) => {}
                Err(error) => {
                    assert_eq!(error, BodyError::TooSlow);
                    return Some(began.elapsed());
                }
            }
        }
        None
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_has_to_come_the_faster_the_more_memory_it_holds() {
        const MIB: usize = 1 << 20;
        for (part_bytes, held_bytes, is_fast_enough) in [
            (1_200, 0, true),
            (900, 0, false),
            (1_200, 60 * MIB, false),
            (150 << 10, 60 * MIB, false),
            (250 << 10, 60 * MIB, true),
        ] {
            let ended = taken_for(part_bytes, held_bytes).await;
            assert_eq!(ended.is_none(), is_fast_enough, "{part_bytes} a second, {held_bytes} held: {ended:?}");
        }
    }
}
