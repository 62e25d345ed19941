//! How long a call may wait, as the query says it.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A time to wait: a number with `ms`, `s` or `m`, such as `30s`; 5 minutes at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait(pub Duration);

const LONGEST: Duration = Duration::from_mins(5);

impl Wait {
    /// As long as that, or as long as may be.
    pub fn at_most(wait: Duration) -> Self {
        Self(wait.min(LONGEST))
    }
}

impl<'de> Deserialize<'de> for Wait {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        match read(&text) {
            Some(wait) => Ok(Self(wait)),
            None => Err(D::Error::custom("`wait` is a time such as 30s, at most 5m")),
        }
    }
}

fn read(text: &str) -> Option<Duration> {
    let digits = text.len() - text.trim_start_matches(|character: char| character.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    // As few digits as the schema's pattern allows.
    let (most_digits, unit) = match unit {
        "ms" => (5, Duration::from_millis(1)),
        "s" => (3, Duration::from_secs(1)),
        "m" => (1, Duration::from_mins(1)),
        _ => return None,
    };
    let wait = unit * number.parse().ok().filter(|_| digits <= most_digits)?;
    (wait <= LONGEST).then_some(wait)
}

impl Serialize for Wait {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Milliseconds have few digits; a wait that needs more is told in seconds.
        match self.0.as_millis() {
            millis @ ..100_000 => serializer.collect_str(&format_args!("{millis}ms")),
            _ => serializer.collect_str(&format_args!("{}s", self.0.as_secs())),
        }
    }
}

impl JsonSchema for Wait {
    fn schema_name() -> Cow<'static, str> {
        "Wait".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^(?:[0-9]{1,5}ms|(?:[0-9]{1,2}|[12][0-9]{2}|300)s|[0-5]m)$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_read_as_it_was_written() {
        for millis in [0, 1, 30_000, 99_999, 100_000, 300_000, 900_000] {
            let wait = Wait::at_most(Duration::from_millis(millis));
            let text = serde_json::to_value(wait).unwrap();
            assert_eq!(read(text.as_str().unwrap()), Some(wait.0));
        }
    }

    #[test]
    fn a_wait_has_a_unit_and_an_end() {
        for (text, wait) in [
            ("30s", Some(Duration::from_secs(30))),
            ("0s", Some(Duration::ZERO)),
            ("1500ms", Some(Duration::from_millis(1_500))),
            ("5m", Some(LONGEST)),
            ("99999ms", Some(Duration::from_millis(99_999))),
            ("100000ms", None),
            ("0001s", None),
            ("301s", None),
            ("6m", None),
            ("30", None),
            ("s", None),
            ("-1s", None),
            ("1e3s", None),
            ("99999999999999999999s", None),
        ] {
            assert_eq!(read(text), wait, "{text}");
        }
    }
}
