//! JSON that is checked as it comes, by the same rules, in memory that does not grow with its length: `serde_json` reads
//! it once and builds nothing, and the walk over keys and levels goes along with what it reads.

use std::borrow::Cow;
use std::io::{self, BufReader, Read};

use serde::de::IgnoredAny;

use super::{JsonError, Open, key};

/// Why a stream is not taken for JSON.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// It is none, or not as it must be.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// Its keys take more memory than there is for them.
    #[error("its keys take more memory than there is for them")]
    NoMemory,
    /// It could not be read.
    #[error(transparent)]
    Read(io::Error),
}

/// Reads one JSON text to its end and checks it as [`super::check`] does.
///
/// `reserve` is asked before the keys of all objects that are open at a time take that many bytes of memory in all; if
/// it says no, the text is refused.
///
/// # Errors
/// A [`StreamError`]. What comes after the place of the error is not read.
pub fn check(reader: impl Read, reserve: impl FnMut(usize) -> bool) -> Result<(), StreamError> {
    let walk = Walk {
        open: Open::default(),
        place: Place::Outside,
        key: Vec::new(),
        held: 0,
        by_level: Vec::new(),
        reserved: 0,
        reserve,
    };
    let mut watched = Watched { reader, utf8: Utf8::default(), walk, refused: None };
    let read: Result<IgnoredAny, _> = serde_json::from_reader(BufReader::with_capacity(READ_BYTES, &mut watched));
    match (watched.refused, read) {
        (Some(refused), _) => Err(refused),
        (None, Err(error)) if error.is_io() => Err(StreamError::Read(error.into())),
        (None, Err(error)) => Err(JsonError::Malformed(error.to_string()).into()),
        (None, Ok(IgnoredAny)) if watched.utf8.is_whole() => Ok(()),
        (None, Ok(IgnoredAny)) => Err(not_utf8()),
    }
}

const READ_BYTES: usize = 64 << 10;

fn not_utf8() -> StreamError {
    JsonError::Malformed("it is not UTF-8".into()).into()
}

/// A reader whose bytes are looked at on their way.
struct Watched<R, F> {
    reader: R,
    utf8: Utf8,
    walk: Walk<F>,
    refused: Option<StreamError>,
}

impl<R: Read, F: FnMut(usize) -> bool> Read for &mut Watched<R, F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        let bytes = &buffer[..count];
        let looked_at = if self.utf8.take(bytes) { self.walk.take(bytes) } else { Err(not_utf8()) };
        if let Err(refused) = looked_at {
            self.refused = Some(refused);
            return Err(io::Error::other("the text is refused"));
        }
        Ok(count)
    }
}

/// Whether bytes that come in parts are UTF-8.
#[derive(Default)]
struct Utf8 {
    /// The beginning of a character whose end has not come.
    unfinished: Vec<u8>,
}

impl Utf8 {
    fn take(&mut self, mut bytes: &[u8]) -> bool {
        while !self.unfinished.is_empty() {
            let Some((first, rest)) = bytes.split_first() else { return true };
            self.unfinished.push(*first);
            bytes = rest;
            match std::str::from_utf8(&self.unfinished) {
                Ok(_) => self.unfinished.clear(),
                Err(error) if error.error_len().is_some() => return false,
                Err(_) => {}
            }
        }
        match std::str::from_utf8(bytes) {
            Ok(_) => true,
            Err(error) if error.error_len().is_some() => false,
            Err(error) => {
                self.unfinished.extend_from_slice(&bytes[error.valid_up_to()..]);
                true
            }
        }
    }

    fn is_whole(&self) -> bool {
        self.unfinished.is_empty()
    }
}

/// The walk over keys and levels, which may stop and go on at any byte.
struct Walk<F> {
    open: Open<'static>,
    place: Place,
    /// The key that is being read, with its quotes.
    key: Vec<u8>,
    /// Bytes of memory that the keys of all open objects take, and those of each level.
    held: usize,
    by_level: Vec<usize>,
    reserved: usize,
    reserve: F,
}

/// Where in the text the walk is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Outside,
    InString { is_key: bool, is_escaped: bool },
}

impl<F: FnMut(usize) -> bool> Walk<F> {
    fn take(&mut self, mut bytes: &[u8]) -> Result<(), StreamError> {
        while let Some((byte, rest)) = bytes.split_first() {
            let Place::InString { is_key, is_escaped } = self.place else {
                if *byte == b'"' {
                    self.place = Place::InString { is_key: self.open.expects_key(), is_escaped: false };
                    self.key.clear();
                    self.key.push(b'"');
                } else {
                    self.open.take(*byte)?;
                    self.account(*byte);
                }
                bytes = rest;
                continue;
            };
            // What can't end the string is taken at once.
            let plain = if is_escaped { 1 } else { plain_bytes(bytes) };
            if is_key {
                self.hold(plain + 1)?;
                self.key.extend_from_slice(&bytes[..plain]);
            }
            self.place = Place::InString { is_key, is_escaped: false };
            bytes = &bytes[plain..];
            match bytes.split_first() {
                Some((b'"', rest)) if !is_escaped => {
                    bytes = rest;
                    self.place = Place::Outside;
                    if is_key {
                        self.key.push(b'"');
                        self.end_key()?;
                    }
                }
                Some((b'\\', rest)) if !is_escaped => {
                    bytes = rest;
                    self.place = Place::InString { is_key, is_escaped: true };
                    if is_key {
                        self.key.push(b'\\');
                    }
                }
                Some(_) | None => {}
            }
        }
        Ok(())
    }

    fn end_key(&mut self) -> Result<(), StreamError> {
        /// What a key takes beside its bytes: its place in a table that is at least half full, and its allocation.
        const BESIDE_BYTES: usize = 96;
        self.hold(BESIDE_BYTES)?;
        let quoted = std::str::from_utf8(&self.key).map_err(|_| not_utf8())?;
        let key = Cow::Owned(key(quoted).into_owned());
        Ok(self.open.take_key(key)?)
    }

    /// Notes that an object or array begins, or gives back what the keys of one took.
    fn account(&mut self, byte: u8) {
        match byte {
            b'{' | b'[' => self.by_level.push(0),
            b'}' | b']' => self.held -= self.by_level.pop().unwrap_or_default(),
            _ => {}
        }
    }

    fn hold(&mut self, bytes: usize) -> Result<(), StreamError> {
        const STEP_BYTES: usize = 1 << 20;
        self.held += bytes;
        if let Some(level) = self.by_level.last_mut() {
            *level += bytes;
        }
        if self.held > self.reserved {
            self.reserved = self.held.next_multiple_of(STEP_BYTES);
            if !(self.reserve)(self.reserved) {
                return Err(StreamError::NoMemory);
            }
        }
        Ok(())
    }
}

/// How many bytes of a string come before its end, its next escape or the end of what is there.
fn plain_bytes(bytes: &[u8]) -> usize {
    bytes.iter().position(|byte| matches!(byte, b'"' | b'\\')).unwrap_or(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_stream_is_judged_as_its_bytes_are_however_they_are_cut() {
        for text in [
            "{}",
            r#" {"a" : [1, {"a": "}"}], "b": {"a": {}}} "#,
            r#"{"a": 1, "\u0061": 2}"#,
            r#"{"a\"": 1, "a": 2, "\\": 3, "é": "\ud800", "日本": "\\\"{\""}"#,
            r#"{"a": {"a": 1}, "b": [], "a": 3}"#,
            "{} {}",
            "{\"a\": 1",
            "",
        ] {
            for cut in 1..4 {
                assert_eq!(
                    judged(text.as_bytes(), cut),
                    super::super::check(text.as_bytes()).is_ok(),
                    "{text} by {cut}"
                );
            }
        }
        for bytes in [&b"\"\xff\""[..], b"\"\xc3", b"\"\xe6\x97\"", b"{}\xc3"] {
            assert!(!judged(bytes, 1) && !judged(bytes, 64), "{bytes:?}");
        }
    }

    #[test]
    fn nesting_is_bounded_before_anything_of_it_is_kept() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(judged(nested(500).as_bytes(), 64) && !judged(nested(501).as_bytes(), 64));
        let error = check(io::repeat(b'['), |_| true).unwrap_err();
        assert!(matches!(error, StreamError::Json(JsonError::TooDeep)), "{error}");
    }

    #[test]
    fn keys_take_no_more_memory_than_they_may() {
        let members: Vec<_> = (0..100_000).map(|n| format!("\"{n}\":0")).collect();
        let text = format!("{{{}}}", members.join(","));
        let mut most = 0;
        check(text.as_bytes(), |bytes| {
            most = bytes;
            true
        })
        .unwrap();
        assert!(most >= 100_000 * 96, "{most}");
        let within = |limit| check(text.as_bytes(), |bytes| bytes <= limit);
        assert!(within(most).is_ok());
        assert!(matches!(within(most - 1), Err(StreamError::NoMemory)));
        let closed = format!("[{}]", vec!["{\"a\":0}"; 100_000].join(","));
        assert!(check(closed.as_bytes(), |bytes| bytes <= 1 << 20).is_ok());
        let endless = io::Cursor::new("{\"").chain(io::repeat(b'k'));
        assert!(matches!(check(endless, |bytes| bytes <= 4 << 20), Err(StreamError::NoMemory)));
    }

    #[test]
    fn a_reader_that_fails_is_no_fault_of_the_text() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("gone"))
            }
        }
        let cut_off = io::Cursor::new("{\"a\": ").chain(Broken);
        assert!(matches!(check(cut_off, |_| true), Err(StreamError::Read(_))));
    }

    proptest! {
        #[test]
        fn text_made_of_json_tokens_is_judged_as_in_memory(
            tokens in prop::collection::vec(
                prop::sample::select(vec!["{", "}", "[", "]", ",", ":", "\"a\"", "\"\\u0061\"", "\"é\\\"\"", "1", " "]),
                0..24,
            ),
            cut in 1_usize..8,
        ) {
            let text: String = tokens.concat();
            prop_assert_eq!(judged(text.as_bytes(), cut), super::super::check(text.as_bytes()).is_ok());
        }
    }

    /// Whether the bytes are taken if they come so many at a time.
    fn judged(bytes: &[u8], cut: usize) -> bool {
        struct InParts<'a>(std::slice::Chunks<'a, u8>);
        impl Read for InParts<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let part = self.0.next().unwrap_or_default();
                buffer[..part.len()].copy_from_slice(part);
                Ok(part.len())
            }
        }
        check(InParts(bytes.chunks(cut)), |_| true).is_ok()
    }
}
