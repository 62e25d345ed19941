//! The numbers of a pickle: decimal text, two's complement, and floats as text.
//!
//! Integers beyond 64 bits become canonical decimal text and are never computed with. Their length
//! is checked before they are converted, since the conversion is quadratic.

use super::PickleError;

/// As Python's default limit for converting between int and text (`sys.int_info`).
pub(crate) const MOST_DIGITS: usize = 4300;

/// The bytes of the largest number of 4,300 digits, with its sign bit.
const MOST_BYTES: usize = 1786;

/// An integer in the narrowest form that holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Int {
    Small(i64),
    /// Beyond 64 bits; decimal, without leading zeros.
    Big(String),
}

/// Reads the decimal text of INT and LONG, in the one form in which picklers write a number. Of others (blanks, a plus,
/// leading zeros) `CPython`'s two readers make different values: `I 0` is `False` to one and 0 to the other.
pub(crate) fn decimal(text: &[u8]) -> Result<Int, IntError> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let is_canonical = match digits {
        [] => false,
        [b'0'] => !negative,
        [first, ..] => *first != b'0',
    };
    if !is_canonical || !digits.iter().all(u8::is_ascii_digit) {
        return Err(IntError::NotANumber);
    }
    if digits.len() > MOST_DIGITS {
        return Err(IntError::TooLong);
    }
    let mut canonical = String::with_capacity(digits.len() + 1);
    if negative {
        canonical.push('-');
    }
    canonical.extend(digits.iter().map(|&digit| char::from(digit)));
    Ok(canonical.parse().map_or(Int::Big(canonical), Int::Small))
}

/// Why a text or a run of bytes is no integer for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IntError {
    NotANumber,
    TooLong,
}

impl IntError {
    pub(crate) fn at(self, at: usize) -> PickleError {
        match self {
            Self::NotANumber => PickleError::Malformed { what: "an integer is not a decimal number", at },
            Self::TooLong => PickleError::TooManyDigits { limit: MOST_DIGITS },
        }
    }
}

/// Reads the little-endian two's complement of LONG1 and LONG4; no bytes are zero.
pub(crate) fn two_complement(bytes: &[u8]) -> Result<Int, IntError> {
    let negative = bytes.last().is_some_and(|&top| top >= 0x80);
    let fill = if negative { 0xff } else { 0 };
    let needless = bytes.iter().rev().take_while(|&&byte| byte == fill).count();
    // The sign bit may be in the last of the bytes that otherwise only repeat it.
    let bytes = &bytes[..(bytes.len() - needless + 1).min(bytes.len())];
    if bytes.len() > MOST_BYTES {
        return Err(IntError::TooLong);
    }
    if let Some(small) = small(bytes, fill) {
        return Ok(Int::Small(small));
    }
    let text = big(bytes, negative);
    let digits = text.len() - usize::from(negative);
    if digits > MOST_DIGITS {
        return Err(IntError::TooLong);
    }
    Ok(Int::Big(text))
}

fn small(bytes: &[u8], fill: u8) -> Option<i64> {
    let mut wide = [fill; 8];
    wide.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(i64::from_le_bytes(wide))
}

fn big(bytes: &[u8], negative: bool) -> String {
    let mut words = magnitude(bytes, negative);
    let mut limbs: Vec<u32> = Vec::new();
    // Several words at a time: their divisions do not wait for each other, which is four times
    // faster than one after the other. The front is padded with zeros to a whole number of groups.
    words.resize(words.len().next_multiple_of(GROUP), 0);
    words.reverse();
    for group in words.chunks_exact(GROUP) {
        let mut carry = [0; GROUP];
        carry.copy_from_slice(group);
        for limb in &mut limbs {
            *limb = shift_in(*limb, &mut carry);
        }
        while carry.iter().any(|&word| word != 0) {
            limbs.push(shift_in(0, &mut carry));
        }
    }
    write_limbs(&limbs, negative)
}

const BASE: u64 = 1_000_000_000;
const GROUP: usize = 8;

/// Multiplies a limb by 2^32 for each word and adds the word; what does not fit stays in the words.
fn shift_in(limb: u32, carry: &mut [u32; GROUP]) -> u32 {
    let mut rest = u64::from(limb);
    for word in carry {
        let value = rest << 32 | u64::from(*word);
        // Below 2^32, since `rest` is below BASE.
        *word = (value / BASE) as u32;
        rest = value % BASE;
    }
    rest as u32
}

/// The absolute value as 32-bit words, lowest first.
fn magnitude(bytes: &[u8], negative: bool) -> Vec<u32> {
    let mut plus_one = negative;
    let fill = if negative { 0xff } else { 0 };
    let words = bytes.chunks(4).map(|chunk| {
        let mut word = [fill; 4];
        word[..chunk.len()].copy_from_slice(chunk);
        let word = u32::from_le_bytes(word);
        if !negative {
            return word;
        }
        let (word, carry) = (!word).overflowing_add(u32::from(plus_one));
        plus_one = carry;
        word
    });
    words.collect()
}

fn write_limbs(limbs: &[u32], negative: bool) -> String {
    let mut text = String::with_capacity(limbs.len() * 9 + 1);
    if negative {
        text.push('-');
    }
    let mut limbs = limbs.iter().rev().skip_while(|&&limb| limb == 0);
    text.push_str(&limbs.next().copied().unwrap_or(0).to_string());
    for limb in limbs {
        push_padded(*limb, &mut text);
    }
    text
}

/// Writes nine digits, with leading zeros.
fn push_padded(limb: u32, text: &mut String) {
    let mut rest = limb;
    let mut digits = [b'0'; 9];
    for digit in digits.iter_mut().rev() {
        *digit += (rest % 10) as u8;
        rest /= 10;
    }
    text.extend(digits.map(char::from));
}

/// Reads the text of FLOAT, which is Python's repr of a float.
pub(crate) fn float(text: &[u8]) -> Option<f64> {
    let text = text.trim_ascii();
    if text.len() > MOST_DIGITS {
        return None;
    }
    let value: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    // Rust reads 1e999 as infinity, CPython refuses it.
    let overflow = value.is_infinite() && text.iter().any(u8::is_ascii_digit);
    (!overflow).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_text_is_read_in_the_form_in_which_picklers_write_it() {
        let cases: &[(&str, Int)] = &[
            ("0", Int::Small(0)),
            ("7", Int::Small(7)),
            ("-70", Int::Small(-70)),
            ("9223372036854775807", Int::Small(i64::MAX)),
            ("-9223372036854775808", Int::Small(i64::MIN)),
            ("9223372036854775808", Int::Big("9223372036854775808".into())),
        ];
        for (text, expected) in cases {
            assert_eq!(decimal(text.as_bytes()).as_ref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_decimal_number_is_refused() {
        for text in
            ["", "-", "-0", "00", "+7", " 12 ", "-007", " 0", "+-1", "1_0", "0x10", "1.0", "1L", "--1", "\u{661}"]
        {
            assert_eq!(decimal(text.as_bytes()), Err(IntError::NotANumber), "{text}");
        }
    }

    #[test]
    fn twos_complement_keeps_its_value_at_every_edge_of_a_word() {
        let cases: &[(&[u8], &str)] = &[
            (&[], "0"),
            (&[0], "0"),
            (&[0xff], "-1"),
            (&[0xff, 0], "255"),
            (&[0xff, 0xff, 0xff], "-1"),
            (&[0, 0, 0, 0, 0, 0, 0, 0x80], "-9223372036854775808"),
            (&[0, 0, 0, 0, 0, 0, 0, 0x80, 0], "9223372036854775808"),
            (&[0xff; 40], "-1"),
            (&[0, 0, 0, 0, 0, 0, 0, 0, 0xff], "-18446744073709551616"),
            (&[0, 0, 0, 0, 0, 0, 0, 0, 1], "18446744073709551616"),
        ];
        for (bytes, expected) in cases {
            let text = match two_complement(bytes).unwrap() {
                Int::Small(small) => small.to_string(),
                Int::Big(text) => text,
            };
            assert_eq!(text, *expected, "{bytes:?}");
        }
    }

    #[test]
    fn a_number_of_4300_digits_is_the_longest() {
        let nines = "9".repeat(MOST_DIGITS);
        assert!(decimal(nines.as_bytes()).is_ok());
        assert_eq!(decimal(format!("{nines}9").as_bytes()), Err(IntError::TooLong));
        assert_eq!(two_complement(&[0x7f; MOST_BYTES + 1]), Err(IntError::TooLong));
        assert_eq!(two_complement(&[0x7f; MOST_BYTES]), Err(IntError::TooLong));
        assert!(two_complement(&[0x7f; MOST_BYTES - 1]).is_ok());
    }
}
