//! The name of a persona.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::config::value;

/// The name of a persona: 1 to 64 of the characters A-Z a-z 0-9 _ . -
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct PersonaName(String);

impl PersonaName {
    /// The persona that exists when none is written.
    pub const BUILT_IN: &'static str = "CUSTOMERS";
    /// The longest name, in characters.
    pub const LONGEST: usize = 64;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(in crate::config) fn built_in() -> Self {
        Self(Self::BUILT_IN.to_owned())
    }
}

impl TryFrom<String> for PersonaName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        if (1..=Self::LONGEST).contains(&name.len()) && name.bytes().all(allowed) {
            Ok(Self(name))
        } else {
            Err(format!(
                "the name of a persona must be 1 to 64 of the characters A-Z a-z 0-9 _ . -, not {}",
                value::shown(&name.into())
            ))
        }
    }
}

impl FromStr for PersonaName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        name.to_owned().try_into()
    }
}

impl From<PersonaName> for String {
    fn from(name: PersonaName) -> Self {
        name.0
    }
}

impl Borrow<str> for PersonaName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PersonaName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn persona_names_are_short_and_plain() {
        for name in ["CUSTOMERS", "a", "sales-2.x_y", &"x".repeat(64)] {
            assert!(name.parse::<PersonaName>().is_ok(), "{name}");
        }
        for name in ["", "a b", "käse", "a/b", &"x".repeat(65)] {
            assert!(name.parse::<PersonaName>().is_err(), "{name}");
        }
    }
}
