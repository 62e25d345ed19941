//! What server and shim say to each other: frames over a Unix stream socket. Pure.
//!
//! A frame is a header of sixteen bytes and a payload:
//!
//! ```text
//! kind u8 | version u8 | zero u16 | length u32 | number u64 | payload, `length` bytes      little-endian
//! ```
//!
//! Both sides may be of different versions of the binary: an agent outlives upgrades. A kind that a reader does not
//! know is skipped; a version that it does not know ends the connection. Structured payloads are JSON, whose unknown
//! fields are ignored.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Bytes of a frame before its payload.
pub const HEADER_BYTES: usize = 16;
/// The most bytes of payload that a frame to the shim may have, lines aside.
pub const LARGEST_ORDER_BYTES: u32 = 4 << 10;
/// The most bytes of payload that a shim puts into one frame.
pub const LARGEST_OUTPUT_BYTES: usize = 64 << 10;
/// The version of these frames.
pub const VERSION: u8 = 1;

/// The beginning of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What it says.
    pub kind: Kind,
    /// Bytes of payload that follow.
    pub length: u32,
    /// What the number means depends on the kind.
    pub number: u64,
}

/// What a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// To the shim, first on a connection that was accepted: the number is the epoch, the payload the session's secret.
    Hello,
    /// To the shim: the payload is one line for the agent, with its end. The number is that of the call, which rises
    /// from 1; a call whose number is not above all before is dropped. Zero is a notification. The next one may be
    /// sent after [`Kind::Taken`] or [`Kind::Refused`].
    Deliver,
    /// To the shim: the server has stored the effects of the first so many bytes of the agent's stdout. After
    /// [`Kind::Ended`], an acknowledgement of [`u64::MAX`] lets the shim go; before, it means nothing.
    Acknowledge,
    /// To the shim: end the agent, at the latest in so many microseconds. A later order can only make it sooner.
    Stop,
    /// To the shim: the payload is a line for the agent's log, without its end.
    Note,
    /// From the shim, first on a connection: the number is the epoch, the payload a [`Welcome`]. If no agent could be
    /// started, [`Kind::Ended`] comes instead.
    Welcome,
    /// From the shim: a piece of the agent's stdout. The number says how many bytes of it came before.
    Output,
    /// From the shim: the line is with the agent, or its call was dropped, or the agent does not read any more. The number
    /// is the call's. Told only on the connection that the line came on.
    Taken,
    /// From the shim: the agent has closed its stdout after so many bytes.
    Closed,
    /// From the shim: nothing of the agent is left, after so many bytes of stdout. The payload is an [`End`].
    Ended,
    /// From the shim, after [`Kind::Welcome`] and then every few seconds if it has changed: the payload is a [`Usage`].
    Usage,
    /// From the shim, instead of [`Kind::Taken`]: the line was dropped, since it could not be kept until it was complete.
    /// The agent gets nothing of it. The number is the call's, which may be delivered again; the payload says why in
    /// words.
    Refused,
    /// Something that a later version says.
    Unknown,
}

/// A frame that makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFrame {
    /// The other side speaks another version.
    #[error("it speaks version {0} of the frames, and this is version {VERSION}")]
    Version(u8),
}

const KINDS: [(Kind, u8); 12] = [
    (Kind::Hello, 1),
    (Kind::Deliver, 2),
    (Kind::Acknowledge, 3),
    (Kind::Stop, 4),
    (Kind::Note, 5),
    (Kind::Welcome, 64),
    (Kind::Output, 65),
    (Kind::Taken, 66),
    (Kind::Closed, 67),
    (Kind::Ended, 68),
    (Kind::Usage, 69),
    (Kind::Refused, 70),
];

impl Header {
    /// The header of a frame with this payload.
    pub fn new(kind: Kind, number: u64, payload: &[u8]) -> Self {
        // A payload is a line or a piece of one, and both are bounded far below.
        Self { kind, length: u32::try_from(payload.len()).unwrap_or(u32::MAX), number }
    }

    /// Writes it.
    pub fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0] = KINDS.iter().find(|(kind, _)| *kind == self.kind).map_or(0, |(_, code)| *code);
        bytes[1] = VERSION;
        bytes[4..8].copy_from_slice(&self.length.to_le_bytes());
        bytes[8..].copy_from_slice(&self.number.to_le_bytes());
        bytes
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`BadFrame`] if the other side speaks another version.
    pub fn read(bytes: &[u8; HEADER_BYTES]) -> Result<Self, BadFrame> {
        let [code, version, _, _, length @ .., n0, n1, n2, n3, n4, n5, n6, n7] = *bytes;
        if version != VERSION {
            return Err(BadFrame::Version(version));
        }
        let kind = KINDS.iter().find(|(_, known)| *known == code).map_or(Kind::Unknown, |(kind, _)| *kind);
        let number = u64::from_le_bytes([n0, n1, n2, n3, n4, n5, n6, n7]);
        Ok(Self { kind, length: u32::from_le_bytes(length), number })
    }
}

/// A whole frame as bytes.
pub fn frame(kind: Kind, number: u64, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + payload.len());
    bytes.extend_from_slice(&Header::new(kind, number, payload).to_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// What a shim says of itself and its agent to a server that has just connected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The agent's process.
    pub pid: u32,
    /// The highest number of a call that the agent has, or will get whatever happens to the server.
    pub last_call: u64,
    /// Bytes of the agent's stdout that are acknowledged. [`Kind::Output`] begins there.
    pub acknowledged: u64,
    /// Which limits are watched, and by what, in words: `memory 512 MiB (cgroup), 1024 open files`. Empty if there are
    /// none.
    #[serde(default)]
    pub limits: String,
}

/// How an agent ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// What became of its process.
    pub how: How,
    /// Why the shim ended it, in words, if it did so by itself: `over its memory limit of 512 MiB`. Nothing if it was
    /// told to, or if the agent ended of its own accord.
    #[serde(default)]
    pub because: Option<String>,
    /// The highest number of a call of which the agent's stdin took at least one byte. The agent was given none of the
    /// calls above. Nothing if a shim of an older version says it.
    #[serde(default)]
    pub last_begun: Option<u64>,
}

/// What became of an agent's process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// It was never started: why, in words.
    NotStarted(String),
    /// It exited with this status.
    Exited(i32),
    /// It was killed by this signal.
    Signaled(i32),
}

/// What an agent's whole tree takes at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Bytes of memory.
    pub memory: u64,
    /// CPU time since the start, its ended processes included.
    pub cpu: Duration,
    /// Processes.
    pub processes: u32,
    /// Bytes of its own directory, if that has a quota.
    #[serde(default)]
    pub own_directory: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_kind_of_a_later_version_is_unknown_and_another_version_of_the_frames_is_refused() {
        let mut bytes = Header::new(Kind::Stop, 7, b"").to_bytes();
        bytes[0] = 200;
        assert_eq!(Header::read(&bytes).unwrap().kind, Kind::Unknown);
        bytes[1] = 9;
        assert_eq!(Header::read(&bytes), Err(BadFrame::Version(9)));
    }

    // A shim outlives upgrades, so the next server has to understand what this one's shims say: what stands here changes
    // only together with VERSION, and VERSION only together with a server that still speaks the older one. New kinds may
    // be added.
    #[test]
    fn the_first_version_of_the_frames_is_what_it_always_was() {
        let stop = frame(Kind::Stop, 0x0807_0605_0403_0201, b"abc");
        assert_eq!(stop, *b"\x04\x01\0\0\x03\0\0\0\x01\x02\x03\x04\x05\x06\x07\x08abc");
        let codes = [
            (Kind::Hello, 1),
            (Kind::Deliver, 2),
            (Kind::Acknowledge, 3),
            (Kind::Stop, 4),
            (Kind::Note, 5),
            (Kind::Welcome, 64),
            (Kind::Output, 65),
            (Kind::Taken, 66),
            (Kind::Closed, 67),
            (Kind::Ended, 68),
            (Kind::Usage, 69),
            (Kind::Refused, 70),
        ];
        for (kind, code) in codes {
            assert_eq!(Header::new(kind, 0, b"").to_bytes()[..2], [code, 1], "{kind:?}");
        }
        assert_eq!(codes.len(), KINDS.len());
    }

    proptest! {
        #[test]
        fn a_header_is_read_as_it_was_written(at in 0..KINDS.len(), length: u32, number: u64) {
            let header = Header { kind: KINDS[at].0, length, number };
            prop_assert_eq!(Header::read(&header.to_bytes()), Ok(header));
        }
    }
}
