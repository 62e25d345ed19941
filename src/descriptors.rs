//! The limit of open descriptors: raised for the server, which has a descriptor for each connection and a few for each
//! agent, and given back to the agents, which may use select(2) or close every descriptor up to their limit.

use std::sync::OnceLock;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};

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

/// Gives a child the limit that it would have if this process had not raised its own.
pub fn give_back(child: Pid) {
    let Some(before) = BEFORE.get() else { return };
    if let Err(error) = prlimit(Some(child), Resource::Nofile, *before) {
        tracing::debug!(error = %error, "descriptor limit of an agent not set");
    }
}
