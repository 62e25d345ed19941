//! A line on its way from a server to the agent: a short one in memory, a long one in a file that nobody else sees.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};

use super::place::Place;

/// The longest line that is kept in memory.
const LARGEST_IN_MEMORY_BYTES: u32 = 64 << 10;
/// Bytes of a long line that are copied at once.
const PIECE_BYTES: usize = 16 << 10;

/// A line, whole or still coming.
#[derive(Debug)]
pub(super) struct Line {
    content: Content,
    length: u64,
    written: u64,
}

#[derive(Debug)]
enum Content {
    Memory(Vec<u8>),
    File(File),
}

impl Line {
    /// A line of which nothing has come yet, and so many bytes will.
    ///
    /// # Errors
    /// What the file system said.
    pub(super) fn of_length(length: u32, place: &Place) -> io::Result<Self> {
        let content = if length <= LARGEST_IN_MEMORY_BYTES {
            Content::Memory(Vec::with_capacity(usize::try_from(length).unwrap_or(0)))
        } else {
            let path = place.root().join("line");
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(&path)?;
            std::fs::remove_file(path)?;
            Content::File(file)
        };
        Ok(Self { content, length: 0, written: 0 })
    }

    /// A whole line.
    pub(super) fn of_text(text: &str) -> Self {
        Self { content: Content::Memory(text.into()), length: text.len() as u64, written: 0 }
    }

    /// Whether its reader was given any of it.
    pub(super) fn has_begun(&self) -> bool {
        self.written > 0
    }

    /// Adds what has come.
    ///
    /// # Errors
    /// What the file system said.
    pub(super) fn push(&mut self, piece: &[u8]) -> io::Result<()> {
        match &mut self.content {
            Content::Memory(memory) => memory.extend_from_slice(piece),
            Content::File(file) => file.write_all_at(piece, self.length)?,
        }
        self.length += piece.len() as u64;
        Ok(())
    }

    /// Writes the rest.
    ///
    /// # Errors
    /// What `to` or the file system said. After [`io::ErrorKind::WouldBlock`] it goes on where it was.
    pub(super) fn write_to(&mut self, to: &mut impl Write) -> io::Result<()> {
        while self.written < self.length {
            let count = match &self.content {
                Content::Memory(memory) => to.write(&memory[usize::try_from(self.written).unwrap_or(usize::MAX)..])?,
                Content::File(file) => {
                    let mut piece = [0; PIECE_BYTES];
                    let count = file.read_at(&mut piece, self.written)?;
                    to.write(&piece[..count])?
                }
            };
            if count == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.written += count as u64;
        }
        Ok(())
    }
}
