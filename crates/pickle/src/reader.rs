//! Reads the raw arguments of opcodes: bytes, little-endian numbers, counted pieces and lines.
//!
//! Every length is compared with what is left of the input before anything is made of it.

use super::PickleError;
use super::arena::Span;

/// A position in the pickle.
#[derive(Debug)]
pub(crate) struct Reader<'p> {
    input: &'p [u8],
    at: usize,
}

impl<'p> Reader<'p> {
    pub(crate) fn new(input: &'p [u8]) -> Self {
        Self { input, at: 0 }
    }

    /// The number of bytes read so far.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    pub(crate) fn left(&self) -> usize {
        self.input.len() - self.at
    }

    /// A piece of declared length.
    pub(crate) fn take(&mut self, len: u64) -> Result<&'p [u8], PickleError> {
        let len = usize::try_from(len).map_err(|_| PickleError::Truncated)?;
        let rest = &self.input[self.at..];
        let piece = rest.get(..len).ok_or(PickleError::Truncated)?;
        self.at += len;
        Ok(piece)
    }

    /// As [`Reader::take`], but says where the piece lies.
    pub(crate) fn span(&mut self, len: u64) -> Result<Span, PickleError> {
        let start = self.at;
        let piece = self.take(len)?;
        Span::new(start, piece.len())
    }

    /// A line without the newline that ends it.
    pub(crate) fn line(&mut self) -> Result<&'p [u8], PickleError> {
        let rest = &self.input[self.at..];
        let len = rest.iter().position(|&byte| byte == b'\n').ok_or(PickleError::Truncated)?;
        self.at += len + 1;
        Ok(&rest[..len])
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], PickleError> {
        let rest = &self.input[self.at..];
        let bytes = rest.first_chunk::<N>().ok_or(PickleError::Truncated)?;
        self.at += N;
        Ok(*bytes)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, PickleError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, PickleError> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, PickleError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn i32(&mut self) -> Result<i32, PickleError> {
        self.array().map(i32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, PickleError> {
        self.array().map(u64::from_le_bytes)
    }

    /// A length of four bytes that the format declares as signed.
    pub(crate) fn signed_len(&mut self) -> Result<u64, PickleError> {
        let at = self.at;
        let what = "a length is negative";
        u64::try_from(self.i32()?).map_err(|_| PickleError::Malformed { what, at })
    }
}
