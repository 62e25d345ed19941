//! Reading of plain values: yes or no, numbers, text, paths.
//!
//! Every reader of this module and its siblings fails with the second half of a sentence ("must
//! be ..., not ..."); the loader puts the place and the key in front. Serde's own errors are not
//! used because they name Rust types. Called by the derived `Deserialize` of the sections.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serializer, de};
use toml::Value;

/// "must be {expected}, not {value}".
pub(super) fn wrong(expected: impl fmt::Display, value: &Value) -> String {
    format!("must be {expected}, not {}", shown(value))
}

/// Reads `true` or `false`.
pub(super) fn boolean<'de, D: Deserializer<'de>>(source: D) -> Result<bool, D::Error> {
    read(source, |value| value.as_bool().ok_or_else(|| wrong("`true` or `false`", value)))
}

/// Reads a whole number from `MIN` to `MAX`.
pub(super) fn between<'de, D, const MIN: u32, const MAX: u32>(source: D) -> Result<u32, D::Error>
where
    D: Deserializer<'de>,
{
    read(source, |value| {
        number_between(value, MIN, MAX).ok_or_else(|| wrong(format_args!("a whole number from {MIN} to {MAX}"), value))
    })
}

fn number_between(value: &Value, least: u32, most: u32) -> Option<u32> {
    value.as_integer().and_then(|number| u32::try_from(number).ok()).filter(|number| (least..=most).contains(number))
}

/// A whole number from `MIN` to `MAX`, or "off".
pub(super) struct BetweenOrOff<const MIN: u32, const MAX: u32>;

impl<const MIN: u32, const MAX: u32> BetweenOrOff<MIN, MAX> {
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(source: D) -> Result<Option<u32>, D::Error> {
        read(source, |value| {
            if value.as_str() == Some("off") {
                return Ok(None);
            }
            let expected = format_args!("a whole number from {MIN} to {MAX}, or \"off\"");
            number_between(value, MIN, MAX).map(Some).ok_or_else(|| wrong(expected, value))
        })
    }

    pub(super) fn serialize<S: Serializer>(number: &Option<u32>, sink: S) -> Result<S::Ok, S::Error> {
        match number {
            Some(number) => sink.serialize_u32(*number),
            None => sink.serialize_str("off"),
        }
    }
}

/// Reads a text that is not empty.
pub(super) fn text<'de, D: Deserializer<'de>>(source: D) -> Result<String, D::Error> {
    read(source, |value| non_empty(value).ok_or_else(|| wrong("a text that is not empty", value)))
}

/// Reads a text that is not empty and may be left out.
pub(super) fn optional_text<'de, D: Deserializer<'de>>(source: D) -> Result<Option<String>, D::Error> {
    text(source).map(Some)
}

/// Reads with `parse`, whose error is a half sentence.
pub(super) fn read<'de, D, T>(source: D, parse: impl FnOnce(&Value) -> Result<T, String>) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
{
    parse(&Value::deserialize(source)?).map_err(de::Error::custom)
}

/// The texts of a list, or nothing if it is anything else than a list of texts.
pub(super) fn texts(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|item| item.as_str().map(str::to_owned)).collect()
}

/// A value as an error shows it: on one line, and cut when it is long.
pub(super) fn shown(value: &Value) -> String {
    const LONGEST: usize = 60;
    let text = match value {
        Value::String(text) => format!("{text:?}"),
        Value::Table(_) => return "a table".to_owned(),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) | Value::Array(_) => {
            value.to_string().replace('\n', " ")
        }
    };
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// A path, which is not empty.
pub(super) mod path {
    use std::path::Path;

    use super::{Deserializer, PathBuf, Serializer, non_empty, read, wrong};

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(source: D) -> Result<PathBuf, D::Error> {
        read(source, |value| {
            non_empty(value).map(PathBuf::from).ok_or_else(|| wrong("a path such as \"./data\"", value))
        })
    }

    // A path from the command line may not be UTF-8; showing it must not fail.
    pub(in crate::config) fn serialize<S: Serializer>(path: &Path, sink: S) -> Result<S::Ok, S::Error> {
        sink.serialize_str(&path.to_string_lossy())
    }
}

/// A path that may be left out.
pub(super) mod optional_path {
    use super::{Deserializer, PathBuf, Serializer, path};

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(source: D) -> Result<Option<PathBuf>, D::Error> {
        path::deserialize(source).map(Some)
    }

    pub(in crate::config) fn serialize<S: Serializer>(path: &Option<PathBuf>, sink: S) -> Result<S::Ok, S::Error> {
        match path {
            Some(path) => path::serialize(path, sink),
            None => sink.serialize_none(),
        }
    }
}

fn non_empty(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.is_empty() && !text.contains('\0')).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_value_is_cut() {
        let long = Value::String("ä".repeat(100));
        assert_eq!(shown(&long), format!("\"{}...", "ä".repeat(59)));
    }

    #[test]
    fn a_value_with_line_breaks_is_shown_on_one_line() {
        assert_eq!(shown(&Value::String("a\nb".into())), r#""a\nb""#);
    }
}
