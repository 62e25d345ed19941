//! Lines out of pieces of a stream, each bounded: an agent that sends no end of one costs its bound and no more. Pure.

use bytes::{Buf, Bytes, BytesMut};

/// Puts pieces together and hands out lines of at most so many bytes.
#[derive(Debug)]
pub struct Lines {
    /// The beginning of a line whose end has not come.
    begun: BytesMut,
    /// What has come after that.
    fresh: Bytes,
    most_bytes: usize,
    position: u64,
}

/// A line goes on beyond the bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a line is longer than {most_bytes} bytes")]
pub struct TooLong {
    /// The bound.
    pub most_bytes: usize,
}

impl Lines {
    /// Lines of at most `most_bytes`, out of a stream of which `position` bytes came before.
    pub fn new(most_bytes: usize, position: u64) -> Self {
        Self { begun: BytesMut::new(), fresh: Bytes::new(), most_bytes, position }
    }

    /// Adds the next piece of the stream. What the piece before held must have been taken out.
    pub fn push(&mut self, piece: Bytes) {
        self.fresh = piece;
    }

    /// Where in the stream the last line ended that was handed out, its end included.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Passes over the empty lines that come next. They say nothing, and one by one they would cost as much as others.
    pub fn skip_empty(&mut self) {
        if !self.begun.is_empty() {
            return;
        }
        let mut length = 0;
        loop {
            match &self.fresh[length..] {
                [b'\n', ..] => length += 1,
                [b'\r', b'\n', ..] => length += 2,
                _ => break,
            }
        }
        self.fresh.advance(length);
        self.position += length as u64;
    }

    /// The next line without its end, LF or CR LF; `None` until another piece has come.
    ///
    /// # Errors
    /// [`TooLong`], after which the stream is of no use.
    pub fn next_line(&mut self) -> Result<Option<Bytes>, TooLong> {
        let Some(at) = self.fresh.iter().position(|byte| *byte == b'\n') else {
            self.begun.extend_from_slice(&std::mem::take(&mut self.fresh));
            return if self.begun.len() > self.most_bytes { Err(self.too_long()) } else { Ok(None) };
        };
        let mut line = self.fresh.split_to(at + 1);
        if !self.begun.is_empty() {
            // Taken whole: the buffer would keep the memory of its longest line for as long as the agent lives.
            let mut whole = std::mem::take(&mut self.begun);
            whole.extend_from_slice(&line);
            line = whole.freeze();
        }
        self.position += line.len() as u64;
        line.truncate(line.len() - 1);
        if line.last() == Some(&b'\r') {
            line.truncate(line.len() - 1);
        }
        if line.len() > self.most_bytes { Err(self.too_long()) } else { Ok(Some(line)) }
    }

    /// Takes the unfinished line that the stream ended with, for those streams where it counts. Empty if there is none.
    pub fn take_rest(&mut self) -> Bytes {
        std::mem::take(&mut self.begun).freeze()
    }

    fn too_long(&self) -> TooLong {
        TooLong { most_bytes: self.most_bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(pieces: &[&[u8]], most_bytes: usize) -> Result<(Vec<Bytes>, u64), TooLong> {
        let mut lines = Lines::new(most_bytes, 0);
        let mut read = Vec::new();
        for piece in pieces {
            lines.push(Bytes::copy_from_slice(piece));
            while let Some(line) = lines.next_line()? {
                read.push(line);
            }
        }
        Ok((read, lines.position()))
    }

    #[test]
    fn lines_end_with_lf_or_crlf_and_an_unfinished_one_does_not_count() {
        let (lines, position) = all(&[b"one\ntwo\r\n\nrest"], 10).unwrap();
        assert_eq!((lines, position), (vec!["one".into(), "two".into(), "".into()], 10));
    }

    #[test]
    fn empty_lines_are_passed_over_at_once_and_counted() {
        let mut lines = Lines::new(10, 0);
        lines.push("\n\r\n\n\rx\n\n".into());
        lines.skip_empty();
        assert_eq!(lines.position(), 4);
        assert_eq!(lines.next_line().unwrap().unwrap(), "\rx");
        lines.skip_empty();
        assert_eq!((lines.position(), lines.next_line()), (8, Ok(None)));
        lines.push("begun".into());
        assert_eq!(lines.next_line(), Ok(None));
        lines.push("\n".into());
        lines.skip_empty();
        assert_eq!(lines.next_line().unwrap().unwrap(), "begun");
    }

    #[test]
    fn a_line_of_exactly_the_bound_passes_and_one_byte_more_does_not() {
        assert_eq!(all(&[b"12345\n"], 5).unwrap().0, ["12345"]);
        assert_eq!(all(&[b"123456\n"], 5), Err(TooLong { most_bytes: 5 }));
        assert_eq!(all(&[&[b'x'; 100]], 5), Err(TooLong { most_bytes: 5 }));
    }

    #[test]
    fn the_memory_of_a_long_line_is_not_kept() {
        let mut lines = Lines::new(16 << 20, 0);
        lines.push(vec![b'x'; 8 << 20].into());
        assert_eq!(lines.next_line(), Ok(None));
        lines.push("\nshort\n".into());
        assert_eq!(lines.next_line().unwrap().unwrap().len(), 8 << 20);
        assert_eq!(lines.next_line().unwrap().unwrap(), "short");
        assert_eq!(lines.begun.capacity(), 0);
    }

    proptest! {
        #[test]
        fn however_a_stream_is_cut_its_lines_are_the_same(
            text in "[ab\r\n]{0,40}",
            cuts in prop::collection::vec(0..40_usize, 0..6),
        ) {
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let pieces: Vec<_> = cuts.windows(2).map(|ends| &text.as_bytes()[ends[0]..ends[1]]).collect();
            prop_assert_eq!(all(&pieces, 64), all(&[text.as_bytes()], 64));
        }
    }
}
