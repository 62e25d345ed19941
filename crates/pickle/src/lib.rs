//! Turns a Python pickle into JSON text, reading it *as data only*.
//!
//! A pickle is a program for a small stack machine, and Python's own reader lets that program
//! import and call anything. This one has no way to do so: it knows the plain values (None, bool,
//! int, float, str, bytes, bytearray, list, tuple, dict, set, frozenset) and the five calls which
//! Python itself writes for them, and refuses every other import, call or object. The opcodes are
//! those of `CPython`'s `pickletools.py`, protocols 0 to 5 (PEP 307, PEP 3154, PEP 574).
//!
//! The work has four steps, none of them recursive: `decode` runs the opcodes and builds a graph in
//! an arena (`arena`); `measure` walks that graph once, settles equal keys (`keys`) and computes how
//! large, how deep and how many values the JSON would be with every shared reference written out;
//! only then does `emit` write it. Memory is thus bounded by a multiple of the input before the
//! measure, and by [`Limits`] after it.
//!
//! What it does not do: write pickles, read several pickles from one text, or keep what JSON cannot
//! say (which references were shared; that a tuple was no list; that a bytearray was no bytes).

mod arena;
mod calls;
mod decode;
mod emit;
mod keys;
mod measure;
mod memo;
mod memory;
mod number;
mod reader;
mod text;
mod values;

use thiserror::Error;

use memory::Memory;

/// Decodes one pickle and returns it as compact JSON.
///
/// Tuples are arrays; bytes and bytearrays are `{"$bytes":"<base64>"}`; sets and frozensets are
/// `{"$set":[..]}` in the order of the pickle; infinities and NaN are `{"$float":"inf"}`, `"-inf"`
/// and `"nan"`; a dict with a key that is no string, or with one that begins with `$`, is
/// `{"$dict":[[key,value],..]}`. The text is valid JSON, and no object in it has a key twice.
///
/// # Errors
/// A [`PickleError`] when the input is no complete pickle, holds anything but plain data, contains
/// itself, or exceeds one of the `limits`. Nothing is ever imported or called.
pub fn to_json(pickle: &[u8], limits: &Limits) -> Result<Vec<u8>, PickleError> {
    Ok(decode(pickle, limits, &mut |_| true)?.write())
}

/// Decodes one pickle and measures its JSON without writing it, for a caller that must first find room for it.
///
/// `reserve` is asked as the tables of the decoder grow, with the bytes that they take in all beside the pickle. If it
/// says no, the pickle is refused.
///
/// # Errors
/// As [`to_json`], and [`PickleError::NoMemory`].
pub fn decode<'p>(
    pickle: &'p [u8],
    limits: &Limits,
    reserve: &mut dyn FnMut(usize) -> bool,
) -> Result<Measured<'p>, PickleError> {
    let mut memory = Memory::new(reserve);
    let mut decoded = decode::decode(pickle, limits, &mut memory)?;
    let json_bytes = measure::measure(&mut decoded, limits.most_output(pickle.len()), limits, &mut memory)?;
    Ok(Measured { decoded, json_bytes })
}

/// A pickle whose JSON is known to be valid, and how long it is.
pub struct Measured<'p> {
    decoded: decode::Decoded<'p>,
    json_bytes: usize,
}

impl Measured<'_> {
    /// The exact length of the JSON text.
    pub fn json_bytes(&self) -> usize {
        self.json_bytes
    }

    /// Writes the JSON text, as [`to_json`] describes it.
    pub fn write(&self) -> Vec<u8> {
        emit::emit(&self.decoded, self.json_bytes)
    }
}

/// How much one pickle may ask for. All bounds are inclusive.
///
/// Two further bounds are fixed. An integer has at most 4,300 digits, as in Python's own conversion
/// of text to int. The output is at most 1 MiB or 32 times the input, whichever is more, even where
/// `output_bytes` would allow it: plain data without shared references grows at most 12 times (an
/// empty set is one byte in a pickle and eleven in JSON), so that what lies beyond is a small
/// pickle blown up by references.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The length of the pickle in bytes; never more than 512 MiB. Decoding needs up to about 40
    /// bytes of memory for each, and up to 60 where most of the values are keys. The tables of values, of their members
    /// and of the memo stop growing at `values`.
    pub input_bytes: usize,
    /// The length of the JSON text in bytes; never more than 4 GiB.
    pub output_bytes: usize,
    /// The number of JSON arrays and objects around the innermost value; never more than 60,000. A
    /// set counts as two levels and a `$dict` as three, as they are written.
    pub depth: usize,
    /// The number of values (keys included) that are decoded, and also of those in the output with
    /// every shared reference counted each time.
    pub values: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { input_bytes: 16 << 20, output_bytes: 64 << 20, depth: 500, values: 2_000_000 }
    }
}

impl Limits {
    /// Positions in the input and in decoded text are 32-bit; decoded text is at most three times
    /// the input, so that this leaves room for both.
    const MOST_INPUT: usize = 512 << 20;
    const MOST_DEPTH: u16 = 60_000;
    const SHARING_FLOOR: usize = 1 << 20;
    const SHARING_FACTOR: usize = 32;

    fn most_input(&self) -> usize {
        self.input_bytes.min(Self::MOST_INPUT)
    }

    fn most_output(&self, input: usize) -> u32 {
        let shared = input.saturating_mul(Self::SHARING_FACTOR).max(Self::SHARING_FLOOR);
        u32::try_from(self.output_bytes.min(shared)).unwrap_or(u32::MAX)
    }

    fn most_depth(&self) -> u16 {
        u16::try_from(self.depth).map_or(Self::MOST_DEPTH, |depth| depth.min(Self::MOST_DEPTH))
    }

    fn most_values(&self) -> u32 {
        // One below the maximum, which the arena keeps for "none".
        u32::try_from(self.values).map_or(u32::MAX - 1, |values| values.min(u32::MAX - 1))
    }
}

/// Why a pickle was refused. Names taken from the pickle are cut to 40 bytes and escaped, so that a
/// message is short and has no control characters.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PickleError {
    #[error("the pickle is larger than {limit} bytes")]
    TooLarge { limit: usize },
    #[error("the pickle ends before it is complete")]
    Truncated,
    #[error("{bytes} more bytes follow the end of the pickle")]
    TrailingBytes { bytes: usize },
    #[error("the pickle has protocol {protocol}; only protocols 0 to 5 are known")]
    UnknownProtocol { protocol: u8 },
    #[error("byte {at} of the pickle (0x{opcode:02x}) is no known opcode")]
    UnknownOpcode { opcode: u8, at: usize },
    #[error("the pickle is malformed at byte {at}: {what}")]
    Malformed { what: &'static str, at: usize },

    #[error("the pickle imports `{name}`; only plain data is accepted")]
    Import { name: String },
    #[error("the pickle calls `{name}` in a way that no plain data needs; only plain data is accepted")]
    Call { name: &'static str },
    #[error("the pickle calls something that is no function; only plain data is accepted")]
    CallOfData,
    #[error("the pickle holds `{name}` itself as a value; only plain data is accepted")]
    Function { name: &'static str },
    #[error("the pickle builds an object (opcode {opcode}); only plain data is accepted")]
    Object { opcode: &'static str },
    #[error("the pickle refers to a persistent object outside of it; only plain data is accepted")]
    PersistentId,
    #[error("the pickle uses an extension code; only plain data is accepted")]
    Extension,
    #[error("the pickle refers to a buffer outside of it; only plain data is accepted")]
    OutOfBand,

    #[error("a text in the pickle is not valid UTF-8")]
    NotUtf8,
    #[error("a text in the pickle holds half of a surrogate pair, which JSON cannot carry")]
    LoneSurrogate,
    #[error("an integer in the pickle has more than {limit} digits")]
    TooManyDigits { limit: usize },
    #[error("the pickle uses {kind} as a dict key or set member")]
    Unhashable { kind: &'static str },
    #[error("a value in the pickle contains itself")]
    ContainsItself,

    #[error("the pickle is nested deeper than {limit} levels")]
    TooDeep { limit: usize },
    #[error("the pickle has more than {limit} values")]
    TooManyValues { limit: usize },
    #[error("the pickle would be more than {limit} bytes of JSON")]
    TooMuchOutput { limit: usize },
    #[error("the pickle takes more memory than there is to decode it")]
    NoMemory,
}

/// A name from the pickle as it may stand in a message.
fn shown(name: &[u8]) -> String {
    const LONGEST: usize = 40;
    let cut = &name[..name.len().min(LONGEST)];
    let mut shown = String::from_utf8_lossy(cut).escape_debug().to_string();
    if cut.len() < name.len() {
        shown.push_str("...");
    }
    shown
}
