//! The opcodes that push a plain value, and those that say how the pickle is laid out.
//!
//! How numbers and texts are read is in `number` and `text`; what opcodes do with values that are
//! there already is in `decode`.

use super::arena::{Graph, Node, Span};
use super::decode::Machine;
use super::{PickleError, number, text};

impl Machine<'_> {
    /// Runs one of these opcodes, or passes it on to those that import and call.
    pub(crate) fn value(&mut self, opcode: u8) -> Result<(), PickleError> {
        match opcode {
            b'N' => self.push(Graph::NULL),
            0x88 => self.push(Graph::TRUE),
            0x89 => self.push(Graph::FALSE),
            b'I' => self.int_line(),
            b'L' => self.long_line(),
            b'J' => self.reader.i32().and_then(|int| self.push_int(int.into())),
            b'K' => self.reader.u8().and_then(|int| self.push_int(int.into())),
            b'M' => self.reader.u16().and_then(|int| self.push_int(int.into())),
            0x8a => self.reader.u8().and_then(|len| self.long(len.into())),
            0x8b => self.reader.signed_len().and_then(|len| self.long(len)),
            b'F' => self.float_line(),
            b'G' => {
                let float = self.reader.array().map(f64::from_be_bytes)?;
                self.push_new(Node::Float(float))
            }
            b'S' => self.quoted_line(),
            b'V' => self.unicode_line(),
            b'T' => self.reader.signed_len().and_then(|len| self.string(len)),
            b'U' | 0x8c => self.reader.u8().and_then(|len| self.string(len.into())),
            b'X' => self.reader.u32().and_then(|len| self.string(len.into())),
            0x8d => self.reader.u64().and_then(|len| self.string(len)),
            b'C' => self.reader.u8().and_then(|len| self.bytes(len.into())),
            b'B' => self.reader.u32().and_then(|len| self.bytes(len.into())),
            0x8e => self.reader.u64().and_then(|len| self.bytes(len)),
            0x96 => {
                let len = self.reader.u64()?;
                let span = self.reader.span(len)?;
                self.push_new(Node::ByteArray(span))
            }
            0x80 => self.protocol(),
            0x95 => self.frame(),
            _ => self.call(opcode),
        }
    }

    fn push_int(&mut self, int: i64) -> Result<(), PickleError> {
        match u8::try_from(int) {
            Ok(small) => self.push(Graph::small_int(small)),
            Err(_) => self.push_new(Node::Int(int)),
        }
    }

    fn push_number(&mut self, int: number::Int) -> Result<(), PickleError> {
        match int {
            number::Int::Small(int) => self.push_int(int),
            number::Int::Big(digits) => {
                let span = self.text.add(digits.as_bytes())?;
                self.push_new(Node::BigInt(span))
            }
        }
    }

    /// INT, which protocols 0 and 1 also use for booleans.
    fn int_line(&mut self) -> Result<(), PickleError> {
        match self.reader.line()? {
            b"00" => self.push(Graph::FALSE),
            b"01" => self.push(Graph::TRUE),
            line => {
                let int = number::decimal(line).map_err(|error| error.at(self.at))?;
                self.push_number(int)
            }
        }
    }

    fn long_line(&mut self) -> Result<(), PickleError> {
        let line = self.reader.line()?;
        let digits = line.strip_suffix(b"L").unwrap_or(line);
        let int = number::decimal(digits).map_err(|error| error.at(self.at))?;
        self.push_number(int)
    }

    fn long(&mut self, len: u64) -> Result<(), PickleError> {
        let bytes = self.reader.take(len)?;
        let int = number::two_complement(bytes).map_err(|error| error.at(self.at))?;
        self.push_number(int)
    }

    fn float_line(&mut self) -> Result<(), PickleError> {
        let float = number::float(self.reader.line()?);
        let float = float.ok_or_else(|| self.malformed("a float is not a number"))?;
        self.push_new(Node::Float(float))
    }

    fn string(&mut self, len: u64) -> Result<(), PickleError> {
        let span = self.reader.span(len)?;
        self.push_text(span)
    }

    fn quoted_line(&mut self) -> Result<(), PickleError> {
        let bytes = text::unquote(self.reader.line()?);
        let bytes = bytes.ok_or_else(|| self.malformed("a string is not quoted as Python does"))?;
        let span = self.text.add(&bytes)?;
        self.push_text(span)
    }

    fn unicode_line(&mut self) -> Result<(), PickleError> {
        let decoded = text::raw_unicode(self.reader.line()?, self.at)?;
        let span = self.text.add(decoded.as_bytes())?;
        self.push_new(Node::Str(span))
    }

    fn push_text(&mut self, span: Span) -> Result<(), PickleError> {
        text::check_utf8(self.text.get(span))?;
        self.push_new(Node::Str(span))
    }

    fn bytes(&mut self, len: u64) -> Result<(), PickleError> {
        let span = self.reader.span(len)?;
        self.push_new(Node::Bytes(span))
    }

    fn protocol(&mut self) -> Result<(), PickleError> {
        match self.reader.u8()? {
            0..=5 => Ok(()),
            protocol => Err(PickleError::UnknownProtocol { protocol }),
        }
    }

    /// FRAME only announces how much follows (PEP 3154); the opcodes within are read as any other.
    fn frame(&mut self) -> Result<(), PickleError> {
        let len = self.reader.u64()?;
        let fits = usize::try_from(len).is_ok_and(|len| len <= self.reader.left());
        if fits { Ok(()) } else { Err(PickleError::Truncated) }
    }
}
