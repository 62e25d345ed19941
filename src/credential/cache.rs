//! Credentials that were good a moment ago, so that checking them again costs microseconds.
//!
//! Holds a keyed hash under a key of this process alone, never a password, for the configured time. One entry an
//! account; a bad password is never remembered. A changed password drops the entry, also of a check that was under
//! way while it changed.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use subtle::ConstantTimeEq;

use crate::clock::Timestamp;
use crate::id::CustomerKey;
use crate::store::CheckedAccount;

const MOST_ENTRIES: usize = 100_000;

pub(super) struct Cache {
    key: [u8; 32],
    keep: Option<Duration>,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    entries: HashMap<CustomerKey, Entry>,
    changes: u64,
}

struct Entry {
    hash: [u8; 32],
    account: CheckedAccount,
    until: Timestamp,
}

/// The state of the accounts when a check began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Began(u64);

impl Cache {
    /// Remembers for `keep`, or not at all.
    pub(super) fn new(keep: Option<Duration>) -> Self {
        Self { key: crate::random::bytes(), keep, table: Mutex::default() }
    }

    /// The account for which these credentials were found good lately.
    pub(super) fn knows(&self, key: &CustomerKey, password: &str, now: Timestamp) -> Option<CheckedAccount> {
        self.keep?;
        let hash = self.hash(key, password);
        let table = self.table();
        let known = table.entries.get(key).filter(|entry| now < entry.until && entry.hash.ct_eq(&hash).into());
        known.map(|entry| entry.account)
    }

    /// To be called before the account is read for a check.
    pub(super) fn begin(&self) -> Began {
        Began(self.table().changes)
    }

    /// Remembers good credentials, unless an account has changed since the check began.
    pub(super) fn remember(
        &self,
        key: &CustomerKey,
        password: &str,
        account: CheckedAccount,
        began: Began,
        now: Timestamp,
    ) {
        let Some(keep) = self.keep else { return };
        let hash = self.hash(key, password);
        let mut table = self.table();
        if table.changes != began.0 {
            return;
        }
        if table.entries.len() >= MOST_ENTRIES {
            table.entries.retain(|_, entry| now < entry.until);
            if table.entries.len() >= MOST_ENTRIES {
                table.entries.clear();
            }
        }
        table.entries.insert(key.clone(), Entry { hash, account, until: now + keep });
    }

    /// Forgets an account whose password has changed.
    pub(super) fn forget(&self, account: &CustomerKey) {
        let mut table = self.table();
        table.changes += 1;
        table.entries.remove(account);
    }

    fn hash(&self, account: &CustomerKey, password: &str) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&(account.as_str().len() as u64).to_le_bytes());
        hasher.update(account.as_str().as_bytes());
        hasher.update(password.as_bytes());
        *hasher.finalize().as_bytes()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::AccountsSeen;

    const NOW: Timestamp = Timestamp::from_micros(0);
    const MINUTE: Duration = Duration::from_secs(60);

    fn ada() -> CustomerKey {
        CustomerKey::new("ada@example.org")
    }

    fn account() -> CheckedAccount {
        CheckedAccount::new(AccountsSeen::default(), "hash")
    }

    #[test]
    fn good_credentials_are_known_for_a_while_and_others_never() {
        let cache = Cache::new(Some(MINUTE));
        cache.remember(&ada(), "secret", account(), cache.begin(), NOW);
        let in_time = NOW + MINUTE - Duration::from_micros(1);
        assert_eq!(cache.knows(&ada(), "secret", in_time), Some(account()));
        assert_eq!(cache.knows(&ada(), "secret", NOW + MINUTE), None);
        assert_eq!(cache.knows(&ada(), "Secret", NOW), None);
        assert_eq!(cache.knows(&CustomerKey::new("ada@example.orgs"), "ecret", NOW), None);
    }

    #[test]
    fn a_changed_password_is_forgotten_even_by_a_check_that_was_under_way() {
        let cache = Cache::new(Some(MINUTE));
        cache.remember(&ada(), "old", account(), cache.begin(), NOW);
        let under_way = cache.begin();
        cache.forget(&ada());
        cache.remember(&ada(), "old", account(), under_way, NOW);
        assert_eq!(cache.knows(&ada(), "old", NOW), None);
    }

    #[test]
    fn a_cache_that_is_off_knows_nothing() {
        let cache = Cache::new(None);
        cache.remember(&ada(), "secret", account(), cache.begin(), NOW);
        assert_eq!(cache.knows(&ada(), "secret", NOW), None);
    }
}
