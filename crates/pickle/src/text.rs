//! The escaped texts of protocol 0: Python's repr of a byte string, and raw-unicode-escape.
//!
//! The rules are those of `CPython`'s decoders (`_PyBytes_DecodeEscape` and
//! `_PyUnicode_DecodeRawUnicodeEscape`), which are also what reads these opcodes there.

use super::PickleError;

/// Checks a text; the pickler writes lone surrogates with Python's "surrogatepass".
pub(crate) fn check_utf8(text: &[u8]) -> Result<(), PickleError> {
    let Err(error) = std::str::from_utf8(text) else {
        return Ok(());
    };
    match &text[error.valid_up_to()..] {
        [0xed, 0xa0..=0xbf, ..] => Err(PickleError::LoneSurrogate),
        _ => Err(PickleError::NotUtf8),
    }
}

/// Reads the argument of STRING, a quoted repr, as the bytes it stands for.
///
/// `None` when it is not quoted or an escape is incomplete.
pub(crate) fn unquote(line: &[u8]) -> Option<Vec<u8>> {
    let ([b'\'', quoted @ .., b'\''] | [b'"', quoted @ .., b'"']) = line else {
        return None;
    };
    let mut out = Vec::with_capacity(quoted.len());
    let mut rest = quoted;
    while let [byte, after @ ..] = rest {
        rest = after;
        if *byte == b'\\' {
            rest = escape(rest, &mut out)?;
        } else {
            out.push(*byte);
        }
    }
    Some(out)
}

/// Reads what follows a backslash and returns what follows that.
fn escape<'a>(text: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    let (&kind, rest) = text.split_first()?;
    let plain = match kind {
        b'\\' | b'\'' | b'"' => kind,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'a' => 0x07,
        b'b' => 0x08,
        b'v' => 0x0b,
        b'f' => 0x0c,
        b'x' => {
            let (digits, rest) = rest.split_at_checked(2)?;
            out.push(u8::try_from(hex(digits)?).ok()?);
            return Some(rest);
        }
        b'0'..=b'7' => return Some(octal(text, out)),
        other => {
            out.push(b'\\');
            other
        }
    };
    out.push(plain);
    Some(rest)
}

fn octal<'a>(text: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
    let digits = text.iter().take(3).take_while(|byte| matches!(byte, b'0'..=b'7')).count();
    let (digits, rest) = text.split_at(digits);
    let value = digits.iter().fold(0, |value, digit| value << 3 | u32::from(digit - b'0'));
    // As in CPython, the ninth bit of \400 and above is dropped.
    out.push((value & 0xff) as u8);
    rest
}

fn hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |value, &digit| {
        let digit = char::from(digit).to_digit(16)?;
        Some(value << 4 | digit)
    })
}

/// Reads the argument of UNICODE: Latin-1 with the escapes `\uXXXX` and `\UXXXXXXXX`.
///
/// # Errors
/// [`PickleError::LoneSurrogate`], or malformed (at byte `at`) for an escape that is incomplete or
/// no character.
pub(crate) fn raw_unicode(line: &[u8], at: usize) -> Result<String, PickleError> {
    let malformed = PickleError::Malformed { what: "an escape in a text is no character", at };
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let [byte, after @ ..] = rest {
        let (size, digits) = match rest {
            [b'\\', b'u', digits @ ..] => (4, digits),
            [b'\\', b'U', digits @ ..] => (8, digits),
            [b'\\', b'\\', after @ ..] => {
                // A backslash that is itself after a backslash begins no escape.
                out.push_str("\\\\");
                rest = after;
                continue;
            }
            _ => {
                out.push(char::from(*byte));
                rest = after;
                continue;
            }
        };
        let Some((digits, after)) = digits.split_at_checked(size) else {
            return Err(malformed);
        };
        match hex(digits) {
            Some(0xd800..=0xdfff) => return Err(PickleError::LoneSurrogate),
            Some(code) => out.push(char::from_u32(code).ok_or(malformed.clone())?),
            None => return Err(malformed),
        }
        rest = after;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_string_gives_the_bytes_that_its_repr_stands_for() {
        let cases: &[(&str, Option<&[u8]>)] = &[
            ("''", Some(b"")),
            ("'a'", Some(b"a")),
            ("\"it's\"", Some(b"it's")),
            (r"'\'\\\n\t\r'", Some(b"'\\\n\t\r")),
            (r"'\xc3\xa9'", Some("é".as_bytes())),
            (r"'\101\60\0'", Some(b"A0\0")),
            (r"'\q'", Some(b"\\q")),
            (r"'\x4'", None),
            (r"'\'", None),
            ("'", None),
            ("a", None),
            ("'a\"", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(unquote(text.as_bytes()).as_deref(), *expected, "{text}");
        }
    }

    #[test]
    fn raw_unicode_knows_only_the_two_long_escapes() {
        let cases: &[(&[u8], &str)] = &[
            (b"", ""),
            (b"a\xe9", "aé"),
            (br"\u005cu0041\n", r"\u0041\n"),
            (br"\\u0041", r"\\u0041"),
            (br"\U0001f600\u1234", "\u{1f600}\u{1234}"),
            (b"end\\", "end\\"),
        ];
        for (text, expected) in cases {
            assert_eq!(raw_unicode(text, 0).as_deref(), Ok(*expected));
        }
    }

    #[test]
    fn an_escape_that_is_no_character_is_refused() {
        for text in [r"\u12", r"\U00110000", r"\U1234567", r"\uzzzz", r"\u+123"] {
            assert!(matches!(raw_unicode(text.as_bytes(), 3), Err(PickleError::Malformed { at: 3, .. })), "{text}");
        }
        assert_eq!(raw_unicode(br"\ud83d\ude00", 0), Err(PickleError::LoneSurrogate));
    }
}
