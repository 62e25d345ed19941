//! Detects the HTTP version of a plain-text connection. A client with prior knowledge of HTTP/2 begins with its preface
//! (RFC 9113, section 3.4), which is not a valid HTTP/1 request.

use std::io;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::socket::Socket;

const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Reads until it is clear whether the client speaks HTTP/2, and puts back what was read.
///
/// # Errors
/// What the system said.
pub(super) async fn read<S: AsyncRead + Unpin>(socket: &mut Socket<S>) -> io::Result<bool> {
    let (mut bytes, mut filled) = ([0; PREFACE.len()], 0);
    while filled < bytes.len() && bytes[..filled] == PREFACE[..filled] {
        match socket.read(&mut bytes[filled..]).await? {
            0 => break,
            read => filled += read,
        }
    }
    socket.put_back(Bytes::copy_from_slice(&bytes[..filled]));
    Ok(bytes == *PREFACE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shutdown::Tasks;

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
                    let mut socket = Socket::new(ours, Tasks::default());
                    let is_http2 = read(&mut socket).await.unwrap();
                    let mut whole = Vec::new();
                    socket.read_to_end(&mut whole).await.unwrap();
                    (whole, is_http2)
                };
                let ((), (whole, is_http2)) = tokio::join!(sending, reading);
                assert_eq!((whole.as_slice(), is_http2), (sent, expected));
            }
        }
    }
}
