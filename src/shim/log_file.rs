//! The log of an agent as a reader has it: its end, and then what is added, over the file that is begun anew.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use bytes::Bytes;

use super::place::Place;

/// Bytes of the log's end that are looked at.
const MOST_BYTES: u64 = 1 << 20;
/// Bytes that are read at once.
const PIECE_BYTES: usize = 64 << 10;

/// A log that is read.
#[derive(Debug)]
pub(crate) struct LogFile {
    place: Place,
    /// The file that is read, and how far.
    open: Option<(File, u64)>,
}

impl LogFile {
    /// A log of which nothing is read.
    pub(crate) fn new(place: Place) -> Self {
        Self { place, open: None }
    }

    /// Its last lines; what follows is read by [`LogFile::more`]. What can't be read is not there.
    pub(crate) fn end(&mut self, lines: usize) -> Bytes {
        let mut text = Vec::new();
        if let Ok(older) = File::open(self.place.older_log()) {
            text = last_bytes(&older, MOST_BYTES).unwrap_or_default();
        }
        if let Ok(file) = File::open(self.place.log()) {
            let newer = last_bytes(&file, MOST_BYTES).unwrap_or_default();
            let at = file.metadata().map_or(0, |metadata| metadata.len());
            text.extend(newer);
            self.open = Some((file, at));
        }
        let from = text.len().saturating_sub(usize::try_from(MOST_BYTES).unwrap_or(usize::MAX));
        let from = from + start_of_last(&text[from..], lines);
        Bytes::from(text).slice(from..)
    }

    /// What was added since, a piece of it; empty if nothing was.
    pub(crate) fn more(&mut self) -> Bytes {
        if let Some((file, at)) = &mut self.open
            && let Ok(piece) = piece(file, *at)
            && !piece.is_empty()
        {
            *at += piece.len() as u64;
            return piece;
        }
        if !self.has_begun_anew() {
            return Bytes::new();
        }
        let Ok(file) = File::open(self.place.log()) else { return Bytes::new() };
        let piece = piece(&file, 0).unwrap_or_default();
        self.open = Some((file, piece.len() as u64));
        piece
    }

    /// Whether the log is another file now than the one that is read.
    fn has_begun_anew(&self) -> bool {
        let Ok(now) = std::fs::metadata(self.place.log()) else { return false };
        match self.open.as_ref().map(|(file, _)| file.metadata()) {
            Some(Ok(read)) => (read.dev(), read.ino()) != (now.dev(), now.ino()),
            Some(Err(_)) | None => true,
        }
    }
}

/// The end of a log over the file that was begun anew, `most` bytes and 1 MiB at most. What is cut begins with a line, unless that is
/// longer. Empty if there is no log.
///
/// # Errors
/// What the file system said.
pub(crate) fn end_within(place: &Place, most: u64) -> io::Result<Vec<u8>> {
    let most = most.min(MOST_BYTES);
    // One more tells whether anything is cut, and whether that is a whole line.
    let mut text = end_of(&place.log(), most + 1)?;
    let left = (most + 1).saturating_sub(text.len() as u64);
    if left > 0 {
        text.splice(..0, end_of(&place.older_log(), left)?);
    }
    if text.len() as u64 > most {
        let first_end = text.iter().position(|byte| *byte == b'\n').filter(|end| end + 1 < text.len());
        text.drain(..=first_end.unwrap_or(0));
    }
    Ok(text)
}

/// The last lines of one file, 1 MiB of them at most.
///
/// # Errors
/// What the file system said.
pub(crate) fn last_lines(file: &File, lines: usize) -> io::Result<Bytes> {
    let text = last_bytes(file, MOST_BYTES)?;
    let from = start_of_last(&text, lines);
    Ok(Bytes::from(text).slice(from..))
}

fn end_of(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        file => last_bytes(&file?, most),
    }
}

/// Where the last `lines` lines begin.
fn start_of_last(text: &[u8], lines: usize) -> usize {
    if lines == 0 {
        return text.len();
    }
    // The end of the last line begins none.
    let before_the_end = &text[..text.len().saturating_sub(1)];
    let mut ends = before_the_end.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n');
    ends.nth(lines - 1).map_or(0, |(position, _)| position + 1)
}

fn last_bytes(file: &File, most: u64) -> io::Result<Vec<u8>> {
    let length = file.metadata()?.len();
    let from = length.saturating_sub(most);
    let mut bytes = vec![0; usize::try_from(length - from).unwrap_or(usize::MAX)];
    file.read_exact_at(&mut bytes, from)?;
    Ok(bytes)
}

fn piece(file: &File, at: u64) -> io::Result<Bytes> {
    let mut bytes = vec![0; PIECE_BYTES];
    let length = file.read_at(&mut bytes, at)?;
    bytes.truncate(length);
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_last_lines_are_counted_from_the_end() {
        let text = b"one\ntwo\nthree";
        for (lines, shown) in [(0, ""), (1, "three"), (2, "two\nthree"), (3, "one\ntwo\nthree"), (9, "one\ntwo\nthree")]
        {
            assert_eq!(&text[start_of_last(text, lines)..], shown.as_bytes(), "{lines}");
        }
        assert_eq!(start_of_last(b"one\ntwo\n", 1), 4);
        assert_eq!(start_of_last(b"", 5), 0);
    }

    #[test]
    fn a_reader_sees_every_line_once_over_a_log_that_is_begun_anew() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::new(directory.path());
        let mut log = LogFile::new(place.clone());
        assert_eq!(log.end(10), "");
        fs::write(place.log(), "1\n2\n").unwrap();
        assert_eq!(log.more(), "1\n2\n");
        fs::write(place.log(), "1\n2\n3\n").unwrap();
        fs::rename(place.log(), place.older_log()).unwrap();
        fs::write(place.log(), "4\n").unwrap();
        assert_eq!((log.more(), log.more(), log.more()), ("3\n".into(), "4\n".into(), Bytes::new()));
        let mut other = LogFile::new(place.clone());
        assert_eq!(other.end(2), "3\n4\n");
        assert_eq!(other.more(), "");
    }
}
