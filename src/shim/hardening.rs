//! What a process of ours does so that other processes of its user can't look into it: the server, the launcher, and with
//! it every shim and every agent on its way to its program.
//!
//! A process that is not dumpable is root's alone to trace: its memory, its descriptors and its environment are closed to
//! agents, also where they run as the server's own user. It leaves no core file, which would hold secrets. An agent's
//! program starts dumpable again, because exec(2) makes it so; that it leaves no core files is in [`super::limits`].

use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Names a run of `frontdesk torture` in the environment of its server. The torture looks into its server's processes, so
/// that these stay dumpable.
pub(crate) const RUN_VARIABLE: &str = "TORTURE_OF_FRONTDESK";

/// Whether this run stays open to other processes of its user.
pub(crate) fn is_left_open() -> bool {
    std::env::var_os(RUN_VARIABLE).is_some()
}

/// Closes this process, and those that it forks, to others of its user.
///
/// # Errors
/// What the system said.
pub(crate) fn close_to_others() -> io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    if !is_left_open() {
        set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    }
    Ok(())
}
