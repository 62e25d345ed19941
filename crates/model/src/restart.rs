//! The restart policy: how long to wait after an agent was lost, and when to give up. Pure.
//!
//! Waits grow from 200 ms, doubling to 60 s, each spread by up to a quarter so that agents lost together do not come
//! back together. Ten minutes of healthy running start the growth anew. More than ten losses within ten minutes end
//! the session. A crash-looping agent with these waits reaches the eleventh loss only after minutes, so that a
//! short outage of something that agents need is ridden out.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
const WINDOW: Duration = Duration::from_secs(600);
const HEALTHY: Duration = Duration::from_secs(600);
const MOST_IN_WINDOW: usize = 10;

/// The recent losses of a session's agents. Stored with the session, so that a restart of the server forgives
/// nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failures {
    recent: Vec<Timestamp>,
    streak: u32,
}

/// What follows the loss of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Start another agent.
    Restart {
        /// How long to wait first.
        after: Duration,
        /// The losses, this one included.
        failures: Failures,
    },
    /// End the session.
    GiveUp {
        /// How many losses there were within the window.
        failures: usize,
    },
}

impl Failures {
    /// Decides what follows when an agent is lost at `now` after running for `ran`; `jitter` is any random number.
    pub fn after_loss(&self, now: Timestamp, ran: Duration, jitter: u16) -> Decision {
        let mut recent: Vec<_> = self.recent.iter().copied().filter(|at| now.saturating_since(*at) < WINDOW).collect();
        recent.push(now);
        if recent.len() > MOST_IN_WINDOW {
            return Decision::GiveUp { failures: recent.len() };
        }
        let streak = if ran >= HEALTHY { 1 } else { self.streak.saturating_add(1) };
        Decision::Restart { after: wait(streak, jitter), failures: Self { recent, streak } }
    }

    /// How many agents were lost in the time before `now` that counts.
    pub fn count(&self, now: Timestamp) -> usize {
        self.recent.iter().filter(|at| now.saturating_since(**at) < WINDOW).count()
    }

    /// Whether nothing was lost lately.
    pub fn is_none(&self) -> bool {
        self.recent.is_empty()
    }

    /// How many agents were lost within the time that counts.
    pub fn lately(&self, now: Timestamp) -> usize {
        self.recent.iter().filter(|at| now.saturating_since(**at) < WINDOW).count()
    }

    /// How many agents were lost in a row.
    pub fn streak(&self) -> u32 {
        self.streak
    }
}

fn wait(streak: u32, jitter: u16) -> Duration {
    let doublings = streak.saturating_sub(1).min(16);
    let whole = FIRST_WAIT.saturating_mul(1 << doublings).min(LONGEST_WAIT);
    whole - whole.mul_f64(0.25 * f64::from(jitter) / f64::from(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: Timestamp = Timestamp::from_micros(1_000_000_000_000);

    fn restart(decision: Decision) -> (Duration, Failures) {
        match decision {
            Decision::Restart { after, failures } => (after, failures),
            Decision::GiveUp { failures } => panic!("gave up after {failures}"),
        }
    }

    #[test]
    fn waits_double_from_200_ms_to_a_minute() {
        let mut failures = Failures::default();
        let mut waits = Vec::new();
        for n in 0..10 {
            let now = START + Duration::from_secs(120) * n;
            let (after, next) = restart(failures.after_loss(now, Duration::ZERO, 0));
            waits.push(after.as_millis());
            failures = next;
        }
        assert_eq!(waits, [200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 51_200, 60_000]);
    }

    #[test]
    fn ten_healthy_minutes_start_the_growth_anew() {
        let (_, failures) = restart(Failures::default().after_loss(START, Duration::ZERO, 0));
        let (after, failures) = restart(failures.after_loss(START + HEALTHY, HEALTHY, 0));
        assert_eq!(after, FIRST_WAIT);
        assert_eq!(failures.streak(), 1);
    }

    #[test]
    fn the_eleventh_loss_within_ten_minutes_gives_up() {
        let mut failures = Failures::default();
        for n in 0..10 {
            (_, failures) = restart(failures.after_loss(START + Duration::from_secs(n), Duration::ZERO, 0));
        }
        let last = failures.after_loss(START + Duration::from_secs(599), Duration::ZERO, 0);
        assert_eq!(last, Decision::GiveUp { failures: 11 });
        restart(failures.after_loss(START + Duration::from_secs(605), Duration::ZERO, 0));
    }

    proptest! {
        #[test]
        fn a_wait_is_never_shorter_than_three_quarters_of_its_step(streak in 0u32..1_000, jitter: u16) {
            let full = wait(streak, 0);
            let spread = wait(streak, jitter);
            prop_assert!(spread <= full && spread >= full.mul_f64(0.749));
            prop_assert!(full <= LONGEST_WAIT);
        }
    }
}
