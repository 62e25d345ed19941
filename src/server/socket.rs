//! A client's socket, below whatever is spoken on it: what was read to find out which version of HTTP that is can be
//! read again, and a client that takes nothing is not waited for once the server goes.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::shutdown::Tasks;

use super::connection::PARTING;

/// A socket. Until the server drains a client may be as slow as the kernel lets it.
pub(super) struct Socket<S> {
    stream: S,
    tasks: Tasks,
    /// What was read already, and is to be read again.
    read_before: Bytes,
    /// Completes when a client that takes nothing is given up; there is nothing as long as it takes something.
    patience: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl<S> Socket<S> {
    pub(super) fn new(stream: S, tasks: Tasks) -> Self {
        Self { stream, tasks, read_before: Bytes::new(), patience: None }
    }

    /// Puts back what was read, before whatever is still to come.
    pub(super) fn put_back(&mut self, read: Bytes) {
        self.read_before = read;
    }

    /// What became of a write, unless nothing was taken for so long that nobody waits any more.
    fn judge(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.patience = None;
            return written;
        }
        let patience = self.patience.get_or_insert_with(|| Box::pin(patience(self.tasks.clone())));
        ready!(patience.as_mut().poll(cx));
        self.patience = None;
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

/// Completes when the server has been going for a while.
async fn patience(tasks: Tasks) {
    tasks.draining().await;
    tokio::time::sleep(PARTING).await;
}

impl<S: AsyncRead + Unpin> AsyncRead for Socket<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let count = self.read_before.len().min(into.remaining());
        if count > 0 {
            into.put_slice(&self.read_before.split_to(count));
        }
        // In one go with what has come since: to read on behind the first bytes, HTTP/1 would double its buffer for good.
        let read = Pin::new(&mut self.stream).poll_read(cx, into);
        if count > 0 && read.is_pending() { Poll::Ready(Ok(())) } else { read }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.judge(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.judge(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::Instant;

    use super::*;
    use crate::shutdown::AtStop;

    #[tokio::test]
    async fn what_was_put_back_is_read_together_with_what_has_come_since() {
        let (ours, mut theirs) = tokio::io::duplex(10);
        let mut socket = Socket::new(ours, Tasks::default());
        socket.put_back(Bytes::from_static(b"PUT "));
        theirs.write_all(b"/a").await.unwrap();
        let mut read = [0; 10];
        assert_eq!(socket.read(&mut read).await.unwrap(), 6);
        assert_eq!(&read[..6], b"PUT /a");

        socket.put_back(Bytes::from_static(b"/b"));
        assert_eq!(socket.read(&mut read).await.unwrap(), 2, "nothing has come: it is not waited for");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_given_up_only_when_the_server_goes() {
        let (ours, _theirs) = tokio::io::duplex(10);
        let tasks = Tasks::default();
        let mut socket = Socket::new(ours, tasks.clone());
        let hour = std::time::Duration::from_secs(3_600);
        assert!(tokio::time::timeout(hour, socket.write_all(&[7; 100])).await.is_err(), "it is waited for");

        tasks.drain(AtStop::LeaveAgents);

        let told_at = Instant::now();
        assert_eq!(socket.write_all(&[7; 100]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!((PARTING..PARTING * 2).contains(&told_at.elapsed()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_a_little_now_and_then_gets_all_of_it() {
        let (ours, mut theirs) = tokio::io::duplex(10);
        let tasks = Tasks::default();
        tasks.drain(AtStop::LeaveAgents);
        let mut socket = Socket::new(ours, tasks);
        let taking = async {
            let mut taken = [0; 100];
            for part in taken.chunks_mut(10) {
                tokio::time::sleep(PARTING / 2).await;
                theirs.read_exact(part).await.unwrap();
            }
            taken
        };
        let (written, taken) = tokio::join!(socket.write_all(&[7; 100]), taking);
        written.unwrap();
        assert_eq!(taken, [7; 100]);
    }
}
