//! Server-sent events (WHATWG HTML, section 9.2), as far as a Frontdesk writes them.

use std::time::Duration;

use bytes::BytesMut;
use http_body_util::BodyExt;

use crate::http_client::{AnswerBody, FetchError};

/// A server that is there says so every 15 seconds; one that has been silent for so long is gone.
const SILENCE: Duration = Duration::from_secs(45);
const MOST_BYTES_OF_A_FRAME: usize = 256 << 20;

/// A stream that is being read.
pub(super) struct Sse {
    body: AnswerBody,
    frames: Frames,
}

impl Sse {
    pub(super) fn new(body: AnswerBody) -> Self {
        Self { body, frames: Frames::default() }
    }

    /// The next event; none at the stream's proper end. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Result<Option<Frame>, FetchError> {
        loop {
            if let Some(frame) = self.frames.next() {
                return Ok(Some(frame));
            }
            let piece = tokio::time::timeout(SILENCE, self.body.frame()).await;
            let Some(piece) = piece.map_err(|_| FetchError::Timeout { after: SILENCE })? else { return Ok(None) };
            if let Ok(data) = piece.map_err(|error| FetchError::Transport(error.into()))?.into_data() {
                self.frames.add(&data)?;
            }
        }
    }
}

/// One event.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) id: Option<u64>,
    pub(super) name: String,
    pub(super) data: Vec<u8>,
}

/// Events out of the bytes that have come.
#[derive(Debug, Default)]
struct Frames {
    bytes: BytesMut,
    /// How many of them have no line's end in them.
    seen: usize,
    open: Frame,
}

impl Frames {
    fn add(&mut self, bytes: &[u8]) -> Result<(), FetchError> {
        if self.open.data.len() + self.bytes.len() + bytes.len() > MOST_BYTES_OF_A_FRAME {
            return Err(FetchError::TooLarge { limit: MOST_BYTES_OF_A_FRAME });
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn next(&mut self) -> Option<Frame> {
        while let Some(end) = self.bytes[self.seen..].iter().position(|byte| *byte == b'\n') {
            let line = self.bytes.split_to(self.seen + end + 1);
            self.seen = 0;
            let line = line.strip_suffix(b"\n").unwrap_or(&line);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if !line.is_empty() {
                self.open.field(line);
            } else if !self.open.data.is_empty() {
                return Some(std::mem::take(&mut self.open));
            }
        }
        self.seen = self.bytes.len();
        None
    }
}

impl Frame {
    fn field(&mut self, line: &[u8]) {
        let (name, value) = match line.iter().position(|byte| *byte == b':') {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &b""[..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"id" => self.id = std::str::from_utf8(value).ok().and_then(|id| id.parse().ok()),
            b"event" => self.name = String::from_utf8_lossy(value).into_owned(),
            b"data" => {
                if !self.data.is_empty() {
                    self.data.push(b'\n');
                }
                self.data.extend_from_slice(value);
            }
            // A comment, or a field that is not known.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] = b": alive\n\nid: 7\nevent: log\ndata: {\"a\":1}\n\nevent: gap\r\ndata:1\r\ndata: 2\r\n\r\n";

    fn frames(pieces: &[&[u8]]) -> Vec<Frame> {
        let mut frames = Frames::default();
        let mut read = Vec::new();
        for piece in pieces {
            frames.add(piece).unwrap();
            while let Some(frame) = frames.next() {
                read.push(frame);
            }
        }
        read
    }

    #[test]
    fn events_are_the_same_however_their_bytes_come() {
        let expected = vec![
            Frame { id: Some(7), name: "log".into(), data: b"{\"a\":1}".to_vec() },
            Frame { id: None, name: "gap".into(), data: b"1\n2".to_vec() },
        ];
        assert_eq!(frames(&[STREAM]), expected);
        for at in 0..STREAM.len() {
            assert_eq!(frames(&[&STREAM[..at], &STREAM[at..]]), expected, "{at}");
        }
        let bytes: Vec<&[u8]> = STREAM.chunks(1).collect();
        assert_eq!(frames(&bytes), expected);
    }

    #[test]
    fn half_an_event_is_none() {
        assert_eq!(frames(&[b"id: 7\nevent: log\ndata: 1\n"]), []);
    }
}
