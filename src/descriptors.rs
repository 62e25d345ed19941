//! The limit of open descriptors: raised for the server, which has a descriptor for each connection and a few for each
//! agent. The agents' shims set back what it was, because agents may use select(2) or close every descriptor up to their
//! limit.

use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What an agent takes: the socket to its shim, and one file that is being read.
const PER_AGENT: u64 = 2;

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
    let left = limit.saturating_sub(OWN + PER_AGENT * u64::from(agents)).max(limit / 2);
    u32::try_from(left).unwrap_or(u32::MAX).min(wanted)
}

/// Whether the limit has room for taking up so many agents of an earlier server beside what is open already.
///
/// # Errors
/// One sentence that says how much is missing and what to do.
pub(crate) fn suffice_for(agents: usize) -> Result<(), String> {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let open = std::fs::read_dir("/proc/self/fd").map_or(0, |open| open.count() as u64);
    match missing(limit, open, agents as u64) {
        0 => Ok(()),
        missing => Err(format!(
            "{agents} agents of an earlier server run, and taking them up needs {missing} more open files than the \
             {limit} that this process may have: raise the limit (LimitNOFILE= of a systemd unit, `ulimit -Hn`) and \
             start again; until then the agents run on, each for its persona's `orphan_timeout`"
        )),
    }
}

/// How many descriptors are missing for so many agents.
fn missing(limit: u64, open: u64, agents: u64) -> u64 {
    // First clients, operators, and what the store opens as it is used.
    const BESIDE: u64 = 32;
    (open + PER_AGENT * agents + BESIDE).saturating_sub(limit)
}

/// Whether a call failed because no descriptor was free: that tells nothing of whom it was about.
pub(crate) fn are_lacking(error: &std::io::Error) -> bool {
    let lacks = [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE].map(rustix::io::Errno::raw_os_error);
    error.raw_os_error().is_some_and(|errno| lacks.contains(&errno))
}

/// The soft and the hard limit that this process had before it raised its own; [`u64::MAX`] is no limit. Nothing if it
/// raised none.
pub fn before() -> Option<(u64, u64)> {
    BEFORE.get().map(|limit| (limit.current.unwrap_or(u64::MAX), limit.maximum.unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::{missing, room};

    #[test]
    fn what_is_missing_for_the_agents_of_an_earlier_server_is_counted() {
        assert_eq!(missing(1_024, 50, 400), 0);
        assert_eq!(missing(1_024, 50, 500), 58);
        assert_eq!(missing(u64::MAX, 50, 2_000), 0);
    }

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
