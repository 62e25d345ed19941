//! Sizes as people write them: "256 MiB", "16MiB", "1 GB", or a plain number of bytes.
//!
//! `MiB` counts in 1024s and `MB` in 1000s; nothing is rounded to pages or blocks. Called by the
//! derived code of the limits and by their check.

use bytesize::ByteSize;
use serde::{Deserializer, Serializer};
use toml::Value;

use super::value::{read, wrong};

const EXPECTED: &str = "a size of at least 1 byte such as \"256 MiB\", \"1 GB\" or a plain number of bytes";

const UNITS: [(u64, &str); 9] = [
    (1, "B"),
    (1_000, "kB"),
    (1 << 10, "KiB"),
    (1_000_000, "MB"),
    (1 << 20, "MiB"),
    (1_000_000_000, "GB"),
    (1 << 30, "GiB"),
    (1_000_000_000_000, "TB"),
    (1 << 40, "TiB"),
];

pub(super) fn deserialize<'de, D: Deserializer<'de>>(source: D) -> Result<u64, D::Error> {
    read(source, |value| parse(value).ok_or_else(|| wrong(EXPECTED, value)))
}

pub(super) fn serialize<S: Serializer>(bytes: &u64, sink: S) -> Result<S::Ok, S::Error> {
    sink.serialize_str(&format(*bytes))
}

/// A size, or "off".
pub(super) mod or_off {
    use serde::{Deserializer, Serializer};

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(source: D) -> Result<Option<u64>, D::Error> {
        super::read(source, |value| {
            if value.as_str() == Some("off") {
                return Ok(None);
            }
            let expected = format_args!("{}, or \"off\"", super::EXPECTED);
            super::parse(value).map(Some).ok_or_else(|| super::wrong(expected, value))
        })
    }

    pub(in crate::config) fn serialize<S: Serializer>(bytes: &Option<u64>, sink: S) -> Result<S::Ok, S::Error> {
        match bytes {
            Some(bytes) => super::serialize(bytes, sink),
            None => sink.serialize_str("off"),
        }
    }
}

/// A size that may be left out.
pub(super) mod optional {
    use serde::{Deserializer, Serializer};

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(source: D) -> Result<Option<u64>, D::Error> {
        super::deserialize(source).map(Some)
    }

    pub(in crate::config) fn serialize<S: Serializer>(bytes: &Option<u64>, sink: S) -> Result<S::Ok, S::Error> {
        match bytes {
            Some(bytes) => super::serialize(bytes, sink),
            None => sink.serialize_none(),
        }
    }
}

/// The shortest exact way to write a size, such as `256 MiB`.
pub(crate) fn format(bytes: u64) -> String {
    UNITS
        .into_iter()
        .filter(|(unit, _)| bytes.is_multiple_of(*unit))
        .map(|(unit, name)| (bytes / unit, name))
        .min_by_key(|(amount, _)| *amount)
        .map_or_else(String::new, |(amount, name)| format!("{amount} {name}"))
}

/// A size as a person reads it, such as `1.5 GiB`.
pub(crate) fn roughly(bytes: u64) -> String {
    ByteSize(bytes).display().iec().to_string()
}

fn parse(value: &Value) -> Option<u64> {
    let bytes = match value {
        Value::Integer(bytes) => u64::try_from(*bytes).ok()?,
        Value::String(text) => text.trim().parse::<ByteSize>().ok()?.as_u64(),
        Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) | Value::Array(_) | Value::Table(_) => return None,
    };
    // Beyond this a TOML number could not hold it, and a sum of sizes could overflow.
    (bytes > 0 && i64::try_from(bytes).is_ok()).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<u64> {
        parse(&Value::String(text.to_owned()))
    }

    #[test]
    fn sizes_are_read_as_people_write_them() {
        assert_eq!(parsed("256 MiB"), Some(256 << 20));
        assert_eq!(parsed("16MiB"), Some(16 << 20));
        assert_eq!(parsed("1 GB"), Some(1_000_000_000));
        assert_eq!(parsed("1000"), Some(1_000));
        assert_eq!(parse(&Value::Integer(1_000)), Some(1_000));
    }

    #[test]
    fn sizes_that_are_none_are_refused() {
        for text in ["0", "0 MiB", "-1", "lots", "", "16 parsecs", "99999999999 TiB"] {
            assert_eq!(parsed(text), None, "{text}");
        }
        assert_eq!(parse(&Value::Integer(-1)), None);
    }

    #[test]
    fn a_written_size_reads_back_as_itself() {
        for bytes in [1, 1_000, 1_024, 1_023, 256 << 20, 1_000_000_000, 5 << 40, i64::MAX as u64] {
            assert_eq!(parsed(&format(bytes)), Some(bytes), "{bytes}");
        }
    }

    #[test]
    fn a_size_is_written_in_the_unit_that_needs_the_fewest() {
        assert_eq!(format(256 << 20), "256 MiB");
        assert_eq!(format(1_000_000_000), "1 GB");
        assert_eq!(format(1_001), "1001 B");
    }
}
