//! Which failed attempt is followed by another one, and after how long.

use std::time::Duration;

use hyper::StatusCode;
use tokio::time::Instant;

use crate::http_client::FetchError;

use super::error::{ClientError, Failed, Tried};

/// The longest pause of our own between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How patient a client is with a server that can't be reached or can't do it now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retries {
    /// How often a call is sent at most. Default 8.
    pub attempts: u32,
    /// For how long after the first failure another attempt may begin. Default 30 s.
    pub within: Duration,
    /// The first pause; each is twice as long as the one before, up to 5 s, less up to a half by chance. A server's
    /// `Retry-After` comes on top. Default 200 ms.
    pub first_pause: Duration,
}

impl Default for Retries {
    fn default() -> Self {
        Self { attempts: 8, within: Duration::from_secs(30), first_pause: Duration::from_millis(200) }
    }
}

/// The attempts at one call.
#[derive(Debug)]
pub(super) struct Attempts {
    retries: Retries,
    /// Whether the call may be made again although the server may have acted on it.
    is_repeatable: bool,
    made: u32,
    failing_since: Option<Instant>,
}

impl Attempts {
    pub(super) fn new(retries: Retries, is_repeatable: bool) -> Self {
        Self { retries, is_repeatable, made: 0, failing_since: None }
    }

    /// Waits until the call may be made again.
    ///
    /// # Errors
    /// What failed, if it may not.
    pub(super) async fn again(&mut self, failed: Failed) -> Result<(), ClientError> {
        self.made += 1;
        let over = self.failing_since.get_or_insert_with(Instant::now).elapsed();
        let pause = self.pause(&failed, chance()).filter(|pause| over + *pause <= self.retries.within);
        let Some(pause) = pause else { return Err(failed.after(Tried { attempts: self.made, over })) };
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// The pause before the next attempt, if there is to be one. `chance` is from 0 to 1.
    fn pause(&self, failed: &Failed, chance: f64) -> Option<Duration> {
        if self.made >= self.retries.attempts {
            return None;
        }
        let asked = match failed {
            // Nothing was sent.
            Failed::Unanswered(FetchError::Connect(_)) => Some(Duration::ZERO),
            Failed::Unanswered(FetchError::Timeout { .. } | FetchError::Transport(_)) => {
                self.is_repeatable.then_some(Duration::ZERO)
            }
            Failed::Unanswered(FetchError::InvalidUri | FetchError::TooLarge { .. }) => None,
            Failed::Refused(refused) => refused.retry_after.filter(|_| self.may_pass(refused.status)),
            Failed::Stranger { status, retry_after } => retry_after.filter(|_| self.may_pass(*status)),
        };
        let doubled = 2_u32.saturating_pow(self.made.saturating_sub(1));
        let own = self.retries.first_pause.saturating_mul(doubled).min(LONGEST_PAUSE);
        asked.map(|asked| asked + own.mul_f64(1.0 - chance / 2.0))
    }

    fn may_pass(&self, status: StatusCode) -> bool {
        self.is_repeatable && matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS)
    }
}

/// A number from 0 to 1.
fn chance() -> f64 {
    f64::from(u16::from_le_bytes(crate::random::bytes())) / f64::from(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempts(made: u32, is_repeatable: bool) -> Attempts {
        Attempts { made, ..Attempts::new(Retries::default(), is_repeatable) }
    }

    fn busy(status: u16, retry_after: Option<u64>) -> Failed {
        let status = StatusCode::from_u16(status).unwrap();
        Failed::Stranger { status, retry_after: retry_after.map(Duration::from_secs) }
    }

    #[test]
    fn pauses_grow_up_to_an_end_and_are_shortened_by_chance() {
        let pauses = |chance| [1, 2, 3, 6, 7].map(|made| attempts(made, true).pause(&Failed::broken_off(), chance));
        let millis = |all: [u64; 5]| all.map(|millis| Some(Duration::from_millis(millis)));
        assert_eq!(pauses(0.0), millis([200, 400, 800, 5_000, 5_000]));
        assert_eq!(pauses(1.0), millis([100, 200, 400, 2_500, 2_500]));
        assert_eq!(attempts(8, true).pause(&Failed::broken_off(), 0.0), None);
    }

    #[test]
    fn a_server_s_own_time_is_waited_first() {
        let pause = attempts(1, true).pause(&busy(503, Some(7)), 0.0);
        assert_eq!(pause, Some(Duration::from_millis(7_200)));
    }

    #[test]
    fn only_what_passes_and_does_no_harm_is_tried_again() {
        let connect = || Failed::Unanswered(FetchError::Connect("refused".into()));
        let timeout = || Failed::Unanswered(FetchError::Timeout { after: Duration::ZERO });
        for (failed, if_repeatable, if_not) in [
            (connect(), true, true),
            (timeout(), true, false),
            (Failed::broken_off(), true, false),
            (busy(503, Some(1)), true, false),
            (busy(429, Some(1)), true, false),
            (busy(503, None), false, false),
            (busy(500, Some(1)), false, false),
            (busy(409, None), false, false),
            (Failed::Unanswered(FetchError::InvalidUri), false, false),
            (Failed::Unanswered(FetchError::TooLarge { limit: 1 }), false, false),
        ] {
            assert_eq!(attempts(1, true).pause(&failed, 0.0).is_some(), if_repeatable, "{failed:?}");
            assert_eq!(attempts(1, false).pause(&failed, 0.0).is_some(), if_not, "{failed:?}");
        }
    }
}
