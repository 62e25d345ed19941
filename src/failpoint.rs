//! Named points at which tests make the real process die or fail.
//!
//! They stand at every durable step. Without the feature `failpoints` each is nothing at all. With it, the variable
//! `FRONTDESK_FAILPOINT` says what happens: `NAME=kill` ends the process there as `kill -9` would, `NAME=error` makes
//! the step fail, and `NAME=kill@3` waits for the third time. If `FRONTDESK_FAILPOINT_WHEN` names a file, nothing
//! counts before that file is there, and the hit removes it: so a test says when, and sees that it was reached. A new
//! durable step gets a new point: the sweep in the tests takes its list from here.

/// A place where a crash or a failure is worth a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failpoint {
    /// A change waits in the writer's transaction, which is not committed.
    BeforeCommit,
    /// The transaction is committed; nobody knows yet.
    AfterCommit,
    /// The changes are visible; nobody is answered yet.
    BeforeAnswer,
    /// A file of session data is written but not yet in place.
    BeforeDataFile,
    /// A file of session data is in place; no row names it yet.
    AfterDataFile,
    /// An epoch is stored; its agent is not spawned yet.
    BeforeSpawn,
    /// An agent is spawned; nobody has heard of it.
    AfterSpawn,
    /// An agent is gone; the store does not know yet.
    AfterAgentEnd,
    /// The end of a session is stored and may have been answered; its data file is still there.
    BeforeDataRemoval,
    /// A restarted server has ended leftovers but not settled its sessions.
    DuringRecovery,
}

impl Failpoint {
    /// All of them, for the sweep.
    pub const ALL: [Self; 10] = [
        Self::BeforeCommit,
        Self::AfterCommit,
        Self::BeforeAnswer,
        Self::BeforeDataFile,
        Self::AfterDataFile,
        Self::BeforeSpawn,
        Self::AfterSpawn,
        Self::AfterAgentEnd,
        Self::BeforeDataRemoval,
        Self::DuringRecovery,
    ];

    /// The name by which the variable asks for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BeforeCommit => "before-commit",
            Self::AfterCommit => "after-commit",
            Self::BeforeAnswer => "before-answer",
            Self::BeforeDataFile => "before-data-file",
            Self::AfterDataFile => "after-data-file",
            Self::BeforeSpawn => "before-spawn",
            Self::AfterSpawn => "after-spawn",
            Self::AfterAgentEnd => "after-agent-end",
            Self::BeforeDataRemoval => "before-data-removal",
            Self::DuringRecovery => "during-recovery",
        }
    }

    /// Dies here, or returns whether the step is to fail, as the variable asks.
    #[cfg(feature = "failpoints")]
    pub fn hit(self) -> bool {
        armed::hit(self)
    }

    /// Does nothing.
    #[cfg(not(feature = "failpoints"))]
    #[inline]
    pub fn hit(self) -> bool {
        false
    }
}

#[cfg(feature = "failpoints")]
mod armed {
    use std::path::PathBuf;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::Failpoint;

    struct Armed {
        name: String,
        kill: bool,
        nth: u32,
        hits: AtomicU32,
        when: Option<PathBuf>,
    }

    static ARMED: OnceLock<Option<Armed>> = OnceLock::new();

    pub(super) fn hit(point: Failpoint) -> bool {
        let Some(armed) = ARMED.get_or_init(read) else { return false };
        if armed.name != point.name() || armed.when.as_ref().is_some_and(|file| !file.exists()) {
            return false;
        }
        if armed.hits.fetch_add(1, Ordering::SeqCst) + 1 != armed.nth {
            return false;
        }
        let _ = armed.when.as_ref().map(std::fs::remove_file);
        if armed.kill {
            let me = rustix::process::getpid();
            let _ = rustix::process::kill_process(me, rustix::process::Signal::KILL);
            // The signal ends every thread; this one must not go on until it arrives.
            loop {
                std::thread::park();
            }
        }
        true
    }

    fn read() -> Option<Armed> {
        let text = std::env::var("FRONTDESK_FAILPOINT").ok()?;
        let (name, action) = text.split_once('=')?;
        let (action, nth) = action.split_once('@').unwrap_or((action, "1"));
        Some(Armed {
            name: name.to_owned(),
            kill: action == "kill",
            nth: nth.parse().ok()?,
            hits: AtomicU32::new(0),
            when: std::env::var_os("FRONTDESK_FAILPOINT_WHEN").map(PathBuf::from),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_has_a_name_of_its_own() {
        let mut names: Vec<_> = Failpoint::ALL.iter().map(|point| point.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Failpoint::ALL.len());
    }
}
