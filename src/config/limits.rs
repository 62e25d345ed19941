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
    /// Bytes of one request body; at least 1. Default 64 MiB.
    #[serde(with = "size")]
    pub body: u64,
    /// Bytes of all request bodies in memory at once; at least `body`. A sixteenth is kept for small bodies. Default 1
    /// GiB.
    #[serde(with = "size")]
    pub bodies: u64,
    /// Bytes of these that requests from one address, for IPv6 from one /64, hold at once; never less than `body`.
    /// Requests through a proxy that does not name their clients have no such limit. Default 256 MiB.
    #[serde(with = "size")]
    pub bodies_per_address: u64,
    /// Bytes of one session's data that is uploaded, which goes to the disk as it comes; at least 1. Default 1 GiB.
    #[serde(with = "size")]
    pub data: u64,
    /// Open connections; 1 to 1000000. Default 20000.
    #[serde(deserialize_with = "value::between::<_, 1, 1_000_000>")]
    pub connections: u32,
    /// Open connections from one address, for IPv6 from one /64; 1 to 1000000. Loopback and proxies have no such limit.
    /// Default 256.
    #[serde(deserialize_with = "value::between::<_, 1, 1_000_000>")]
    pub connections_per_address: u32,
    /// Sessions with an agent at once on this node; 1 to 1000000. Default 2000.
    #[serde(deserialize_with = "value::between::<_, 1, 1_000_000>")]
    pub max_running: u32,
    /// Agents being started at once on this node; 1 to 10000. Default 32.
    #[serde(deserialize_with = "value::between::<_, 1, 10_000>")]
    pub max_starting: u32,
    /// Requests in flight to one agent; 1 to 65536. Default 64.
    #[serde(deserialize_with = "value::between::<_, 1, 65_536>")]
    pub requests_per_session: u32,
    /// Bytes of one line from an agent; at least 1. Default 16 MiB.
    #[serde(with = "size")]
    pub message: u64,
    /// Bytes that one agent has written and the server has not yet stored; at least twice `message`. Default 64 MiB.
    #[serde(with = "size")]
    pub spool: u64,
    /// Bytes of one agent's log before it is begun anew; the one before is kept. At least 1. Default 1 MiB.
    #[serde(with = "size")]
    pub log: u64,
    /// Bytes of the answers to requests under an `Idempotency-Key` that are kept of one session, the newest ones and at
    /// least the newest; at least 1. Default 16 MiB.
    #[serde(with = "size")]
    pub answers: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 64 << 20,
            bodies: 1 << 30,
            bodies_per_address: 256 << 20,
            data: 1 << 30,
            connections: 20_000,
            connections_per_address: 256,
            max_running: 2_000,
            max_starting: 32,
            requests_per_session: 64,
            message: 16 << 20,
            spool: 64 << 20,
            log: 1 << 20,
            answers: 16 << 20,
        }
    }
}

impl Limits {
    pub(super) fn conflicts(&self) -> Vec<Conflict> {
        [self.bodies_conflict(), self.spool_conflict()].into_iter().flatten().collect()
    }

    fn bodies_conflict(&self) -> Option<Conflict> {
        (self.bodies < self.body).then(|| Conflict {
            keys: ["limits.bodies", "limits.body"].map(str::to_owned).to_vec(),
            text: format!(
                "`limits.bodies` is {}, less than `limits.body` with {}: raise `limits.bodies` or \
                 lower `limits.body`",
                size::format(self.bodies),
                size::format(self.body)
            ),
        })
    }

    // While one line waits for its end, the next one has to fit.
    fn spool_conflict(&self) -> Option<Conflict> {
        (self.message > self.spool / 2).then(|| Conflict {
            keys: ["limits.spool", "limits.message"].map(str::to_owned).to_vec(),
            text: format!(
                "`limits.spool` is {}, less than twice `limits.message` with {}: raise `limits.spool` or \
                 lower `limits.message`",
                size::format(self.spool),
                size::format(self.message)
            ),
        })
    }
}
