//! Lines out of a stream, each bounded: an agent that sends no end of one costs its bound and no more.

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Memory that a reader may keep between two lines.
const KEPT_BUFFER_BYTES: usize = 64 << 10;

/// How much of what has come is handed out before other tasks have their turn. A line counts as 1 KiB at least.
const TURN_BYTES: usize = 128 << 10;
const LEAST_COUNTED_BYTES: usize = 1 << 10;

/// Reads lines of at most so many bytes.
#[derive(Debug)]
pub struct Lines<R> {
    stream: R,
    buffer: BytesMut,
    searched: usize,
    most_bytes: usize,
    turn: usize,
}

/// Why there is no next line.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// It goes on beyond the bound.
    #[error("a line is longer than {most_bytes} bytes")]
    TooLong {
        /// The bound.
        most_bytes: usize,
    },
    /// The stream broke.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl<R: AsyncRead + Unpin> Lines<R> {
    /// Reads from `stream` lines of at most `most_bytes`.
    pub fn new(stream: R, most_bytes: usize) -> Self {
        Self { stream, buffer: BytesMut::new(), searched: 0, most_bytes, turn: 0 }
    }

    /// The next line without its end, or `None` after the last. An unfinished line at the end is none.
    ///
    /// Cancel-safe: what was read stays in the buffer.
    ///
    /// # Errors
    /// [`LineError::TooLong`], after which the stream is of no use, or what the stream said.
    pub async fn next(&mut self) -> Result<Option<Bytes>, LineError> {
        if self.turn >= TURN_BYTES {
            self.turn = 0;
            tokio::task::yield_now().await;
        }
        loop {
            if let Some(line) = self.take_line() {
                self.turn += line.len().max(LEAST_COUNTED_BYTES);
                if line.len() > self.most_bytes {
                    return Err(LineError::TooLong { most_bytes: self.most_bytes });
                }
                return Ok(Some(line));
            }
            if self.buffer.len() > self.most_bytes {
                return Err(LineError::TooLong { most_bytes: self.most_bytes });
            }
            self.buffer.reserve(4_096);
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// Forgets what was read of a line that is too long; the next one begins wherever that leaves off.
    pub fn skip_line(&mut self) {
        self.buffer = BytesMut::new();
        self.searched = 0;
    }

    fn take_line(&mut self) -> Option<Bytes> {
        let Some(at) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') else {
            self.searched = self.buffer.len();
            return None;
        };
        let mut line = self.buffer.split_to(self.searched + at + 1);
        self.searched = 0;
        if line.len() > KEPT_BUFFER_BYTES {
            // The buffer would keep the memory of its longest line for as long as the agent lives.
            self.buffer = BytesMut::from(&self.buffer[..]);
        }
        line.truncate(line.len() - 1);
        if line.last() == Some(&b'\r') {
            line.truncate(line.len() - 1);
        }
        Some(line.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shutdown::Tasks;

    async fn all(stream: &[u8], most_bytes: usize) -> Result<Vec<Bytes>, LineError> {
        let mut lines = Lines::new(stream, most_bytes);
        let mut read = Vec::new();
        while let Some(line) = lines.next().await? {
            read.push(line);
        }
        Ok(read)
    }

    #[tokio::test]
    async fn lines_end_with_lf_or_crlf_and_an_unfinished_one_is_dropped() {
        assert_eq!(all(b"one\ntwo\r\n\nrest", 10).await.unwrap(), ["one", "two", ""]);
    }

    #[tokio::test]
    async fn the_memory_of_a_long_line_is_not_kept() {
        let mut stream = vec![b'x'; 8 << 20];
        stream.extend_from_slice(b"\nshort\nshort\n");
        let mut lines = Lines::new(stream.as_slice(), 16 << 20);
        assert_eq!(lines.next().await.unwrap().unwrap().len(), 8 << 20);
        assert_eq!(lines.next().await.unwrap().unwrap(), "short");
        lines.buffer.reserve(1);
        assert!(lines.buffer.capacity() < 1 << 20, "{}", lines.buffer.capacity());
    }

    #[tokio::test]
    async fn a_line_of_exactly_the_bound_passes_and_one_byte_more_does_not() {
        assert_eq!(all(b"12345\n", 5).await.unwrap(), ["12345"]);
        assert!(matches!(all(b"123456\n", 5).await, Err(LineError::TooLong { most_bytes: 5 })));
        assert!(matches!(all(&[b'x'; 100_000], 5).await, Err(LineError::TooLong { .. })));
    }

    #[tokio::test]
    async fn a_flood_of_lines_gives_others_their_turn() {
        let flood = b"\n".repeat(1_000);
        let others = Tasks::default();
        others.spawn(async {});
        assert_eq!(all(&flood, 10).await.unwrap().len(), 1_000);
        assert_eq!(others.count(), 0);
    }
}
