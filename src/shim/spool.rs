//! The spool: the agent's stdout in a file, each byte at its own place, until a server has acknowledged it.
//!
//! It is not synced: it has to outlive processes, not the machine. Acknowledged space is given back by holes, so that a
//! place in the file is always a place in the stream, also for whoever reads the spool of a shim that was killed.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::FallocateFlags;

/// Space is given back in pieces of at least this many bytes.
const LEAST_HOLE_BYTES: u64 = 1 << 20;
/// What file systems can give back begins and ends at multiples of this.
const BLOCK_BYTES: u64 = 4 << 10;

/// The bytes of a stream of which some are acknowledged and some of those given back. Pure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Extent {
    end: u64,
    acknowledged: u64,
    punched: u64,
}

impl Extent {
    /// Bytes that may be appended if `bound` may be unacknowledged.
    fn room(self, bound: u64) -> u64 {
        bound.saturating_sub(self.end - self.acknowledged)
    }

    /// Notes that the first `upto` bytes are done with. It never goes back, nor beyond what there is.
    fn acknowledge(&mut self, upto: u64) {
        self.acknowledged = self.acknowledged.max(upto.min(self.end));
    }

    /// Start and length of what can be given back, if that is worth it; it counts as given back from now on. The last
    /// acknowledged byte stays: it is the end of a line, by which a reader finds the beginning of the next.
    fn take_hole(&mut self) -> Option<(u64, u64)> {
        let upto = self.acknowledged.saturating_sub(1) / BLOCK_BYTES * BLOCK_BYTES;
        let hole = (self.punched, upto.saturating_sub(self.punched));
        if hole.1 < LEAST_HOLE_BYTES {
            return None;
        }
        self.punched = upto;
        Some(hole)
    }
}

/// The open spool.
#[derive(Debug)]
pub(super) struct Spool {
    file: File,
    extent: Extent,
    bound: u64,
    can_punch: bool,
}

impl Spool {
    /// Makes an empty one, in place of any before. At most `bound` bytes are meant to wait in it.
    ///
    /// # Errors
    /// What the file system said.
    pub(super) fn create(path: &Path, bound: u64) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(path)?;
        Ok(Self { file, extent: Extent::default(), bound, can_punch: true })
    }

    /// Bytes of the stream so far.
    pub(super) fn end(&self) -> u64 {
        self.extent.end
    }

    /// Bytes that the server has acknowledged.
    pub(super) fn acknowledged(&self) -> u64 {
        self.extent.acknowledged
    }

    /// Bytes that may come before a server has to acknowledge some.
    pub(super) fn room(&self) -> u64 {
        self.extent.room(self.bound)
    }

    /// Puts what comes next in the stream into the file: all of it or, after an error, nothing.
    ///
    /// # Errors
    /// What the file system said.
    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.extent.end)?;
        self.extent.end += bytes.len() as u64;
        Ok(())
    }

    /// Appends to `buffer` at most `most` bytes of the stream from `from` on.
    ///
    /// # Errors
    /// What the file system said.
    pub(super) fn read(&self, from: u64, most: usize, buffer: &mut Vec<u8>) -> io::Result<()> {
        let there = usize::try_from(self.extent.end - from).unwrap_or(usize::MAX);
        let begin = buffer.len();
        buffer.resize(begin + most.min(there), 0);
        self.file.read_exact_at(&mut buffer[begin..], from)
    }

    /// Notes that the server is done with the first `upto` bytes, and gives their space back.
    ///
    /// # Errors
    /// The file system can't give space back; said once.
    pub(super) fn acknowledge(&mut self, upto: u64) -> io::Result<()> {
        self.extent.acknowledge(upto);
        if !self.can_punch {
            return Ok(());
        }
        let Some((from, length)) = self.extent.take_hole() else { return Ok(()) };
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let punched = rustix::fs::fallocate(&self.file, flags, from, length);
        self.can_punch = punched.is_ok();
        Ok(punched?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn an_acknowledgement_never_goes_back_nor_beyond_the_end() {
        let mut extent = Extent { end: 100, ..Extent::default() };
        for (upto, acknowledged) in [(40, 40), (30, 40), (1_000, 100), (u64::MAX, 100)] {
            extent.acknowledge(upto);
            assert_eq!(extent.acknowledged, acknowledged);
        }
    }

    #[test]
    fn room_is_what_may_still_wait() {
        let mut extent = Extent { end: 100, ..Extent::default() };
        assert_eq!((extent.room(250), extent.room(100), extent.room(60)), (150, 0, 0));
        extent.acknowledge(70);
        assert_eq!(extent.room(60), 30);
    }

    #[test]
    fn whole_blocks_are_given_back_when_they_are_worth_it() {
        let mut extent = Extent { end: 10 << 20, ..Extent::default() };
        extent.acknowledge(LEAST_HOLE_BYTES - 1);
        assert_eq!(extent.take_hole(), None);
        extent.acknowledge(LEAST_HOLE_BYTES + 5_000);
        assert_eq!(extent.take_hole(), Some((0, LEAST_HOLE_BYTES + BLOCK_BYTES)));
        assert_eq!(extent.take_hole(), None);
        extent.acknowledge(3 << 20);
        assert_eq!(extent.take_hole(), Some((LEAST_HOLE_BYTES + BLOCK_BYTES, (2 << 20) - 2 * BLOCK_BYTES)));
    }

    #[test]
    fn the_last_acknowledged_byte_is_never_given_back() {
        for (acknowledged, upto) in
            [((2 << 20) - 1, (2 << 20) - BLOCK_BYTES), (2 << 20, (2 << 20) - BLOCK_BYTES), ((2 << 20) + 1, 2 << 20)]
        {
            let mut extent = Extent { end: 2 * acknowledged, ..Extent::default() };
            extent.acknowledge(acknowledged);
            assert_eq!(extent.take_hole(), Some((0, upto)), "{acknowledged} bytes acknowledged");
        }
        assert_eq!(Extent::default().take_hole(), None);
    }

    #[test]
    fn what_is_acknowledged_takes_no_space_and_the_rest_stays_where_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("spool");
        let mut spool = Spool::create(&path, 8 << 20).unwrap();
        let stream: Vec<u8> = (0..4_u32 << 20).map(|at| at.to_le_bytes()[1]).collect();
        spool.append(&stream).unwrap();
        spool.acknowledge(3 << 20).unwrap();

        let mut rest = Vec::new();
        spool.read(3 << 20, usize::MAX, &mut rest).unwrap();
        assert_eq!(rest, stream[3 << 20..]);
        let metadata = path.metadata().unwrap();
        assert_eq!(metadata.len(), 4 << 20);
        assert!(metadata.blocks() * 512 <= (1 << 20) + BLOCK_BYTES, "{} blocks", metadata.blocks());
    }
}
