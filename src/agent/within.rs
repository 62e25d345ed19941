//! How long an answer is waited for, where the server itself may not have run meanwhile.
//!
//! A server that was stopped (SIGSTOP, a paused machine) finds its timers over and the answers of that time unread. Those
//! are heard first.

use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, timeout};

/// A timer that fires this late says that the server did not run.
pub(super) const STALL: Duration = Duration::from_secs(1);
/// How long it may take at most to read what came meanwhile.
const MOST_CATCHING_UP: Duration = Duration::from_secs(10);

/// Waits for an answer at most so long; `None` if it did not come in time. The answer is pinned by its caller, so that its
/// room is needed once.
pub(super) async fn within<T>(time: Duration, mut answer: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    let began = Instant::now();
    if let Ok(answer) = timeout(time, &mut answer).await {
        return Some(answer);
    }
    let late = began.elapsed().saturating_sub(time);
    if late < STALL {
        return None;
    }
    timeout(late.min(MOST_CATCHING_UP), answer).await.ok()
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_answer_after_its_time_is_none() {
        let answer = async { tokio::time::sleep(Duration::from_secs(3)).await };
        assert_eq!(within(Duration::from_secs(2), pin!(answer)).await, None);
        assert_eq!(within(Duration::from_secs(2), pin!(async { 7 })).await, Some(7));
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_that_fires_far_too_late_leaves_time_to_hear_what_came_meanwhile() {
        let (sender, answer) = tokio::sync::oneshot::channel();
        let waiting = async { within(Duration::from_secs(2), pin!(answer)).await };
        let stopped = async {
            tokio::task::yield_now().await;
            tokio::time::advance(Duration::from_secs(60)).await;
            // The waiter finds its time over, and only then is the answer read.
            tokio::task::yield_now().await;
            sender.send(7).unwrap();
        };
        assert_eq!(tokio::join!(waiting, stopped).0, Some(Ok(7)));
    }
}
