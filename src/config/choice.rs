//! Settings with a few named values, such as `format = "json"`.
//!
//! Names are matched exactly; there are no aliases. Called by the derived code of the sections,
//! and through `FromStr` by the command line.

use serde::{Deserializer, Serializer};
use toml::Value;

use super::value::{read, wrong};

/// A setting that is one of a few names.
pub trait Choice: Copy + 'static {
    /// Every choice, in the order in which an error lists them.
    const ALL: &'static [Self];

    /// How the choice is written.
    fn name(self) -> &'static str;
}

/// Finds the choice with this name; the error is a half sentence that lists all of them.
pub(super) fn parse<T: Choice>(value: &Value) -> Result<T, String> {
    T::ALL
        .iter()
        .copied()
        .find(|choice| value.as_str() == Some(choice.name()))
        .ok_or_else(|| wrong(names::<T>(), value))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>, T: Choice>(source: D) -> Result<T, D::Error> {
    read(source, parse)
}

pub(super) fn serialize<S: Serializer, T: Choice>(choice: &T, sink: S) -> Result<S::Ok, S::Error> {
    sink.serialize_str(choice.name())
}

fn names<T: Choice>() -> String {
    let quoted: Vec<String> = T::ALL.iter().map(|choice| format!("\"{}\"", choice.name())).collect();
    quoted.join(" or ")
}
