//! Named points at which tests make the real process die or fail.
//!
//! They stand at every durable step. Without the feature `failpoints` each is nothing at all. With it, the variable
//! `FRONTDESK_FAILPOINT` says what happens: `NAME=kill` ends the process there as `kill -9` would, `NAME=error` makes
//! the step fail, `NAME=pause` waits there until the file named by `FRONTDESK_FAILPOINT_RESUME` is there, and `NAME=kill@3`
//! waits for the third time. Each process counts for itself. If `FRONTDESK_FAILPOINT_WHEN` names a file, nothing
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
    /// A step of a session is stored; its transition is not.
    AfterStep,
    /// A file of session data is written but not yet in place.
    BeforeDataFile,
    /// A file of session data is in place; no row names it yet.
    AfterDataFile,
    /// A start is about to write into its agent's directory; the step that begins it may not be stored.
    BeforePlace,
    /// An agent's directory names the epoch of its next start; the step that begins it may not be stored.
    AfterPlace,
    /// An epoch is stored; the agent's directory may not know of it.
    BeforeSpawn,
    /// The agent's directory names the epoch; its shim is not ordered yet.
    AfterFence,
    /// A shim is ordered; nobody has heard of it.
    AfterSpawn,
    /// An agent is gone; the store does not know yet.
    AfterAgentEnd,
    /// The end of a failed session's log is written but not in place.
    BeforeKeptLog,
    /// The log of a failed session is kept; the session's end is not stored.
    AfterKeptLog,
    /// The end of a session is stored and may have been answered; its data file is still there.
    BeforeDataRemoval,
    /// A keyed request is noted; its agent is not given it yet.
    AfterNote,
    /// A restarted server has taken up agents, and not yet ended what belongs to nobody.
    DuringAdoption,
    /// A restarted server has ended leftovers but not settled its sessions.
    DuringRecovery,
    /// The launcher has an order and has not forked.
    LauncherBeforeFork,
    /// A shim lives and has not taken the lock of its directory.
    ShimBeforeLock,
    /// A shim has the lock and has read its own epoch; there is no agent.
    ShimBeforeAgent,
    /// A shim has forked its agent; nobody has heard of it.
    ShimAfterAgent,
    /// A shim has read output, which is not in the spool.
    ShimBeforeSpool,
    /// Output is in the spool and not sent.
    ShimAfterSpool,
    /// Nothing is left of an agent; its end is not noted.
    ShimBeforeEnd,
    /// An agent's end is noted and not told.
    ShimAfterEnd,
    /// The disk is full, and the ballast is as it was.
    BeforeRelease,
    /// Some of the ballast is released, and reserved for the store as far as that can be.
    AfterRelease,
    /// The ballast has its blocks again, which may not be durable.
    BeforeBallast,
    /// A backup has copied both databases; there is no archive.
    BackupCopied,
    /// A backup is whole and has not its name.
    BackupBeforePlace,
    /// A desk is restored and has not its name.
    RestoreBeforePlace,
}

impl Failpoint {
    /// All of the server, for the sweep.
    pub const ALL: [Self; 18] = [
        Self::BeforeCommit,
        Self::AfterCommit,
        Self::BeforeAnswer,
        Self::AfterStep,
        Self::BeforeDataFile,
        Self::AfterDataFile,
        Self::BeforePlace,
        Self::AfterPlace,
        Self::BeforeSpawn,
        Self::AfterFence,
        Self::AfterSpawn,
        Self::AfterAgentEnd,
        Self::BeforeKeptLog,
        Self::AfterKeptLog,
        Self::BeforeDataRemoval,
        Self::AfterNote,
        Self::DuringAdoption,
        Self::DuringRecovery,
    ];

    /// All of the launcher and of shims.
    pub const OF_SHIMS: [Self; 8] = [
        Self::LauncherBeforeFork,
        Self::ShimBeforeLock,
        Self::ShimBeforeAgent,
        Self::ShimAfterAgent,
        Self::ShimBeforeSpool,
        Self::ShimAfterSpool,
        Self::ShimBeforeEnd,
        Self::ShimAfterEnd,
    ];

    /// All of the ballast, which a server comes by on a full disk.
    pub const OF_BALLAST: [Self; 3] = [Self::BeforeRelease, Self::AfterRelease, Self::BeforeBallast];

    /// All of commands that make files.
    pub const OF_BACKUPS: [Self; 3] = [Self::BackupCopied, Self::BackupBeforePlace, Self::RestoreBeforePlace];

    /// The name by which the variable asks for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BeforeCommit => "before-commit",
            Self::AfterCommit => "after-commit",
            Self::BeforeAnswer => "before-answer",
            Self::AfterStep => "after-step",
            Self::BeforeDataFile => "before-data-file",
            Self::AfterDataFile => "after-data-file",
            Self::BeforePlace => "before-place",
            Self::AfterPlace => "after-place",
            Self::BeforeSpawn => "before-spawn",
            Self::AfterFence => "after-fence",
            Self::AfterSpawn => "after-spawn",
            Self::AfterAgentEnd => "after-agent-end",
            Self::BeforeKeptLog => "before-kept-log",
            Self::AfterKeptLog => "after-kept-log",
            Self::BeforeDataRemoval => "before-data-removal",
            Self::AfterNote => "after-note",
            Self::DuringAdoption => "during-adoption",
            Self::DuringRecovery => "during-recovery",
            Self::LauncherBeforeFork => "launcher-before-fork",
            Self::ShimBeforeLock => "shim-before-lock",
            Self::ShimBeforeAgent => "shim-before-agent",
            Self::ShimAfterAgent => "shim-after-agent",
            Self::ShimBeforeSpool => "shim-before-spool",
            Self::ShimAfterSpool => "shim-after-spool",
            Self::ShimBeforeEnd => "shim-before-end",
            Self::ShimAfterEnd => "shim-after-end",
            Self::BeforeRelease => "before-release",
            Self::AfterRelease => "after-release",
            Self::BeforeBallast => "before-ballast",
            Self::BackupCopied => "backup-copied",
            Self::BackupBeforePlace => "backup-before-place",
            Self::RestoreBeforePlace => "restore-before-place",
        }
    }

    /// Dies or waits here, or returns whether the step is to fail, as the variable asks.
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
    use std::time::Duration;

    use super::Failpoint;

    struct Armed {
        name: String,
        action: Action,
        nth: u32,
        hits: AtomicU32,
        when: Option<PathBuf>,
    }

    enum Action {
        Kill,
        Fail,
        Pause { until: PathBuf },
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
        match &armed.action {
            Action::Kill => die(),
            Action::Fail => true,
            Action::Pause { until } => {
                while !until.exists() {
                    std::thread::sleep(Duration::from_millis(5));
                }
                false
            }
        }
    }

    fn die() -> ! {
        let me = rustix::process::getpid();
        let _ = rustix::process::kill_process(me, rustix::process::Signal::KILL);
        // The signal ends every thread; this one must not go on until it arrives.
        loop {
            std::thread::park();
        }
    }

    fn read() -> Option<Armed> {
        let text = std::env::var("FRONTDESK_FAILPOINT").ok()?;
        let (name, action) = text.split_once('=')?;
        let (action, nth) = action.split_once('@').unwrap_or((action, "1"));
        Some(Armed {
            name: name.to_owned(),
            action: match action {
                "kill" => Action::Kill,
                "pause" => Action::Pause { until: std::env::var_os("FRONTDESK_FAILPOINT_RESUME")?.into() },
                _ => Action::Fail,
            },
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
        let other = || Failpoint::OF_SHIMS.iter().chain(&Failpoint::OF_BALLAST).chain(&Failpoint::OF_BACKUPS);
        let points = || Failpoint::ALL.iter().chain(other());
        let mut names: Vec<_> = points().map(|point| point.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), points().count());
    }
}
