//! What the steps of a session count as: starts and how long they took, failed starts, restarts, ends.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::metrics::Metrics;

use super::phase::{Outcome, Phase, Start};

/// Counts the steps of one session, once each is stored.
#[derive(Debug)]
pub(super) struct Counted {
    metrics: Arc<Metrics>,
    /// When the first start began that is under way.
    begun: Option<Timestamp>,
}

impl Counted {
    /// For a session that a driver begins with.
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, begun: None }
    }

    /// Counts a step that was made at `now`.
    pub(super) fn step(&mut self, persona: &str, before: &Phase, after: &Phase, now: Timestamp) {
        let metrics = &self.metrics;
        let persona = metrics.personas.of(persona);
        let was_first_start = matches!(before, Phase::Starting { start: Start::First { .. }, .. });
        match after {
            Phase::Starting { start: Start::First { .. }, .. } => {
                self.begun.get_or_insert(now);
                return;
            }
            // One that somebody asked for is no loss.
            Phase::Starting { start: Start::Restart { reason: None, .. }, .. } if after.epoch() > before.epoch() => {
                persona.restarts.add_one();
            }
            Phase::Running { .. } if was_first_start => {
                persona.started.add_one();
                if let Some(begun) = self.begun {
                    metrics.starts.record(now.saturating_since(begun));
                }
            }
            Phase::Pending { last_failure, .. } if was_first_start => {
                persona.failed_starts.add_one();
                if let Some(reason) = last_failure {
                    persona.note_loss(&reason.in_full());
                }
            }
            Phase::Ended { ending, .. } => {
                metrics.ended.add_one(place(ending.outcome));
                if ending.outcome == Outcome::Failed {
                    persona.failed.add_one();
                    persona.note_loss(&ending.reason.in_full());
                    if was_first_start {
                        persona.failed_starts.add_one();
                    }
                }
            }
            Phase::Pending { .. } | Phase::Starting { .. } | Phase::Running { .. } | Phase::Stopping { .. } => {}
        }
        self.begun = None;
    }

    /// Keeps why an agent was lost.
    pub(super) fn loss(&self, persona: &str, reason: &str) {
        self.metrics.personas.of(persona).note_loss(reason);
    }
}

/// The place of an outcome among all.
fn place(outcome: Outcome) -> usize {
    Outcome::ALL.iter().position(|known| *known == outcome).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::agent::restart::Failures;
    use crate::id::Epoch;
    use crate::session::phase::{Ending, Reason};

    const NOW: Timestamp = Timestamp::from_micros(0);

    fn pending(failed_starts: u32) -> Phase {
        let last_failure = (failed_starts > 0).then(|| Box::new(Reason::new("no fuel")));
        Phase::Pending { deadline: NOW, epoch: Epoch(failed_starts), failed_starts, last_failure }
    }

    fn starting(epoch: u32, start: Start) -> Phase {
        Phase::Starting { epoch: Epoch(epoch), not_before: NOW, deadline: NOW, start }
    }

    fn first(epoch: u32) -> Phase {
        starting(epoch, Start::First { failed_starts: epoch - 1, last_failure: None })
    }

    fn again(epoch: u32) -> Phase {
        starting(epoch, Start::Restart { first_ready: NOW, failures: Failures::default(), reason: None })
    }

    fn running(epoch: u32) -> Phase {
        Phase::Running { epoch: Epoch(epoch), since: NOW, first_ready: NOW, failures: Failures::default() }
    }

    fn ended(outcome: Outcome) -> Phase {
        Phase::Ended { epoch: Epoch(1), ending: Ending::new(outcome, Reason::new("no luck")), log_bytes: 0 }
    }

    /// What a session's life counts as, a second a step: started, failed starts, restarts, failed, seconds of starts.
    fn counted(life: &[Phase]) -> ([u64; 4], f64) {
        let metrics = Arc::new(Metrics::new(["A"], [""; 0], [], Arc::default(), Arc::default()));
        let mut counted = Counted::new(Arc::clone(&metrics));
        for (second, step) in (1..).zip(life.windows(2)) {
            counted.step("A", &step[0], &step[1], NOW + Duration::from_secs(second));
        }
        let persona = metrics.personas.of("A");
        let counts = [&persona.started, &persona.failed_starts, &persona.restarts, &persona.failed];
        (counts.map(|counter| counter.get()), metrics.starts.sum_seconds())
    }

    #[test]
    fn a_start_takes_from_initialise_until_the_agent_is_ready() {
        assert_eq!(counted(&[pending(0), first(1), running(1)]), ([1, 0, 0, 0], 1.0));
        // The server was started anew meanwhile: when the start began is not known.
        assert_eq!(counted(&[first(1), running(1)]), ([1, 0, 0, 0], 0.0));
    }

    #[test]
    fn a_failed_start_counts_whether_or_not_it_was_the_last_attempt() {
        let life = [pending(0), first(1), pending(1), first(2), ended(Outcome::Failed)];
        assert_eq!(counted(&life), ([0, 2, 0, 1], 0.0));
        assert_eq!(counted(&[pending(0), first(1), ended(Outcome::Stopped)]), ([0; 4], 0.0));
    }

    #[test]
    fn each_loss_that_is_followed_by_a_start_is_a_restart_and_none_is_a_first_start() {
        let life = [first(1), running(1), again(2), again(3), running(3), ended(Outcome::Failed)];
        assert_eq!(counted(&life), ([1, 0, 2, 1], 0.0));
    }

    #[test]
    fn what_is_known_last_of_a_persona_is_why_it_failed() {
        let metrics = Arc::new(Metrics::new(["A"], [""; 0], [], Arc::default(), Arc::default()));
        let mut counted = Counted::new(Arc::clone(&metrics));
        counted.step("A", &first(1), &pending(1), NOW);
        assert_eq!(metrics.personas.of("A").last_loss().as_deref(), Some("no fuel"));
        counted.step("A", &running(1), &ended(Outcome::Failed), NOW);
        assert_eq!(metrics.personas.of("A").last_loss().as_deref(), Some("no luck"));
        let ends: Vec<_> = metrics.ended.iter().map(|(outcome, count)| (outcome.to_owned(), count)).collect();
        assert_eq!(ends[1], ("failed".to_owned(), 1));
    }
}
