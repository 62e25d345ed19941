//! The server's end of the connection to one shim: what is heard from it, and the task that writes to it.

use std::io;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, mpsc};

use crate::shim::wire::{End, HEADER_BYTES, Header, Kind, Usage, Welcome, frame};

use super::queued_line::QueuedLine;

/// No shim sends a longer payload: see [`crate::shim::wire::LARGEST_OUTPUT_BYTES`].
const LARGEST_PAYLOAD_BYTES: u32 = 1 << 20;
/// What a reader keeps room for between two frames.
const ROOM_BYTES: usize = 2 << 10;
/// Memory that a reader may keep between two frames.
const KEPT_BUFFER_BYTES: usize = 8 << 10;

/// What a shim says.
#[derive(Debug)]
pub(super) enum Heard {
    /// It is there, and so is its agent.
    Welcome(Welcome),
    /// The next piece of the agent's stdout.
    Output(Bytes),
    /// The line that was delivered last is with the agent.
    Taken,
    /// The line of this call could not be kept until it was complete: why, in words. The agent does not get it.
    Refused { call: u64, why: String },
    /// The agent has closed its stdout.
    Closed,
    /// Nothing of the agent is left.
    Ended(End),
    /// What the agent takes.
    Usage(Usage),
}

/// What the server says besides lines for the agent.
#[derive(Debug)]
pub(super) enum Control {
    /// The first so many bytes of stdout are done with.
    Acknowledge(u64),
    /// End the agent within so many microseconds.
    Stop(u64),
}

/// What is queued for the shim.
#[derive(Debug)]
pub(super) struct Queues {
    /// Goes before everything else. Short: a reader queues few, and nothing more once the shim says nothing more.
    pub(super) control: mpsc::UnboundedReceiver<Control>,
    /// Lines for the agent's log.
    pub(super) notes: mpsc::Receiver<Box<str>>,
    /// Lines for the agent. One at a time is on its way: the others can still be taken back.
    pub(super) lines: mpsc::Receiver<QueuedLine>,
    /// Says that the one on its way has come.
    pub(super) taken: Arc<Notify>,
}

/// The half that listens.
#[derive(Debug)]
pub(super) struct Ear {
    stream: OwnedReadHalf,
    buffer: BytesMut,
}

/// The half that speaks.
#[derive(Debug)]
pub(super) struct Mouth {
    stream: OwnedWriteHalf,
}

/// Splits a connection.
pub(super) fn split(stream: UnixStream) -> (Ear, Mouth) {
    let (read, write) = stream.into_split();
    (Ear { stream: read, buffer: BytesMut::new() }, Mouth { stream: write })
}

impl Ear {
    /// What comes next; `None` once the shim is gone. Cancel-safe: what was read stays in the buffer.
    ///
    /// # Errors
    /// What the socket said, or that the shim makes no sense.
    pub(super) async fn next(&mut self) -> io::Result<Option<Heard>> {
        loop {
            if let Some(heard) = self.take()? {
                return Ok(Some(heard));
            }
            if self.buffer.is_empty() {
                // An agent that is silent has no buffer.
                self.buffer = BytesMut::new();
                self.stream.readable().await?;
            }
            self.buffer.reserve(ROOM_BYTES);
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// The next frame that is completely read and is known.
    fn take(&mut self) -> io::Result<Option<Heard>> {
        while let Some(header) = self.buffer.first_chunk::<HEADER_BYTES>() {
            let header = Header::read(header).map_err(io::Error::other)?;
            if header.length > LARGEST_PAYLOAD_BYTES {
                return Err(io::Error::other("a frame is longer than any that a shim sends"));
            }
            let length = header.length as usize;
            if self.buffer.len() < HEADER_BYTES + length {
                self.buffer.reserve(HEADER_BYTES + length - self.buffer.len());
                return Ok(None);
            }
            self.buffer.advance(HEADER_BYTES);
            let payload = self.buffer.split_to(length).freeze();
            if length > KEPT_BUFFER_BYTES {
                // The buffer would keep the memory of its longest frame for as long as the agent lives.
                self.buffer = BytesMut::from(&self.buffer[..]);
            }
            if let Some(heard) = read(header, payload)? {
                return Ok(Some(heard));
            }
        }
        Ok(None)
    }
}

fn read(header: Header, payload: Bytes) -> io::Result<Option<Heard>> {
    Ok(Some(match header.kind {
        Kind::Welcome => Heard::Welcome(serde_json::from_slice(&payload)?),
        Kind::Output => Heard::Output(payload),
        Kind::Taken => Heard::Taken,
        Kind::Refused => Heard::Refused { call: header.number, why: String::from_utf8_lossy(&payload).into_owned() },
        Kind::Closed => Heard::Closed,
        Kind::Ended => Heard::Ended(serde_json::from_slice(&payload)?),
        Kind::Usage => Heard::Usage(serde_json::from_slice(&payload)?),
        Kind::Hello | Kind::Deliver | Kind::Acknowledge | Kind::Stop | Kind::Note | Kind::Unknown => {
            return Ok(None);
        }
    }))
}

impl Mouth {
    /// Shows the secret, first on a connection that this side has made.
    pub(super) async fn hello(&mut self, epoch: u64, secret: &[u8; 32]) -> io::Result<()> {
        self.stream.write_all(&frame(Kind::Hello, epoch, secret)).await
    }

    /// Writes what is queued, until nobody is left to queue anything or the shim is gone.
    pub(super) async fn speak(mut self, mut queues: Queues) {
        let (mut is_free, mut has_lines, mut next) = (true, true, None::<QueuedLine>);
        loop {
            let written = tokio::select! {
                biased;
                order = queues.control.recv() => match order {
                    Some(order) => self.order(&order).await,
                    None => return,
                },
                Some(text) = queues.notes.recv() => self.stream.write_all(&frame(Kind::Note, 0, text.as_bytes())).await,
                () = queues.taken.notified(), if !is_free => {
                    is_free = true;
                    Ok(())
                }
                text = text(next.as_ref()), if is_free && next.is_some() => match (next.take(), text) {
                    (Some(line), Some(text)) => {
                        is_free = false;
                        self.deliver(line.number(), text).await
                    }
                    // Its caller has gone.
                    _ => Ok(()),
                },
                line = queues.lines.recv(), if next.is_none() && has_lines => {
                    has_lines = line.is_some();
                    next = line;
                    Ok(())
                }
            };
            if written.is_err() {
                // Whoever listens learns it, too.
                return;
            }
        }
    }

    /// Writes one order, for who has nothing to queue.
    pub(super) async fn order(&mut self, order: &Control) -> io::Result<()> {
        let bytes = match order {
            Control::Acknowledge(position) => frame(Kind::Acknowledge, *position, b""),
            Control::Stop(micros) => frame(Kind::Stop, *micros, b""),
        };
        self.stream.write_all(&bytes).await
    }

    async fn deliver(&mut self, number: u64, text: Bytes) -> io::Result<()> {
        let header = Header::new(Kind::Deliver, number, &text).to_bytes();
        self.stream.write_all_buf(&mut Bytes::from_owner(header).chain(text)).await
    }
}

/// The text of a line, once it is there. Cancel-safe.
async fn text(line: Option<&QueuedLine>) -> Option<Bytes> {
    match line {
        Some(line) => line.text().await,
        None => std::future::pending().await,
    }
}
