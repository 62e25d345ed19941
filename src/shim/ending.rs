//! When an agent that has to end is asked, signalled and killed. Pure.

use std::time::Duration;

use crate::clock::Timestamp;

/// The part of its time that an agent has before it is signalled.
const POLITE_PART: u32 = 4;

/// The schedule of an ending that has begun. Deadlines only ever move forward.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ending {
    terminate_at: Timestamp,
    kill_at: Timestamp,
    is_terminated: bool,
}

/// What an ending asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measure {
    /// Nothing yet.
    Wait,
    /// SIGTERM to the agent's group. Asked for once.
    Terminate,
    /// SIGKILL to the whole tree. Asked for until the agent has ended.
    Kill,
}

impl Ending {
    /// Begins at `now` an ending that may take `grace`. An agent that can't be asked is signalled at once.
    pub(super) fn begin(now: Timestamp, grace: Duration, can_be_asked: bool) -> Self {
        let polite = if can_be_asked { grace / POLITE_PART } else { Duration::ZERO };
        Self { terminate_at: now + polite, kill_at: now + grace, is_terminated: false }
    }

    /// Leaves it at most `grace` from `now` on; more than it has changes nothing.
    pub(super) fn hasten(&mut self, now: Timestamp, grace: Duration) {
        self.terminate_at = self.terminate_at.min(now + grace / POLITE_PART);
        self.kill_at = self.kill_at.min(now + grace);
    }

    /// What is to be done at `now`.
    pub(super) fn measure(&mut self, now: Timestamp) -> Measure {
        if now >= self.kill_at {
            return Measure::Kill;
        }
        if self.is_terminated {
            return Measure::Wait;
        }
        if now >= self.terminate_at {
            self.is_terminated = true;
            return Measure::Terminate;
        }
        Measure::Wait
    }

    /// When something is to be done next.
    pub(super) fn next(&self) -> Timestamp {
        if self.is_terminated { self.kill_at } else { self.terminate_at.min(self.kill_at) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGIN: Timestamp = Timestamp::from_micros(1_000_000_000);

    fn after(seconds: u64) -> Timestamp {
        BEGIN + Duration::from_secs(seconds)
    }

    fn of(seconds: u64) -> Ending {
        Ending::begin(BEGIN, Duration::from_secs(seconds), true)
    }

    /// What is to be done at that time, and when next.
    fn at(ending: &mut Ending, seconds: u64) -> (Measure, Timestamp) {
        (ending.measure(after(seconds)), ending.next())
    }

    #[test]
    fn an_agent_is_signalled_at_a_quarter_of_its_time_and_killed_at_the_end() {
        let mut ending = of(8);
        assert_eq!(at(&mut ending, 0), (Measure::Wait, after(2)));
        assert_eq!(at(&mut ending, 2), (Measure::Terminate, after(8)));
        assert_eq!(at(&mut ending, 2), (Measure::Wait, after(8)));
        assert_eq!(at(&mut ending, 8), (Measure::Kill, after(8)));
        assert_eq!(at(&mut ending, 9), (Measure::Kill, after(8)));
    }

    #[test]
    fn an_agent_that_can_not_be_asked_is_signalled_at_once() {
        let mut ending = Ending::begin(BEGIN, Duration::from_secs(8), false);
        assert_eq!(at(&mut ending, 0), (Measure::Terminate, after(8)));
        assert_eq!(at(&mut ending, 0), (Measure::Wait, after(8)));
    }

    #[test]
    fn no_time_at_all_is_a_kill() {
        assert_eq!(of(0).measure(BEGIN), Measure::Kill);
    }

    #[test]
    fn a_later_order_makes_it_sooner_and_never_later() {
        let mut ending = of(100);
        ending.hasten(after(1), Duration::from_secs(200));
        assert_eq!(ending, of(100));
        ending.hasten(after(1), Duration::from_secs(4));
        assert_eq!(at(&mut ending, 1), (Measure::Wait, after(2)));
        assert_eq!(at(&mut ending, 2), (Measure::Terminate, after(5)));
        ending.hasten(after(3), Duration::from_secs(1));
        assert_eq!(at(&mut ending, 3), (Measure::Wait, after(4)));
        ending.hasten(after(3), Duration::ZERO);
        assert_eq!(ending.measure(after(3)), Measure::Kill);
    }
}
