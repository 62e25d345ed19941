//! `[throttle]`: how many failed attempts to sign in are let through before the next attempt is refused.
//!
//! Only the numbers; the counting lives with the check of credentials.

use serde::{Deserialize, Serialize};

use super::value;

/// `[throttle]`: how many failed attempts to sign in are let through before the next attempt is refused.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Throttle {
    /// Whether anything is throttled at all. Default `true`.
    #[serde(deserialize_with = "value::boolean")]
    pub enabled: bool,
    /// Failures a minute, for one account from one address, or behind a proxy for one account; 1 to 1000000. Default 10.
    #[serde(deserialize_with = "value::between::<_, 1, 1_000_000>")]
    pub per_account_and_address: u32,
    /// Failures a minute, from one address; not in force behind a proxy; 1 to 1000000. Default 100.
    #[serde(deserialize_with = "value::between::<_, 1, 1_000_000>")]
    pub per_address: u32,
    /// Failures an hour, for one account from addresses that it does not know; 1 to 1000000. Default 100.
    #[serde(deserialize_with = "value::between::<_, 1, 1_000_000>")]
    pub per_account: u32,
    /// Failures an hour, for one account with one device cookie or one session's token; 1 to 1000000. Default 10.
    #[serde(deserialize_with = "value::between::<_, 1, 1_000_000>")]
    pub per_proof: u32,
}

impl Default for Throttle {
    fn default() -> Self {
        Self { enabled: true, per_account_and_address: 10, per_address: 100, per_account: 100, per_proof: 10 }
    }
}
