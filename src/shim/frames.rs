//! Frames put together again from however the bytes come. Pure, and without memory of its own beyond a header.

use super::wire::{BadFrame, HEADER_BYTES, Header};

/// A part of a frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// It begins.
    Begin(Header),
    /// A piece of its payload.
    Piece(&'a [u8]),
    /// It is complete.
    End,
}

/// Where in a frame a stream is.
#[derive(Debug, Default)]
pub(super) struct Frames {
    head: [u8; HEADER_BYTES],
    filled: usize,
    /// Bytes of payload still to come, once the header is complete.
    left: Option<u32>,
}

impl Frames {
    /// The next part, taken off the front of `bytes`; nothing if they don't make one. To be called until it gives nothing.
    ///
    /// # Errors
    /// [`BadFrame`], after which the stream is of no use.
    pub(super) fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> Result<Option<Part<'a>>, BadFrame> {
        match self.left {
            Some(0) => {
                (self.left, self.filled) = (None, 0);
                Ok(Some(Part::End))
            }
            Some(left) => {
                let piece = take(bytes, usize::try_from(left).unwrap_or(usize::MAX));
                self.left = Some(left - u32::try_from(piece.len()).unwrap_or(left));
                Ok((!piece.is_empty()).then_some(Part::Piece(piece)))
            }
            None => {
                let piece = take(bytes, HEADER_BYTES - self.filled);
                self.head[self.filled..self.filled + piece.len()].copy_from_slice(piece);
                self.filled += piece.len();
                if self.filled < HEADER_BYTES {
                    return Ok(None);
                }
                let header = Header::read(&self.head)?;
                self.left = Some(header.length);
                Ok(Some(Part::Begin(header)))
            }
        }
    }
}

fn take<'a>(bytes: &mut &'a [u8], most: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(most.min(bytes.len()));
    *bytes = rest;
    taken
}

#[cfg(test)]
mod tests {
    use super::super::wire::{Kind, frame};
    use super::*;
    use proptest::prelude::*;

    /// The complete frames in `stream`, when it comes in pieces of these lengths, over and over.
    fn complete(stream: &[u8], lengths: &[usize]) -> Vec<(u64, Vec<u8>)> {
        let (mut frames, mut complete, mut number, mut payload) = (Frames::default(), Vec::new(), 0, Vec::new());
        let (mut rest, mut lengths) = (stream, lengths.iter().cycle());
        while !rest.is_empty() {
            let mut bytes = take(&mut rest, *lengths.next().unwrap());
            while let Some(part) = frames.next(&mut bytes).unwrap() {
                match part {
                    Part::Begin(header) => number = header.number,
                    Part::Piece(piece) => payload.extend_from_slice(piece),
                    Part::End => complete.push((number, std::mem::take(&mut payload))),
                }
            }
        }
        complete
    }

    proptest! {
        #[test]
        fn frames_are_the_same_however_they_are_cut(
            sent in prop::collection::vec((any::<u64>(), prop::collection::vec(any::<u8>(), 0..40)), 0..6),
            lengths in prop::collection::vec(1..50_usize, 1..6),
        ) {
            let stream: Vec<u8> = sent.iter().flat_map(|(number, payload)| frame(Kind::Deliver, *number, payload)).collect();
            prop_assert_eq!(complete(&stream, &lengths), sent);
        }
    }

    #[test]
    fn a_frame_without_its_last_byte_is_not_complete() {
        let stream = frame(Kind::Deliver, 1, b"line\n");
        assert_eq!(complete(&stream[..stream.len() - 1], &[3]), []);
        assert_eq!(complete(&stream, &[3]).len(), 1);
    }
}
