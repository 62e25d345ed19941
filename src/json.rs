//! JSON from outside: checked once, kept as the bytes that came.
//!
//! `serde_json` decides what is JSON (RFC 8259). What it leaves open is decided here: no object may name a key twice
//! (RFC 8259, section 4, leaves the meaning of that to chance), and nothing may nest deeper than 500 levels, so that
//! no reader behind us runs out of stack. Nothing is built: the cost is one walk, and memory for the keys of the
//! objects that are open at a time, for which the caller can be asked. What is too large for memory is checked as it
//! comes, in [`stream`].

use std::borrow::Cow;
use std::collections::HashSet;

use serde_json::value::RawValue;

pub mod stream;

/// Deeper nesting than this is refused.
pub const MOST_LEVELS: usize = 500;

/// Why bytes are not taken for JSON.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// They are none.
    #[error("{0}")]
    Malformed(String),
    /// A key stands twice in one object.
    #[error("the key {0:?} stands twice in one object")]
    DuplicateKey(String),
    /// The same of a key that is too long for a sentence.
    #[error("a key of {0} bytes stands twice in one object")]
    DuplicateLongKey(usize),
    /// The nesting is too deep.
    #[error("it nests deeper than {MOST_LEVELS} levels")]
    TooDeep,
    /// There is no memory to compare the keys.
    #[error("its keys take more memory than there is for them")]
    NoMemory,
}

/// Checks that `bytes` are one JSON text, without a duplicate key, nested 500 levels at most.
///
/// # Errors
/// A [`JsonError`].
pub fn check(bytes: &[u8]) -> Result<(), JsonError> {
    check_within(bytes, |_| true)
}

/// The same, where `reserve` is asked before the keys of all open objects take that many bytes of memory in all. If it
/// says no, the text is refused.
///
/// # Errors
/// A [`JsonError`].
pub fn check_within(bytes: &[u8], reserve: impl FnMut(usize) -> bool) -> Result<(), JsonError> {
    let malformed = |error: serde_json::Error| JsonError::Malformed(error.to_string());
    let text = std::str::from_utf8(bytes).map_err(|_| JsonError::Malformed("it is not UTF-8".into()))?;
    let value: &RawValue = serde_json::from_str(text).map_err(malformed)?;
    walk(value.get(), reserve)
}

/// Whether valid JSON text nests deeper than [`MOST_LEVELS`].
pub fn is_too_deep(text: &str) -> bool {
    // Each level takes two bytes, so that most texts need no walk.
    if text.len() <= 2 * MOST_LEVELS {
        return false;
    }
    let bytes = text.as_bytes();
    let (mut levels, mut at) = (0_usize, 0);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at = string_end(bytes, at);
                continue;
            }
            b'{' | b'[' if levels == MOST_LEVELS => return true,
            b'{' | b'[' => levels += 1,
            b'}' | b']' => levels = levels.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    false
}

/// An open object or array.
enum Level<'a> {
    Array,
    Object { keys: Keys<'a>, expects_key: bool },
}

/// The keys of an open object: few are compared one by one, many are hashed.
#[derive(Default)]
struct Keys<'a> {
    few: Vec<Cow<'a, str>>,
    many: HashSet<Cow<'a, str>>,
    /// What the keys in `many` take.
    bytes: usize,
}

/// What a key takes beside its own bytes: its place in a table that may be half empty, and that is for a moment there
/// twice when it grows; and the allocation of a key that had to be decoded.
const BESIDE_KEY_BYTES: usize = 96;

impl<'a> Keys<'a> {
    fn insert(&mut self, key: Cow<'a, str>) -> bool {
        const FEW: usize = 16;
        if self.many.is_empty() && self.few.len() < FEW {
            if self.few.contains(&key) {
                return false;
            }
            self.few.push(key);
            return true;
        }
        self.many.extend(self.few.drain(..));
        self.bytes += BESIDE_KEY_BYTES + if let Cow::Owned(key) = &key { key.len() } else { 0 };
        self.many.insert(key)
    }
}

/// What is open at a place of a JSON text.
#[derive(Default)]
struct Open<'a> {
    levels: Vec<Level<'a>>,
    /// What the keys of all levels take.
    key_bytes: usize,
}

impl<'a> Open<'a> {
    /// Takes a byte that stands outside of strings.
    fn take(&mut self, byte: u8) -> Result<(), JsonError> {
        match byte {
            b'{' | b'[' if self.levels.len() == MOST_LEVELS => return Err(JsonError::TooDeep),
            b'{' => self.levels.push(Level::Object { keys: Keys::default(), expects_key: true }),
            b'[' => self.levels.push(Level::Array),
            b'}' | b']' => {
                if let Some(Level::Object { keys, .. }) = self.levels.pop() {
                    self.key_bytes -= keys.bytes;
                }
            }
            b',' => {
                if let Some(Level::Object { expects_key, .. }) = self.levels.last_mut() {
                    *expects_key = true;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether a string that begins here is a key.
    fn expects_key(&self) -> bool {
        matches!(self.levels.last(), Some(Level::Object { expects_key: true, .. }))
    }

    /// Takes a key, where one is expected.
    fn take_key(&mut self, key: Cow<'a, str>) -> Result<(), JsonError> {
        let Some(Level::Object { keys, expects_key }) = self.levels.last_mut() else { return Ok(()) };
        *expects_key = false;
        self.key_bytes -= keys.bytes;
        let is_new = keys.insert(key.clone());
        self.key_bytes += keys.bytes;
        if is_new { Ok(()) } else { Err(duplicate(key)) }
    }
}

/// Walks over text that is known to be JSON.
fn walk(text: &str, mut reserve: impl FnMut(usize) -> bool) -> Result<(), JsonError> {
    const STEP_BYTES: usize = 1 << 20;
    let bytes = text.as_bytes();
    let mut open = Open::default();
    let mut reserved = 0;
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        if *byte == b'"' {
            let end = string_end(bytes, at);
            if open.expects_key() {
                open.take_key(key(&text[at..end]))?;
                if open.key_bytes > reserved {
                    reserved = open.key_bytes.next_multiple_of(STEP_BYTES);
                    if !reserve(reserved) {
                        return Err(JsonError::NoMemory);
                    }
                }
            }
            at = end;
        } else {
            open.take(*byte)?;
            at += 1;
        }
    }
    Ok(())
}

/// Where the string that begins at `start` ends.
fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn key(quoted: &str) -> Cow<'_, str> {
    let inner = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default();
    if !inner.contains('\\') {
        return Cow::Borrowed(inner);
    }
    // What cannot be decoded is half of a surrogate pair, which JSON's grammar allows: it is compared as it is written.
    serde_json::from_str(quoted).map_or(Cow::Borrowed(inner), Cow::Owned)
}

fn duplicate(key: Cow<'_, str>) -> JsonError {
    const LONGEST_SHOWN_BYTES: usize = 64;
    if key.len() > LONGEST_SHOWN_BYTES {
        return JsonError::DuplicateLongKey(key.len());
    }
    JsonError::DuplicateKey(key.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn json_in_all_its_forms_passes() {
        for text in [
            "1",
            "null",
            "\"a\"",
            "{}",
            "[]",
            " {\"a\" : [1, {\"a\": \"}\"}], \"b\": {\"a\": {}}} ",
            "\"\\u0041\"",
            "1e999",
            "-0.0",
            "{\"\": 0}",
            "[\"\\\\\", \"\\\"\"]",
            "{\"a\\\"\": 1, \"a\": 2}",
            "{\"\\ud800\": \"\\udfff\"}",
        ] {
            assert_eq!(check(text.as_bytes()), Ok(()), "{text}");
        }
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in ["", " ", "{", "{'a': 1}", "[1,]", "01", "nul", "NaN", "{} {}", "\"\t\"", "[1] x", "{\"a\" 1}"] {
            assert!(matches!(check(text.as_bytes()), Err(JsonError::Malformed(_))), "{text}");
        }
        assert_eq!(check(b"\"\xff\""), Err(JsonError::Malformed("it is not UTF-8".into())));
    }

    #[test]
    fn a_key_twice_in_one_object_is_refused_at_any_depth_and_however_it_is_written() {
        for text in [
            r#"{"a": 1, "a": 2}"#,
            r#"[{"x": {"a": 1, "b": 2, "a": 3}}]"#,
            r#"{"a": 1, "\u0061": 2}"#,
            r#"{"a": {"a": 1}, "b": [], "a": 3}"#,
        ] {
            assert_eq!(check(text.as_bytes()), Err(JsonError::DuplicateKey("a".into())), "{text}");
        }
    }

    #[test]
    fn many_keys_are_all_looked_at() {
        let distinct: Vec<_> = (0..1_000).map(|n| format!("\"k{n}\":{n}")).collect();
        let text = format!("{{{}}}", distinct.join(","));
        assert_eq!(check(text.as_bytes()), Ok(()));
        let text = format!("{{{},\"k0\":0}}", distinct.join(","));
        assert_eq!(check(text.as_bytes()), Err(JsonError::DuplicateKey("k0".into())));
    }

    #[test]
    fn the_keys_of_open_objects_take_no_more_memory_than_they_may() {
        let members: Vec<_> = (0..100_000).map(|n| format!("\"{n}\":0")).collect();
        let text = format!("{{{}}}", members.join(","));
        let mut most = 0;
        let reserve = |bytes| {
            most = bytes;
            true
        };
        assert_eq!(check_within(text.as_bytes(), reserve), Ok(()));
        assert!(most > 90 * 100_000, "{most}");
        assert_eq!(check_within(text.as_bytes(), |bytes| bytes < most), Err(JsonError::NoMemory));
        // What is closed takes none any longer.
        let object = format!("{{{}}}", members[..1_000].join(","));
        let text = format!("[{}]", vec![object; 100].join(","));
        assert_eq!(check_within(text.as_bytes(), |bytes| bytes <= 1 << 20), Ok(()));
    }

    #[test]
    fn a_long_key_is_not_repeated_in_the_error() {
        let key = "k".repeat(65);
        let text = format!("{{\"{key}\":1,\"{key}\":2}}");
        assert_eq!(check(text.as_bytes()), Err(JsonError::DuplicateLongKey(65)));
    }

    #[test]
    fn five_hundred_levels_pass_and_one_more_does_not() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert_eq!(check(nested(500).as_bytes()), Ok(()));
        assert_eq!(check(nested(501).as_bytes()), Err(JsonError::TooDeep));
        assert_eq!(check(nested(1_000_000).as_bytes()), Err(JsonError::TooDeep));
        assert!(!is_too_deep(&nested(500)));
        assert!(is_too_deep(&nested(501)));
        assert!(is_too_deep(&nested(1_000_000)));
        // Neither brackets in strings nor those of neighbours add up.
        assert!(!is_too_deep(&format!(r#"[{}"{}\"["]"#, "[[]],".repeat(1_000), "[".repeat(1_000))));
        assert!(is_too_deep(&format!(r#"["\\", {}]"#, nested(500))));
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged_without_a_panic(bytes: Vec<u8>) {
            let _ = check(&bytes);
        }

        #[test]
        fn text_made_of_json_tokens_is_judged_as_serde_judges_it(
            tokens in prop::collection::vec(
                prop::sample::select(vec!["{", "}", "[", "]", ",", ":", "\"a\"", "\"\\\"\"", "1", " "]), 0..24,
            )
        ) {
            let text: String = tokens.concat();
            let valid = serde_json::from_str::<&RawValue>(&text).is_ok();
            let judged = check(text.as_bytes());
            prop_assert_eq!(valid, !matches!(judged, Err(JsonError::Malformed(_))));
        }
    }
}
