//! Whether a service still serves a session, told by its answers to `ping`. Pure.

use std::time::Duration;

use super::service::{Fault, ServiceError};

/// Failures in a row by which the agent is lost.
const MOST_FAILURES: u32 = 3;
/// After a failed ping the next one comes sooner: a lost service should not go unnoticed for minutes.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// How the pings of late have gone.
#[derive(Debug, Default)]
pub(super) struct Health {
    failures: u32,
}

/// What follows a ping.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Ping again after this time.
    PingIn(Duration),
    /// The service does not serve the session any more.
    Lost(ServiceError),
}

impl Health {
    /// Whether the last ping was answered, or none was sent.
    pub(super) fn is_well(&self) -> bool {
        self.failures == 0
    }

    /// Takes note of a ping; `interval` is the time between two if all is well.
    pub(super) fn after(&mut self, ping: Result<(), ServiceError>, interval: Duration) -> Verdict {
        match ping {
            Ok(()) => {
                self.failures = 0;
                Verdict::PingIn(interval)
            }
            Err(error) => {
                self.failures += 1;
                if matches!(error.fault, Fault::UnknownSession(_)) || self.failures >= MOST_FAILURES {
                    Verdict::Lost(error)
                } else {
                    Verdict::PingIn(AFTER_FAILURE.min(interval))
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::http::service::tests::service;

    const INTERVAL: Duration = Duration::from_secs(30);

    fn failed() -> Result<(), ServiceError> {
        Err(service("h:1").failed(Fault::Unreachable("connection refused".into())))
    }

    fn next(verdict: Verdict) -> Duration {
        match verdict {
            Verdict::PingIn(wait) => wait,
            Verdict::Lost(error) => panic!("{error}"),
        }
    }

    #[test]
    fn three_failures_in_a_row_lose_the_agent_and_the_pings_between_come_sooner() {
        let mut health = Health::default();
        assert_eq!(next(health.after(Ok(()), INTERVAL)), INTERVAL);
        assert_eq!(next(health.after(failed(), INTERVAL)), AFTER_FAILURE);
        assert_eq!(next(health.after(failed(), INTERVAL)), AFTER_FAILURE);
        let Verdict::Lost(error) = health.after(failed(), INTERVAL) else { panic!("not lost") };
        assert_eq!(error.to_string(), "the service ROBOTS at h:1 does not answer: connection refused");
    }

    #[test]
    fn an_answer_starts_the_count_anew() {
        let mut health = Health::default();
        for _ in 0..5 {
            next(health.after(failed(), INTERVAL));
            next(health.after(failed(), INTERVAL));
            assert_eq!(next(health.after(Ok(()), INTERVAL)), INTERVAL);
        }
    }

    #[test]
    fn a_service_that_does_not_know_the_session_has_lost_it_at_once() {
        let error = service("h:1").failed(Fault::UnknownSession("who?".into()));
        assert!(matches!(Health::default().after(Err(error), INTERVAL), Verdict::Lost(_)));
    }
}
