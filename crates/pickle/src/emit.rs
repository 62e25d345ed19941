//! Writes a measured pickle as JSON, and says how each value is written.
//!
//! The measure adds up the same brackets and separators that are written here, so that the length
//! it finds is exact and the buffer never grows. It checks nothing: what is too large, too deep or
//! no value at all has been refused before.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::PickleError;
use super::arena::{Cursor, Items, Node, Span, Text};
use super::decode::Decoded;

/// Writes the value, whose text is `len` bytes long.
pub(crate) fn emit(decoded: &Decoded<'_>, len: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(len);
    let mut path: Vec<Frame> = Vec::new();
    let mut item = Some(decoded.root);
    loop {
        if let Some(id) = item.take() {
            let node = decoded.graph.node(id);
            match Shape::of(node) {
                None => write_leaf(node, &decoded.text, &mut out),
                Some((shape, items)) => {
                    out.extend_from_slice(shape.open().as_bytes());
                    path.push(Frame { shape, cursor: items.start(), index: 0 });
                }
            }
        }
        let Some(frame) = path.last_mut() else {
            debug_assert_eq!(out.len(), len, "the measure is exact");
            return out;
        };
        if let Some((next, after)) = decoded.graph.next(frame.cursor) {
            out.extend_from_slice(frame.shape.before(frame.index).as_bytes());
            frame.cursor = after;
            frame.index += 1;
            item = Some(next);
        } else {
            out.extend_from_slice(frame.shape.close().as_bytes());
            path.pop();
        }
    }
}

/// A container that is being written.
struct Frame {
    shape: Shape,
    cursor: Cursor,
    index: usize,
}

/// How a container is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Array,
    Object,
    Set,
    /// A dict as a list of pairs; never empty.
    Pairs,
}

impl Shape {
    /// The shape and members of a container; `None` for every other value.
    pub(crate) fn of(node: Node) -> Option<(Self, Items)> {
        match node {
            Node::Tuple(items) | Node::List(items) => Some((Self::Array, items)),
            Node::Set(items) | Node::FrozenSet(items) => Some((Self::Set, items)),
            Node::Dict(items) => Some((Self::Object, items)),
            Node::Pairs(items) => Some((Self::Pairs, items)),
            Node::None
            | Node::Bool(_)
            | Node::Int(_)
            | Node::BigInt(_)
            | Node::Float(_)
            | Node::Str(_)
            | Node::Bytes(_)
            | Node::ByteArray(_)
            | Node::Function(_) => None,
        }
    }

    pub(crate) fn open(self) -> &'static str {
        match self {
            Self::Array => "[",
            Self::Object => "{",
            Self::Set => r#"{"$set":["#,
            Self::Pairs => r#"{"$dict":["#,
        }
    }

    pub(crate) fn close(self) -> &'static str {
        match self {
            Self::Array => "]",
            Self::Object => "}",
            Self::Set => "]}",
            Self::Pairs => "]]}",
        }
    }

    /// What stands before a member; the keys and values of a dict are members in turn.
    pub(crate) fn before(self, index: usize) -> &'static str {
        match (self, index, index % 2) {
            (Self::Pairs, 0, _) => "[",
            (Self::Array | Self::Set | Self::Object, 0, _) => "",
            (Self::Pairs, _, 0) => "],[",
            (Self::Object, _, 1) => ":",
            (Self::Array | Self::Set | Self::Object | Self::Pairs, _, _) => ",",
        }
    }

    /// How many JSON arrays and objects it puts around its members.
    pub(crate) fn levels(self) -> u16 {
        match self {
            Self::Array | Self::Object => 1,
            Self::Set => 2,
            Self::Pairs => 3,
        }
    }
}

const BYTES: (&str, &str) = (r#"{"$bytes":""#, r#""}"#);

/// The length and depth of a value without members.
///
/// # Errors
/// [`PickleError::Function`] for an imported name, which is no value.
pub(crate) fn leaf_len(node: Node, text: &Text<'_>) -> Result<(usize, u16), PickleError> {
    Ok(match node {
        Node::None => (4, 0),
        Node::Bool(value) => (if value { 4 } else { 5 }, 0),
        Node::Int(value) => (int_len(value), 0),
        Node::BigInt(digits) => (text.get(digits).len(), 0),
        Node::Float(value) => (float_text(value).len(), u16::from(!value.is_finite())),
        Node::Str(span) => (string_len(text.get(span)), 0),
        Node::Bytes(span) | Node::ByteArray(span) => {
            let base64 = text.get(span).len().div_ceil(3) * 4;
            (BYTES.0.len() + base64 + BYTES.1.len(), 1)
        }
        Node::Function(function) => {
            return Err(PickleError::Function { name: function.name() });
        }
        Node::Tuple(_) | Node::List(_) | Node::Set(_) | Node::FrozenSet(_) | Node::Dict(_) | Node::Pairs(_) => (0, 0),
    })
}

fn write_leaf(node: Node, text: &Text<'_>, out: &mut Vec<u8>) {
    match node {
        Node::None => out.extend_from_slice(b"null"),
        Node::Bool(true) => out.extend_from_slice(b"true"),
        Node::Bool(false) => out.extend_from_slice(b"false"),
        Node::Int(value) => out.extend_from_slice(value.to_string().as_bytes()),
        Node::BigInt(digits) => out.extend_from_slice(text.get(digits)),
        Node::Float(value) => out.extend_from_slice(float_text(value).as_bytes()),
        Node::Str(span) => write_string(text.get(span), out),
        Node::Bytes(span) | Node::ByteArray(span) => write_bytes(span, text, out),
        // No leaves, or refused by the measure.
        Node::Tuple(_)
        | Node::List(_)
        | Node::Set(_)
        | Node::FrozenSet(_)
        | Node::Dict(_)
        | Node::Pairs(_)
        | Node::Function(_) => {}
    }
}

fn int_len(value: i64) -> usize {
    let digits = value.unsigned_abs().checked_ilog10().unwrap_or(0) as usize + 1;
    digits + usize::from(value < 0)
}

/// The shortest text that reads back as the same float, with a point or an exponent; Rust's
/// `Debug` promises both.
fn float_text(value: f64) -> String {
    if value.is_nan() {
        return r#"{"$float":"nan"}"#.to_owned();
    }
    if value.is_infinite() {
        let sign = if value < 0.0 { "-" } else { "" };
        return format!(r#"{{"$float":"{sign}inf"}}"#);
    }
    format!("{value:?}")
}

fn string_len(text: &[u8]) -> usize {
    let escaped = |&byte: &u8| escape(byte).map_or(1, |escape| escape.len());
    2 + text.iter().map(escaped).sum::<usize>()
}

fn write_string(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let mut plain = 0;
    for (at, &byte) in text.iter().enumerate() {
        if let Some(escape) = escape(byte) {
            out.extend_from_slice(&text[plain..at]);
            out.extend_from_slice(escape.as_bytes());
            plain = at + 1;
        }
    }
    out.extend_from_slice(&text[plain..]);
    out.push(b'"');
}

/// What JSON must not hold as it is (RFC 8259, section 7).
fn escape(byte: u8) -> Option<&'static str> {
    match byte {
        b'"' => Some("\\\""),
        b'\\' => Some("\\\\"),
        0..0x20 => Some(CONTROLS[usize::from(byte)]),
        _ => None,
    }
}

const CONTROLS: [&str; 32] = [
    "\\u0000", "\\u0001", "\\u0002", "\\u0003", "\\u0004", "\\u0005", "\\u0006", "\\u0007", "\\b", "\\t", "\\n",
    "\\u000b", "\\f", "\\r", "\\u000e", "\\u000f", "\\u0010", "\\u0011", "\\u0012", "\\u0013", "\\u0014", "\\u0015",
    "\\u0016", "\\u0017", "\\u0018", "\\u0019", "\\u001a", "\\u001b", "\\u001c", "\\u001d", "\\u001e", "\\u001f",
];

fn write_bytes(span: Span, text: &Text<'_>, out: &mut Vec<u8>) {
    // A multiple of three, so that only the last piece is padded.
    const PIECE: usize = 3 << 10;
    out.extend_from_slice(BYTES.0.as_bytes());
    for piece in text.get(span).chunks(PIECE) {
        out.extend_from_slice(STANDARD.encode(piece).as_bytes());
    }
    out.extend_from_slice(BYTES.1.as_bytes());
}
