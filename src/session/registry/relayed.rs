//! What relayed requests come to, as it is counted.

use std::time::Duration;

use crate::agent::{CallError, Json};
use crate::clock::Timestamp;
use crate::session::phase::{Phase, Start};

use super::{Registry, RelayError};

/// What a request may come to, in the order in which it is counted.
pub const OUTCOMES: [&str; 11] = [
    "answered",
    "agent_error",
    "agent_lost",
    "agent_timeout",
    "no_answer",
    "too_many",
    "not_spoken",
    "not_running",
    "restarting",
    "key_reused",
    "store",
];

/// The outcomes up to this one are the agent's own: it was given the request.
const OF_THE_AGENT: usize = 5;

impl Registry {
    /// Counts a request that began then and came to this.
    pub(super) fn count_relay(&self, began: Timestamp, answer: &Result<Json, RelayError>) {
        let metrics = &self.inner.context.launcher.metrics;
        let outcome = place(answer);
        metrics.requests.add_one(outcome);
        if outcome < OF_THE_AGENT {
            metrics.request_durations.record(self.inner.context.clock.now().saturating_since(began));
        }
    }
}

/// Why a session in this phase, whose agent takes no requests at the moment, relays nothing.
pub(super) fn refusal(phase: &Phase, now: Timestamp) -> RelayError {
    match phase {
        // How long the agent before takes to end is its own affair, and not the grace as a rule.
        Phase::Starting { start: Start::Replacement { .. }, .. } => {
            RelayError::Restarting { retry_after: Duration::ZERO }
        }
        Phase::Starting { not_before, start, .. } if start.is_again() => {
            RelayError::Restarting { retry_after: not_before.saturating_since(now) }
        }
        // Its agent is gone, and the step to the next one is about to be stored.
        Phase::Running { .. } => RelayError::Restarting { retry_after: Duration::ZERO },
        Phase::Starting { .. } | Phase::Pending { .. } | Phase::Stopping { .. } | Phase::Ended { .. } => {
            RelayError::NotRunning
        }
    }
}

/// The place of an outcome among all.
fn place(answer: &Result<Json, RelayError>) -> usize {
    let Err(error) = answer else { return 0 };
    match error {
        RelayError::Call(CallError::Refused { .. }) => 1,
        RelayError::Call(CallError::Lost(_)) | RelayError::AnswerDropped => 2,
        RelayError::Call(CallError::TimedOut) => 3,
        RelayError::Call(CallError::NoAnswer(_)) => 4,
        RelayError::Call(CallError::TooMany) => 5,
        RelayError::Call(CallError::NotSpoken) => 6,
        RelayError::NotRunning | RelayError::Call(CallError::Finished) => 7,
        RelayError::Restarting { .. } | RelayError::Call(CallError::NotGiven(_)) => 8,
        RelayError::KeyReused => 9,
        RelayError::Store(_) => 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Epoch;
    use crate::session::phase::Reason;

    #[test]
    fn a_running_session_whose_agent_is_gone_is_about_to_get_another() {
        let at = Timestamp::from_micros(0);
        let running = Phase::Running { epoch: Epoch(1), since: at, first_ready: at, failures: Default::default() };
        assert!(matches!(refusal(&running, at), RelayError::Restarting { retry_after: Duration::ZERO }));
        let pending = Phase::Pending { deadline: at, epoch: Epoch(0), failed_starts: 0, last_failure: None };
        assert!(matches!(refusal(&pending, at), RelayError::NotRunning));
    }
    use crate::store::StoreError;

    #[test]
    fn every_end_of_a_request_has_a_name_of_its_own() {
        let lost = || Reason::new("gone");
        let ends = [
            (Ok(Json::from_static(b"1")), "answered"),
            (Err(RelayError::Call(CallError::Refused { message: "no".into() })), "agent_error"),
            (Err(RelayError::Call(CallError::Lost(lost()))), "agent_lost"),
            (Err(RelayError::Call(CallError::TimedOut)), "agent_timeout"),
            (Err(RelayError::Call(CallError::NoAnswer(lost()))), "no_answer"),
            (Err(RelayError::Call(CallError::TooMany)), "too_many"),
            (Err(RelayError::Call(CallError::NotSpoken)), "not_spoken"),
            (Err(RelayError::NotRunning), "not_running"),
            (Err(RelayError::Restarting { retry_after: Duration::ZERO }), "restarting"),
            (Err(RelayError::KeyReused), "key_reused"),
            (Err(RelayError::Store(StoreError::Busy)), "store"),
        ];
        for (end, name) in ends {
            assert_eq!(OUTCOMES[place(&end)], name);
        }
    }
}
