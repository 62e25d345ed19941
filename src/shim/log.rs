//! The agent's log: what it writes to stderr, in a file of bounded size and the one before. A disk that is full or
//! broken costs lines and never stops the agent. An agent that says nothing has no file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;

use crate::id::Epoch;

use super::place::{LOG_MARK, Place};

/// The open log.
#[derive(Debug)]
pub(super) struct Log {
    place: Place,
    file: Option<File>,
    length: u64,
    most: u64,
    /// What is written before the first line.
    mark: Vec<u8>,
}

impl Log {
    /// Goes on with the log that is there, or begins one with the first line. It is begun anew at `most` bytes, and says
    /// where the log of the agent under `epoch` begins.
    pub(super) fn open(place: &Place, most: u64, epoch: Epoch) -> Self {
        let length = fs::metadata(place.log()).map_or(0, |metadata| metadata.len());
        let file = if length > 0 { open(place).ok() } else { None };
        let mark = format!("{LOG_MARK}{epoch} ---\n").into_bytes();
        let mut log = Self { place: place.clone(), file, length, most, mark };
        if length > 0 {
            // What follows is not the words of the agent before, even if it is nothing.
            log.append(b"");
        }
        log
    }

    /// Writes what the agent said.
    pub(super) fn append(&mut self, bytes: &[u8]) {
        let mark = std::mem::take(&mut self.mark);
        self.write_out(&mark);
        self.write_out(bytes);
    }

    fn write_out(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if self.length > 0 && self.length + bytes.len() as u64 > self.most {
            // If it can't be renamed it is cut short: the bound matters more than old lines.
            let _ = fs::rename(self.place.log(), self.place.older_log());
            self.file = None;
        }
        if self.file.is_none() {
            self.file = open(&self.place).ok();
            if let Some(file) = &self.file {
                let _ = file.set_len(0);
            }
            self.length = 0;
        }
        if let Some(file) = &mut self.file
            && file.write_all(bytes).is_ok()
        {
            self.length += bytes.len() as u64;
        }
    }

    /// Writes a line of the shim's own.
    pub(super) fn note(&mut self, line: &str) {
        self.append(format!("frontdesk: {line}\n").as_bytes());
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.append(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn open(place: &Place) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(place.log())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_begun_anew_when_it_is_full_and_the_one_before_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::new(directory.path());
        let mut log = Log::open(&place, 30, Epoch(1));
        for text in ["first\n", "second\n", "third\n"] {
            log.append(text.as_bytes());
        }
        drop(log);
        Log::open(&place, 30, Epoch(2)).append(b"4\n");
        assert_eq!(fs::read_to_string(place.log()).unwrap(), "third\n--- agent 2 ---\n4\n");
        assert_eq!(fs::read_to_string(place.older_log()).unwrap(), "--- agent 1 ---\nfirst\nsecond\n");
    }

    #[test]
    fn an_agent_that_says_nothing_has_no_log_but_behind_that_of_another() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::new(directory.path());
        drop(Log::open(&place, 100, Epoch(1)));
        assert!(!place.log().exists());
        Log::open(&place, 100, Epoch(1)).append(b"a\n");
        drop(Log::open(&place, 100, Epoch(2)));
        assert_eq!(fs::read_to_string(place.log()).unwrap(), "--- agent 1 ---\na\n--- agent 2 ---\n");
    }

    #[test]
    fn a_log_that_can_not_be_written_loses_lines_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::new(&directory.path().join("missing"));
        let mut log = Log::open(&place, 100, Epoch(1));
        log.append(b"lost\n");
        place.make().unwrap();
        log.append(b"kept\n");
        assert_eq!(fs::read_to_string(place.log()).unwrap(), "kept\n");
    }
}
