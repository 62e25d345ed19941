//! Judging new passwords: on one thread of low priority of its own, one password at a time.
//!
//! Most take a millisecond, and one that is made to take long some hundred. Judging therefore takes no turn of those who
//! sign in (see `hashing`), an account has one password judged at a time, and nobody works on for a caller who has left
//! the queue.

use std::panic::catch_unwind;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;

use crate::id::CustomerKey;
use crate::low_priority;
use crate::turns::Turns;

use super::hashing::HashingError;
use super::password::{self, PasswordRefused};

/// The judges. Cloning shares them.
#[derive(Clone, Debug)]
pub(super) struct Judging {
    turns: Turns<CustomerKey>,
    queue: Arc<Semaphore>,
}

impl Judging {
    /// At most `queue` passwords wait or are being judged.
    pub(super) fn new(queue: usize) -> Self {
        const AT_ONCE: usize = 1;
        Self { turns: Turns::new(AT_ONCE), queue: Arc::new(Semaphore::new(queue.max(1))) }
    }

    /// Says whether this customer, with this email, may have this password from now on.
    ///
    /// # Errors
    /// A [`HashingError`].
    pub(super) async fn judge(
        &self,
        customer: CustomerKey,
        email: &str,
        password: &SecretString,
    ) -> Result<Result<(), PasswordRefused>, HashingError> {
        let _place = self.queue.try_acquire().map_err(|_| HashingError::Busy)?;
        let turn = self.turns.wait(Some(customer)).await;
        let (password, email) = (password.clone(), email.to_owned());
        // The turn goes along: it lasts until the work has ended, also if the caller leaves meanwhile.
        let judged = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            low_priority::run(|| judge(&password, &email))
        });
        judged.await.map_err(|_| could_not_be_judged())?
    }
}

fn judge(password: &SecretString, email: &str) -> Result<Result<(), PasswordRefused>, HashingError> {
    // The estimator has panicked at odd passwords before.
    catch_unwind(|| password::check(password.expose_secret(), email)).map_err(|_| could_not_be_judged())
}

fn could_not_be_judged() -> HashingError {
    HashingError::Failed("the password could not be judged".into())
}

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn key(email: &str) -> CustomerKey {
        CustomerKey::new(email)
    }

    fn is_pending<T>(waiting: Pin<&mut impl Future<Output = T>>) -> bool {
        matches!(waiting.poll(&mut Context::from_waker(Waker::noop())), Poll::Pending)
    }

    #[tokio::test]
    async fn an_account_waits_for_itself_and_the_others_for_one_of_its_passwords() {
        let judging = Judging::new(8);
        let password = SecretString::from("four birds on two wires");
        // The turn of a password that takes long.
        let slow = judging.turns.wait(Some(key("mallory"))).await;
        let mut mallorys: Vec<_> =
            (0..4).map(|_| Box::pin(judging.judge(key("mallory"), "mallory", &password))).collect();
        let mut adas = pin!(judging.judge(key("ada"), "ada", &password));
        for waiting in &mut mallorys {
            assert!(is_pending(waiting.as_mut()));
        }
        assert!(is_pending(adas.as_mut()));

        drop(slow);

        // Before all of Mallory's but one, none of which is polled.
        assert_eq!(adas.await.unwrap(), Ok(()));
    }

    #[tokio::test]
    async fn a_full_queue_is_an_answer_at_once_and_whoever_leaves_makes_room() {
        let judging = Judging::new(2);
        let password = SecretString::from("four birds on two wires");
        let slow = judging.turns.wait(Some(key("mallory"))).await;
        let mut waiting: Vec<_> =
            (0..2).map(|_| Box::pin(judging.judge(key("mallory"), "mallory", &password))).collect();
        for waiting in &mut waiting {
            assert!(is_pending(waiting.as_mut()));
        }
        assert!(matches!(judging.judge(key("ada"), "ada", &password).await, Err(HashingError::Busy)));

        drop(waiting);
        drop(slow);

        assert_eq!(judging.judge(key("ada"), "ada", &password).await.unwrap(), Ok(()));
        assert_eq!(judging.queue.available_permits(), 2);
    }

    #[tokio::test]
    async fn a_password_that_is_easy_to_guess_is_refused() {
        let judging = Judging::new(1);
        let judged = judging.judge(key("ada"), "ada", &SecretString::from("password1")).await.unwrap();
        assert_eq!(judged, Err(PasswordRefused::Common));
    }
}
