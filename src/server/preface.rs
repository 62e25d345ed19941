//! Which version of HTTP a client speaks whom nobody has asked: one who knows that the server takes HTTP/2 begins with
//! that version's preface (RFC 9113, section 3.4), which is no request of HTTP/1.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Reads until it is clear whether the client speaks HTTP/2; gives back a stream of which nothing has been read.
///
/// # Errors
/// What the system said.
pub(super) async fn read<S: AsyncRead + Unpin>(mut stream: S) -> io::Result<(Rewound<S>, bool)> {
    let (mut bytes, mut filled) = ([0; PREFACE.len()], 0);
    while filled < bytes.len() && bytes[..filled] == PREFACE[..filled] {
        match stream.read(&mut bytes[filled..]).await? {
            0 => break,
            read => filled += read,
        }
    }
    let is_http2 = bytes == *PREFACE;
    Ok((Rewound { bytes, read: 0, filled, stream }, is_http2))
}

/// A stream, and before it what was read of it already.
pub(super) struct Rewound<S> {
    bytes: [u8; PREFACE.len()],
    read: usize,
    filled: usize,
    stream: S,
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let left = &this.bytes[this.read..this.filled];
        if left.is_empty() {
            return Pin::new(&mut this.stream).poll_read(cx, into);
        }
        let count = left.len().min(into.remaining());
        into.put_slice(&left[..count]);
        this.read += count;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewound<S> {
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
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_whole_preface_is_http_2_and_nothing_is_lost() {
        for (sent, expected) in [
            (&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nframes"[..], true),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r", false),
            (b"PRI * HTTP/1.1\r\nHost: localhost\r\n\r\n", false),
            (b"PUT /handleSessionRequests HTTP/1.1\r\n\r\n", false),
            (b"G", false),
            (b"", false),
        ] {
            // One byte at a time and all at once.
            for step in [1, sent.len().max(1)] {
                let (ours, mut theirs) = tokio::io::duplex(step);
                let sending = async {
                    let _ = tokio::io::AsyncWriteExt::write_all(&mut theirs, sent).await;
                    drop(theirs);
                };
                let reading = async {
                    let (mut stream, is_http2) = read(ours).await.unwrap();
                    let mut whole = Vec::new();
                    stream.read_to_end(&mut whole).await.unwrap();
                    (whole, is_http2)
                };
                let ((), (whole, is_http2)) = tokio::join!(sending, reading);
                assert_eq!((whole.as_slice(), is_http2), (sent, expected));
            }
        }
    }
}
