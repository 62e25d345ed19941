//! The identities that everything else speaks of: sessions, customers, epochs, revisions.
//!
//! Each is a type of its own, so that a customer can't be passed where a session is meant. Nothing here knows a
//! clock, a store or a random source: what an identity is made of comes in as an argument.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::time::WallTime;

/// The identity of one session: a `UUIDv7` (RFC 9562, section 5.7), so that ids sort by the time of the request.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct SessionId(Uuid);

impl SessionId {
    /// Builds the id of a session that was requested at `wall`, from ten random bytes.
    pub fn new(wall: WallTime, random: [u8; 10]) -> Self {
        let millis = u64::try_from(wall.unix_millis()).unwrap_or(0);
        Self(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
    }

    /// When the session was requested, as its id tells.
    pub fn requested(&self) -> WallTime {
        let [a, b, c, d, e, f, ..] = *self.as_bytes();
        WallTime::from_unix_millis(i64::from_be_bytes([0, 0, a, b, c, d, e, f]))
    }

    /// Reads the sixteen bytes that [`SessionId::as_bytes`] gave.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// The sixteen bytes in network order, as the store keeps them.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl FromStr for SessionId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Who a customer is, as the credential server in force decides: the embedded one gives the account's canonical
/// email, a remote one the `EMAIL` exactly as sent. Two keys are the same customer exactly if their bytes are equal.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CustomerKey(Arc<str>);

impl CustomerKey {
    /// Wraps the bytes that identify the customer.
    pub fn new(key: &str) -> Self {
        Self(key.into())
    }

    /// The key's text, unescaped: never print it, [`fmt::Display`] does that safely.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Prints the key for people: control and other unprintable characters are escaped, long keys are cut.
impl fmt::Display for CustomerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Printable(&self.0).fmt(f)
    }
}

impl fmt::Debug for CustomerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text from outside, made safe for a log line or a terminal: escapes what does not print and cuts after
/// 200 characters.
#[derive(Clone, Copy)]
pub struct Printable<'a>(pub &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MOST: usize = 200;
        for (position, character) in self.0.chars().enumerate() {
            if position == MOST {
                return f.write_str("…");
            }
            match character {
                '\\' | '"' | '\'' => fmt::Write::write_char(f, character)?,
                _ if is_reordering(character) => write!(f, "{}", character.escape_unicode())?,
                _ => write!(f, "{}", character.escape_debug())?,
            }
        }
        Ok(())
    }
}

/// The same as [`Printable`], whole, for where the text is bounded or the place is not.
pub fn printable_whole(text: &str) -> String {
    text.chars().map(|character| Printable(character.encode_utf8(&mut [0; 4])).to_string()).collect()
}

/// Bidirectional controls print nothing of their own and change how their neighbours read.
pub fn is_reordering(character: char) -> bool {
    matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The fencing number of a session: rises by one each time an agent is started for it. Zero means that none ever was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u32);

impl Epoch {
    /// The epoch of the agent that is started after this one's.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The compare-and-swap number of a stored record: each stored change raises it by one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub u32);

impl Revision {
    /// The revision of a record that was just admitted.
    pub const FIRST: Self = Self(1);

    /// The revision after one more change.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_ids_sort_by_the_time_of_the_request() {
        let earlier = SessionId::new(WallTime::from_unix_millis(1_000), [0xff; 10]);
        let later = SessionId::new(WallTime::from_unix_millis(1_001), [0; 10]);
        assert!(earlier < later);
    }

    #[test]
    fn a_session_id_is_a_version_seven_uuid_and_survives_its_text_form() {
        let id = SessionId::new(WallTime::from_unix_millis(1_700_000_000_000), [7; 10]);
        assert_eq!(id.0.get_version_num(), 7);
        assert_eq!(id.requested(), WallTime::from_unix_millis(1_700_000_000_000));
        assert_eq!(id.to_string().parse::<SessionId>().unwrap(), id);
        assert_eq!(SessionId::from_bytes(*id.as_bytes()), id);
    }

    #[test]
    fn emails_print_escaped_and_cut() {
        let hostile = CustomerKey::new("a\u{1b}[31m\n\u{202e}\u{61c}b");
        assert_eq!(hostile.to_string(), "a\\u{1b}[31m\\n\\u{202e}\\u{61c}b");
        let long = CustomerKey::new(&"x".repeat(1_000));
        assert_eq!(long.to_string().chars().count(), 201);
    }
}
