//! The limit of open descriptors: raised for the server, which has a descriptor for each connection and a few for each
//! agent. The agents' shims set back what it was, because agents may use select(2) or close every descriptor up to their
//! limit.

use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What the limit was before this process raised it. It belongs to the process, as the limit itself does.
static BEFORE: OnceLock<Rlimit> = OnceLock::new();

/// Raises this process's soft limit to its hard limit.
pub fn raise() {
    let before = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: before.maximum, maximum: before.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => {
            let _ = BEFORE.set(before);
        }
        Err(error) => tracing::warn!(error = %error, "descriptor limit not raised"),
    }
}

/// How many connections the limit leaves room for beside the descriptors of so many agents; at most `wanted`. Says in the
/// log if that is less.
pub fn connections(wanted: u32, agents: u32) -> u32 {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let room = room(limit, wanted, agents);
    if room < wanted {
        tracing::warn!(
            descriptors = limit,
            connections = room,
            "the limit of open descriptors leaves room for fewer connections than `limits.connections`: raise it \
             (LimitNOFILE= of a systemd unit, `ulimit -Hn`), or lower `limits.connections` or `limits.max_running`"
        );
    }
    room
}

/// How many connections a limit of descriptors leaves room for. Never less than half of the limit, for few servers have
/// as many agents as they may.
pub(crate) fn room(limit: u64, wanted: u32, agents: u32) -> u32 {
    // Files of the store and of events with their readers, operators, agents that are just being started.
    const OWN: u64 = 256;
    // The socket to its shim, and one file that is being read.
    const PER_AGENT: u64 = 2;
    let left = limit.saturating_sub(OWN + PER_AGENT * u64::from(agents)).max(limit / 2);
    u32::try_from(left).unwrap_or(u32::MAX).min(wanted)
}

/// The soft and the hard limit that this process had before it raised its own; [`u64::MAX`] is no limit. Nothing if it
/// raised none.
pub fn before() -> Option<(u64, u64)> {
    BEFORE.get().map(|limit| (limit.current.unwrap_or(u64::MAX), limit.maximum.unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::room;

    #[test]
    fn connections_leave_the_agents_their_descriptors() {
        for (limit, wanted, agents, connections) in [
            (u64::MAX, 20_000, 2_000, 20_000),
            (65_536, 20_000, 2_000, 20_000),
            (20_000, 20_000, 2_000, 15_744),
            (1_024, 20_000, 2_000, 512),
            (1_024, 100, 2_000, 100),
        ] {
            assert_eq!(room(limit, wanted, agents), connections, "{limit} descriptors");
        }
    }
}
