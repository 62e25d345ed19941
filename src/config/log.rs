//! `[log]`: what is logged and how it looks.
//!
//! The level stays text here; the module that sets up logging parses it, because only its filter
//! knows the grammar.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use toml::Value;

use super::choice::{self, Choice};
use super::value;

/// `[log]`: what is logged and how it looks.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// How a line looks. Default `text`.
    #[serde(with = "choice")]
    pub format: LogFormat,
    /// A filter directive such as `info` or `info,frontdesk::session=debug`. Default `info`.
    #[serde(deserialize_with = "value::text")]
    pub level: String,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: "info".to_owned() }
    }
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Choice for LogFormat {
    const ALL: &'static [Self] = &[Self::Text, Self::Json];

    fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

/// For the command line; the error is the sentence's half, "must be ..., not ...".
impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        choice::parse(&Value::String(text.to_owned()))
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_format_is_read_from_its_name() {
        assert_eq!("json".parse(), Ok(LogFormat::Json));
        assert_eq!("JSON".parse::<LogFormat>(), Err(r#"must be "text" or "json", not "JSON""#.to_owned()));
    }
}
