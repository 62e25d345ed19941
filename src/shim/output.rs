//! What comes from the agent: its stdout into the spool, its stderr into the log.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use crate::clock::{Timestamp, boot_time};
use crate::failpoint::Failpoint;

use super::line::Line;
use super::log::Log;
use super::rate::Rate;
use super::spool::Spool;

/// Bytes that are read at once, and the most that are held in memory.
const PIECE_BYTES: usize = 64 << 10;
/// How long a disk that refused is left alone.
pub(super) const BETWEEN_TRIES: Duration = Duration::from_millis(500);

/// The reading side of the agent's streams, and where they go.
#[derive(Debug)]
pub(super) struct Output {
    stdout: Option<File>,
    stderr: Option<File>,
    spool: Spool,
    log: Log,
    /// Of both streams together.
    rate: Rate,
    /// Read and not in the spool: only while the disk refuses it.
    unspooled: Vec<u8>,
    retry_at: Option<Timestamp>,
}

impl Output {
    /// Takes the streams, which must not block; so many bytes a second may come through both, if that is limited.
    pub(super) fn new(
        stdout: Option<OwnedFd>,
        stderr: Option<OwnedFd>,
        spool: Spool,
        log: Log,
        bytes_a_second: Option<u64>,
    ) -> Self {
        let (stdout, stderr) = (stdout.map(File::from), stderr.map(File::from));
        let rate = Rate::new(bytes_a_second, boot_time());
        Self { stdout, stderr, spool, log, rate, unspooled: Vec::new(), retry_at: None }
    }

    /// The spool, to be read.
    pub(super) fn spool(&self) -> &Spool {
        &self.spool
    }

    /// Writes a line of the shim's own into the log.
    pub(super) fn note(&mut self, line: &str) {
        self.log.note(line);
    }

    /// Writes a line into the log that the server wants there.
    pub(super) fn write_down(&mut self, mut line: Line) {
        // The log takes everything at once.
        let _ = line.write_to(&mut self.log);
        self.log.append(b"\n");
    }

    /// The descriptor of stdout, unless the agent has to wait for the server or for the disk, or has written too fast.
    pub(super) fn wants_stdout(&self, now: Timestamp) -> Option<BorrowedFd<'_>> {
        let may_read = self.unspooled.is_empty() && self.spool.room() > 0 && self.rate.may_read(now) > 0;
        self.stdout.as_ref().filter(|_| may_read).map(AsFd::as_fd)
    }

    /// The descriptor of stderr, unless the agent has written too fast. It waits for nothing else.
    pub(super) fn wants_stderr(&self, now: Timestamp) -> Option<BorrowedFd<'_>> {
        self.stderr.as_ref().filter(|_| self.rate.may_read(now) > 0).map(AsFd::as_fd)
    }

    /// When an agent that has written too fast may go on.
    pub(super) fn paused_until(&self, now: Timestamp) -> Option<Timestamp> {
        let has_streams = self.stdout.is_some() || self.stderr.is_some();
        (has_streams && self.rate.may_read(now) == 0).then(|| now + self.rate.next(now))
    }

    /// When to try again what the disk has refused.
    pub(super) fn retry_at(&self) -> Option<Timestamp> {
        self.retry_at
    }

    /// Whether stdout has ended and all of it is in the spool.
    pub(super) fn is_closed(&self) -> bool {
        self.stdout.is_none() && self.unspooled.is_empty()
    }

    /// Notes that the server is done with the first `upto` bytes.
    pub(super) fn acknowledge(&mut self, upto: u64) {
        if let Err(error) = self.spool.acknowledge(upto) {
            self.log.note(&format!("the spool's space is not given back before the session's end: {error}"));
        }
    }

    /// Reads stdout once, as far as there is room.
    pub(super) fn read_stdout(&mut self, now: Timestamp) {
        let room = usize::try_from(self.spool.room()).unwrap_or(usize::MAX);
        let most = room.min(PIECE_BYTES).min(self.rate.may_read(now));
        if most > 0 && read(&mut self.stdout, &mut self.unspooled, most) {
            self.rate.took(now, self.unspooled.len());
            self.put_into_spool(now);
        }
    }

    /// Reads stderr once.
    pub(super) fn read_stderr(&mut self, now: Timestamp) {
        let most = PIECE_BYTES.min(self.rate.may_read(now));
        if most > 0 {
            let length = self.take_stderr(most);
            self.rate.took(now, length);
        }
    }

    /// Reads so much of stderr at most, and returns how much has come.
    fn take_stderr(&mut self, most: usize) -> usize {
        let mut piece = Vec::new();
        if read(&mut self.stderr, &mut piece, most) {
            self.log.append(&piece);
        }
        piece.len()
    }

    /// Tries again what the disk refused, if it is time.
    pub(super) fn retry(&mut self, now: Timestamp) {
        if self.retry_at.is_some_and(|at| now >= at) {
            self.put_into_spool(now);
        }
    }

    /// Takes what an ended agent has left in its pipes, to the last byte: that is bounded by the pipes, and nobody writes
    /// any more. Returns whether that was all; if not, the disk refuses some of it.
    pub(super) fn drain(&mut self, now: Timestamp) -> bool {
        while self.take_stderr(PIECE_BYTES) > 0 {}
        self.stderr = None;
        while self.unspooled.is_empty() {
            if !read(&mut self.stdout, &mut self.unspooled, PIECE_BYTES) {
                self.stdout = None;
                return true;
            }
            self.put_into_spool(now);
        }
        false
    }

    fn put_into_spool(&mut self, now: Timestamp) {
        let refused = Failpoint::ShimBeforeSpool.hit().then(|| io::Error::other("refused by a test"));
        match refused.map_or_else(|| self.spool.append(&self.unspooled), Err) {
            Ok(()) => {
                self.unspooled.clear();
                self.retry_at = None;
                Failpoint::ShimAfterSpool.hit();
            }
            Err(error) => {
                if self.retry_at.is_none() {
                    self.log.note(&format!("the agent waits, since the spool can't be written: {error}"));
                }
                self.retry_at = Some(now + BETWEEN_TRIES);
            }
        }
    }
}

/// Reads once from a stream into an empty buffer; returns whether anything came. A stream that has ended is dropped.
fn read(stream: &mut Option<File>, buffer: &mut Vec<u8>, most: usize) -> bool {
    let Some(file) = stream else { return false };
    // Little comes as a rule, and memory that is touched once stays: as much as waits, or a look whether that is the end.
    let waits = rustix::io::ioctl_fionread(&*file).ok().and_then(|bytes| usize::try_from(bytes).ok());
    buffer.resize(waits.unwrap_or(most).clamp(1, most), 0);
    let read = file.read(buffer);
    buffer.truncate(*read.as_ref().unwrap_or(&0));
    match read {
        Ok(count) if count > 0 => true,
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => false,
        Ok(_) | Err(_) => {
            *stream = None;
            false
        }
    }
}
