//! Turns to do what keeps the machine busy, shared out among those who ask.
//!
//! A few have their turn at once, and everybody has one at a time: whoever asks for many waits for itself, and the others
//! wait for one turn of each who came before.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The turns of those whom a `K` names. Cloning shares them.
#[derive(Debug)]
pub(crate) struct Turns<K: Eq + Hash> {
    all: Arc<Semaphore>,
    asking: Arc<Mutex<Asking<K>>>,
}

type Asking<K> = HashMap<K, Arc<Semaphore>>;

/// A turn, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn<K: Eq + Hash> {
    _of_all: Option<OwnedSemaphorePermit>,
    _own: Option<Own<K>>,
}

/// One that has its own turn or waits for it.
#[derive(Debug)]
struct Own<K: Eq + Hash> {
    asking: Arc<Mutex<Asking<K>>>,
    who: K,
    held: Option<OwnedSemaphorePermit>,
}

impl<K: Eq + Hash> Clone for Turns<K> {
    fn clone(&self) -> Self {
        Self { all: Arc::clone(&self.all), asking: Arc::clone(&self.asking) }
    }
}

impl<K: Clone + Eq + Hash> Turns<K> {
    /// So many at once.
    pub(crate) fn new(at_once: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(at_once)), asking: Arc::default() }
    }

    /// Waits for a turn. Nobody in particular waits for the turns of all alone.
    pub(crate) async fn wait(&self, who: Option<K>) -> Turn<K> {
        let own = match who {
            Some(who) => Some(self.wait_for_own(who).await),
            None => None,
        };
        // Never closed.
        Turn { _of_all: Arc::clone(&self.all).acquire_owned().await.ok(), _own: own }
    }

    async fn wait_for_own(&self, who: K) -> Own<K> {
        let turns = {
            let mut asking = self.asking.lock();
            Arc::clone(asking.entry(who.clone()).or_insert_with(|| Arc::new(Semaphore::new(1))))
        };
        let mut own = Own { asking: Arc::clone(&self.asking), who, held: None };
        // Never closed.
        own.held = turns.acquire_owned().await.ok();
        own
    }
}

impl<K: Eq + Hash> Drop for Own<K> {
    fn drop(&mut self) {
        let mut asking = self.asking.lock();
        self.held = None;
        // Whoever else asks holds the semaphore as well: all clones are made under the lock.
        if asking.get(&self.who).is_some_and(|own| Arc::strong_count(own) == 1) {
            asking.remove(&self.who);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn poll(waiting: Pin<&mut impl Future<Output = Turn<u8>>>) -> Option<Turn<u8>> {
        match waiting.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(turn) => Some(turn),
            Poll::Pending => None,
        }
    }

    #[test]
    fn one_with_many_to_do_leaves_a_turn_to_others() {
        let turns = Turns::new(2);
        let (mut first, mut second) = (pin!(turns.wait(Some(1))), pin!(turns.wait(Some(1))));
        let mut other = pin!(turns.wait(Some(2)));
        let its_turn = poll(first.as_mut()).expect("nobody else has one");
        assert!(poll(second.as_mut()).is_none());
        assert!(poll(other.as_mut()).is_some());

        drop(its_turn);
        assert!(poll(second.as_mut()).is_some());
    }

    #[test]
    fn whoever_is_done_or_gives_up_leaves_nothing_behind() {
        let turns = Turns::new(2);
        let its_turn = poll(pin!(turns.wait(Some(1))));
        let mut gives_up = Box::pin(turns.wait(Some(1)));
        assert!(its_turn.is_some() && poll(gives_up.as_mut()).is_none());
        drop(gives_up);
        drop(its_turn);
        assert!(turns.asking.lock().is_empty());
        assert_eq!(turns.all.available_permits(), 2);
    }
}
