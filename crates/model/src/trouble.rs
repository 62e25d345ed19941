//! Which sessions are in trouble, how bad it is, and why. Pure.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use crate::time::{Timestamp, WallTime};

use crate::phase::{Phase, Start};
use crate::reason::Reason;
use crate::record::SessionRecord;

/// A session that has waited this long in the queue is in trouble.
const LONG_WAIT: Duration = Duration::from_secs(120);
/// How long after its deadline an agent may take until all of its processes are gone.
const AFTER_KILL: Duration = Duration::from_secs(5);
/// So many agents that were lost lately make a session one in trouble also while its agent runs.
const MANY_LOSSES: usize = 2;

/// What is wrong with a session; the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TroubleKind {
    /// It is stopping, and its agent should be gone.
    StopOverdue,
    /// Its agent was lost and is being started again.
    Restarting,
    /// Its agent runs, and was lost several times in the last minutes.
    Unstable,
    /// A start of its agent has failed.
    StartFailed,
    /// It has been waiting in the queue for minutes.
    Waiting,
}

/// A session in trouble.
#[derive(Clone, Debug)]
pub struct Trouble {
    /// The session.
    pub record: Arc<SessionRecord>,
    /// What is wrong.
    pub kind: TroubleKind,
    /// How bad that is beside others of the kind: seconds, losses or failed starts.
    weight: u64,
    /// Why its driver last lost an agent.
    lost: Option<Reason>,
}

impl Trouble {
    /// Judges a session; `is_queued` if it waits for the node to start it. `None` if nothing is wrong with it.
    pub fn of(
        record: &Arc<SessionRecord>,
        lost: Option<&Reason>,
        is_queued: bool,
        now: Timestamp,
        wall: WallTime,
    ) -> Option<Self> {
        let (kind, weight) = match &record.phase {
            Phase::Stopping { deadline, .. }
            | Phase::Starting { not_before: deadline, start: Start::Replacement { .. }, .. } => {
                let over = now.saturating_since(*deadline + AFTER_KILL);
                (!over.is_zero()).then_some((TroubleKind::StopOverdue, now.saturating_since(*deadline).as_secs()))?
            }
            Phase::Starting { start: Start::Restart { failures, reason: None, .. }, .. } => {
                (TroubleKind::Restarting, failures.lately(now) as u64)
            }
            Phase::Running { failures, .. } if failures.lately(now) >= MANY_LOSSES => {
                (TroubleKind::Unstable, failures.lately(now) as u64)
            }
            Phase::Pending { failed_starts: failed @ 1.., .. }
            | Phase::Starting { start: Start::First { failed_starts: failed @ 1.., .. }, .. } => {
                (TroubleKind::StartFailed, u64::from(*failed))
            }
            Phase::Pending { .. } if is_queued && waited(record, wall) >= LONG_WAIT => {
                (TroubleKind::Waiting, waited(record, wall).as_secs())
            }
            Phase::Pending { .. } | Phase::Starting { .. } | Phase::Running { .. } | Phase::Ended { .. } => {
                return None;
            }
        };
        Some(Self { record: Arc::clone(record), kind, weight, lost: lost.cloned() })
    }

    /// What is wrong and why, in words for operators.
    pub fn reason(&self) -> String {
        let because = |text: String, reason: Option<&Reason>| match reason {
            Some(reason) => format!("{text}: {}", reason.in_full()),
            None => text,
        };
        let times = |count: u64| if count == 1 { "once".to_owned() } else { format!("{count} times") };
        match self.kind {
            TroubleKind::StopOverdue => format!("its agent should have been gone {} ago", in_words(self.weight)),
            TroubleKind::Restarting if self.weight == 0 => "its agent is being started again".to_owned(),
            TroubleKind::Restarting => because(
                format!("its agent was lost {} within 10 minutes and is being started again", times(self.weight)),
                self.lost.as_ref(),
            ),
            TroubleKind::Unstable => {
                because(format!("its agent was lost {} within 10 minutes", times(self.weight)), self.lost.as_ref())
            }
            TroubleKind::StartFailed => {
                because(format!("its agent failed to start {}", times(self.weight)), self.record.phase.why())
            }
            TroubleKind::Waiting => format!("waiting to be started for {}", in_words(self.weight)),
        }
    }
}

/// Keeps the `most` worst, each session once, the worst first; whether there were more.
pub fn worst(mut troubles: Vec<Trouble>, most: usize) -> (Vec<Trouble>, bool) {
    // The same session may have been seen by its driver and in the store.
    troubles.sort_by_key(|trouble| (trouble.record.id, Reverse(trouble.record.revision), trouble.kind));
    troubles.dedup_by_key(|trouble| trouble.record.id);
    troubles.sort_by_key(|trouble| (trouble.kind, Reverse(trouble.weight), trouble.record.id));
    let has_more = troubles.len() > most;
    troubles.truncate(most);
    (troubles, has_more)
}

fn waited(record: &SessionRecord, wall: WallTime) -> Duration {
    let millis = wall.unix_millis().saturating_sub(record.created.unix_millis());
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

fn in_words(seconds: u64) -> String {
    humantime::format_duration(Duration::from_secs(seconds)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{CustomerKey, Epoch, Revision, SessionId};
    use crate::phase::{Ending, Outcome};
    use crate::restart::{Decision, Failures};

    const NOW: Timestamp = Timestamp::from_micros(1_000_000_000_000);
    const WALL: WallTime = WallTime::from_unix_millis(1_000_000_000);

    fn session(number: u8, phase: Phase) -> Arc<SessionRecord> {
        Arc::new(SessionRecord {
            id: SessionId::new(WALL, [number; 10]),
            customer: CustomerKey::new("ann"),
            email: None,
            persona: "A".into(),
            created: WallTime::from_unix_millis(WALL.unix_millis() - 300_000),
            revision: Revision::FIRST,
            phase,
        })
    }

    fn judged(phase: Phase, is_queued: bool) -> Option<(TroubleKind, String)> {
        let lost = Reason::new("no fuel");
        let trouble = Trouble::of(&session(1, phase), Some(&lost), is_queued, NOW, WALL)?;
        Some((trouble.kind, trouble.reason()))
    }

    fn pending(failed_starts: u32) -> Phase {
        let last_failure = (failed_starts > 0).then(|| Box::new(Reason::new("no fuel")));
        Phase::Pending { deadline: NOW, epoch: Epoch(1), failed_starts, last_failure }
    }

    fn losses(count: u64) -> Failures {
        (0..count).fold(Failures::default(), |failures, n| {
            match failures.after_loss(NOW - Duration::from_secs(n), Duration::ZERO, 0) {
                Decision::Restart { failures, .. } => failures,
                Decision::GiveUp { .. } => panic!("gave up"),
            }
        })
    }

    fn restarting(count: u64) -> Phase {
        let start = Start::Restart { first_ready: NOW, failures: losses(count), reason: None };
        Phase::Starting { epoch: Epoch(2), not_before: NOW, deadline: NOW, start }
    }

    fn running(count: u64) -> Phase {
        Phase::Running { epoch: Epoch(2), since: NOW, first_ready: NOW, failures: losses(count) }
    }

    fn stopping(seconds: u64) -> Phase {
        let ending = Ending::new(Outcome::Stopped, Reason::new("stopped"));
        Phase::Stopping { epoch: Epoch(1), deadline: NOW - Duration::from_secs(seconds), ending }
    }

    #[test]
    fn trouble_is_said_in_words_and_what_goes_well_is_none() {
        let first = Phase::Starting {
            epoch: Epoch(1),
            not_before: NOW,
            deadline: NOW,
            start: Start::First { failed_starts: 0, last_failure: None },
        };
        for fine in [pending(0), first, running(0), running(1), stopping(5)] {
            assert_eq!(judged(fine, false), None);
        }
        for (phase, is_queued, kind, words) in [
            (stopping(90), false, TroubleKind::StopOverdue, "its agent should have been gone 1m 30s ago"),
            (restarting(0), false, TroubleKind::Restarting, "its agent is being started again"),
            (
                restarting(1),
                false,
                TroubleKind::Restarting,
                "its agent was lost once within 10 minutes and is being started again: no fuel",
            ),
            (running(3), false, TroubleKind::Unstable, "its agent was lost 3 times within 10 minutes: no fuel"),
            (pending(2), false, TroubleKind::StartFailed, "its agent failed to start 2 times: no fuel"),
            (pending(0), true, TroubleKind::Waiting, "waiting to be started for 5m"),
        ] {
            assert_eq!(judged(phase, is_queued), Some((kind, words.to_owned())));
        }
    }

    #[test]
    fn the_worst_come_first_and_each_session_once() {
        let of = |number, phase| Trouble::of(&session(number, phase), None, true, NOW, WALL).unwrap();
        let mut newer = (*session(1, restarting(1))).clone();
        newer.revision = newer.revision.next();
        let newer = Trouble::of(&Arc::new(newer), None, true, NOW, WALL).unwrap();
        let troubles = vec![
            of(2, pending(0)),
            of(1, pending(1)),
            newer,
            of(3, restarting(4)),
            of(4, stopping(9)),
            of(5, running(2)),
        ];

        let (worst, has_more) = worst(troubles, 4);

        let numbers: Vec<_> = worst.iter().map(|trouble| trouble.record.id.as_bytes()[15]).collect();
        assert_eq!((numbers, has_more), (vec![4, 3, 1, 5], true));
    }
}
