//! Whether any account has changed since somebody looked, told in memory: the many creations between two changes read no
//! account.
//!
//! A number that is even between changes. The writer makes it odd before it changes an account, and even again, and
//! higher, when the transaction is over. Whoever sees an odd number may read what is about to change, and whoever sees
//! another number than before has missed a change: neither is taken for the account of now without reading it again.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::store::AccountsSeen;

/// The number of one store.
#[derive(Debug, Default)]
pub(super) struct Accounts(AtomicU64);

impl Accounts {
    /// How the accounts stand.
    pub(super) fn seen(&self) -> AccountsSeen {
        AccountsSeen(self.0.load(Ordering::SeqCst))
    }

    /// Whether none has changed, or was about to, since they were seen.
    pub(super) fn are(&self, seen: AccountsSeen) -> bool {
        seen.0.is_multiple_of(2) && self.seen() == seen
    }

    /// One is about to change.
    pub(super) fn change(&self) {
        self.0.fetch_or(1, Ordering::SeqCst);
    }

    /// The transaction is over, and so is every change in it.
    pub(super) fn settle(&self) {
        // Only the writer's thread changes the number.
        self.0.fetch_add(self.0.load(Ordering::SeqCst) % 2, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn between_changes_the_accounts_stay_as_they_were_seen() {
        let accounts = Accounts::default();
        let seen = accounts.seen();
        accounts.settle();
        assert!(accounts.are(seen));
    }

    #[test]
    fn what_was_seen_before_or_during_a_change_is_never_taken_for_what_is_there() {
        let accounts = Accounts::default();
        let before = accounts.seen();
        accounts.change();
        let during = accounts.seen();
        assert!(!accounts.are(before) && !accounts.are(during));
        accounts.change();
        accounts.settle();
        assert!(!accounts.are(before) && !accounts.are(during));
        assert!(accounts.are(accounts.seen()));
    }
}
