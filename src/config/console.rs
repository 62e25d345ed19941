//! `[console]`: whether there is one, and how long an operator stays signed in.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

use super::{duration, value};

/// `[console]`: whether there is one, and how long an operator stays signed in.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Console {
    /// Whether the console's pages are there, and operators may sign in at them. Default true.
    #[serde(deserialize_with = "value::boolean")]
    pub enabled: bool,
    /// How long a sign-in lasts that is not used; 1ms to 36500d. Default 30 minutes.
    #[serde(with = "duration::positive")]
    pub idle_timeout: Duration,
    /// How long a sign-in lasts at all; 1ms to 36500d. Default 12 hours.
    #[serde(with = "duration::positive")]
    pub lifetime: Duration,
}

impl Default for Console {
    fn default() -> Self {
        Self { enabled: true, idle_timeout: Duration::from_mins(30), lifetime: Duration::from_hours(12) }
    }
}

impl Console {
    /// Whether a sign-in that was made and last used at these times still holds at `now`.
    pub fn is_open(&self, opened: Timestamp, seen: Timestamp, now: Timestamp) -> bool {
        now.saturating_since(opened) < self.lifetime && now.saturating_since(seen) < self.idle_timeout
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_in_ends_when_it_is_not_used_and_at_its_lifetime_in_any_case() {
        let (idle_timeout, lifetime) = (Duration::from_secs(10), Duration::from_secs(60));
        let console = Console { idle_timeout, lifetime, ..Console::default() };
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
        for (opened, seen, now, open) in [(0, 0, 9, true), (0, 0, 10, false), (0, 55, 59, true), (0, 55, 60, false)] {
            assert_eq!(console.is_open(at(opened), at(seen), at(now)), open, "{opened} {seen} {now}");
        }
    }
}
