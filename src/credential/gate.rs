//! The asynchronous side of guess throttling: waiting for attempts in flight to settle.
//!
//! Owns the queues of waiting requests; all rules and counts are `throttle`'s. Reads no clock and spawns no task. Called
//! by the credential check of `create`, before the password is looked at.
//!
//! Each bottleneck has its own queue, first come first served. An attempt that settles wakes the first in each queue it
//! holds a place of; whoever is woken wakes the next, unless the bottleneck is still full. So a settled attempt costs as
//! many wake-ups as it made room, however many wait.

#[cfg(test)]
mod tests;

use parking_lot::{Mutex, MutexGuard};

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use super::slowed::{Slowed, SlowedOne};
use super::throttle::{
    Account, Admission, Attempt, Bottleneck, Quota, Sender, Throttle, ThrottleConfig, TooManyAttempts,
};
use crate::clock::Timestamp;
use crate::id::Printable;
use crate::store::KnownAddresses;

/// Why a password is not checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAdmitted {
    /// Too many checks failed lately.
    #[error(transparent)]
    TooManyAttempts(#[from] TooManyAttempts),
    /// The checks that were in flight have not settled in time: the credential server is slow, and nobody has failed.
    #[error("the checks before this one did not settle in time")]
    WaitedInVain,
}

/// The throttle, and the queues before it.
pub struct Gate {
    throttle: Throttle,
    slowed: Slowed,
    queues: Arc<Queues>,
}

impl Gate {
    /// A gate that has seen no failure yet; see [`Throttle::new`].
    pub fn new(config: ThrottleConfig, key: [u8; 32]) -> Self {
        Self { throttle: Throttle::new(config, key), slowed: Slowed::default(), queues: Arc::default() }
    }

    /// Puts other limits in force.
    pub fn reconfigure(&self, config: ThrottleConfig) {
        self.throttle.reconfigure(config);
    }

    /// Admits a check of a password for `account` sent by `sender`, if need be once attempts in flight have settled.
    ///
    /// `now` is called once for each decision. Waits for at most `patience`, which should be the time a check may take.
    ///
    /// # Errors
    ///
    /// [`NotAdmitted`], at once if too many failed lately, or after `patience` if too many were still in flight.
    pub async fn admit<'a>(
        &self,
        account: impl Into<Account<'a>>,
        sender: impl Into<Sender>,
        patience: Duration,
        now: impl Fn() -> Timestamp,
    ) -> Result<Admitted, NotAdmitted> {
        let (account, sender) = (account.into(), sender.into());
        let ask = || self.throttle.admit(account.clone(), sender, now());
        let decided = match ask() {
            Admission::Go(attempt) => Ok(self.admitted(attempt)),
            Admission::Refuse(refusal) => Err(refusal),
            Admission::Wait(at) => {
                let waited = tokio::time::timeout(patience, self.wait(at, ask)).await;
                waited.map_err(|_elapsed| NotAdmitted::WaitedInVain)?
            }
        };
        Ok(decided.inspect_err(|refusal| self.note(&account, sender, *refusal, now()))?)
    }

    /// Who is being slowed at `now`, the longest first.
    pub fn slowed(&self, now: Timestamp) -> Vec<SlowedOne> {
        self.slowed.at(now)
    }

    /// Forgets what failed for an account until `now`.
    pub fn forgive<'a>(&self, account: impl Into<Account<'a>>, now: Timestamp) {
        let account = account.into();
        self.throttle.forgive(&account, now);
        self.slowed.forget(&account);
    }

    /// Notes a refusal, and logs the first of many.
    fn note(&self, account: &Account<'_>, sender: Sender, refusal: TooManyAttempts, now: Timestamp) {
        if self.slowed.note(account, sender, refusal, now) {
            tracing::warn!(account = %Printable(account.name()), peer = %sender.address, limit = ?refusal.limit, failures = refusal.failures,
                "sign-ins are being slowed: too many have failed");
        }
    }

    /// What is left of the failures that `sender` may make; see [`Throttle::quotas`].
    pub fn quotas<'a>(&self, account: impl Into<Account<'a>>, sender: impl Into<Sender>, now: Timestamp) -> Vec<Quota> {
        self.throttle.quotas(account, sender, now)
    }

    /// Makes stored addresses known again.
    pub fn remember(&self, stored: &[KnownAddresses], now: Timestamp) {
        self.throttle.remember(stored, now);
    }

    /// Takes known addresses that have changed; see [`Throttle::take_changed`].
    pub fn take_changed_addresses(&self, most: usize) -> Vec<KnownAddresses> {
        self.throttle.take_changed(most)
    }

    /// Marks them as changed once more: they were not stored.
    pub fn give_back_addresses(&self, known: &[KnownAddresses]) {
        self.throttle.give_back(known);
    }

    /// Completes once a sign-in may have changed the known addresses since this last completed.
    pub async fn address_known(&self) {
        self.queues.succeeded.notified().await;
    }

    /// Makes [`Gate::address_known`] complete.
    pub fn note_known_address(&self) {
        self.queues.succeeded.notify_one();
    }

    async fn wait(&self, mut at: Bottleneck, ask: impl Fn() -> Admission) -> Result<Admitted, TooManyAttempts> {
        loop {
            match self.queue(at, &ask).await {
                Admission::Go(attempt) => return Ok(self.admitted(attempt)),
                Admission::Refuse(refusal) => return Err(refusal),
                Admission::Wait(elsewhere) => at = elsewhere,
            }
        }
    }

    /// Queues at one bottleneck until the answer is anything but to wait there.
    async fn queue(&self, at: Bottleneck, ask: &impl Fn() -> Admission) -> Admission {
        let queue = Queues::enter(&self.queues, at);
        let mut woken = false;
        loop {
            // In line before asking, or an attempt that settles in between would wake nobody.
            let mut turn = pin!(queue.turn.notified());
            turn.as_mut().enable();
            match ask() {
                Admission::Wait(still) if still == at => turn.await,
                answer @ (Admission::Go(_) | Admission::Wait(_) | Admission::Refuse(_)) => {
                    if woken {
                        queue.turn.notify_one();
                    }
                    return answer;
                }
            }
            woken = true;
        }
    }

    fn admitted(&self, attempt: Attempt) -> Admitted {
        Admitted { attempt: Some(attempt), queues: Arc::clone(&self.queues) }
    }
}

/// An [`Attempt`] that lets the next in line go when it settles. Dropped without an outcome it counts as a failure.
#[must_use = "an attempt dropped without an outcome counts as a failure"]
pub struct Admitted {
    /// None once settled.
    attempt: Option<Attempt>,
    queues: Arc<Queues>,
}

impl Admitted {
    /// The password was right.
    pub fn succeeded(mut self, now: Timestamp) {
        self.settle(|attempt| attempt.succeeded(now));
        self.queues.succeeded.notify_one();
    }

    /// The password was wrong, or the account does not exist.
    pub fn refused(mut self, now: Timestamp) {
        self.settle(|attempt| attempt.refused(now));
    }

    /// The check itself failed and said nothing about the password.
    pub fn failed_to_check(mut self) {
        self.settle(Attempt::failed_to_check);
    }

    fn settle(&mut self, tell: impl FnOnce(Attempt)) {
        if let Some(attempt) = self.attempt.take() {
            let bottlenecks = attempt.bottlenecks();
            tell(attempt);
            self.queues.wake(bottlenecks.as_ref().map_or(&[], |all| all));
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.settle(drop);
    }
}

/// Who waits, by bottleneck.
#[derive(Default)]
struct Queues {
    /// How many wait anywhere, so that settling costs nothing while nobody does.
    waiting: AtomicUsize,
    by_bottleneck: Mutex<HashMap<Bottleneck, Queue>>,
    /// Told of each success.
    succeeded: Notify,
}

#[derive(Default)]
struct Queue {
    turn: Arc<Notify>,
    length: usize,
}

/// One request's stay in a queue.
struct Queued {
    queues: Arc<Queues>,
    at: Bottleneck,
    turn: Arc<Notify>,
}

impl Queues {
    fn enter(queues: &Arc<Self>, at: Bottleneck) -> Queued {
        queues.waiting.fetch_add(1, Ordering::SeqCst);
        let mut all = queues.lock();
        let queue = all.entry(at).or_default();
        queue.length += 1;
        Queued { queues: Arc::clone(queues), at, turn: Arc::clone(&queue.turn) }
    }

    fn wake(&self, bottlenecks: &[Bottleneck]) {
        // Whoever enters counts himself before he asks the throttle, and this runs after the throttle was told: one of
        // the two sees the other.
        if self.waiting.load(Ordering::SeqCst) == 0 {
            return;
        }
        let all = self.lock();
        for queue in bottlenecks.iter().filter_map(|at| all.get(at)) {
            queue.turn.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Bottleneck, Queue>> {
        self.by_bottleneck.lock()
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        self.queues.waiting.fetch_sub(1, Ordering::SeqCst);
        let mut all = self.queues.lock();
        if let Some(queue) = all.get_mut(&self.at) {
            queue.length -= 1;
            if queue.length == 0 {
                all.remove(&self.at);
            }
        }
    }
}
