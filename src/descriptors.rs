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

/// The soft and the hard limit that this process had before it raised its own; [`u64::MAX`] is no limit. Nothing if it
/// raised none.
pub fn before() -> Option<(u64, u64)> {
    BEFORE.get().map(|limit| (limit.current.unwrap_or(u64::MAX), limit.maximum.unwrap_or(u64::MAX)))
}
