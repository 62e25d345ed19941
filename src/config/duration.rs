//! Durations as people write them: "200ms", "30s", "1h 30m", "30d", and "off" where allowed.
//!
//! A plain number is refused because its unit would be a guess. Zero and durations beyond a
//! hundred years are refused so that no timer fires at once by accident and no sum with an
//! instant overflows. Called by the derived code of the sections and by `show`.

use std::time::Duration;

use toml::Value;

use super::value::wrong;

const LONGEST: Duration = Duration::from_hours(36_500 * 24);
const SHORTEST: Duration = Duration::from_millis(1);

/// A duration from 1ms to 36500d.
pub(super) mod positive {
    use std::time::Duration;

    use serde::{Deserializer, Serializer};

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(source: D) -> Result<Duration, D::Error> {
        super::super::value::read(source, |value| {
            super::parse(value, super::SHORTEST)
                .ok_or_else(|| super::explain(value, "a duration from 1ms to 36500d", ""))
        })
    }

    pub(in crate::config) fn serialize<S: Serializer>(duration: &Duration, sink: S) -> Result<S::Ok, S::Error> {
        sink.serialize_str(&super::format(*duration))
    }
}

/// A duration from 0s to 36500d.
pub(super) mod or_zero {
    use std::time::Duration;

    use serde::Deserializer;

    pub(in crate::config) use super::positive::serialize;

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(source: D) -> Result<Duration, D::Error> {
        super::super::value::read(source, |value| {
            super::parse(value, Duration::ZERO).ok_or_else(|| super::explain(value, "a duration from 0s to 36500d", ""))
        })
    }
}

/// A duration from 1ms to 36500d, or "off".
pub(super) mod or_off {
    use std::time::Duration;

    use serde::{Deserializer, Serializer};

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(source: D) -> Result<Option<Duration>, D::Error> {
        super::super::value::read(source, |value| {
            if value.as_str() == Some("off") {
                return Ok(None);
            }
            super::parse(value, super::SHORTEST)
                .map(Some)
                .ok_or_else(|| super::explain(value, "a duration from 1ms to 36500d", ", or \"off\""))
        })
    }

    pub(in crate::config) fn serialize<S: Serializer>(duration: &Option<Duration>, sink: S) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => super::positive::serialize(duration, sink),
            None => sink.serialize_str("off"),
        }
    }
}

/// The shortest exact way to write a duration, such as `1h 30m`.
pub(super) fn format(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let nanoseconds = u64::from(duration.subsec_nanos());
    let parts = [
        (seconds / 86_400, "d"),
        (seconds / 3_600 % 24, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
        (nanoseconds / 1_000_000, "ms"),
        (nanoseconds / 1_000 % 1_000, "us"),
        (nanoseconds % 1_000, "ns"),
    ];
    let written: Vec<String> =
        parts.into_iter().filter(|(amount, _)| *amount > 0).map(|(amount, unit)| format!("{amount}{unit}")).collect();
    if written.is_empty() {
        return "0s".to_owned();
    }
    written.join(" ")
}

fn parse(value: &Value, shortest: Duration) -> Option<Duration> {
    let text = value.as_str()?;
    if plain_number(value).is_some() {
        return None;
    }
    humantime::parse_duration(text).ok().filter(|duration| (shortest..=LONGEST).contains(duration))
}

fn explain(value: &Value, range: &str, or_off: &str) -> String {
    match plain_number(value) {
        Some(number) => format!("must be a duration with a unit, not the plain number {number}: write \"{number}s\""),
        None => {
            wrong(format_args!("{range} such as \"200ms\", \"30s\", \"10m\", \"1h 30m\" or \"30d\"{or_off}"), value)
        }
    }
}

// An environment variable arrives as text, so "30" is a plain number as much as 30 is.
fn plain_number(value: &Value) -> Option<String> {
    let text = match value {
        Value::Integer(number) => number.to_string(),
        Value::String(text) => text.trim().to_owned(),
        Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) | Value::Array(_) | Value::Table(_) => return None,
    };
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<Duration> {
        parse(&Value::String(text.to_owned()), SHORTEST)
    }

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, seconds) in
            [("30s", 30), ("10m", 600), ("1h", 3_600), ("30d", 2_592_000), ("1h 30m", 5_400), ("1h30m", 5_400)]
        {
            assert_eq!(parsed(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(parsed("200ms"), Some(Duration::from_millis(200)));
    }

    #[test]
    fn durations_out_of_range_or_without_a_unit_are_refused() {
        for text in ["0s", "1us", "36501d", "999999999999999999d", "5 parsecs", "", "30", "-1s"] {
            assert_eq!(parsed(text), None, "{text}");
        }
    }

    #[test]
    fn a_written_duration_reads_back_as_itself() {
        for duration in [
            Duration::from_millis(1),
            Duration::from_millis(1_500),
            Duration::from_secs(5_400),
            Duration::from_hours(30 * 24),
            Duration::new(90_061, 1_002_003),
            LONGEST,
        ] {
            assert_eq!(parsed(&format(duration)), Some(duration), "{duration:?}");
        }
    }

    #[test]
    fn a_duration_is_written_in_the_largest_units() {
        assert_eq!(format(Duration::from_secs(5_400)), "1h 30m");
        assert_eq!(format(Duration::from_hours(720)), "30d");
        assert_eq!(format(Duration::ZERO), "0s");
    }
}
