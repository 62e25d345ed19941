//! `[events]`: the log of what agents say of themselves.
//!
//! Only the numbers; the log itself keeps to them.

use serde::{Deserialize, Serialize};

use super::size;

/// `[events]`: the log of what agents say of themselves.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Events {
    /// Bytes of events that are kept of each session, the newest ones; at least 1. Default 16 MiB.
    #[serde(with = "size")]
    pub keep: u64,
}

impl Default for Events {
    fn default() -> Self {
        Self { keep: 16 << 20 }
    }
}
