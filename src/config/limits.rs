//! `[limits]`: how much the server takes on before it refuses.
//!
//! Only the numbers; each is enforced by the module that owns the thing it counts.

use serde::{Deserialize, Serialize};

use super::error::Conflict;
use super::{size, value};

/// `[limits]`: how much the server takes on before it refuses.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes of one request body; at least 1. Default 256 MiB.
    #[serde(with = "size")]
    pub body: u64,
    /// Bytes of all request bodies in memory at once; at least `body`. Default 1 GiB.
    #[serde(with = "size")]
    pub bodies: u64,
    /// Open connections; 1 to 1000000. Default 20000.
    #[serde(deserialize_with = "value::between::<_, 1, 1_000_000>")]
    pub connections: u32,
    /// Sessions with an agent at once on this node; 1 to 1000000. Default 2000.
    #[serde(deserialize_with = "value::between::<_, 1, 1_000_000>")]
    pub max_running: u32,
    /// Requests in flight to one agent; 1 to 65536. Default 64.
    #[serde(deserialize_with = "value::between::<_, 1, 65_536>")]
    pub requests_per_session: u32,
    /// Bytes of one line from an agent; at least 1. Default 16 MiB.
    #[serde(with = "size")]
    pub message: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 256 << 20,
            bodies: 1 << 30,
            connections: 20_000,
            max_running: 2_000,
            requests_per_session: 64,
            message: 16 << 20,
        }
    }
}

impl Limits {
    pub(super) fn conflict(&self) -> Option<Conflict> {
        (self.bodies < self.body).then(|| Conflict {
            keys: &["limits.bodies", "limits.body"],
            text: format!(
                "`limits.bodies` is {}, less than `limits.body` with {}: raise `limits.bodies` or \
                 lower `limits.body`",
                size::format(self.bodies),
                size::format(self.body)
            ),
        })
    }
}
