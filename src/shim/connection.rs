//! The connection to the server: frames in, frames out, neither ever blocking. What goes out is output from where this
//! server left off, and a few short frames; what comes in is handed to the loop as [`Heard`].

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::frames::{Frames, Part};
use super::input::Sender;
use super::line::Line;
use super::place::Place;
use super::spool::Spool;
use super::wire::{Header, Kind, LARGEST_ORDER_BYTES, LARGEST_OUTPUT_BYTES, Usage};

/// Bytes that are read at once.
const READ_BYTES: usize = 16 << 10;
/// The most that may wait for a server that sends without reading.
const MOST_WAITING_BYTES: usize = 512 << 10;
/// Frames of output that are sent before others have their turn.
const OUTPUTS_A_TURN: usize = 8;

/// What a server said.
#[derive(Debug)]
pub(super) enum Heard {
    /// A line for the agent, complete.
    Deliver(u64, Line),
    /// A line for the agent, complete but lost on the way here, and why.
    Lost(u64, io::Error),
    /// So many bytes of output are done with.
    Acknowledge(u64),
    /// The agent has to end within this time.
    Stop(Duration),
    /// A line for the log.
    Note(Line),
}

/// A connection that will be of no more use, and why.
#[derive(Debug, thiserror::Error)]
pub(super) enum Lost {
    #[error("the server closed the connection")]
    Closed,
    #[error("the server broke the rules: {0}")]
    Rules(String),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The connection to one server.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    sender: Sender,
    frames: Frames,
    coming: Option<Coming>,
    waiting: Vec<u8>,
    written: usize,
    /// Bytes of output that were sent, or wait to be written.
    sent: u64,
    has_said: Said,
}

/// What is said once on a connection.
#[derive(Debug, Default)]
struct Said {
    welcome: bool,
    closed: bool,
    ended: bool,
    usage: Option<Usage>,
}

/// A frame that is not yet complete.
#[derive(Debug)]
struct Coming {
    header: Header,
    /// The line that it carries, if it does; or why that can't be kept, after which the rest of it is skipped.
    line: Option<io::Result<Line>>,
}

impl Connection {
    /// Takes a connection whose peer is the server, which has acknowledged so much of the output.
    ///
    /// # Errors
    /// What the system said.
    pub(super) fn new(stream: UnixStream, sender: Sender, acknowledged: u64) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            sender,
            frames: Frames::default(),
            coming: None,
            waiting: Vec::new(),
            written: 0,
            sent: acknowledged,
            has_said: Said::default(),
        })
    }

    /// The connection, as the sender of lines.
    pub(super) fn sender(&self) -> Sender {
        self.sender
    }

    /// The descriptor to be waited for.
    pub(super) fn wants(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Whether there is something to write.
    pub(super) fn has_to_write(&self, spool: &Spool) -> bool {
        !self.waiting.is_empty() || (self.has_said.welcome && self.sent < spool.end())
    }

    /// Reads what has come, once.
    ///
    /// # Errors
    /// [`Lost`]; what was complete before is in `heard`.
    pub(super) fn hear(&mut self, place: &Place, heard: &mut Vec<Heard>) -> Result<(), Lost> {
        let mut buffer = [0; READ_BYTES];
        let count = match self.stream.read(&mut buffer) {
            Ok(0) => return Err(Lost::Closed),
            Ok(count) => count,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let mut bytes = &buffer[..count];
        while let Some(part) = self.frames.next(&mut bytes).map_err(|bad| Lost::Rules(bad.to_string()))? {
            match part {
                Part::Begin(header) => self.coming = Some(begin(header, place)?),
                Part::Piece(piece) => {
                    if let Some(coming) = &mut self.coming {
                        coming.push(piece);
                    }
                }
                Part::End => heard.extend(self.coming.take().and_then(complete)),
            }
        }
        Ok(())
    }

    /// Says a short frame.
    pub(super) fn say(&mut self, kind: Kind, number: u64, payload: &[u8]) {
        self.waiting.extend_from_slice(&Header::new(kind, number, payload).to_bytes());
        self.waiting.extend_from_slice(payload);
    }

    /// Says once what every connection begins with.
    pub(super) fn welcome(&mut self, epoch: u64, payload: impl FnOnce() -> Vec<u8>) {
        if !std::mem::replace(&mut self.has_said.welcome, true) {
            self.say(Kind::Welcome, epoch, &payload());
        }
    }

    /// Says what the agent takes, unless the server knows that already or has other things to read.
    pub(super) fn usage(&mut self, usage: Usage) {
        if !self.has_said.welcome || !self.waiting.is_empty() || self.has_said.usage == Some(usage) {
            return;
        }
        if let Ok(text) = serde_json::to_vec(&usage) {
            self.has_said.usage = Some(usage);
            self.say(Kind::Usage, 0, &text);
        }
    }

    /// Whether all output up to `end` is on its way.
    pub(super) fn is_caught_up(&self, end: u64) -> bool {
        self.sent >= end || !self.has_said.welcome
    }

    /// Says once that no output follows.
    pub(super) fn closed(&mut self, end: u64) {
        if self.has_said.welcome && !std::mem::replace(&mut self.has_said.closed, true) {
            self.say(Kind::Closed, end, &[]);
        }
    }

    /// Says once how the agent ended.
    pub(super) fn ended(&mut self, end: u64, payload: impl FnOnce() -> Vec<u8>) {
        if !std::mem::replace(&mut self.has_said.ended, true) {
            self.say(Kind::Ended, end, &payload());
        }
    }

    /// Writes what waits and then output, as much as the server takes at the moment.
    ///
    /// # Errors
    /// [`Lost`].
    pub(super) fn write(&mut self, spool: &Spool) -> Result<(), Lost> {
        for _ in 0..OUTPUTS_A_TURN {
            if self.waiting.is_empty() && self.has_said.welcome && self.sent < spool.end() {
                self.take_output(spool)?;
            }
            if !self.write_waiting()? {
                break;
            }
        }
        if self.waiting.len() - self.written > MOST_WAITING_BYTES {
            return Err(Lost::Rules("it sends and does not read".into()));
        }
        Ok(())
    }

    fn take_output(&mut self, spool: &Spool) -> io::Result<()> {
        self.sent = self.sent.max(spool.acknowledged());
        let length = LARGEST_OUTPUT_BYTES.min(usize::try_from(spool.end() - self.sent).unwrap_or(usize::MAX));
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        let header = Header { kind: Kind::Output, length, number: self.sent };
        self.waiting.extend_from_slice(&header.to_bytes());
        spool.read(self.sent, LARGEST_OUTPUT_BYTES, &mut self.waiting)?;
        self.sent += u64::from(length);
        Ok(())
    }

    /// Returns whether all of it was written, and was anything at all.
    fn write_waiting(&mut self) -> io::Result<bool> {
        if self.waiting.is_empty() {
            return Ok(false);
        }
        while self.written < self.waiting.len() {
            match self.stream.write(&self.waiting[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.waiting.clear();
        self.written = 0;
        Ok(true)
    }
}

impl Coming {
    fn push(&mut self, piece: &[u8]) {
        if let Some(Ok(line)) = &mut self.line
            && let Err(error) = line.push(piece)
        {
            self.line = Some(Err(error));
        }
    }
}

fn begin(header: Header, place: &Place) -> Result<Coming, Lost> {
    // What a later version says may be of any length.
    if !matches!(header.kind, Kind::Deliver | Kind::Unknown) && header.length > LARGEST_ORDER_BYTES {
        return Err(Lost::Rules(format!("a {:?} of {} bytes", header.kind, header.length)));
    }
    let has_line = matches!(header.kind, Kind::Deliver | Kind::Note);
    Ok(Coming { header, line: has_line.then(|| Line::of_length(header.length, place)) })
}

fn complete(coming: Coming) -> Option<Heard> {
    let number = coming.header.number;
    match coming.header.kind {
        Kind::Deliver => coming.line.map(|line| match line {
            Ok(line) => Heard::Deliver(number, line),
            Err(error) => Heard::Lost(number, error),
        }),
        Kind::Acknowledge => Some(Heard::Acknowledge(number)),
        Kind::Stop => Some(Heard::Stop(Duration::from_micros(number))),
        Kind::Note => coming.line.and_then(Result::ok).map(Heard::Note),
        // These are said by shims, or before a connection is one.
        Kind::Hello
        | Kind::Welcome
        | Kind::Output
        | Kind::Taken
        | Kind::Closed
        | Kind::Ended
        | Kind::Usage
        | Kind::Refused
        | Kind::Unknown => None,
    }
}
