//! What a shim is told to start: everything it needs to know for as long as it lives. One order is one JSON message
//! from the server to the launcher, with the shim's end of a socket beside it.
//!
//! It holds secrets (the agent's environment, the session's secret): it is never logged or written to a file.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::WallTime;
use crate::id::{Epoch, SessionId};

mod text;

/// An order to start an agent.
#[derive(Clone, Serialize, Deserialize)]
pub struct Order {
    /// The session that the agent serves.
    pub session: SessionId,
    /// Its fencing number; the directory says the same.
    pub epoch: Epoch,
    /// The session's directory, an absolute path.
    #[serde(with = "text::one")]
    pub directory: PathBuf,
    /// What a later server shows to be let in.
    pub secret: [u8; 32],
    /// The program: a path, a name to be found in the agent's own `PATH`, or nothing for this very binary.
    #[serde(with = "text::option")]
    pub program: Option<OsString>,
    /// Its arguments, from the zeroth.
    #[serde(with = "text::list")]
    pub arguments: Vec<OsString>,
    /// Its whole environment.
    #[serde(with = "text::pairs")]
    pub environment: BTreeMap<OsString, OsString>,
    /// Where it runs; nothing for a directory of its own, [`super::place::Place::work`].
    #[serde(with = "text::option")]
    pub working_directory: Option<PathBuf>,
    /// Whether it speaks the protocol. If not, it gets no stdin, and its stdout is part of its log.
    pub speaks: bool,
    /// How long it has to end when there is nobody left to say so.
    pub stop_grace: Duration,
    /// How long it goes on without a server.
    pub orphan_timeout: Duration,
    /// Bytes of stdout that may wait for a server before the agent has to.
    pub spool_bytes: u64,
    /// Bytes of its log before it is begun anew; the one before is kept.
    pub log_bytes: u64,
    /// What it may take.
    pub limits: Limits,
    /// The soft and the hard limit of descriptors that it gets, if not those of the launcher; [`u64::MAX`] is no limit.
    #[serde(default)]
    pub descriptors: Option<(u64, u64)>,
    /// As whom it runs, if not as the server's own user.
    pub user: Option<User>,
}

/// What an agent with all its processes may take. `None` is no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// CPU time.
    pub cpu_time: Option<Duration>,
    /// Open files of each process.
    pub open_files: Option<u64>,
    /// Processes at once.
    pub processes: Option<u32>,
    /// Bytes a second that it may write to stdout and stderr; more makes it wait.
    pub output_rate: Option<u64>,
    /// Bytes of its own directory.
    pub own_directory: Option<u64>,
}

/// A user that an agent runs as.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The user's number.
    pub uid: u32,
    /// The primary group's number.
    pub gid: u32,
    /// All groups.
    pub groups: Vec<u32>,
    /// Whether the user is this session's alone.
    #[serde(default)]
    pub is_own: bool,
}

/// Writes and reads an order that means nothing. What that touches first the kernel has to find, which a process does
/// better while nobody waits for it.
pub(super) fn rehearse() {
    let text = || OsString::from("rehearsal");
    let order = Order {
        session: SessionId::new(WallTime::from_unix_millis(0), [0; 10]),
        epoch: Epoch::default(),
        directory: text().into(),
        secret: [0; 32],
        program: Some(text()),
        arguments: vec![text()],
        environment: BTreeMap::from([(text(), text())]),
        working_directory: Some(text().into()),
        speaks: true,
        stop_grace: Duration::ZERO,
        orphan_timeout: Duration::ZERO,
        spool_bytes: 0,
        log_bytes: 0,
        limits: Limits::default(),
        descriptors: Some((0, 0)),
        user: None,
    };
    let _ = serde_json::to_vec(&order).map(|text| serde_json::from_slice::<Order>(&text));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    #[test]
    fn an_order_is_read_as_it_was_written_whatever_bytes_its_texts_have() {
        let odd = || OsString::from_vec(vec![b'a', 0xff, b'=']);
        let order = Order {
            session: SessionId::new(WallTime::from_unix_millis(1), [1; 10]),
            epoch: Epoch(3),
            directory: odd().into(),
            secret: [7; 32],
            program: Some("agent".into()),
            arguments: vec!["agent".into(), odd()],
            environment: BTreeMap::from([("A".into(), odd()), (odd(), "ü".into())]),
            working_directory: None,
            speaks: true,
            stop_grace: Duration::from_secs(10),
            orphan_timeout: Duration::from_secs(600),
            spool_bytes: 1 << 20,
            log_bytes: 1 << 20,
            limits: Limits::default(),
            descriptors: Some((1_024, u64::MAX)),
            user: Some(User { uid: 1, gid: 2, groups: vec![2, 3], is_own: true }),
        };
        let read: Order = serde_json::from_slice(&serde_json::to_vec(&order).unwrap()).unwrap();
        assert_eq!((&read.directory, &read.program), (&order.directory, &order.program));
        assert_eq!((&read.arguments, &read.environment), (&order.arguments, &order.environment));
        assert_eq!((read.working_directory, read.descriptors, read.user), (None, order.descriptors, order.user));
    }
}
